//! Reads that have to wait for the medium: on threads for what blocks, never on a shard, and only so many at once.

use std::io;
use tokio::sync::Semaphore;

/// Who may read at once.
#[derive(Debug)]
pub(crate) struct ColdReads {
    slots: Semaphore,
}

impl ColdReads {
    /// At most `reads_max` at once.
    pub(crate) fn new(reads_max: usize) -> Self {
        Self { slots: Semaphore::new(reads_max) }
    }

    /// Runs what may block.
    ///
    /// # Errors
    /// It ended early.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let _slot = self.slots.acquire().await.map_err(io::Error::other)?;
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)
    }
}
