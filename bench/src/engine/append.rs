//! Appends of large batches to the page cache, against the writes that they cannot do without.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmain_engine::{Durability, Log, LogConfig, Store};

use crate::cache::{CACHED_BYTES_MAX, CacheWriter};
use crate::engine::{EngineError, Run, batch_of_bytes, create_log};
use crate::figures::{Goal, Group, Unit};
use crate::floor::touch_memory;

const BATCH_BYTES: usize = 64 << 10;
const PWRITE: &str = "pwrite";
const CRC_PWRITE: &str = "crc32c + pwrite";
const ENGINE: &str = "engine";
/// Of each round.
pub(super) const TURNS: usize = 3;

pub(super) fn append(run: &Run<'_>) -> Result<Group, EngineError> {
    let title = "append: batches of 64 KiB to the page cache, one thread";
    let mut group = Group::new("append", title, Unit::MegabytesPerSecond);
    let mut batch = batch_of_bytes(BATCH_BYTES);
    let count = run.args.append_bytes.div_ceil(batch.len() as u64);
    let bytes = count * batch.len() as u64;
    let store = run.open("append")?;
    let mut logs = Logs::new(&store)?;
    for round in 1..=run.args.rounds {
        let order = [PWRITE, CRC_PWRITE, ENGINE];
        for at in 0..order.len() {
            // Nobody is always behind the same one.
            let name = order[(at + round as usize - 1) % order.len()];
            run.turn(round, name)?;
            touch_memory(&run.args.dir, bytes.min(CACHED_BYTES_MAX), run.stop)?;
            let elapsed = if name == ENGINE {
                logs.append(&mut batch, count)?
            } else {
                let written = CacheWriter::new(&run.scratch, "cached")
                    .and_then(|mut writer| writer.write(&batch, count, name == CRC_PWRITE));
                written.map_err(|source| run.scratch.failed(source))?
            };
            group.add_throughput(name, bytes, elapsed.as_secs_f64());
        }
    }
    drop(logs);
    drop(store);
    run.remove("append")?;
    group.compare(ENGINE, CRC_PWRITE, Some(Goal::AtLeast(0.85)));
    group.compare(ENGINE, PWRITE, None);
    Ok(group)
}

/// A log that is replaced, outside of the timed part, when it is large.
struct Logs<'a> {
    store: &'a Store,
    log: Arc<Log>,
    number: u64,
    bytes: u64,
}

impl<'a> Logs<'a> {
    fn new(store: &'a Store) -> Result<Self, EngineError> {
        let log = create_log(store, "append-0", 0, LogConfig::default())?;
        Ok(Self { store, log, number: 0, bytes: 0 })
    }

    /// Appends the batch `count` times to a new log; returns how long that took.
    fn append(&mut self, batch: &mut [u8], count: u64) -> Result<Duration, EngineError> {
        self.replace()?;
        let mut elapsed = Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let piece = left.min(CACHED_BYTES_MAX.saturating_sub(self.bytes) / batch.len() as u64);
            if piece == 0 {
                self.replace()?;
                continue;
            }
            let began = Instant::now();
            for _ in 0..piece {
                self.log.append(batch, Durability::Written)?;
            }
            elapsed += began.elapsed();
            self.bytes += piece * batch.len() as u64;
            left -= piece;
        }
        // As the file of the floor: nothing is left for write-back when another's turn comes.
        self.replace()?;
        Ok(elapsed)
    }

    fn replace(&mut self) -> Result<(), EngineError> {
        self.store.delete_log(self.log.name())?;
        self.number += 1;
        let name = format!("append-{}", self.number);
        self.log = create_log(self.store, &name, self.number, LogConfig::default())?;
        self.bytes = 0;
        Ok(())
    }
}
