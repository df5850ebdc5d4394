//! Logs, or files, one after the other: the next is made, and old ones are removed, by threads of
//! their own, so that neither is in the time of who writes.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::engine::EngineError;

/// How many wait to be removed, at most, before who writes is held up.
const USED_MAX: usize = 64;

/// Hands out one after the other and keeps the last few of them.
#[derive(Debug)]
pub(super) struct Rotation<T> {
    ready: Receiver<Result<T, EngineError>>,
    used: SyncSender<T>,
    maker: JoinHandle<()>,
    remover: JoinHandle<Result<(), EngineError>>,
}

impl<T: Send + 'static> Rotation<T> {
    pub(super) fn start(
        keep: usize,
        mut make: impl FnMut(u64) -> Result<T, EngineError> + Send + 'static,
        mut remove: impl FnMut(T) -> Result<(), EngineError> + Send + 'static,
    ) -> Self {
        let (made, ready) = sync_channel(1);
        let maker = std::thread::spawn(move || {
            for number in 0.. {
                // Nobody takes it any more: the end.
                if made.send(make(number)).is_err() {
                    return;
                }
            }
        });
        let (used, old) = sync_channel(USED_MAX);
        let remover = std::thread::spawn(move || {
            let mut kept = VecDeque::new();
            while let Ok(one) = old.recv() {
                kept.push_back(one);
                while kept.len() > keep {
                    kept.pop_front().map_or(Ok(()), &mut remove)?;
                }
            }
            Ok(())
        });
        Self { ready, used, maker, remover }
    }

    /// The next one.
    pub(super) fn next(&self) -> Result<T, EngineError> {
        self.ready.recv().unwrap_or(Err(EngineError::Interrupted))
    }

    /// Gives one back, to be kept for a while and then removed.
    pub(super) fn retire(&self, one: T) {
        // A remover that is gone has failed, and `finish` says why.
        let _ = self.used.send(one);
    }

    /// Waits for both threads; what is kept stays.
    pub(super) fn finish(self) -> Result<(), EngineError> {
        drop((self.ready, self.used));
        if let Err(panic) = self.maker.join() {
            std::panic::resume_unwind(panic);
        }
        self.remover.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn the_last_ones_are_kept() {
        let removed = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&removed);
        let rotation = Rotation::start(2, Ok, move |number| {
            seen.lock().unwrap().push(number);
            Ok(())
        });
        for expected in 0..5 {
            let number = rotation.next().unwrap();
            assert_eq!(number, expected);
            rotation.retire(number);
        }
        rotation.finish().unwrap();
        assert_eq!(*removed.lock().unwrap(), [0, 1, 2]);
    }
}
