//! Receiving frames. Memory follows what has arrived, never what a length field promises.

use std::cell::RefCell;
use std::io;
use thiserror::Error;
use tokio::net::TcpStream;

/// What a connection reads into while its requests are small.
const SMALL_BYTES: usize = 16 * 1024;
/// Frames from here on are received alone, without reading beyond them, into a pooled buffer.
const LARGE_BYTES: usize = 64 * 1024;
const LENGTH_BYTES: usize = 4;
const API_KEY_BYTES: usize = 2;
const PRODUCE: [u8; API_KEY_BYTES] = [0, 0];

/// Why no further frame can be received.
#[derive(Debug, Error)]
pub(super) enum FrameError {
    #[error("a request claims {0} bytes; is this a client of the Kafka protocol?")]
    Length(i32),
    #[error(
        "a request claims {length} bytes, more than the {limit} that {key} allows; is this a client of the Kafka protocol?"
    )]
    TooLarge { length: usize, limit: usize, key: &'static str },
    #[error("it ended within a request")]
    Cut,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Large buffers that wait for their next use, bounded in total.
#[derive(Debug)]
pub(super) struct BufferPool {
    free: RefCell<(Vec<Vec<u8>>, usize)>,
    bytes_max: usize,
}

impl BufferPool {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { free: RefCell::default(), bytes_max }
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
}

/// Reads frames off a connection.
pub(super) struct FrameReader<'a> {
    stream: &'a TcpStream,
    pool: &'a BufferPool,
    limits: FrameLimits,
    small: Vec<u8>,
    start: usize,
    end: usize,
    /// In use while a large frame is received and handled.
    large: Option<Vec<u8>>,
}

impl<'a> FrameReader<'a> {
    pub(super) fn new(stream: &'a TcpStream, pool: &'a BufferPool, limits: FrameLimits) -> Self {
        Self { stream, pool, limits, small: vec![0; SMALL_BYTES], start: 0, end: 0, large: None }
    }

    /// The next frame without its length; `None` when the peer has closed between two.
    pub(super) async fn next(&mut self) -> Result<Option<&mut [u8]>, FrameError> {
        if let Some(buffer) = self.large.take() {
            self.pool.give(buffer);
        }
        // Length and API key come first: they decide how much may follow.
        while self.end - self.start < LENGTH_BYTES + API_KEY_BYTES {
            if self.has_short_frame()? {
                break;
            }
            if !self.fill().await? {
                return if self.start == self.end { Ok(None) } else { Err(FrameError::Cut) };
            }
        }
        let length = self.length()?;
        if length >= LARGE_BYTES {
            return self.receive_large(length).await.map(Some);
        }
        while self.end - self.start < LENGTH_BYTES + length {
            if !self.fill().await? {
                return Err(FrameError::Cut);
            }
        }
        let from = self.start + LENGTH_BYTES;
        self.start = from + length;
        Ok(Some(&mut self.small[from..from + length]))
    }

    /// A frame too short for an API key would never be followed by one.
    fn has_short_frame(&self) -> Result<bool, FrameError> {
        if self.end - self.start < LENGTH_BYTES {
            return Ok(false);
        }
        Ok(self.length()? < API_KEY_BYTES)
    }

    fn length(&self) -> Result<usize, FrameError> {
        let mut bytes = [0; LENGTH_BYTES];
        bytes.copy_from_slice(&self.small[self.start..self.start + LENGTH_BYTES]);
        let claimed = i32::from_be_bytes(bytes);
        let length = usize::try_from(claimed).ok().filter(|length| *length > 0);
        let length = length.ok_or(FrameError::Length(claimed))?;
        let at = self.start + LENGTH_BYTES;
        let key = self.small.get(at..at + API_KEY_BYTES).filter(|_| self.end >= at + API_KEY_BYTES);
        let (limit, name) = match key {
            None => (self.limits.produce_bytes.max(self.limits.control_bytes), "socket.request.max.bytes"),
            Some(key) if key == PRODUCE => (self.limits.produce_bytes, "socket.request.max.bytes"),
            Some(_) => (self.limits.control_bytes, "control.request.max.bytes"),
        };
        if length > limit {
            return Err(FrameError::TooLarge { length, limit, key: name });
        }
        Ok(length)
    }

    async fn receive_large(&mut self, length: usize) -> Result<&mut [u8], FrameError> {
        let mut buffer = self.pool.take();
        let from = self.start + LENGTH_BYTES;
        let have = (self.end - from).min(length);
        if buffer.len() < have {
            buffer.resize(LARGE_BYTES.max(have).min(length), 0);
        }
        buffer[..have].copy_from_slice(&self.small[from..from + have]);
        self.start = from + have;
        let mut done = have;
        while done < length {
            if done == buffer.len() {
                buffer.resize((done * 2).min(length), 0);
            }
            let room = buffer.len().min(length);
            match read(self.stream, &mut buffer[done..room]).await? {
                0 => return Err(FrameError::Cut),
                count => done += count,
            }
        }
        Ok(&mut self.large.insert(buffer)[..length])
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
        let count = read(self.stream, &mut self.small[self.end..]).await?;
        self.end += count;
        Ok(count > 0)
    }
}

impl Drop for FrameReader<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.large.take() {
            self.pool.give(buffer);
        }
    }
}

async fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}
