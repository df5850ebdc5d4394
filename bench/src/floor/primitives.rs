//! The floors below all others: what single operations of memory, page cache and device take.

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::batch::{BatchShape, BatchTemplate};
use crate::cache::CacheWriter;
use crate::cli::FloorsArgs;
use crate::direct::{ALIGN_BYTES, AlignedBuffer, DirectFile};
use crate::figures::{Group, Unit};
use crate::floor::{FloorError, touch_memory};
use crate::latency::ShortTimes;
use crate::progress::Progress;
use crate::scratch::{Scratch, ScratchError};
use crate::stop::Stop;

/// What is written to the page cache at once.
const CACHE_WRITE_BYTES: usize = 64 << 10;
/// Source and target of the copying: far more than the caches of a processor.
const COPY_BYTES: usize = 64 << 20;
/// The file of the direct writes, which is written over and over.
const DIRECT_FILE_BYTES: u64 = 64 << 20;
/// The larger of the direct writes.
const DIRECT_WRITE_BYTES: usize = 64 << 10;
/// A kind of sync ends after so long in each round, however few there were.
const SYNC_TURN_MAX: Duration = Duration::from_secs(3);

const PART: &str = "primitives";
const MEMCPY: &str = "memcpy, memory to memory";
const CRC: &str = "crc32c, cached";
const PWRITE: &str = "pwrite";
const CRC_PWRITE: &str = "crc32c + pwrite";
const DIRECT_4K: &str = "O_DIRECT + O_DSYNC, 4 KiB";
const DIRECT_64K: &str = "O_DIRECT + O_DSYNC, 64 KiB";
const FDATASYNC: &str = "append 4 KiB + fdatasync";
/// Series of a round.
pub(super) const TURNS: usize = 8;

/// What all rounds share.
#[derive(Debug)]
pub(super) struct Primitives<'a> {
    args: &'a FloorsArgs,
    stop: &'a Stop,
    scratch: Scratch,
    batch: Vec<u8>,
    from: Vec<u8>,
    to: Vec<u8>,
    direct: Option<DirectFile>,
    appended: (File, u64),
    files: (Vec<File>, u64),
    memory: Group,
    cache: Group,
    syncs: Group,
}

impl<'a> Primitives<'a> {
    pub(super) fn prepare(args: &'a FloorsArgs, stop: &'a Stop) -> Result<Self, ScratchError> {
        let scratch = Scratch::new(&args.shape.data_dir, stop)?;
        let prepared = || -> io::Result<_> {
            let direct = DirectFile::create(&scratch.join("direct"), DIRECT_FILE_BYTES)?;
            let files = (0..args.sync_files).map(|n| scratch.file(format!("file-{n}")));
            let files = files.collect::<io::Result<Vec<_>>>()?;
            let appended = scratch.file("appended")?;
            scratch.settle()?;
            Ok((direct, files, appended))
        };
        let (direct, files, appended) = prepared().map_err(|source| scratch.failed(source))?;
        let shape = BatchShape::fitting(1024, CACHE_WRITE_BYTES);
        let batch = BatchTemplate::new(shape, 0, 0, args.shape.seed).bytes().to_vec();
        let title = format!("page cache: record batches of {} bytes", batch.len());
        let mut syncs = Group::of_times(PART, "until it is on the medium", Unit::Milliseconds, 0.5);
        if let Err(error) = &direct {
            syncs.note(format!("no direct writes on this file system: {error}"));
        }
        Ok(Self {
            batch,
            from: vec![1; COPY_BYTES],
            to: vec![2; COPY_BYTES],
            direct: direct.ok(),
            appended: (appended, 0),
            files: (files, 0),
            memory: Group::new(PART, "memory: pieces of 64 KiB", Unit::MegabytesPerSecond),
            cache: Group::new(PART, title, Unit::MegabytesPerSecond),
            syncs,
            args,
            stop,
            scratch,
        })
    }

