//! A combining queue before a file: who finds it idle writes for all who wait, in one `pwrite`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What waits, and how far the file is.
#[derive(Default)]
pub(super) struct Combiner {
    queue: Mutex<Queue>,
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<u8>,
    /// Memory of the last write, to be used again.
    spare: Vec<u8>,
    /// Bytes queued so far, and written so far.
    queued: u64,
    written: u64,
    busy: bool,
}

impl Combiner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when `bytes` are in the file, whoever wrote them.
    pub(super) fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let mut queue = self.lock();
        queue.waiting.extend_from_slice(bytes);
        queue.queued += bytes.len() as u64;
        let end = queue.queued;
        while queue.written < end {
            if queue.busy {
                queue = self.written.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.busy = true;
            let spare = std::mem::take(&mut queue.spare);
            let batch = std::mem::replace(&mut queue.waiting, spare);
            let position = queue.written;
            drop(queue);
            let outcome = file.write_all_at(&batch, position);
            queue = self.lock();
            queue.busy = false;
            queue.written = position + batch.len() as u64;
            queue.spare = batch;
            queue.spare.clear();
            self.written.notify_all();
            outcome?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_written_once() {
        let path = std::env::temp_dir().join(format!("ringmain-combine-{}", std::process::id()));
        let file = File::create_new(&path).unwrap();
        let combiner = Combiner::default();
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let (combiner, file) = (&combiner, &file);
                scope.spawn(move || (0..1000).for_each(|_| combiner.write(file, &[thread; 10]).unwrap()));
            }
        });
        let content = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let of = |thread: u8| content.chunks(10).filter(|piece| *piece == [thread; 10]).count();
        assert_eq!([of(0), of(1), of(2), of(3)], [1000; 4]);
    }
}
