//! Ways to make 4 KiB durable in each of many files.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringmain_engine::{Durability, Log, LogConfig, Store};

use crate::direct::{AlignedBuffer, DirectFile};
use crate::engine::error::CommitFailed;
use crate::engine::{EngineError, batch_of_bytes, create_log};

/// What a commit puts into each file.
const BLOCK_BYTES: usize = 4096;
/// Threads that sync at once.
const SYNC_THREADS: usize = 64;
/// The file of the direct writes holds so much, or one commit if that is more.
const DIRECT_FILE_BYTES: u64 = 64 << 20;

/// Commits before the engine's journal counts as used, if they take so long.
const WARM_UP_MAX: Duration = Duration::from_secs(20);

/// One way. A commit returns when all is on the medium.
pub(super) trait Way {
    fn commit(&mut self) -> Result<(), EngineError>;

    /// The first commit makes files, threads and extents.
    fn warm_up(&mut self) -> Result<(), EngineError> {
        self.commit()
    }
}

/// Files that grow side by side.
#[derive(Debug)]
struct Files {
    files: Arc<Vec<File>>,
    block: Vec<u8>,
    position: u64,
}

impl Files {
    fn new(dir: &Path, name: &str, count: usize) -> io::Result<Self> {
        let new = |n| File::options().write(true).create_new(true).open(dir.join(format!("{name}-{n}")));
        let files = (0..count).map(new).collect::<io::Result<_>>()?;
        Ok(Self { files: Arc::new(files), block: batch_of_bytes(BLOCK_BYTES), position: 0 })
    }

    fn write(&mut self) -> io::Result<()> {
        self.files.iter().try_for_each(|file| file.write_all_at(&self.block, self.position))?;
        self.position += self.block.len() as u64;
        Ok(())
    }
}

/// One fdatasync after the other.
#[derive(Debug)]
pub(super) struct Each {
    files: Files,
}

impl Each {
    pub(super) fn new(dir: &Path, count: usize) -> io::Result<Self> {
        Ok(Self { files: Files::new(dir, "each", count)? })
    }
}

impl Way for Each {
    fn commit(&mut self) -> Result<(), EngineError> {
        self.files.write().map_err(CommitFailed)?;
        Ok(self.files.files.iter().try_for_each(File::sync_data).map_err(CommitFailed)?)
    }
}

/// One sync of the whole file system.
#[derive(Debug)]
pub(super) struct WholeFileSystem {
    files: Files,
}

impl WholeFileSystem {
    pub(super) fn new(dir: &Path, count: usize) -> io::Result<Self> {
        Ok(Self { files: Files::new(dir, "syncfs", count)? })
    }
}

impl Way for WholeFileSystem {
    fn commit(&mut self) -> Result<(), EngineError> {
        self.files.write().map_err(CommitFailed)?;
        let synced = self.files.files.first().map_or(Ok(()), nix::unistd::syncfs);
        Ok(synced.map_err(io::Error::from).map_err(CommitFailed)?)
    }
}

/// The page-cache writes, and one direct write of as many bytes.
#[derive(Debug)]
pub(super) struct Bare {
    files: Files,
    direct: DirectFile,
    buffer: AlignedBuffer,
}

impl Bare {
    /// The inner error says that the file system has no direct writes.
    pub(super) fn new(dir: &Path, count: usize) -> io::Result<io::Result<Self>> {
        let bytes = count * BLOCK_BYTES;
        let file_bytes = DIRECT_FILE_BYTES.max(bytes as u64);
        let direct = match DirectFile::create(&dir.join("direct"), file_bytes)? {
            Ok(direct) => direct,
            Err(error) => return Ok(Err(error)),
        };
        let files = Files::new(dir, "bare", count)?;
        Ok(Ok(Self { files, direct, buffer: AlignedBuffer::filled(bytes, 7) }))
    }
}

impl Way for Bare {
    fn commit(&mut self) -> Result<(), EngineError> {
        self.files.write().map_err(CommitFailed)?;
        Ok(self.direct.write_next(self.buffer.as_slice()).map_err(CommitFailed)?)
    }
}

