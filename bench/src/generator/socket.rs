//! A connection that never blocks: frames go out through a bounded buffer and come in whole.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::peer::{ANSWER_BYTES_MAX, Peer, PeerError};

/// Small frames are gathered up to here before they are written.
const GATHER_BYTES: usize = 64 << 10;
/// Read at once, at least.
const READ_BYTES: usize = 64 << 10;
/// Read from one connection before others have their turn.
const TURN_BYTES_MAX: usize = 2 << 20;

/// A connected socket with its buffers.
#[derive(Debug)]
pub(crate) struct Socket {
    peer: Peer,
    out: Vec<u8>,
    out_from: usize,
    input: Vec<u8>,
    /// Unread bytes of `input`.
    input_from: usize,
    input_to: usize,
}

impl Socket {
    /// Connects, blocking, within `timeout`.
    pub(crate) fn connect(address: &str, timeout: Duration) -> Result<Self, PeerError> {
        let failed = |source| PeerError::Connect { peer: address.to_owned(), source };
        Self::over(Peer::connect(address, timeout)?).map_err(failed)
    }

    /// Over an open connection.
    pub(crate) fn over(peer: Peer) -> io::Result<Self> {
        peer.stream().set_nonblocking(true)?;
        Ok(Self { peer, out: Vec::new(), out_from: 0, input: Vec::new(), input_from: 0, input_to: 0 })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.peer.stream()
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether the socket takes no more for now.
    pub(crate) fn blocked(&self) -> bool {
        self.out.len() - self.out_from >= GATHER_BYTES
    }

    /// Whether bytes wait to be written.
    pub(crate) fn pending(&self) -> bool {
        self.out.len() > self.out_from
    }

    /// Sends a frame: a large one at once as far as it goes, a small one with the next `flush`.
    pub(crate) fn send(&mut self, frame: &[u8], during: &'static str) -> Result<(), PeerError> {
        if frame.len() < GATHER_BYTES || self.pending() {
            self.out.extend_from_slice(frame);
            if self.blocked() {
                self.flush(during)?;
            }
            return Ok(());
        }
        let mut sent = 0;
        while sent < frame.len() {
            match self.write(&frame[sent..], during)? {
                0 => break,
                count => sent += count,
            }
        }
        self.out.extend_from_slice(&frame[sent..]);
        Ok(())
    }

    /// Writes what waits, as far as it goes.
    pub(crate) fn flush(&mut self, during: &'static str) -> Result<(), PeerError> {
        while self.pending() {
            let mut stream = self.peer.stream();
            match stream.write(&self.out[self.out_from..]) {
                Ok(count) => self.out_from += count,
                Err(error) if would_block(&error) => return Ok(()),
                Err(error) => return Err(self.peer.failed(during, error)),
            }
        }
        self.out.clear();
        self.out_from = 0;
        Ok(())
    }

    fn write(&self, bytes: &[u8], during: &'static str) -> Result<usize, PeerError> {
        let mut stream = self.peer.stream();
        match stream.write(bytes) {
            Ok(count) => Ok(count),
            Err(error) if would_block(&error) => Ok(0),
            Err(error) => Err(self.peer.failed(during, error)),
        }
    }

    /// Reads what is there, up to a turn's worth. `false`: there may be more.
    pub(crate) fn fill(&mut self, during: &'static str) -> Result<bool, PeerError> {
        let mut turn = 0;
        while turn < TURN_BYTES_MAX {
            self.make_room(during)?;
            if self.input_to == self.input.len() {
                // Full of whole frames: they are taken first.
                return Ok(false);
            }
            let mut stream = self.peer.stream();
            match stream.read(&mut self.input[self.input_to..]) {
                Ok(0) => return Err(self.peer.failed(during, io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    let full = self.input_to + count == self.input.len();
                    self.input_to += count;
                    turn += count;
                    if !full {
                        return Ok(true);
                    }
                }
                Err(error) if would_block(&error) => return Ok(true),
                Err(error) => return Err(self.peer.failed(during, error)),
            }
        }
        Ok(false)
    }

    /// Room for the frame that has begun to arrive; none if the buffer is full of whole frames.
    fn make_room(&mut self, during: &'static str) -> Result<(), PeerError> {
        if self.input_from == self.input_to {
            (self.input_from, self.input_to) = (0, 0);
        }
        let wanted = self.frame_len(during)?.map_or(READ_BYTES, |len| (len + 4).max(READ_BYTES));
        if self.input.len() - self.input_from < wanted || self.input.len() == self.input_to {
            self.input.copy_within(self.input_from..self.input_to, 0);
            (self.input_from, self.input_to) = (0, self.input_to - self.input_from);
            if self.input.len() < wanted {
                self.input.resize(wanted, 0);
            }
        }
        Ok(())
    }

    fn frame_len(&self, during: &'static str) -> Result<Option<usize>, PeerError> {
        let unread = &self.input[self.input_from..self.input_to];
        let Some((size, _)) = unread.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let size = i32::from_be_bytes(*size);
        if size < 4 || size as usize > ANSWER_BYTES_MAX {
            return Err(self.peer.wrong(during, format!("a frame of {size} bytes")));
        }
        Ok(Some(size as usize))
    }

    /// The next whole frame, without its size, if it has arrived; [`Self::frame`] gives its bytes.
    pub(crate) fn take_frame(
        &mut self,
        during: &'static str,
    ) -> Result<Option<std::ops::Range<usize>>, PeerError> {
        let Some(len) = self.frame_len(during)? else {
            return Ok(None);
        };
        if self.input_to - self.input_from < len + 4 {
            return Ok(None);
        }
        let from = self.input_from + 4;
        self.input_from = from + len;
        Ok(Some(from..from + len))
    }

    /// The bytes of a frame, valid until the next `fill`.
    pub(crate) fn frame(&self, range: std::ops::Range<usize>) -> &[u8] {
        &self.input[range]
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn frames_arrive_whole_however_they_are_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let timeout = Duration::from_secs(10);
        let mut socket = Socket::connect(&address, timeout).unwrap();
        let (stream, from) = listener.accept().unwrap();
        let mut other = Socket::over(Peer::accepted(stream, &from.to_string(), timeout).unwrap()).unwrap();
        let sizes = [4_usize, 70_000, 100, 65_532, 3_000_000, 5, 200_000];
        let mut sent = 0;
        let mut received = 0;
        while received < 50 {
            if sent < 50 && !socket.blocked() {
                let size = sizes[sent % sizes.len()];
                let mut frame = (size as i32).to_be_bytes().to_vec();
                frame.resize(size + 4, sent as u8);
                socket.send(&frame, "a test").unwrap();
                sent += 1;
            }
            socket.flush("a test").unwrap();
            other.fill("a test").unwrap();
            while let Some(range) = other.take_frame("a test").unwrap() {
                let frame = other.frame(range);
                assert_eq!(frame.len(), sizes[received % sizes.len()]);
                assert!(frame.iter().all(|byte| *byte == received as u8));
                received += 1;
            }
        }
        drop(socket);
        assert!(matches!(other.fill("a test"), Err(PeerError::Closed { .. })));
    }
}
