//! The command `engine`: the engine inside of this process, in turns with what it builds upon.

mod append;
mod combine;
mod durable;
mod error;
mod fill;
mod open;
mod pace;
mod range;
mod rotation;
mod small;
mod tail;
mod ways;

use std::sync::Arc;

use ringmain_engine::{BatchBuilder, Log, LogConfig, LogId, Store, StoreConfig};

use crate::cli::{EngineArgs, Part};
use crate::error::BenchError;
use crate::figures::FiguresReport;
use crate::machine::Machine;
use crate::progress::Progress;
use crate::result::figures::Head;
use crate::scratch::{Scratch, raise_open_files};
use crate::stop::Stop;

pub(crate) use crate::engine::error::EngineError;
pub(crate) use crate::engine::fill::fill;

/// What all parts share.
#[derive(Debug)]
struct Run<'a> {
    args: &'a EngineArgs,
    stop: &'a Stop,
    scratch: Scratch,
    progress: Progress,
}

impl Run<'_> {
    /// Says what is measured now; fails if the user wants no more.
    fn turn(&self, round: u32, what: &str) -> Result<(), EngineError> {
        self.progress.turn(format!("round {round}: {what}"));
        self.go_on()
    }

    fn go_on(&self) -> Result<(), EngineError> {
        if self.stop.interrupted() { Err(EngineError::Interrupted) } else { Ok(()) }
    }

    fn settle(&self) -> Result<(), EngineError> {
        self.scratch.settle().map_err(|source| self.scratch.failed(source).into())
    }

    /// Opens a store in the scratch directory.
    fn open(&self, name: &str) -> Result<Store, EngineError> {
        Ok(Store::open(self.scratch.join(name), StoreConfig::default())?)
    }

    /// Removes what a dropped store left.
    fn remove(&self, name: &str) -> Result<(), EngineError> {
        let removed = std::fs::remove_dir_all(self.scratch.join(name));
        removed.map_err(|source| self.scratch.failed(source).into())
    }
}

/// Runs the parts that are asked for.
pub(crate) fn engine(args: &EngineArgs, stop: &Stop) -> Result<FiguresReport, BenchError> {
    raise_open_files();
    let turns: usize = args.parts.iter().map(|part| turns_of(*part, args)).sum();
    let scratch = Scratch::new(&args.dir, stop).map_err(EngineError::from)?;
    let run = Run { args, stop, scratch, progress: Progress::new(turns * args.rounds as usize) };
    let mut groups = Vec::new();
    for part in &args.parts {
        match part {
            Part::Append => groups.push(append::append(&run)?),
            Part::Durable => {
                for logs in &args.log_counts {
                    groups.push(durable::durable(&run, *logs)?);
                }
            }
            Part::Range => groups.extend(range::range(&run)?),
            Part::Small => groups.push(small::small(&run)?),
            Part::Tail => groups.push(tail::tail(&run)?),
            Part::Open => groups.push(open::open(&run)?),
        }
    }
    Ok(FiguresReport {
        head: Head::of("engine"),
        machine: Machine::probe(&args.dir),
        parameters: serde_json::to_value(args).unwrap_or_default(),
        groups,
    })
}

fn turns_of(part: Part, args: &EngineArgs) -> usize {
    match part {
        Part::Append => append::TURNS,
        Part::Durable => args.log_counts.len() * durable::TURNS,
        Part::Range => range::TURNS,
        Part::Small => small::TURNS,
        Part::Tail => tail::TURNS,
        Part::Open => open::TURNS,
    }
}

/// Creates a log with an id that follows from its number.
fn create_log(store: &Store, name: &str, number: u64, config: LogConfig) -> Result<Arc<Log>, EngineError> {
    Ok(store.create_log(name, LogId(u128::from(number + 1).to_be_bytes()), config)?)
}

/// A batch of one record with so many bytes in all, or a few less where no length comes out even.
fn batch_of_bytes(bytes: usize) -> Vec<u8> {
    let encode = |value_bytes: usize| {
        let mut builder = BatchBuilder::new();
        builder.push(1_700_000_000_000, None, Some(&vec![0xa5; value_bytes]));
        builder.finish().unwrap_or_default()
    };
    // Header and record take less than 100 bytes beside the value.
    let least = bytes.saturating_sub(100);
    let fitting = (least..=bytes).rev().map(encode).find(|batch| batch.len() <= bytes);
    fitting.unwrap_or_else(|| encode(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_the_size_that_was_asked_for() {
        for bytes in [100, 4096, 64 << 10, 1 << 20] {
            let len = batch_of_bytes(bytes).len();
            assert!(len <= bytes && len + 2 >= bytes, "{len} of {bytes}");
        }
        assert!(!batch_of_bytes(1).is_empty());
    }
}
