//! Small batches from several threads to one log, against a file behind a mutex.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::Instant;

use ringmain_engine::{BatchBuilder, Durability, Log, LogConfig};

use crate::batch::CRC_COVERS_FROM;
use crate::engine::combine::Combiner;
use crate::engine::error::CommitFailed;
use crate::engine::{EngineError, Run, create_log};
use crate::figures::{Group, Unit};
use crate::floor::touch_memory;

const THREADS: u32 = 4;
const VALUE_BYTES: usize = 100;
const ENGINE: &str = "engine";
const MUTEX: &str = "crc32c + pwrite behind a mutex";
const COMBINE: &str = "crc32c + pwrite by a combining queue";
/// Of each round.
pub(super) const TURNS: usize = 3;

pub(super) fn small(run: &Run<'_>) -> Result<Group, EngineError> {
    let batch = one_record();
    let title = format!(
        "small: batches of one record of {VALUE_BYTES} bytes ({} bytes in all), {THREADS} threads, one log",
        batch.len()
    );
    let mut group = Group::new("small", title, Unit::PerSecond);
    let store = run.open("small")?;
    let each = run.args.small_appends / THREADS;
    let done = f64::from(each * THREADS);
    for round in 1..=run.args.rounds {
        let order = if round % 2 == 1 { [MUTEX, COMBINE, ENGINE] } else { [ENGINE, COMBINE, MUTEX] };
        for name in order {
            run.turn(round, name)?;
            touch_memory(&run.args.dir, u64::from(each * THREADS) * batch.len() as u64, run.stop)?;
            let elapsed_s = if name == ENGINE {
                let log_name = format!("small-{round}");
                let log = create_log(&store, &log_name, u64::from(round), LogConfig::default())?;
                let elapsed_s = in_threads(&batch, each, |batch| append(&log, batch))?;
                store.delete_log(&log_name)?;
                elapsed_s
            } else {
                let file = run.scratch.file(name).map_err(|source| run.scratch.failed(source))?;
                let elapsed_s = if name == MUTEX {
                    let position = Mutex::new(0);
                    in_threads(&batch, each, |batch| write(&file, &position, batch))?
                } else {
                    let combiner = Combiner::default();
                    in_threads(&batch, each, |batch| combine(&file, &combiner, batch))?
                };
                std::fs::remove_file(run.scratch.join(name)).map_err(|source| run.scratch.failed(source))?;
                elapsed_s
            };
            group.add(name, done / elapsed_s);
        }
    }
    drop(store);
    run.remove("small")?;
    group.compare(ENGINE, MUTEX, None);
    group.compare(COMBINE, MUTEX, None);
    Ok(group)
}

fn one_record() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(1_700_000_000_000, None, Some(&[0xa5; VALUE_BYTES]));
    builder.finish().unwrap_or_default()
}

fn append(log: &Arc<Log>, batch: &mut [u8]) -> Result<(), EngineError> {
    log.append(batch, Durability::Written)?;
    Ok(())
}

fn write(file: &File, position: &Mutex<u64>, batch: &mut [u8]) -> Result<(), EngineError> {
    std::hint::black_box(crc32c::crc32c(std::hint::black_box(&batch[CRC_COVERS_FROM..])));
    let mut position = position.lock().unwrap_or_else(PoisonError::into_inner);
    file.write_all_at(batch, *position).map_err(CommitFailed)?;
    *position += batch.len() as u64;
    Ok(())
}

fn combine(file: &File, combiner: &Combiner, batch: &mut [u8]) -> Result<(), EngineError> {
    std::hint::black_box(crc32c::crc32c(std::hint::black_box(&batch[CRC_COVERS_FROM..])));
    Ok(combiner.write(file, batch).map_err(CommitFailed)?)
}

/// Every thread has a batch of its own. Returns the seconds from the start of all until the last ends.
fn in_threads(
    batch: &[u8],
    count: u32,
    work: impl Fn(&mut [u8]) -> Result<(), EngineError> + Sync,
) -> Result<f64, EngineError> {
    let start = Barrier::new(THREADS as usize + 1);
    let elapsed: Result<_, EngineError> = std::thread::scope(|scope| {
        let thread = |_| {
            let (start, work, mut batch) = (&start, &work, batch.to_vec());
            scope.spawn(move || {
                start.wait();
                (0..count).try_for_each(|_| work(&mut batch))
            })
        };
        let threads: Vec<_> = (0..THREADS).map(thread).collect();
        start.wait();
        let began = Instant::now();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .map(|()| began.elapsed())
    });
    Ok(elapsed?.as_secs_f64())
}
