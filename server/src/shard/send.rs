//! Sending answers: what is ours by `send`, records by `sendfile`, straight from the page cache. What is not there
//! is brought there first, by another thread: `sendfile` would have the shard and all its connections wait.

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

/// Sends an answer; `moved` is called whenever some of it left.
pub(super) async fn send_response(
    stream: &TcpStream,
    response: &Response,
    cold: &ColdReads,
    moved: impl Fn(),
) -> io::Result<()> {
    let last = response.parts.len().saturating_sub(1);
    for (at, part) in response.parts.iter().enumerate() {
        match part {
            Part::Bytes(bytes) => send_bytes(stream, bytes, at < last, &moved).await?,
            Part::File(slice) => send_slice(stream, slice, cold, &moved).await?,
        }
    }
    Ok(())
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
