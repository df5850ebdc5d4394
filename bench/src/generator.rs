//! The load generator: few threads with many connections each, open loop, everything verified.
//!
//! [`run_workload`] runs a workload against a broker. [`schedule`], [`recorder`] and [`usage`] serve clients of
//! other protocols as well, so that their figures mean the same.

pub(crate) mod command;
mod coordinate;
mod fetch_session;
mod group;
mod keys;
mod lane;
pub(crate) mod null_broker;
mod payload;
mod read_back;
mod reader;
pub(crate) mod recorder;
mod round;
pub(crate) mod schedule;
mod self_check;
mod socket;
mod span;
mod text;
mod topics;
pub(crate) mod usage;
mod verdict;
mod worker;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::admin::Admin;
use crate::error::BenchError;
use crate::generator::read_back::read_back;
use crate::generator::round::Round;
use crate::generator::span::Clock;
use crate::generator::topics::Topics;
use crate::machine::Machine;
use crate::result::run::{Phase, RUN_FORMAT, Run, RunTarget, SelfCheck, Tool, Verified};
use crate::stop::Stop;
use crate::workload::Workload;

pub(crate) use self::self_check::{self_check, serve};

/// Bytes of a batch beside those of its records' keys and values, at most.
const BATCH_OVERHEAD_BYTES: usize = 61;
/// The same of a record.
const RECORD_OVERHEAD_BYTES: usize = 24;

/// Against what a workload is run, and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    /// `HOST:PORT` to connect to first.
    pub(crate) broker: String,
    /// What it is, for the result.
    pub(crate) target: RunTarget,
    /// Its processes, for their processor time, memory and writes; may be empty.
    pub(crate) broker_pids: Vec<u32>,
    /// Its data directory, for the device's writes and for cold readers.
    pub(crate) data_dir: Option<PathBuf>,
    /// Settings of the topics that are made.
    pub(crate) topic_config: Vec<(String, String)>,
    /// What the generator does alone, if known.
    pub(crate) self_check: Option<SelfCheck>,
    /// Leave the topics behind.
    pub(crate) keep_topics: bool,
    /// Give up when an answer takes so long.
    pub(crate) timeout: Duration,
    /// The command line, for the result.
    pub(crate) command: Vec<String>,
}

/// Runs all rounds. The topics are removed however it ends.
///
/// # Errors
/// If the broker fails or refuses, if what was read back is not what was sent, or on Ctrl-C.
pub(crate) fn run_workload(
    workload: &Workload,
    options: &RunOptions,
    stop: &Stop,
) -> Result<Run, BenchError> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let clock = Clock::start();
    let mut run = Run {
        format: RUN_FORMAT.to_owned(),
        tool: Tool {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: options.command.clone(),
        },
        unix_time_s: since_epoch.as_secs(),
        machine: Machine::probe(options.data_dir.as_deref().unwrap_or(Path::new("."))),
        target: options.target.clone(),
        workload: workload.clone(),
        self_check: options.self_check,
        verified: Verified { batches: Some(0), checksums: true, order: true, ..Verified::default() },
        phases: Vec::new(),
        notes: options.notes(workload),
    };
    for number in 1..=workload.rounds {
        let (phases, verified) = run_round(workload, options, stop, clock, number, true)?;
        run.phases.extend(phases);
        run.verified.records += verified.records;
        run.verified.bytes += verified.bytes;
        run.verified.batches = run.verified.batches.zip(verified.batches).map(|(sum, more)| sum + more);
    }
    Ok(run)
}

/// The phases of one round against a server that keeps nothing: nothing is read back.
fn run_spans(workload: &Workload, options: &RunOptions, stop: &Stop) -> Result<Vec<Phase>, BenchError> {
    run_round(workload, options, stop, Clock::start(), 1, false).map(|(phases, _)| phases)
}

fn run_round(
    workload: &Workload,
    options: &RunOptions,
    stop: &Stop,
    clock: Clock,
    number: u32,
    verify: bool,
) -> Result<(Vec<Phase>, Verified), BenchError> {
    let mut topics = Topics::default();
    let mut admin = Admin::connect(&options.broker, options.timeout)?;
    let batch_bytes = batch_bytes(workload);
    let made = topics.create(&mut admin, workload, number, &options.topic_config, batch_bytes);
    let outcome = made.and_then(|()| {
        let mut round = Round::new(workload, options, stop, clock, number, &topics);
        round.spans(&mut admin)?;
        let records = workload.producers.batch_records;
        let verified = if verify {
            read_back(&mut admin, &topics, &round.sent, records, batch_bytes, stop, options.timeout)?
        } else {
            Verified::default()
        };
        Ok((round.phases, verified))
    });
    // If the round failed, its failure is what matters.
    let removed = if options.keep_topics {
        Ok(())
    } else {
        Admin::connect(&options.broker, options.timeout)
            .map_err(BenchError::from)
            .and_then(|mut admin| topics.remove(&mut admin))
    };
    let done = outcome?;
    removed?;
    Ok(done)
}

/// The largest batch that a workload sends.
fn batch_bytes(workload: &Workload) -> usize {
    let producers = &workload.producers;
    let record_bytes = producers.record_bytes.0 as usize + RECORD_OVERHEAD_BYTES;
    BATCH_OVERHEAD_BYTES + record_bytes * producers.batch_records as usize
}

impl RunOptions {
    /// Drops the files below the data directory from the page cache, as far as they are clean.
    fn evict(&self) -> Result<(), BenchError> {
        let Some(dir) = &self.data_dir else {
            return Ok(());
        };
        evict_below(dir).map_err(|source| BenchError::Evict { path: dir.clone(), source })
    }

    fn notes(&self, workload: &Workload) -> Vec<String> {
        let mut notes = Vec::new();
        if self.data_dir.is_none() && workload.consumers.iter().any(|set| set.cold) {
            notes.push(
                "cold readers were not cold: without the broker's data directory its files stay in the page cache"
                    .to_owned(),
            );
        }
        if self.target.durability != workload.durability {
            notes.push("the target's class of durability is not the workload's".to_owned());
        }
        if self.self_check.is_none() {
            notes.push("what the generator does alone was not measured".to_owned());
        }
        notes
    }
}

fn evict_below(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            evict_below(&entry.path())?;
        } else if kind.is_file() {
            // A file that is gone meanwhile is cold enough.
            let Ok(file) = File::open(entry.path()) else { continue };
            // Only clean pages can be dropped.
            file.sync_data()?;
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
    }
    Ok(())
}
