//! Sending answers: what is ours by `send`, records by `sendfile`, straight from the page cache. What is not there
//! is brought there first, by another thread: `sendfile` would have the shard and all its connections wait. Few records are
//! copied: a fetch of ten thousand partitions with a record each would else be forty thousand system calls.

use crate::cold_reads::ColdReads;
use crate::wire::{Part, Response};
use nix::sys::socket::{MsgFlags, send};
use ringmain_engine::Slice;
use std::io;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes that are looked for in the page cache, and brought there, at a time.
const WINDOW_BYTES: u64 = 1 << 20;
/// What is ours, and records of a partition, up to this are copied together: a copy costs less than system calls for each.
const COPIED_BYTES_MAX: u64 = 4 << 10;
/// Bytes that are copied together before they are sent.
const GATHERED_BYTES_MAX: u64 = 32 << 10;

/// Answers on their way to a client. Small ones that follow each other leave together, with [`flush`](Self::flush).
pub(super) struct Outbox<'a> {
    stream: &'a TcpStream,
    cold: &'a ColdReads,
    /// Empty, and without memory, while nothing waits to be sent.
    gathered: Vec<u8>,
}

impl<'a> Outbox<'a> {
    pub(super) fn new(stream: &'a TcpStream, cold: &'a ColdReads) -> Self {
        Self { stream, cold, gathered: Vec::new() }
    }

    /// Takes an answer, and sends what is too large to be gathered; `moved` is called whenever something left.
    pub(super) async fn put(&mut self, response: &Response, moved: impl Fn()) -> io::Result<()> {
        let last = response.parts.len().saturating_sub(1);
        for (at, part) in response.parts.iter().enumerate() {
            if self.gathered.len() as u64 + part.len() > GATHERED_BYTES_MAX {
                self.send_gathered(true, &moved).await?;
            }
            match part {
                Part::Bytes(bytes) if part.len() <= COPIED_BYTES_MAX => {
                    self.gathered.extend_from_slice(bytes)
                }
                Part::Bytes(bytes) => {
                    self.send_gathered(true, &moved).await?;
                    send_bytes(self.stream, bytes, at < last, &moved).await?;
                }
                Part::File(slice) if part.len() <= COPIED_BYTES_MAX && self.copied(slice)? => {}
                Part::File(slice) => {
                    self.send_gathered(true, &moved).await?;
                    send_slice(self.stream, slice, self.cold, &moved).await?;
                }
            }
        }
        Ok(())
    }

    /// Copies records, if they are in the page cache.
    fn copied(&mut self, slice: &Slice) -> io::Result<bool> {
        match slice.copy_cached(&mut self.gathered) {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Sends what was gathered.
    pub(super) async fn flush(&mut self, moved: impl Fn()) -> io::Result<()> {
        self.send_gathered(false, &moved).await
    }

    async fn send_gathered(&mut self, more: bool, moved: &impl Fn()) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        send_bytes(self.stream, &gathered, more, moved).await
    }
}

async fn send_slice(
    stream: &TcpStream,
    slice: &Slice,
    cold: &ColdReads,
    moved: &impl Fn(),
) -> io::Result<()> {
    let mut sent = 0;
    while sent < slice.len() {
        if !slice.is_cached(sent, WINDOW_BYTES) {
            let (cold_slice, from) = (slice.clone(), sent);
            cold.run(move || cold_slice.warm(from, WINDOW_BYTES)).await??;
        }
        let end = slice.len().min(sent + WINDOW_BYTES);
        while sent < end {
            let send = || slice.send_some_to(stream, sent, end - sent);
            sent += stream.async_io(Interest::WRITABLE, send).await?;
            moved();
        }
    }
    Ok(())
}

/// With `more` the kernel waits for what follows before it sends a packet.
async fn send_bytes(stream: &TcpStream, bytes: &[u8], more: bool, moved: &impl Fn()) -> io::Result<()> {
    let mut flags = MsgFlags::MSG_NOSIGNAL;
    if more {
        flags |= MsgFlags::from_bits_retain(nix::libc::MSG_MORE);
    }
    let mut sent = 0;
    while sent < bytes.len() {
        let fd = stream.as_raw_fd();
        sent += stream.async_io(Interest::WRITABLE, || Ok(send(fd, &bytes[sent..], flags)?)).await?;
        moved();
    }
    Ok(())
}
