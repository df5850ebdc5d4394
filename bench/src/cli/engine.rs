//! The command line of `engine`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cli::{
    FILES_MAX, Output, ROUNDS_MAX, as_optional_seconds, as_seconds, parse_batch_bytes, parse_duration,
    parse_positive_bytes,
};

pub(super) const ENGINE_HELP: &str = "\
Example:
  ringmain-bench engine --dir /var/lib/ringmain --rounds 5 --out engine.json
  sudo scripts/on-journaled-fs 4G ext4 ringmain-bench engine --parts durable --dir {}

Within each round the engine and what it is measured against take turns, and ratios are taken within
a round. Parts:
  append   batches of 64 KiB, durability Written, against pwrite of the same bytes, with and without
           their CRC. Logs and files are removed at 256 MiB, outside of the timed part, so that the page
           cache is measured. Goal: 0.85 of crc32c + pwrite.
  durable  a commit appends 4 KiB to each of --log-counts logs and waits until all are durable. Against:
             fdatasync each      pwrite to as many files, then fdatasync of one after the other
             fdatasync by 64     the same, the syncs by 64 threads at once (by a ring it would be less
                                 work, which this program, having no unsafe code, cannot do)
             syncfs              pwrite to as many files, then one syncfs
             bare work           pwrite to as many files, and one O_DIRECT + O_DSYNC write of the same
                                 number of bytes to a file that was written before
           After each turn all is synced, not timed: no turn pays for what another left unwritten. What the
           engine does beside commits falls into its turns where it is due: it begins to write segments
           back every 32 MiB, and checkpoints. The bare work does none of that. Before the first turn the
           engine's journal is filled once, so that its files are there, as those of the bare work are. Goals
           with 128 logs, on a file system with a journal: 20 times faster than fdatasync each; 1.3 times
           the bare work.
  range    a commit appends 64 KiB to 3.5 MiB to one log, of which the last batch asks to be durable: by the journal
           always, against a sync of the segment always. Tells what journal.range.max.bytes should be.
  small    batches of one record of 100 bytes from 4 threads to one log, durability Written, against
           4 threads that compute the CRC and write to one file behind a mutex.
  tail     batches at a fixed rate, durability Written, in small segments, against plain pwrite at the
           same rate: half of the engine's highest rate, or of the device's if that is less, both
           measured first. Time counts from the moment a batch is due, so a stall counts for all that it
           held up. Old logs and files are removed beside, beyond --tail-keep-bytes. The notes under the
           figures say how much the machine wrote back meanwhile. The kernel begins it after 30 s, or when
           a tenth of the memory waits for it: if it did not, use a longer --tail-duration and larger
           --tail-keep-bytes, or --tail-sync 1s, which forces it alike for both.
  open     a child process fills a store, is stopped cleanly or killed, and the store is opened. Nothing
           is evicted from the page cache. Goals: 100 ms after a clean stop, 1 s after a kill.";

/// What can be measured of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub(crate) enum Part {
    Append,
    Durable,
    Range,
    Small,
    Tail,
    Open,
}

/// How the batches of a store that will be opened are appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OpenDurability {
    /// To the page cache
    Written,
    /// To the medium: one batch in each log, then all are waited for
    Durable,
}

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct EngineArgs {
    /// Directory in which a temporary one is made for all files
    #[arg(long, default_value = ".", value_name = "DIR", visible_alias = "data-dir")]
    pub(crate) dir: PathBuf,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "append,durable,range,small,tail,open")]
    pub(crate) parts: Vec<Part>,
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX))]
    pub(crate) rounds: u32,
    /// append: bytes of each turn
    #[arg(long, default_value = "1GiB", value_parser = parse_positive_bytes)]
    pub(crate) append_bytes: u64,
    /// durable: numbers of logs
    #[arg(long, value_delimiter = ',', default_value = "1,16,128,1000",
          value_parser = clap::value_parser!(u32).range(1..=FILES_MAX))]
    pub(crate) log_counts: Vec<u32>,
    /// durable: commits of each turn; fewer if they take 2 s
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) commits: u32,
    /// small: appends of each turn, by all threads
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(4..=100_000_000))]
    pub(crate) small_appends: u32,
    /// tail: bytes of a batch
    #[arg(long, default_value = "64KiB", value_parser = parse_batch_bytes)]
    pub(crate) tail_batch_bytes: u64,
    /// tail: how long each turn takes
    #[arg(long, default_value = "40s", value_parser = parse_duration)]
    #[serde(serialize_with = "as_seconds")]
    pub(crate) tail_duration: Duration,
    /// tail: also sync the whole file system so often, whoever writes [default: never]
    #[arg(long, value_parser = parse_duration)]
    #[serde(serialize_with = "as_optional_seconds")]
    pub(crate) tail_sync: Option<Duration>,
    /// tail: bytes of a segment
    #[arg(long, default_value = "64MiB", value_parser = parse_positive_bytes)]
    pub(crate) tail_segment_bytes: u64,
    /// tail: bytes that are kept
    #[arg(long, default_value = "4GiB", value_parser = parse_positive_bytes)]
    pub(crate) tail_keep_bytes: u64,
    /// open: logs in the store
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=FILES_MAX))]
    pub(crate) open_logs: u32,
    /// open: bytes in all logs together; 10GiB for the figures that are published
    #[arg(long, default_value = "2GiB", value_parser = parse_positive_bytes)]
    pub(crate) open_bytes: u64,
    /// open: how they are appended
    #[arg(long, value_enum, default_value_t = OpenDurability::Written)]
    pub(crate) open_durability: OpenDurability,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FillArgs {
    /// Directory of the store
    #[arg(long)]
    pub(crate) store: PathBuf,
    /// Logs
    #[arg(long)]
    pub(crate) logs: u32,
    /// Bytes of each log, at least
    #[arg(long)]
    pub(crate) bytes_per_log: u64,
    /// How they are appended
    #[arg(long, value_enum)]
    pub(crate) durability: OpenDurability,
    /// Stop cleanly, before it says that it is ready
    #[arg(long)]
    pub(crate) clean: bool,
}
