//! How long the slowest appends to the page cache take, at a fixed rate, while all else goes on.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};
use ringmain_engine::{Durability, Log, LogConfig};

use crate::engine::error::CommitFailed;
use crate::engine::pace::{at_rate, beside};
use crate::engine::rotation::Rotation;
use crate::engine::{EngineError, Run, batch_of_bytes, create_log};
use crate::figures::{Group, Unit};
use crate::machine::Machine;

const ENGINE: &str = "engine";
const PWRITE: &str = "pwrite";
/// Of each round.
pub(super) const TURNS: usize = 2;
/// How long a highest rate is measured.
const HIGHEST_RATE_TIME: Duration = Duration::from_secs(2);
/// The device's rate is that of a file which is synced whenever so much was written: as write-back does
/// it, with the allocation that this needs.
const DEVICE_PIECE_BYTES: u64 = 64 << 20;
const DEVICE_WRITE_BYTES: usize = 1 << 20;
/// A device is measured for so long at most.
const DEVICE_TIME_MAX: Duration = Duration::from_secs(10);
/// What is kept consists of so many logs, or files.
const KEPT: usize = 4;

pub(super) fn tail(run: &Run<'_>) -> Result<Group, EngineError> {
    let batch = batch_of_bytes(run.args.tail_batch_bytes as usize);
    let title = format!("tail: appends of {} bytes to the page cache at a fixed rate", batch.len());
    let mut group = Group::of_times("tail", title, Unit::Microseconds, 0.999);
    let rate = rate(run, &batch, &mut group)?;
    for round in 1..=run.args.rounds {
        let order = if round % 2 == 1 { [PWRITE, ENGINE] } else { [ENGINE, PWRITE] };
        for name in order {
            run.turn(round, &format!("{name}, {rate:.0}/s"))?;
            run.settle()?;
            touch_free_memory(run);
            let written_back = written_back_bytes();
            let work = |writer: &mut dyn Writer| {
                let work = || {
                    at_rate(rate, run.args.tail_duration, || {
                        run.go_on()?;
                        writer.write()
                    })
                };
                // A failure of the sync shows in what comes after it.
                beside(run.args.tail_sync, || drop(run.scratch.settle()), work)
            };
            let paced =
                if name == ENGINE { in_engine(run, &batch, work)? } else { in_files(run, &batch, work)? };
            group.add_times(name, &paced.times);
            let written_back = written_back_bytes().saturating_sub(written_back) as f64 / 1e6;
            let kept_up = if paced.kept_up { "" } else { "; it could not keep up, and was ended" };
            group.note(format!(
                "round {round}, {name}: the machine wrote {written_back:.0} MB back meanwhile{kept_up}"
            ));
        }
    }
    group.compare(ENGINE, PWRITE, None);
    Ok(group)
}

/// Batches per second: half of what the engine, or the device, can take.
fn rate(run: &Run<'_>, batch: &[u8], group: &mut Group) -> Result<f64, EngineError> {
    let mut appended = 0_u64;
    touch_free_memory(run);
    let elapsed = in_engine(run, batch, |writer| {
        let began = Instant::now();
        while began.elapsed() < HIGHEST_RATE_TIME {
            run.go_on()?;
            writer.write()?;
            appended += 1;
        }
        Ok(began.elapsed())
    })?;
    let engine = appended as f64 / elapsed.as_secs_f64();
    run.settle()?;
    let device = device_rate(run)? / batch.len() as f64;
    let batch_mb = batch.len() as f64 / 1e6;
    let rate = engine.min(device) / 2.0;
    group.note(format!(
        "rate: {rate:.0}/s, {:.0} MB/s; highest rate of the engine {:.0} MB/s, of the device {:.0} MB/s",
        rate * batch_mb,
        engine * batch_mb,
        device * batch_mb,
    ));
    if rate * run.args.tail_duration.as_secs_f64() < 1000.0 {
        return Err(EngineError::Useless {
            what: format!("at {rate:.0} batches per second there are too few for a p99.9"),
            advice: "use smaller --tail-batch-bytes or a longer --tail-duration",
        });
    }
    Ok(rate)
}

/// Bytes per second that the device takes in sequence.
fn device_rate(run: &Run<'_>) -> Result<f64, EngineError> {
    let failed = |source| run.scratch.failed(source);
    let block = vec![9; DEVICE_WRITE_BYTES];
    let mut bytes = 0;
    let mut file = run.scratch.file("device").map_err(failed)?;
    let began = Instant::now();
    while bytes < run.args.tail_keep_bytes && began.elapsed() < DEVICE_TIME_MAX {
        run.go_on()?;
        for _ in 0..DEVICE_PIECE_BYTES / DEVICE_WRITE_BYTES as u64 {
            file.write_all(&block).map_err(failed)?;
        }
        file.sync_data().map_err(failed)?;
        bytes += DEVICE_PIECE_BYTES;
    }
    let elapsed = began.elapsed();
    std::fs::remove_file(run.scratch.join("device")).map_err(failed)?;
    Ok(bytes as f64 / elapsed.as_secs_f64())
}

