//! Sending answers: what is ours by `send`, records by `sendfile`, straight from the page cache.

use crate::wire::{Part, Response};
use nix::sys::socket::{MsgFlags, send};
use std::io;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::TcpStream;

pub(super) async fn send_response(stream: &TcpStream, response: &Response) -> io::Result<()> {
    let last = response.parts.len().saturating_sub(1);
    for (at, part) in response.parts.iter().enumerate() {
        match part {
            Part::Bytes(bytes) => send_bytes(stream, bytes, at < last).await?,
            Part::File(slice) => {
                let mut sent = 0;
                while sent < slice.len() {
                    sent += stream.async_io(Interest::WRITABLE, || slice.send_to(stream, sent)).await?;
                }
            }
        }
    }
    Ok(())
}

/// With `more` the kernel waits for what follows before it sends a packet.
async fn send_bytes(stream: &TcpStream, bytes: &[u8], more: bool) -> io::Result<()> {
    let mut flags = MsgFlags::MSG_NOSIGNAL;
    if more {
        flags |= MsgFlags::from_bits_retain(nix::libc::MSG_MORE);
    }
    let mut sent = 0;
    while sent < bytes.len() {
        let fd = stream.as_raw_fd();
        sent += stream.async_io(Interest::WRITABLE, || Ok(send(fd, &bytes[sent..], flags)?)).await?;
    }
    Ok(())
}
