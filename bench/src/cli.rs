//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Serialize, Serializer};

mod compare;
mod engine;
mod report;
mod workload;

pub(crate) use crate::cli::compare::CompareArgs;
pub(crate) use crate::cli::engine::{EngineArgs, FillArgs, OpenDurability, Part};
pub(crate) use crate::cli::report::ReportArgs;
pub(crate) use crate::cli::workload::ByWorkload;
use crate::quantity::{parse_bytes, parse_duration};

/// Connections at most: two threads each.
const CONNECTIONS_MAX: i64 = 1024;
/// Requests in flight on a connection at most.
const IN_FLIGHT_MAX: i64 = 1024;
/// Partitions at most.
const PARTITIONS_MAX: i64 = 10_000;
/// A record or a batch at most, in bytes.
const BATCH_BYTES_MAX: u64 = 64 << 20;
/// Files, or logs, at most.
const FILES_MAX: i64 = 10_000;
/// Rounds at most.
const ROUNDS_MAX: i64 = 100;

/// Measures Kafka-protocol brokers, and what the machine could do at best.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load a broker, verify what it holds, and report throughput and latency
    #[command(after_help = LOAD_HELP)]
    Load(Box<LoadArgs>),
    /// Measure what this machine does at best, without a broker
    #[command(after_help = FLOORS_HELP)]
    Floors(FloorsArgs),
    /// Measure the engine inside of this process, without a broker
    #[command(after_help = engine::ENGINE_HELP)]
    Engine(EngineArgs),
    /// Answer at once and keep nothing: a part of `load --self-check`
    #[command(hide = true)]
    NullBroker,
    /// Make a page with plots from what other commands wrote, and compare it with older results
    #[command(after_help = report::REPORT_HELP)]
    Report(ReportArgs),
    /// Compare ringmain with other brokers, in turns on this machine
    #[command(after_help = compare::COMPARE_HELP)]
    Compare(CompareArgs),
    /// Fill a store, and wait to be killed: a part of `engine`
    #[command(hide = true)]
    Fill(FillArgs),
}

macro_rules! floor_text {
    () => {
        "\
The floors are measured over loopback with the same client code, threads, connections, batches and
total bytes as the broker:
  relay      a server thread per connection reads into a 1 MiB buffer and writes what it got to a
             file (pwrite, page cache, a nameless file in --data-dir); nothing is answered. It ends
             when all is written.
  answered   the same, and each request is answered: the client works exactly as with acks=1.
  sendfile   a server thread per connection answers each request with whole batches, up to
             --fetch-bytes, by sendfile(2) from a warm file of the same size; the client reads them
             and looks at the batch headers, exactly as with a broker. Several send buffers are
             tried before the first round; the one that costs the least processor time is used.
A ratio above 1 means that the floor was not one (other work, or a cause not known): do not quote it.
Before each phase that writes --total-bytes, floor or broker, as many bytes go to a nameless file that is
dropped: so no phase pays for the first touch of memory, which is slow on virtual machines."
    };
}

const LOAD_HELP: &str = concat!(
    "\
Examples:
  ringmain-bench load --list
  ringmain-bench load --broker 127.0.0.1:9092 --workload omb-1-topic-16-partitions-1kb --self-check --out run.json
  ringmain-bench load --broker 127.0.0.1:9092 --workload ramp --set duration=3s --set producers.batch_records=1
  ringmain-bench load --broker 127.0.0.1:9092 --total-bytes 4GiB --connections 4 --in-flight 8 \\
      --partitions 4 --floors --rounds 5 --data-dir ./ringmain-data --broker-pid 4711 --out run.json

With --workload (a file, or a name of --list) producers and consumers do what the workload says, open loop:
latency counts from when a request was due, end to end until a consumer has the record. Everything is read back
and compared. bench/README.md explains the files.

Without --workload:
MB are 10^6 bytes of whole record batches, as they are sent and stored.
Latency is from the moment a request is written until its answer is read. With --rate it is from the
moment the request was due, so that a stall counts for every request that it held up.
With acks=0 there is no latency; the clock stops when the broker answers a request behind the last.
Fetching has one request in flight on each connection and at most one connection per partition.
After the timed phases everything is read back once more: the number and order of records, offsets
without gaps and the checksum of each batch must be right, or the run fails. (Topics of others: offsets
and checksums; compacted ones have gaps and fail.)

",
    floor_text!(),
    "
Floors and broker take turns within each round, and ratios are taken within a round."
);

const FLOORS_HELP: &str = concat!(
    "\
Example:
  ringmain-bench floors --data-dir /var/lib/ringmain --total-bytes 4GiB --rounds 5

",
    floor_text!(),
    "

And without a connection, in turns in each round:
  crc relay            as relay, with a checksum (CRC32C) of all that is received
  memcpy, crc32c       pieces of 64 KiB: copied between two buffers of 64 MiB; summed in the cache
  pwrite               64 KiB to a file in the page cache, which is dropped at 256 MiB (not timed)
  crc32c + pwrite      the same, with the checksum of each batch compared before
  O_DIRECT + O_DSYNC   4 KiB and 64 KiB into a file of 64 MiB that was written before
  fdatasync            4 KiB appended to a file, which is then synced
  syncfs               4 KiB appended to each of --sync-files files, then one sync of all
Times are until the last byte is on the medium. The files are in a temporary directory in --data-dir.
Page-cache figures need --data-dir on the file system in question, times of syncing on its device:
`scripts/on-journaled-fs` makes one with a journal where there is none."
);