/// Writes a batch behind the last one.
trait Writer {
    fn write(&mut self) -> Result<(), EngineError>;
}

struct EngineWriter {
    rotation: Rotation<Arc<Log>>,
    log: Arc<Log>,
    batch: Vec<u8>,
    bytes: u64,
    bytes_max: u64,
}

impl Writer for EngineWriter {
    fn write(&mut self) -> Result<(), EngineError> {
        if self.bytes >= self.bytes_max {
            let old = std::mem::replace(&mut self.log, self.rotation.next()?);
            self.rotation.retire(old);
            self.bytes = 0;
        }
        self.log.append(&mut self.batch, Durability::Written)?;
        self.bytes += self.batch.len() as u64;
        Ok(())
    }
}

fn in_engine<R>(
    run: &Run<'_>,
    batch: &[u8],
    work: impl FnOnce(&mut dyn Writer) -> Result<R, EngineError>,
) -> Result<R, EngineError> {
    let store = Arc::new(run.open("tail")?);
    let segment_bytes = run.args.tail_segment_bytes.clamp(batch.len() as u64, i32::MAX as u64);
    let defaults = LogConfig::default();
    let batch_bytes_max = defaults.batch_bytes_max.max(batch.len());
    let config = LogConfig { segment_bytes, batch_bytes_max, ..defaults };
    let (making, removing) = (Arc::clone(&store), Arc::clone(&store));
    let rotation = Rotation::start(
        KEPT,
        move |number| create_log(&making, &format!("tail-{number}"), number, config),
        move |log: Arc<Log>| Ok(removing.delete_log(log.name())?),
    );
    let log = rotation.next()?;
    let bytes_max = piece_bytes(run);
    let mut writer = EngineWriter { rotation, log, batch: batch.to_vec(), bytes: 0, bytes_max };
    let outcome = work(&mut writer);
    let finished = writer.rotation.finish();
    drop((writer.log, store));
    let outcome = outcome?;
    finished?;
    run.remove("tail")?;
    Ok(outcome)
}

struct FileWriter {
    rotation: Rotation<(PathBuf, File)>,
    file: (PathBuf, File),
    batch: Vec<u8>,
    position: u64,
    bytes_max: u64,
}

impl Writer for FileWriter {
    fn write(&mut self) -> Result<(), EngineError> {
        if self.position >= self.bytes_max {
            let old = std::mem::replace(&mut self.file, self.rotation.next()?);
            self.rotation.retire(old);
            self.position = 0;
        }
        self.file.1.write_all_at(&self.batch, self.position).map_err(CommitFailed)?;
        self.position += self.batch.len() as u64;
        Ok(())
    }
}

fn in_files<R>(
    run: &Run<'_>,
    batch: &[u8],
    work: impl FnOnce(&mut dyn Writer) -> Result<R, EngineError>,
) -> Result<R, EngineError> {
    let dir = run.scratch.join("tail");
    std::fs::create_dir(&dir).map_err(|source| run.scratch.failed(source))?;
    let rotation = Rotation::start(
        KEPT,
        move |number| {
            let path = dir.join(number.to_string());
            let file = File::options().write(true).create_new(true).open(&path).map_err(CommitFailed)?;
            Ok((path, file))
        },
        |(path, file): (PathBuf, File)| {
            drop(file);
            Ok(std::fs::remove_file(path).map_err(CommitFailed)?)
        },
    );
    let file = rotation.next()?;
    let bytes_max = piece_bytes(run);
    let mut writer = FileWriter { rotation, file, batch: batch.to_vec(), position: 0, bytes_max };
    let outcome = work(&mut writer);
    let finished = writer.rotation.finish();
    let outcome = outcome?;
    finished?;
    run.remove("tail")?;
    Ok(outcome)
}

/// Takes as much memory as will be kept, and gives it back: on a virtual machine memory that is touched
/// for the first time is slow, and who comes first would pay for it.
fn touch_free_memory(run: &Run<'_>) {
    let available = Machine::available_bytes();
    let bytes = (run.args.tail_keep_bytes + piece_bytes(run)).min(available / 2);
    drop(std::hint::black_box(vec![1_u8; bytes as usize]));
}

fn piece_bytes(run: &Run<'_>) -> u64 {
    (run.args.tail_keep_bytes / KEPT as u64).max(1)
}

/// What the machine has written back since it was started; zero if it does not say.
fn written_back_bytes() -> u64 {
    let counters = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let pages = counters.lines().find_map(|line| line.strip_prefix("nr_written ")?.parse::<u64>().ok());
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    pages.unwrap_or(0) * page_bytes as u64
}
