//! One blocking connection to a broker (or to a floor that stands in for one).

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::wire::Malformed;

/// The largest answer that is read; a broker may exceed the fetch size by one batch.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 << 20;

/// What went wrong between us and a broker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// No connection.
    #[error("cannot connect to {peer}: {source}; start the broker there or correct --broker")]
    Connect {
        /// Address.
        peer: String,
        /// Cause.
        source: io::Error,
    },
    /// The other side ended the connection.
    #[error("{peer} closed the connection during {during}; look at the log of the broker")]
    Closed {
        /// Address.
        peer: String,
        /// What we were doing.
        during: &'static str,
    },
    /// No answer in time.
    #[error(
        "{peer} did not go on within --timeout during {during}; look at the log of the broker or raise --timeout"
    )]
    TimedOut {
        /// Address.
        peer: String,
        /// What we were doing.
        during: &'static str,
    },
    /// Any other failure of the socket.
    #[error("the connection to {peer} failed during {during}: {source}; look at the log of the broker")]
    Socket {
        /// Address.
        peer: String,
        /// What we were doing.
        during: &'static str,
        /// Cause.
        source: io::Error,
    },
    /// An answer that cannot be right.
    #[error("{peer} answered {during} wrongly: {what}; check that it speaks the Kafka protocol")]
    Wrong {
        /// Address.
        peer: String,
        /// What we were doing.
        during: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Records are missing or doubled.
    #[error(
        "{peer} goes on at offset {found} of partition {partition} where {due} is due; do not use these figures"
    )]
    Gap {
        /// Address.
        peer: String,
        /// Index in the topic.
        partition: i32,
        /// Offset that should follow.
        due: i64,
        /// Offset that followed.
        found: i64,
    },
    /// A member of a consumer group could not go on.
    #[error("the consumer group at {peer} failed: {what}; look at the log of the broker")]
    Group {
        /// Address.
        peer: String,
        /// What the client library says.
        what: String,
    },
    /// The broker's versions and ours do not meet.
    #[error("{peer} offers no version of {api} from {min} to {max}; use a broker that does")]
    Version {
        /// Address.
        peer: String,
        /// Request.
        api: &'static str,
        /// Oldest that we speak.
        min: i16,
        /// Newest that we speak.
        max: i16,
    },
    /// The broker answered with an error code.
    #[error("{peer} refused {during} of {subject}: {}; see the log of the broker", crate::refusal::describe(*code))]
    Refused {
        /// Address.
        peer: String,
        /// Request.
        during: &'static str,
        /// Topic or partition.
        subject: String,
        /// Kafka's error code.
        code: i16,
    },
}

/// A connection with timeouts and a name for messages.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    name: String,
}

impl Peer {
    /// Connects within `timeout`, which then bounds every read and write too.
    pub(crate) fn connect(address: &str, timeout: Duration) -> Result<Self, PeerError> {
        let failed = |source| PeerError::Connect { peer: address.to_string(), source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for candidate in address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&candidate, timeout) {
                Ok(stream) => {
                    return Self::prepare(stream, address, timeout).map_err(failed);
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// The other side of a connection.
    pub(crate) fn accepted(stream: TcpStream, address: &str, timeout: Duration) -> io::Result<Self> {
        Self::prepare(stream, address, timeout)
    }

    fn prepare(stream: TcpStream, address: &str, timeout: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream, name: address.to_string() })
    }

    /// A second handle on the same connection, for the thread that reads.
    pub(crate) fn try_clone(&self) -> Result<Self, PeerError> {
        let stream = self.stream.try_clone().map_err(|source| self.failed("connecting", source))?;
        Ok(Self { stream, name: self.name.clone() })
    }

    /// The socket itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The address, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sends a whole frame.
    pub(crate) fn send(&mut self, frame: &[u8], during: &'static str) -> Result<(), PeerError> {
        self.stream.write_all(frame).map_err(|source| self.failed(during, source))
    }

    /// Reads one frame, without its size, into `buffer`, which only ever grows.
    pub(crate) fn receive<'b>(
        &mut self,
        buffer: &'b mut Vec<u8>,
        during: &'static str,
    ) -> Result<&'b [u8], PeerError> {
        let mut size = [0; 4];
        self.read_exact(&mut size, during)?;
        let size = i32::from_be_bytes(size);
        if size < 4 || size as usize > ANSWER_BYTES_MAX {
            return Err(self.wrong(during, format!("a frame of {size} bytes")));
        }
        let size = size as usize;
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        let frame = &mut buffer[..size];
        self.read_exact(frame, during)?;
        Ok(frame)
    }

    /// Waits until the other side has read everything and closed.
    pub(crate) fn await_close(&mut self, during: &'static str) -> Result<(), PeerError> {
        let shut = self.stream.shutdown(std::net::Shutdown::Write);
        shut.map_err(|source| self.failed(during, source))?;
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.wrong(during, "an answer that nobody asked for".into())),
            Err(source) => Err(self.failed(during, source)),
        }
    }

    /// An answer that cannot be right.
    pub(crate) fn wrong(&self, during: &'static str, what: String) -> PeerError {
        PeerError::Wrong { peer: self.name.clone(), during, what }
    }

    /// An answer that ended too early.
    pub(crate) fn malformed(&self, during: &'static str, cause: Malformed) -> PeerError {
        self.wrong(during, cause.to_string())
    }

    /// `Ok` for code 0.
    pub(crate) fn accept(
        &self,
        code: i16,
        during: &'static str,
        subject: impl FnOnce() -> String,
    ) -> Result<(), PeerError> {
        if code == 0 {
            return Ok(());
        }
        Err(PeerError::Refused { peer: self.name.clone(), during, subject: subject(), code })
    }

    fn read_exact(&mut self, buffer: &mut [u8], during: &'static str) -> Result<(), PeerError> {
        self.stream.read_exact(buffer).map_err(|source| self.failed(during, source))
    }

    /// What a failure of the socket means.
    pub(crate) fn failed(&self, during: &'static str, source: io::Error) -> PeerError {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut, UnexpectedEof, WouldBlock,
        };
        let peer = self.name.clone();
        match source.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected => {
                PeerError::Closed { peer, during }
            }
            WouldBlock | TimedOut => PeerError::TimedOut { peer, during },
            _ => PeerError::Socket { peer, during, source },
        }
    }
}
