//! Threads for what blocks: reads of the medium, syncs, decompression. They are started when they are needed, and end
//! when they are idle, but for one.
//!
//! Where no thread can be started any more (`pids.max`, `RLIMIT_NPROC`) tokio panics if it has none for such work. With
//! one that is there work waits for its turn instead.

use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// After as long without work a thread ends.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often one of them is given nothing to do, so that it stays. Of two that take turns each waits for too long.
const PULSE: Duration = Duration::from_secs(9);

/// Runs what blocks; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Blocking(Handle);

impl Blocking {
    /// Runs `work`, in its turn.
    ///
    /// # Errors
    /// The broker is stopping.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.0.spawn_blocking(work).await.map_err(io::Error::other)
    }
}

/// The threads. Dropped, they end after what they are at.
#[derive(Debug)]
pub(crate) struct BlockingThreads {
    end: Option<oneshot::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl BlockingThreads {
    /// At most so many, of which one is there at once.
    pub(crate) fn start(threads_max: usize) -> io::Result<(Self, Blocking)> {
        // A thread to be sure of: that none can be started is an error here, and no panic.
        Builder::new().spawn(|| ())?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(threads_max.max(1))
            .thread_keep_alive(KEEP_ALIVE)
            .thread_name("ringmain-blocking")
            .build()?;
        let blocking = Blocking(runtime.handle().clone());
        drop(runtime.spawn_blocking(|| ()));
        let (end, mut ended) = oneshot::channel::<()>();
        let keeper = Builder::new().name("ringmain-threads".into()).spawn(move || {
            runtime.block_on(async {
                // The end is that the sender is dropped. Then so is the runtime, which waits for its threads.
                while timeout(PULSE, &mut ended).await.is_err() {
                    drop(spawn_blocking(|| ()));
                }
            });
        })?;
        Ok((Self { end: Some(end), keeper: Some(keeper) }, blocking))
    }
}

impl Drop for BlockingThreads {
    fn drop(&mut self) {
        self.end = None;
        if let Some(keeper) = self.keeper.take() {
            // A panic was reported by the thread itself.
            let _ = keeper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    #[test]
    fn work_waits_for_its_turn_and_the_end_for_the_work() {
        let (threads, blocking) = BlockingThreads::start(2).unwrap();
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        let (at_once, most, done) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (at_once, most, done) = (Arc::clone(&at_once), Arc::clone(&most), Arc::clone(&done));
            move || {
                most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
                at_once.fetch_sub(1, Ordering::SeqCst);
                done.fetch_add(1, Ordering::SeqCst)
            }
        };
        runtime.block_on(async {
            let all = (0..6).map(|_| blocking.run(work()));
            futures_util::future::join_all(all).await.into_iter().for_each(|one| assert!(one.is_ok()));
        });
        assert_eq!(most.load(Ordering::SeqCst), 2);
        // Begun and not awaited.
        let (begun, is_begun) = mpsc::sync_channel(1);
        let last = work();
        drop(blocking.0.spawn_blocking(move || {
            begun.send(()).unwrap();
            last()
        }));
        is_begun.recv().unwrap();
        drop(threads);
        assert_eq!(done.load(Ordering::SeqCst), 7);
        assert!(runtime.block_on(blocking.run(|| ())).is_err(), "it has ended");
    }
}
