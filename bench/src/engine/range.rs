//! From which size on it costs less to sync a log's segments than to write its range to the journal, too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmain_engine::{Durability, Log, LogConfig, Store, StoreConfig};

use crate::engine::{EngineError, Run, batch_of_bytes, create_log};
use crate::figures::{Group, Unit};
use crate::latency::ShortTimes;

/// Bytes that a commit appends to one log.
const SIZES: [usize; 5] = [64 << 10, 256 << 10, 1 << 20, 2 << 20, 7 << 19];
/// Of each batch of a commit.
const BATCH_BYTES: usize = 64 << 10;
const JOURNAL: &str = "journal";
const SYNC: &str = "sync of the segment";
/// Of each round.
pub(super) const TURNS: usize = SIZES.len() * 2;
/// A turn ends after so long, however few commits there were.
const TURN_MAX: Duration = Duration::from_secs(2);

pub(super) fn range(run: &Run<'_>) -> Result<Vec<Group>, EngineError> {
    let mut ways = [open(run, JOURNAL, u64::MAX)?, open(run, SYNC, 0)?];
    let mut groups: Vec<_> =
        SIZES.iter().map(|bytes| Group::of_times("range", title(*bytes), Unit::Milliseconds, 0.5)).collect();
    for way in &mut ways {
        commit(&way.log, &mut way.batch, BATCH_BYTES)?;
    }
    for round in 1..=run.args.rounds {
        for (bytes, group) in SIZES.into_iter().zip(&mut groups) {
            for at in 0..ways.len() {
                let way = &mut ways[(at + round as usize) % 2];
                run.turn(round, &format!("{}, {} KiB", way.name, bytes >> 10))?;
                let mut times = ShortTimes::new();
                let began = Instant::now();
                for _ in 0..run.args.commits {
                    let each = Instant::now();
                    commit(&way.log, &mut way.batch, bytes)?;
                    times.record(each.elapsed());
                    run.go_on()?;
                    if began.elapsed() > TURN_MAX {
                        break;
                    }
                }
                group.add_times(way.name, &times);
                run.settle()?;
            }
        }
    }
    drop(ways);
    for name in [JOURNAL, SYNC] {
        run.remove(&directory(name))?;
    }
    groups.iter_mut().for_each(|group| group.compare(SYNC, JOURNAL, None));
    Ok(groups)
}

fn title(bytes: usize) -> String {
    format!("range: a commit is {} KiB to one log, until all are on the medium", bytes >> 10)
}

fn directory(name: &str) -> String {
    format!("range-{}", if name == JOURNAL { "journal" } else { "sync" })
}

struct Way {
    name: &'static str,
    log: Arc<Log>,
    batch: Vec<u8>,
    /// Behind the log: dropped last.
    _store: Store,
}

fn open(run: &Run<'_>, name: &'static str, journal_range_bytes_max: u64) -> Result<Way, EngineError> {
    let config = StoreConfig { journal_range_bytes_max, ..StoreConfig::default() };
    let store = Store::open(run.scratch.join(directory(name)), config)?;
    let log = create_log(&store, "log-0", 0, LogConfig::default())?;
    Ok(Way { name, log, batch: batch_of_bytes(BATCH_BYTES), _store: store })
}

/// Only the last append waits, as a producer's does whose request is large.
fn commit(log: &Arc<Log>, batch: &mut [u8], bytes: usize) -> Result<(), EngineError> {
    for _ in 1..bytes / BATCH_BYTES {
        log.append(batch, Durability::Written)?;
    }
    Ok(log.append(batch, Durability::Durable)?.completion.wait()?)
}
