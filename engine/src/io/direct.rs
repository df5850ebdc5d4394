//! Files past the page cache: O_DIRECT with O_DSYNC where the file system has both, else what it has.

use super::{Block, DirectFile};
use nix::libc;
use nix::sys::uio::{pread, pwrite};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

/// How a write to the journal becomes durable, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Way {
    /// One write past the page cache that returns when it is on the medium.
    DirectDsync = 1,
    /// A write past the page cache, and fdatasync.
    DirectSync = 2,
    /// A write to the page cache, and fdatasync.
    BufferedSync = 3,
}

/// The last way that was logged: each is told once.
static LOGGED: AtomicU8 = AtomicU8::new(0);

#[derive(Debug)]
pub(super) struct PlainDirect {
    file: File,
    way: Way,
    align_bytes: usize,
}

/// The alignment to use where the file system does not tell one.
const USUAL_ALIGN_BYTES: usize = 4096;

impl PlainDirect {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let plain = File::open(path)?;
        let (align_bytes, able) = alignment(&plain);
        drop(plain);
        let ways: &[(Way, i32)] = if able {
            &[
                (Way::DirectDsync, libc::O_DIRECT | libc::O_DSYNC),
                (Way::DirectSync, libc::O_DIRECT),
                (Way::BufferedSync, 0),
            ]
        } else {
            &[(Way::BufferedSync, 0)]
        };
        let mut refused = io::Error::from(ErrorKind::Unsupported);
        for (way, flags) in ways {
            match OpenOptions::new().read(true).write(true).custom_flags(*flags).open(path) {
                Ok(file) => {
                    let direct = Self { file, way: *way, align_bytes };
                    if let Err(err) = direct.try_read() {
                        refused = err;
                        continue;
                    }
                    direct.log_once(path);
                    return Ok(direct);
                }
                // What tmpfs and some others answer to flags that they do not have.
                Err(err) if err.kind() == ErrorKind::InvalidInput => refused = err,
                Err(err) => return Err(err),
            }
        }
        Err(refused)
    }

    /// Some file systems take the flag and refuse the I/O.
    fn try_read(&self) -> io::Result<()> {
        let mut block = Block::zeroed(self.align_bytes);
        self.read_at(&mut block, 0).map(drop)
    }

    fn log_once(&self, path: &Path) {
        let way = self.way as u8;
        if LOGGED.swap(way, Ordering::Relaxed) == way {
            return;
        }
        match self.way {
            Way::DirectDsync => tracing::debug!("the journal is written by O_DIRECT and O_DSYNC"),
            Way::DirectSync => tracing::warn!(path = %path.display(),
                "no O_DSYNC here: the journal is written by O_DIRECT and fdatasync, which is slower"),
            Way::BufferedSync => tracing::warn!(path = %path.display(),
                "no O_DIRECT here: the journal is written through the page cache and fdatasync, which is slower"),
        }
    }
}

/// What statx says that direct I/O must be aligned to, and whether the file system has it at all.
fn alignment(file: &File) -> (usize, bool) {
    match rustix::fs::statx(file, "", rustix::fs::AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::DIOALIGN) {
        Ok(found) if found.stx_mask & rustix::fs::StatxFlags::DIOALIGN.bits() != 0 => {
            let align = found.stx_dio_offset_align.max(found.stx_dio_mem_align) as usize;
            let usable = align > 0 && align <= USUAL_ALIGN_BYTES;
            // Not below what pages and flash have: smaller writes save nothing.
            (USUAL_ALIGN_BYTES.max(align), usable)
        }
        // An older kernel: found out by trying.
        _ => (USUAL_ALIGN_BYTES, true),
    }
}

fn offset(position: u64) -> io::Result<i64> {
    i64::try_from(position).map_err(|_| io::Error::from(ErrorKind::InvalidInput))
}

impl DirectFile for PlainDirect {
    fn read_at(&self, block: &mut Block, position: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < block.bytes().len() {
            match pread(&self.file, &mut block.bytes_mut()[done..], offset(position + done as u64)?) {
                Ok(0) => break,
                Ok(read) => {
                    done += read;
                    if read % self.align_bytes != 0 {
                        break; // the end of the file
                    }
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(done)
    }

    fn write_at(&self, block: &Block, position: u64) -> io::Result<()> {
        let mut done = 0;
        while done < block.bytes().len() {
            match pwrite(&self.file, &block.bytes()[done..], offset(position + done as u64)?) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        if self.way == Way::DirectDsync { Ok(()) } else { self.file.sync_data() }
    }

    fn align_bytes(&self) -> usize {
        self.align_bytes
    }

    fn is_direct(&self) -> bool {
        self.way != Way::BufferedSync
    }

    fn durable_fd(&self) -> Option<BorrowedFd<'_>> {
        (self.way == Way::DirectDsync).then(|| self.file.as_fd())
    }
}
