//! The command line of `compare`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::{ROUNDS_MAX, parse_duration};
use crate::compare::default_cache;

pub(super) const COMPARE_HELP: &str = "\
Example:
  cargo build --release --workspace
  sudo target/release/ringmain-bench compare --short --out compare.json
  target/release/ringmain-bench compare --short --peers kafka,nats --workloads end-to-end --out compare.json
  target/release/ringmain-bench compare --other before=/tmp/old/ringmain --out compare.json

Peers:
  kafka     Apache Kafka, by the same load generator as ringmain
  nats, rabbitmq, redis
            NATS JetStream, RabbitMQ streams, Redis Streams, each by a Rust library for its protocol, with the
            same schedule, sizes, connections, requests in flight and clock
  rocketmq, artemis
            by the tool that each brings, in a table of its own: these figures have no other side
  iggy      no package registry has its server: told as not run
Each is installed with Maven, Go's or Debian's package client (the last needs root), once, into --cache; started
on 127.0.0.1 on free ports with an empty directory; and ended with all its processes. How it was set up, and its
version, are in the result.

For each peer and class of durability there are rounds of four turns, ringmain, peer, peer, ringmain: so what
changes steadily with time falls on both alike. In a turn the broker is started, warmed up, and loaded
with one workload after the other (see bench/workloads/compare). Classes are never mixed:
  page cache   what is acknowledged is in the page cache; data in --data-dir
  synced       it is on the medium; data on a file system with a journal: --data-dir's own, or ext4 in a file,
               mounted for the run (needs root). Without either these rows are not run, and the result says why.

A peer that cannot be installed or started, or a workload that fails, is told under `not_run`, and the rest goes
on. Ctrl-C or SIGTERM ends everything that was started and removes all data and mounts (only --cache stays);
a second one does so at once, without asking the brokers first.

Exit status: 0 when a result was written, also if peers are missing in it; 1 when there is none, or no peer
could be measured at all; 2 for a wrong command line.";

/// What to compare, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompareArgs {
    /// Small and quick: one round, short workloads, at most 30 minutes once the peers are installed
    #[arg(long)]
    pub(crate) short: bool,
    /// Peers, of those below [default: all, or with --other none of them]
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub(crate) peers: Option<Vec<String>>,
    /// Another build of ringmain as a peer; may be given several times
    #[arg(long = "other", value_name = "NAME=PROGRAM", value_parser = parse_other)]
    pub(crate) others: Vec<(String, PathBuf)>,
    /// Workloads, of bench/workloads/compare [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub(crate) workloads: Option<Vec<String>>,
    /// Rounds of four turns [default: 3, with --short 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX))]
    pub(crate) rounds: Option<u32>,
    /// Write the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Directory in which temporary ones are made for all data
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Where installed peers stay for the next time [default: ringmain-bench in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// The broker to compare [default: that beside this program, built anew where its source and cargo are there]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) ringmain: Option<PathBuf>,
    /// Begin no turn that would end later than so long after installing [default: none, with --short 28m]
    #[arg(long, value_parser = parse_duration)]
    pub(crate) time_limit: Option<Duration>,
}

impl CompareArgs {
    /// Where installed peers stay.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(default_cache)
    }
}

fn parse_other(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, program)) if !name.is_empty() && name != "ringmain" && !program.is_empty() => {
            Ok((name.to_string(), PathBuf::from(program)))
        }
        _ => Err("must be NAME=PROGRAM, with another name than ringmain".to_string()),
    }
}
