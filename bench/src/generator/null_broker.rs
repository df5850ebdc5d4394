//! A server that answers at once and keeps nothing: what the generator can do at best is measured against it.
//!
//! It speaks as much of the protocol as a producer needs. Records are received and dropped; offsets are always 0.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::admin::{API_VERSIONS, CREATE_TOPICS, DELETE_TOPICS, LIST_OFFSETS, METADATA, PRODUCE};
use crate::generator::socket::Socket;
use crate::peer::{Peer, PeerError};
use crate::produce_frame::ProduceAnswer;
use crate::wire::{Malformed, Reader, Writer};

const DURING: &str = "the self-check";
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;
const LISTENER: u64 = u64::MAX;
/// Connections may be idle for as long as they like; only a frame that has begun is waited for.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// The version of each API that is offered: one is enough for a client that negotiates.
const VERSIONS: [(i16, i16); 6] = [
    (PRODUCE.key, 7),
    (LIST_OFFSETS.key, 1),
    (METADATA.key, 7),
    (API_VERSIONS.key, 0),
    (CREATE_TOPICS.key, 4),
    (DELETE_TOPICS.key, 3),
];

/// Listens on loopback; serves with a thread for each processor until the process ends.
pub(crate) struct NullBroker {
    address: SocketAddr,
    listener: TcpListener,
    /// Partitions of each topic.
    topics: Mutex<HashMap<String, i32>>,
}

impl NullBroker {
    /// Takes a free port.
    pub(crate) fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self { address: listener.local_addr()?, listener, topics: Mutex::new(HashMap::new()) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves; returns only if that fails.
    pub(crate) fn serve(&self, threads: usize) -> io::Result<()> {
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.serve_here())).collect();
            for handle in handles {
                match handle.join() {
                    Ok(outcome) => outcome?,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(())
        })
    }

    fn serve_here(&self) -> io::Result<()> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let accepting = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        epoll.add(&self.listener, EpollEvent::new(accepting, LISTENER))?;
        let mut sockets: HashMap<u64, Socket> = HashMap::new();
        let mut next = 0;
        let mut events = vec![EpollEvent::empty(); EVENTS_MAX];
        loop {
            let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..count] {
                if event.data() == LISTENER {
                    // Another thread may have been faster.
                    let Ok((stream, from)) = self.listener.accept() else { continue };
                    let peer = Peer::accepted(stream, &from.to_string(), TIMEOUT)?;
                    let socket = Socket::over(peer)?;
                    epoll.add(socket.stream(), EpollEvent::new(EpollFlags::EPOLLIN, next))?;
                    sockets.insert(next, socket);
                    next += 1;
                    continue;
                }
                let Some(socket) = sockets.get_mut(&event.data()) else { continue };
                if self.turn(socket).is_err() {
                    // The client has gone, or sent what is not understood.
                    let _ = epoll.delete(socket.stream());
                    sockets.remove(&event.data());
                    continue;
                }
                let mut flags = EpollFlags::EPOLLIN;
                flags.set(EpollFlags::EPOLLOUT, socket.pending());
                epoll.modify(socket.stream(), &mut EpollEvent::new(flags, event.data()))?;
            }
        }
    }

    fn turn(&self, socket: &mut Socket) -> Result<(), PeerError> {
        socket.flush(DURING)?;
        socket.fill(DURING)?;
        while let Some(range) = socket.take_frame(DURING)? {
            let answer = self.answer(socket.frame(range));
            let answer = answer.map_err(|cause| socket.peer().malformed(DURING, cause))?;
            if let Some(answer) = answer {
                socket.send(&answer, DURING)?;
            }
        }
        socket.flush(DURING)
    }

    fn answer(&self, frame: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
        let mut request = Reader::new(frame);
        let key = request.i16("api key")?;
        request.i16("version")?;
        let correlation_id = request.i32("correlation id")?;
        request.string("client id")?;
        let mut answer = Writer::default();
        answer.i32(0).i32(correlation_id);
        if key == PRODUCE.key {
            return produced(&mut request, correlation_id);
        } else if key == API_VERSIONS.key {
            answer.i16(0).i32(VERSIONS.len() as i32);
            for (key, version) in VERSIONS {
                answer.i16(key).i16(version).i16(version);
            }
        } else if key == CREATE_TOPICS.key {
            request.count("topics")?;
            let topic = request.string("topic")?;
            let partitions = request.i32("partitions")?;
            self.lock().insert(topic.to_owned(), partitions);
            answer.i32(0).i32(1).string(topic).i16(0).null_string();
        } else if key == DELETE_TOPICS.key {
            request.count("topics")?;
            answer.i32(0).i32(1).string(request.string("topic")?).i16(0);
        } else if key == METADATA.key {
            request.count("topics")?;
            self.metadata(request.string("topic")?, &mut answer);
        } else if key == LIST_OFFSETS.key {
            request.i32("replica")?;
            request.count("topics")?;
            answer.i32(1).string(request.string("topic")?);
            let count = request.count("partitions")?;
            answer.i32(count as i32);
            for _ in 0..count {
                let partition = request.i32("partition")?;
                request.i64("time")?;
                answer.i32(partition).i16(0).i64(-1).i64(0);
            }
        } else {
            return Err(Malformed { field: "the kind of request" });
        }
        Ok(Some(answer.finish()))
    }

    fn metadata(&self, topic: &str, answer: &mut Writer) {
        let partitions = self.lock().get(topic).copied().unwrap_or(0);
        answer.i32(0).i32(1).i32(1).string(&self.address.ip().to_string());
        answer.i32(i32::from(self.address.port())).null_string().null_string().i32(1).i32(1);
        answer.i16(0).string(topic).i8(0).i32(partitions);
        for partition in 0..partitions {
            // Leader and epoch; replicas, those in sync, none offline.
            answer.i16(0).i32(partition).i32(1).i32(0).i32(1).i32(1).i32(1).i32(1).i32(0);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, i32>> {
        self.topics.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn produced(request: &mut Reader<'_>, correlation_id: i32) -> Result<Option<Vec<u8>>, Malformed> {
    request.string("transaction")?;
    let acks = request.i16("acks")?;
    request.i32("timeout")?;
    request.count("topics")?;
    let topic = request.string("topic")?;
    request.count("partitions")?;
    let partition = request.i32("partition")?;
    Ok((acks != 0).then(|| ProduceAnswer::encode(correlation_id, partition, topic)))
}