    /// Measures each once.
    pub(super) fn round(&mut self, round: u32, progress: &Progress) -> Result<(), FloorError> {
        let turn = |name: &str| progress.turn(format!("round {round}: {name}"));
        let total = self.args.total_bytes;
        turn(MEMCPY);
        self.copy(total);
        turn(CRC);
        self.checksum(total);
        for (name, checked) in [(PWRITE, false), (CRC_PWRITE, true)] {
            turn(name);
            touch_memory(&self.args.shape.data_dir, total.min(crate::cache::CACHED_BYTES_MAX), self.stop)?;
            let count = total.div_ceil(self.batch.len() as u64);
            let mut writer = CacheWriter::new(&self.scratch, "cached")?;
            let elapsed = writer.write(&self.batch, count, checked)?;
            drop(writer);
            self.cache.add_throughput(name, count * self.batch.len() as u64, elapsed.as_secs_f64());
        }
        self.scratch.settle()?;
        for (name, bytes) in [(DIRECT_4K, ALIGN_BYTES), (DIRECT_64K, DIRECT_WRITE_BYTES)] {
            turn(name);
            if let Some(mut file) = self.direct.take() {
                let buffer = AlignedBuffer::filled(bytes, round as u8);
                let times = self.timed(|| file.write_next(buffer.as_slice()));
                self.direct = Some(file);
                self.syncs.add_times(name, &times?);
            }
        }
        turn(FDATASYNC);
        let block = vec![round as u8; ALIGN_BYTES];
        let (file, mut position) = (self.appended.0.try_clone()?, self.appended.1);
        let times = self.timed(|| {
            file.write_all_at(&block, position)?;
            position += block.len() as u64;
            file.sync_data()
        });
        self.appended.1 = position;
        self.syncs.add_times(FDATASYNC, &times?);
        let name = syncfs_name(self.args.sync_files);
        turn(&name);
        let (files, mut position) = std::mem::take(&mut self.files);
        let times = self.timed(|| {
            files.iter().try_for_each(|file| file.write_all_at(&block, position))?;
            position += block.len() as u64;
            self.scratch.settle()
        });
        self.files = (files, position);
        self.syncs.add_times(&name, &times?);
        Ok(())
    }

    /// The figures of all rounds.
    pub(super) fn finish(mut self) -> Vec<Group> {
        self.cache.compare(CRC_PWRITE, PWRITE, None);
        self.syncs.compare(FDATASYNC, DIRECT_4K, None);
        vec![self.memory, self.cache, self.syncs]
    }

    fn copy(&mut self, total: u64) {
        let times = total.div_ceil(COPY_BYTES as u64);
        let began = Instant::now();
        for _ in 0..times {
            let pieces = self.to.chunks_mut(CACHE_WRITE_BYTES).zip(self.from.chunks(CACHE_WRITE_BYTES));
            pieces.for_each(|(to, from)| to.copy_from_slice(black_box(from)));
            black_box(&mut self.to);
        }
        self.memory.add_throughput(MEMCPY, times * COPY_BYTES as u64, began.elapsed().as_secs_f64());
    }

    fn checksum(&mut self, total: u64) {
        let piece = &self.from[..CACHE_WRITE_BYTES];
        let times = total.div_ceil(piece.len() as u64);
        let began = Instant::now();
        for _ in 0..times {
            black_box(crc32c::crc32c(black_box(piece)));
        }
        let bytes = times * piece.len() as u64;
        self.memory.add_throughput(CRC, bytes, began.elapsed().as_secs_f64());
    }

    /// Does it as often as asked for, or for so long as a turn may take.
    fn timed(&self, mut work: impl FnMut() -> io::Result<()>) -> io::Result<ShortTimes> {
        let mut times = ShortTimes::new();
        let began = Instant::now();
        for _ in 0..self.args.sync_writes {
            if self.stop.interrupted() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let each = Instant::now();
            work()?;
            times.record(each.elapsed());
            if began.elapsed() > SYNC_TURN_MAX {
                break;
            }
        }
        Ok(times)
    }
}

fn syncfs_name(files: u32) -> String {
    format!("4 KiB to {files} files + syncfs")
}
