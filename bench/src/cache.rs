//! Writing a file of the page cache, as fast as it goes: what appends are measured against.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::batch::CRC_COVERS_FROM;
use crate::scratch::Scratch;

/// A file, or a log, is removed when it has grown so large, outside of the timed part: so memory is
/// measured, and not the device.
pub(crate) const CACHED_BYTES_MAX: u64 = 256 << 20;

/// Writes batches to a file that is replaced when it is large.
#[derive(Debug)]
pub(crate) struct CacheWriter<'a> {
    scratch: &'a Scratch,
    name: &'a str,
    file: File,
    position: u64,
}

impl<'a> CacheWriter<'a> {
    pub(crate) fn new(scratch: &'a Scratch, name: &'a str) -> io::Result<Self> {
        Ok(Self { file: scratch.file(name)?, scratch, name, position: 0 })
    }

    /// Writes the batch `count` times, and before each, if `checked`, computes its checksum and
    /// compares it, as an append must. Returns how long the writing took.
    pub(crate) fn write(&mut self, batch: &[u8], count: u64, checked: bool) -> io::Result<Duration> {
        let covered = batch.get(CRC_COVERS_FROM..).unwrap_or_default();
        let expected = crc32c::crc32c(covered);
        let mut elapsed = Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let room = (CACHED_BYTES_MAX.saturating_sub(self.position)) / batch.len() as u64;
            if room == 0 && self.position > 0 {
                self.replace()?;
                continue;
            }
            let piece = left.min(room.max(1));
            let began = Instant::now();
            for _ in 0..piece {
                if checked && crc32c::crc32c(std::hint::black_box(covered)) != expected {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                self.file.write_all_at(batch, self.position)?;
                self.position += batch.len() as u64;
            }
            elapsed += began.elapsed();
            left -= piece;
        }
        Ok(elapsed)
    }

    fn replace(&mut self) -> io::Result<()> {
        std::fs::remove_file(self.path())?;
        self.file = self.scratch.file(self.name)?;
        self.position = 0;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.scratch.join(self.name)
    }
}

impl Drop for CacheWriter<'_> {
    fn drop(&mut self) {
        // It goes with the scratch directory otherwise.
        let _ = std::fs::remove_file(self.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::Stop;

    #[test]
    fn a_file_is_replaced_and_goes_in_the_end() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path(), &Stop::default()).unwrap();
        let mut writer = CacheWriter::new(&scratch, "cached").unwrap();
        let batch = vec![7; 1 << 20];
        writer.write(&batch, CACHED_BYTES_MAX / (1 << 20) + 3, true).unwrap();
        assert_eq!(scratch.join("cached").metadata().unwrap().len(), 3 << 20);
        drop(writer);
        assert_eq!(scratch.path().read_dir().unwrap().count(), 0);
    }
}
