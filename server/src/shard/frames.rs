//! Receiving frames. Memory follows what has arrived, never what a length field promises.

use crate::request_memory::{Held, RequestMemory};
use nix::sys::socket::{MsgFlags, recv};
use std::cell::RefCell;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// What a connection reads into while its requests are small.
const SMALL_BYTES: usize = 16 * 1024;
/// Buffers of that size that a shard keeps for the next requests. A connection has one only while there is something
/// in it.
const SMALL_KEPT_MAX: usize = 16;
/// Frames from here on are received alone, without reading beyond them, into a pooled buffer.
const LARGE_BYTES: usize = 64 * 1024;
const LENGTH_BYTES: usize = 4;
const API_KEY_BYTES: usize = 2;
const PRODUCE: i16 = 0;

/// Why no further frame can be received.
#[derive(Debug, Error)]
pub(super) enum FrameError {
    #[error("a request claims {0} bytes; is this a client of the Kafka protocol?")]
    Length(i32),
    #[error(
        "a request claims {length} bytes, more than the {limit} that {key} allows; is this a client of the Kafka protocol?"
    )]
    TooLarge { length: usize, limit: usize, key: &'static str },
    #[error("less than {LARGE_BYTES} bytes of its request came within {0} ms")]
    Stalled(u64),
    #[error("it ended within a request")]
    Cut,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Buffers that wait for their next use: large ones, bounded in total, and those for small requests.
#[derive(Debug)]
pub(super) struct BufferPool {
    free: RefCell<(Vec<Vec<u8>>, usize)>,
    bytes_max: usize,
    small: RefCell<Vec<Vec<u8>>>,
}

impl BufferPool {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { free: RefCell::default(), bytes_max, small: RefCell::default() }
    }

    fn take_small(&self) -> Vec<u8> {
        self.small.borrow_mut().pop().unwrap_or_else(|| vec![0; SMALL_BYTES])
    }

    /// One that grew is not kept.
    fn give_small(&self, buffer: Vec<u8>) {
        let mut small = self.small.borrow_mut();
        if buffer.len() == SMALL_BYTES && small.len() < SMALL_KEPT_MAX {
            small.push(buffer);
        }
    }

    fn take(&self) -> Vec<u8> {
        let mut free = self.free.borrow_mut();
        let buffer = free.0.pop().unwrap_or_default();
        free.1 -= buffer.len();
        buffer
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if free.1 + buffer.len() <= self.bytes_max {
            free.1 += buffer.len();
            free.0.push(buffer);
        }
    }
}

/// The limits of frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameLimits {
    pub(super) produce_bytes: usize,
    pub(super) control_bytes: usize,
    /// The time in which some of a large request must come.
    pub(super) stall_max: Duration,
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Of the frame, without this length.
    pub(super) length: usize,
    /// `None` where the frame is too short for one.
    pub(super) api_key: Option<i16>,
}

/// Reads frames off a connection.
pub(super) struct FrameReader<'a> {
    stream: &'a TcpStream,
    pool: &'a BufferPool,
    memory: &'a RequestMemory,
    limits: FrameLimits,
    /// Empty while nothing has been received that is not handled.
    small: Vec<u8>,
    start: usize,
    end: usize,
    /// In use while a large frame is received and handled.
    large: Option<(Vec<u8>, Option<Held>)>,
}

impl<'a> FrameReader<'a> {
    pub(super) fn new(
        stream: &'a TcpStream,
        pool: &'a BufferPool,
        memory: &'a RequestMemory,
        limits: FrameLimits,
    ) -> Self {
        Self { stream, pool, memory, limits, small: Vec::new(), start: 0, end: 0, large: None }
    }

    /// What the next frame begins with; `None` when the peer has closed between two.
    pub(super) async fn head(&mut self) -> Result<Option<Head>, FrameError> {
        // Length and API key come first: they decide how much may follow.
        while self.end - self.start < LENGTH_BYTES + API_KEY_BYTES {
            if self.has_short_frame()? {
                break;
            }
            if !self.fill().await? {
                return if self.start == self.end { Ok(None) } else { Err(FrameError::Cut) };
            }
        }
        Ok(Some(self.parse_head()?))
    }

    /// The frame that was begun, without its length.
    pub(super) async fn frame(&mut self, head: &Head) -> Result<&mut [u8], FrameError> {
        let length = head.length;
        if length >= LARGE_BYTES {
            return self.receive_large(head).await;
        }
        while self.end - self.start < LENGTH_BYTES + length {
            if !self.fill().await? {
                return Err(FrameError::Cut);
            }
        }
        let from = self.start + LENGTH_BYTES;
        self.start = from + length;
        Ok(&mut self.small[from..from + length])
    }

    /// Gives back what the last frame took: nobody needs it any more.
    pub(super) fn release(&mut self) {
        if let Some((buffer, _)) = self.large.take() {
            self.pool.give(buffer);
        }
    }

    /// A frame too short for an API key would never be followed by one.
    fn has_short_frame(&self) -> Result<bool, FrameError> {
        if self.end - self.start < LENGTH_BYTES {
            return Ok(false);
        }
        Ok(self.parse_head()?.length < API_KEY_BYTES)
    }

