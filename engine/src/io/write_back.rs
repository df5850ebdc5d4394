//! What the page cache is asked that no safe wrapper has: to write a part of a file back, and how much of it is
//! there. One of the engine's three files with `unsafe`.

use nix::libc::{SYNC_FILE_RANGE_WRITE, c_long, sync_file_range, syscall};
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

/// The number of cachestat(2), which all of the architectures that Linux numbers alike share.
const CACHESTAT: c_long = 451;

/// A part of a file, as cachestat(2) takes it.
#[repr(C)]
struct CacheRange {
    from: u64,
    len: u64,
}

/// What cachestat(2) gives, in pages.
#[repr(C)]
#[derive(Default)]
struct CacheStat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// How many pages of the range are in the page cache, or on their way to it.
///
/// Source: cachestat(2), from Linux 6.5 on.
///
/// # Errors
/// The kernel does not have the call, or does not allow it.
#[allow(unsafe_code)]
pub(super) fn cached_pages(file: &File, from: u64, len: u64) -> io::Result<u64> {
    let range = CacheRange { from, len };
    let mut stat = CacheStat::default();
    // SAFETY: both pointers are to structures of the layout that the call expects, alive during the call; the
    // descriptor is open for as long as `file` is borrowed.
    let result = unsafe { syscall(CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut stat, 0u32) };
    if result == 0 { Ok(stat.cached) } else { Err(io::Error::last_os_error()) }
}