/// What requests look like.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Shape {
    /// Bytes of key (16) and value of each record
    #[arg(long, default_value = "1024", value_parser = parse_batch_bytes)]
    pub(crate) record_bytes: u64,
    /// Bytes of a batch at most (at least one record)
    #[arg(long, default_value = "1048576", value_parser = parse_batch_bytes)]
    pub(crate) batch_bytes: u64,
    /// Bytes that a fetch asks for
    #[arg(long, default_value = "1048576", value_parser = parse_batch_bytes)]
    pub(crate) fetch_bytes: u64,
    /// Connections
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub(crate) connections: u32,
    /// Produce requests in flight on each connection
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=IN_FLIGHT_MAX))]
    pub(crate) in_flight: u32,
    /// Seed of the payload
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Give up when a read or write takes so long
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    #[serde(serialize_with = "as_seconds")]
    pub(crate) timeout: Duration,
    /// Directory for the files of the floors; use the broker's file system
    #[arg(long, default_value = ".", value_name = "DIR", visible_alias = "dir")]
    pub(crate) data_dir: PathBuf,
}

/// Where the report goes.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Output {
    /// Also write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct LoadArgs {
    /// Broker to connect to first
    #[arg(long, value_name = "HOST:PORT", required_unless_present_any = ["list", "self_check"])]
    pub(crate) broker: Option<String>,
    #[command(flatten)]
    pub(crate) by_workload: ByWorkload,
    /// Topic; created, and deleted at the end, if it does not exist. With several rounds the number
    /// of the round is appended to a name that does not exist [default: a unique name]
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// Leave the created topic behind
    #[arg(long)]
    pub(crate) keep_topic: bool,
    /// Partitions of a created topic
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=PARTITIONS_MAX))]
    pub(crate) partitions: i32,
    /// Replicas of a created topic
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i16).range(1..=100))]
    pub(crate) replication_factor: i16,
    /// What to measure; `fetch` needs a --topic that holds records, `both` reads back what it produced
    #[arg(long, value_enum, default_value_t = Mode::Both)]
    pub(crate) mode: Mode,
    /// When a produced batch counts as taken
    #[arg(long, value_enum, default_value_t = Acks::One)]
    pub(crate) acks: Acks,
    /// Bytes of batches to move in each phase of a round
    #[arg(long, default_value = "1GiB", value_parser = parse_positive_bytes, conflicts_with = "duration")]
    pub(crate) total_bytes: u64,
    /// Produce (or, in mode fetch, read over and over) for so long instead
    #[arg(long, value_parser = parse_duration, conflicts_with = "floors")]
    #[serde(serialize_with = "as_optional_seconds")]
    pub(crate) duration: Option<Duration>,
    /// Records per second of all connections, at fixed times, whatever the broker does
    /// [default: as fast as possible]
    #[arg(long, value_parser = parse_rate, conflicts_with = "floors")]
    pub(crate) rate: Option<f64>,
    /// Also measure the floors, in turns with the broker
    #[arg(long)]
    pub(crate) floors: bool,
    /// Rounds that count [default: 1, with --floors 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX))]
    pub(crate) rounds: Option<u32>,
    /// Rounds before those, which are verified but do not count
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=ROUNDS_MAX))]
    pub(crate) warmup_rounds: u32,
    /// Process id of the broker, to report its processor time and memory
    #[arg(long, value_name = "PID")]
    pub(crate) broker_pid: Option<u32>,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct FloorsArgs {
    /// Bytes of batches to move in each floor of a round
    #[arg(long, default_value = "1GiB", value_parser = parse_positive_bytes)]
    pub(crate) total_bytes: u64,
    /// Rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX))]
    pub(crate) rounds: u32,
    /// Files that are written before one syncfs
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=FILES_MAX))]
    pub(crate) sync_files: u32,
    /// Writes of each kind until they are on the medium, in a round; fewer if they take 3 s
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) sync_writes: u32,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Produce,
    Fetch,
    Both,
}

/// When a produced batch counts as taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum Acks {
    /// Never answered
    #[value(name = "0")]
    #[serde(rename = "0")]
    Zero,
    /// Answered by the leader
    #[value(name = "1")]
    #[serde(rename = "1")]
    One,
    /// Answered when all in-sync replicas have it
    #[value(name = "all", alias = "-1")]
    #[serde(rename = "all")]
    All,
}

impl Acks {
    /// The number in the request.
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::Zero => 0,
            Self::One => 1,
            Self::All => -1,
        }
    }
}

fn parse_batch_bytes(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    let min = crate::batch::KEY_BYTES as u64;
    if (min..=BATCH_BYTES_MAX).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("must be from {min} bytes to {} MiB", BATCH_BYTES_MAX >> 20))
}

fn parse_positive_bytes(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        0 => Err("must be more than zero".to_string()),
        bytes => Ok(bytes),
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("must be from 0.001 to 1e9 records per second".to_string()),
    }
}

fn as_seconds<S: Serializer>(duration: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_f64(duration.as_secs_f64())
}

fn as_optional_seconds<S: Serializer>(duration: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_fixed_rate_and_floors_exclude_each_other() {
        let line = "ringmain-bench load --broker localhost:1 --rate 10 --floors";
        assert!(Cli::try_parse_from(line.split(' ')).is_err());
        assert!(Cli::try_parse_from(line.replace(" --floors", "").split(' ')).is_ok());
    }
}
