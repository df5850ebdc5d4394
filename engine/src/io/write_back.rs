//! Starting write-back of a part of a file. One of the engine's three files with `unsafe`.

use nix::libc::{SYNC_FILE_RANGE_WRITE, sync_file_range};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Has the kernel write dirty pages of the range, without waiting for them.
///
/// Source: sync_file_range(2), which no safe wrapper has.
#[allow(unsafe_code)]
pub(super) fn start(file: &File, from: u64, len: u64) -> io::Result<()> {
    let range = i64::try_from(from).ok().zip(i64::try_from(len).ok());
    let (from, len) = range.ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: the call takes no pointer; the descriptor is open for as long as `file` is borrowed.
    let result = unsafe { sync_file_range(file.as_raw_fd(), from, len, SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
