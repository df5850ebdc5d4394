//! What is to be done beside appends: journal files, write-back, checkpoints. This is what others ask
//! of the housekeeping thread; `checkpoint::Keeper` does it.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// A file for which there is no room is asked for again after this.
const FILE_RETRY: Duration = Duration::from_secs(1);
/// Write-back is begun every so many bytes.
const WRITE_BACK_BYTES: u64 = 32 << 20;
/// And not more often than this. Pages that are being written slow down who appends to the same files: where
/// more comes than the device takes, write-back without a pause costs appends a quarter of their rate, and gains nothing.
const WRITE_BACK_PAUSE: Duration = Duration::from_millis(200);

/// What the housekeeping thread waits for.
#[derive(Debug, Default)]
pub(crate) struct House {
    /// Bytes appended since the last checkpoint began.
    unsynced_bytes: AtomicU64,
    /// Whether there was no space for the last checkpoint.
    full: AtomicBool,
    chores: Mutex<Chores>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Chores {
    /// When the first byte came that the last checkpoint does not have.
    dirty_since: Option<Instant>,
    write_back: bool,
    /// When write-back was begun last.
    wrote_back: Option<Instant>,
    pressed: bool,
    file_wanted: bool,
    /// When the last attempt to make a file failed.
    file_failed: Option<Instant>,
    stop: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) file: bool,
    pub(crate) write_back: bool,
    pub(crate) checkpoint: bool,
    pub(crate) stop: bool,
}

impl House {
    fn lock(&self) -> MutexGuard<'_, Chores> {
        self.chores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what was appended; now and then it wakes the thread.
    pub(crate) fn appended(&self, bytes: u64) {
        let before = self.unsynced_bytes.fetch_add(bytes, Ordering::Relaxed);
        let crossed = before / WRITE_BACK_BYTES != (before + bytes) / WRITE_BACK_BYTES;
        if before == 0 || crossed {
            let mut chores = self.lock();
            chores.dirty_since.get_or_insert_with(Instant::now);
            let paused = chores.wrote_back.is_some_and(|at| at.elapsed() < WRITE_BACK_PAUSE);
            chores.write_back |= crossed && !paused;
            self.changed.notify_one();
        }
    }

    /// The journal gets full.
    pub(crate) fn press(&self) {
        let mut chores = self.lock();
        if !chores.pressed {
            chores.pressed = true;
            self.changed.notify_one();
        }
    }

    /// The journal needs another file.
    pub(crate) fn want_file(&self) {
        let mut chores = self.lock();
        let in_vain = chores.file_failed.is_some_and(|at| at.elapsed() < FILE_RETRY);
        if !chores.file_wanted && !in_vain {
            chores.file_wanted = true;
            self.changed.notify_one();
        }
    }

    /// A file was made; whoever needs a further one asks again.
    pub(crate) fn file_made(&self, made: bool) {
        let mut chores = self.lock();
        chores.file_wanted = false;
        chores.file_failed = (!made).then(Instant::now);
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_one();
    }

    /// A checkpoint begins: what is appended from now on is for the next one.
    pub(crate) fn checkpoint_begins(&self) {
        let mut chores = self.lock();
        chores.dirty_since = None;
        chores.pressed = false;
        // Last, and under the lock: who counts the first byte from here on says since when.
        self.unsynced_bytes.store(0, Ordering::Relaxed);
    }

    /// Whether the journal cannot be emptied for want of space.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(crate) fn checkpoint_made(&self) {
        self.full.store(false, Ordering::Release);
    }

    /// There was no space for a checkpoint; it is tried again after the usual time.
    pub(crate) fn checkpoint_put_off(&self) {
        self.full.store(true, Ordering::Release);
        self.unsynced_bytes.fetch_add(1, Ordering::Relaxed);
        self.lock().dirty_since = Some(Instant::now());
    }

    /// Takes what was asked for, without waiting.
    pub(crate) fn take(&self, may_checkpoint: bool) -> Due {
        let mut chores = self.lock();
        Due {
            file: std::mem::take(&mut chores.file_wanted),
            checkpoint: may_checkpoint && std::mem::take(&mut chores.pressed),
            ..Due::default()
        }
    }

    /// Waits until something is due: `bytes_max` or `age_max` of what is not synced, or what was asked for.
    pub(crate) fn wait(&self, bytes_max: u64, age_max: Duration) -> Due {
        let mut chores = self.lock();
        loop {
            let left = chores.dirty_since.map(|since| age_max.saturating_sub(since.elapsed()));
            let full = self.unsynced_bytes.load(Ordering::Relaxed) >= bytes_max;
            let old = left.is_some_and(|left| left.is_zero());
            let asked = chores.file_wanted || chores.write_back || chores.pressed || chores.stop;
            if full || old || asked {
                let checkpoint = full || old || std::mem::take(&mut chores.pressed);
                if chores.write_back {
                    chores.wrote_back = Some(Instant::now());
                }
                return Due {
                    file: std::mem::take(&mut chores.file_wanted),
                    write_back: std::mem::take(&mut chores.write_back),
                    checkpoint,
                    stop: chores.stop,
                };
            }
            chores = match left {
                None => self.changed.wait(chores).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed.wait_timeout(chores, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_due_once() {
        let house = House::default();
        house.want_file();
        house.press();
        let due = house.wait(u64::MAX, Duration::from_secs(1000));
        assert_eq!(due, Due { file: true, checkpoint: true, ..Due::default() });
        house.appended(WRITE_BACK_BYTES);
        let due = house.wait(u64::MAX, Duration::from_secs(1000));
        assert_eq!(due, Due { write_back: true, ..Due::default() });
        house.appended(WRITE_BACK_BYTES);
        assert!(!house.lock().write_back, "it was begun just now");
    }

    #[test]
    fn bytes_and_age_make_a_checkpoint_due() {
        let house = House::default();
        house.appended(10);
        assert!(house.wait(10, Duration::from_secs(1000)).checkpoint);
        house.checkpoint_begins();
        house.appended(1);
        assert!(house.wait(10, Duration::ZERO).checkpoint);
    }
}