/// fdatasync by many threads at once.
#[derive(Debug)]
pub(super) struct Parallel {
    files: Files,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    begin: Barrier,
    end: Barrier,
    /// The next file to sync.
    next: AtomicUsize,
    over: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

impl Parallel {
    pub(super) fn new(dir: &Path, count: usize) -> io::Result<Self> {
        let files = Files::new(dir, "parallel", count)?;
        let threads = count.min(SYNC_THREADS);
        let shared = Arc::new(Shared {
            begin: Barrier::new(threads + 1),
            end: Barrier::new(threads + 1),
            next: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            failure: Mutex::new(None),
        });
        let spawn = |_| {
            let (files, shared) = (Arc::clone(&files.files), Arc::clone(&shared));
            std::thread::spawn(move || shared.serve(&files))
        };
        let threads = (0..threads).map(spawn).collect();
        Ok(Self { files, shared, threads })
    }
}

impl Shared {
    fn serve(&self, files: &[File]) {
        loop {
            self.begin.wait();
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            while let Some(file) = files.get(self.next.fetch_add(1, Ordering::SeqCst)) {
                if let Err(error) = file.sync_data() {
                    self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
            self.end.wait();
        }
    }
}

impl Way for Parallel {
    fn commit(&mut self) -> Result<(), EngineError> {
        self.files.write().map_err(CommitFailed)?;
        self.shared.next.store(0, Ordering::SeqCst);
        self.shared.begin.wait();
        self.shared.end.wait();
        let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(failure.map_or(Ok(()), Err).map_err(CommitFailed)?)
    }
}

impl Drop for Parallel {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.begin.wait();
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended the process.
            let _ = thread.join();
        }
    }
}

/// The engine.
#[derive(Debug)]
pub(super) struct EngineLogs {
    logs: Vec<Arc<Log>>,
    batch: Vec<u8>,
    /// What the journal's files hold when there are as many as may be.
    journal_bytes: u64,
    /// Behind the logs: dropped last.
    store: Store,
}

impl EngineLogs {
    pub(super) fn new(store: Store, count: usize, journal_bytes: u64) -> Result<Self, EngineError> {
        let new = |n: usize| create_log(&store, &format!("log-{n}"), n as u64, LogConfig::default());
        let logs = (0..count).map(new).collect::<Result<_, _>>()?;
        Ok(Self { logs, batch: batch_of_bytes(BLOCK_BYTES), journal_bytes, store })
    }
}

impl Way for EngineLogs {
    fn commit(&mut self) -> Result<(), EngineError> {
        let mut pending = Vec::with_capacity(self.logs.len());
        for log in &self.logs {
            pending.push(log.append(&mut self.batch, Durability::Durable)?.completion);
        }
        pending.iter().try_for_each(|completion| Ok(completion.wait()?))
    }

    /// Until the journal's files are there and used again, as they are for nearly all of a store's life: to make one is to
    /// write all of it.
    fn warm_up(&mut self) -> Result<(), EngineError> {
        let began = Instant::now();
        while self.store.journal_stats().bytes < self.journal_bytes && began.elapsed() < WARM_UP_MAX {
            self.commit()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmain_engine::StoreConfig;

    #[test]
    fn every_way_writes_all_files() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store"), StoreConfig::default()).unwrap();
        let mut ways: Vec<Box<dyn Way>> = vec![
            Box::new(Each::new(dir.path(), 70).unwrap()),
            Box::new(Parallel::new(dir.path(), 70).unwrap()),
            Box::new(WholeFileSystem::new(dir.path(), 70).unwrap()),
            Box::new(EngineLogs::new(store, 3, 100_000).unwrap()),
        ];
        if let Ok(bare) = Bare::new(dir.path(), 70).unwrap() {
            ways.push(Box::new(bare));
        }
        for way in &mut ways {
            way.commit().unwrap();
            way.commit().unwrap();
        }
        for way in &mut ways {
            way.warm_up().unwrap();
        }
        for name in ["each-69", "parallel-0", "syncfs-69"] {
            let len = dir.path().join(name).metadata().unwrap().len();
            assert_eq!(len, 3 * batch_of_bytes(BLOCK_BYTES).len() as u64);
        }
    }
}
