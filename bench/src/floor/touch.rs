//! Makes the memory that a writing phase will take ready beforehand.
//!
//! On a virtual machine whatever phase wrote first was seen to cost several times the processor
//! time of the next ones: most likely the host's faults on memory touched for the first time, or
//! given back while it was free. So as many bytes as the phase will write go to a nameless file first,
//! whose pages are free, and touched, when it is dropped.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::floor::{FloorError, nameless_file};
use crate::stop::Stop;

/// What is written at once.
const WRITE_BYTES: usize = 1 << 20;

/// Writes and drops `bytes` in the page cache of the file system of `dir`.
pub(crate) fn touch_memory(dir: &Path, bytes: u64, stop: &Stop) -> Result<(), FloorError> {
    let file = nameless_file(dir)?;
    fill(file, bytes, stop).map_err(|source| FloorError::File { dir: dir.to_path_buf(), source })
}

fn fill(mut file: File, bytes: u64, stop: &Stop) -> io::Result<()> {
    let buffer = vec![1; WRITE_BYTES];
    let mut left = bytes;
    while left > 0 {
        if stop.interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = left.min(WRITE_BYTES as u64) as usize;
        file.write_all(&buffer[..count])?;
        left -= count as u64;
    }
    Ok(())
}