    fn parse_head(&self) -> Result<Head, FrameError> {
        let mut bytes = [0; LENGTH_BYTES];
        bytes.copy_from_slice(&self.small[self.start..self.start + LENGTH_BYTES]);
        let claimed = i32::from_be_bytes(bytes);
        let length = usize::try_from(claimed).ok().filter(|length| *length > 0);
        let length = length.ok_or(FrameError::Length(claimed))?;
        let at = self.start + LENGTH_BYTES;
        let key = self.small[..self.end].get(at..at + API_KEY_BYTES);
        let api_key = key.map(|key| i16::from_be_bytes([key[0], key[1]]));
        let (limit, name) = match api_key {
            None => (self.limits.produce_bytes.max(self.limits.control_bytes), "socket.request.max.bytes"),
            Some(PRODUCE) => (self.limits.produce_bytes, "socket.request.max.bytes"),
            Some(_) => (self.limits.control_bytes, "control.request.max.bytes"),
        };
        if length > limit {
            return Err(FrameError::TooLarge { length, limit, key: name });
        }
        Ok(Head { length, api_key })
    }

    async fn receive_large(&mut self, head: &Head) -> Result<&mut [u8], FrameError> {
        let length = head.length;
        let from = self.start + LENGTH_BYTES;
        let have = (self.end - from).min(length);
        // As much as a small request may have takes nothing from the others. The rest is held as a whole: who
        // held a part and waited for more could wait for another who does the same.
        let mut held = None;
        let mut buffer = self.pool.take();
        let mut may_use = LARGE_BYTES.max(have).min(length);
        if buffer.len() < may_use {
            buffer.resize(may_use, 0);
        }
        buffer[..have].copy_from_slice(&self.small[from..from + have]);
        self.start = from + have;
        let mut done = have;
        let mut progress = Progress::new(self.limits.stall_max, done);
        while done < length {
            if done == may_use {
                if held.is_none() {
                    // An append is made as soon as it has come; others may wait then, with this.
                    held = Some(match head.api_key {
                        Some(PRODUCE) => self.memory.hold(length - done).await?,
                        _ => self.memory.hold_kept(length - done).await?,
                    });
                    progress = Progress::new(self.limits.stall_max, done);
                }
                may_use = (done * 2).min(length);
                if buffer.len() < may_use {
                    buffer.resize(may_use, 0);
                }
            }
            match read_soon(self.stream, &mut buffer[done..may_use], progress.until).await {
                Ok(0) => return Err(FrameError::Cut),
                Ok(count) => done += count,
                Err(Stall::Io(err)) => return Err(err.into()),
                Err(Stall::Stalled) => {
                    return Err(FrameError::Stalled(self.limits.stall_max.as_millis() as u64));
                }
            }
            progress.came(done);
        }
        Ok(&mut self.large.insert((buffer, held)).0[..length])
    }

    /// Reads more into the small buffer; `false` at the end of the stream.
    async fn fill(&mut self) -> Result<bool, FrameError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.small.len() {
            self.small.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.small.len() {
                self.small.resize(LARGE_BYTES + LENGTH_BYTES, 0);
            }
        }
        loop {
            // Who waits for a request holds no buffer for it.
            if self.end == 0 {
                self.pool.give_small(std::mem::take(&mut self.small));
            }
            self.stream.readable().await?;
            if self.end == 0 {
                self.small = self.pool.take_small();
            }
            match read_now(self.stream, &mut self.small[self.end..]) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                count => {
                    let count = count?;
                    self.end += count;
                    return Ok(count > 0);
                }
            }
        }
    }
}

impl Drop for FrameReader<'_> {
    fn drop(&mut self) {
        self.pool.give_small(std::mem::take(&mut self.small));
        self.release();
    }
}

/// Watches that a large request keeps coming: what it holds, others wait for.
struct Progress {
    stall_max: Duration,
    from: usize,
    until: Instant,
}

impl Progress {
    fn new(stall_max: Duration, done: usize) -> Self {
        Self { stall_max, from: done, until: Instant::now() + stall_max }
    }

    fn came(&mut self, done: usize) {
        if done - self.from >= LARGE_BYTES {
            *self = Self::new(self.stall_max, done);
        }
    }
}

/// Reads what has arrived. Less than there is room for is all of it (epoll(7), edge-triggered): the stream then counts as
/// empty at once, and not only after another system call that finds nothing.
fn read_now(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut all = None;
    let read = stream.try_io(Interest::READABLE, || {
        let count = recv(stream.as_raw_fd(), buffer, MsgFlags::empty())?;
        if 0 < count && count < buffer.len() {
            all = Some(count);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    });
    all.map_or(read, Ok)
}

/// Reads some, if it comes until then.
async fn read_soon(stream: &TcpStream, buffer: &mut [u8], until: Instant) -> Result<usize, Stall> {
    loop {
        match read_now(stream, buffer) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            other => return Ok(other?),
        }
        timeout_at(until, stream.readable()).await.map_err(|_| Stall::Stalled)??;
    }
}

/// Why no more of a large request came.
enum Stall {
    Stalled,
    Io(io::Error),
}

impl From<io::Error> for Stall {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}
