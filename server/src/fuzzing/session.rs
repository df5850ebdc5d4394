//! A broker in this process on a store that lasts for one input, a client of it, and a topic that nothing the
//! client sends may touch.

use super::messages::frame;
use crate::broker::Running;
use crate::config::Config;
use crate::wire::messages::ApiKey;
use bytes::BufMut;
use ringmain_engine::{BatchBuilder, IoMode, StoreConfig};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The topic that stays as it is. Requests that name it by chance are not sent.
const KEPT: &str = "kept-5f0c61";
/// Where files cost least.
const IN_MEMORY: &str = "/dev/shm";
/// A request that is not answered within this never will be.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How long is waited for one that may wait for others.
const PATIENCE: Duration = Duration::from_millis(5);
/// The correlation id of the request after each, which tells that it is over.
const FENCE: i32 = i32::MAX;
/// Answers beyond this size are a finding: requests are small.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// With its correlation id.
    Answer(Vec<u8>),
    /// The next one was answered, and this not at all.
    Silence,
    Closed,
    /// It is not over.
    Waiting,
}

pub(super) struct Session {
    dir: TempDir,
    /// There until it ends.
    broker: Option<Running>,
    address: SocketAddr,
    stream: TcpStream,
    /// Connections whose requests wait.
    waiting: Vec<TcpStream>,
    kept: Vec<u8>,
    kept_id: [u8; 16],
}

fn start(dir: &Path) -> Running {
    let mut config = Config {
        data_dir: dir.to_path_buf(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        io_mode: Some(IoMode::Blocking),
        shards: 1,
        partitions_max: 24,
        offsets_partitions: 1,
        groups_max: 8,
        group_members_max: 4,
        fetch_sessions_max: 4,
        fetch_wait_max_ms: 2,
        recompress_bytes_max: 1 << 20,
        store: StoreConfig { journal_file_bytes: 64 << 10, journal_files_max: 2, ..StoreConfig::default() },
        ..Config::default()
    };
    config.log.segment_bytes = 4096;
    config.log.index_bytes_max = 4096;
    Running::start(config).expect("the broker starts")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the broker listens");
    stream.set_nodelay(true).expect("an option is set");
    stream
}

/// The next answer; `None` when the connection is closed. An error if nothing comes in time.
fn receive(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if let Err(err) = stream.read_exact(&mut length) {
        let closed = matches!(
            err.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        );
        return if closed { Ok(None) } else { Err(err) };
    }
    let length = u32::from_be_bytes(length) as usize;
    assert!((4..=ANSWER_BYTES_MAX).contains(&length), "an answer of {length} bytes");
    let mut answer = vec![0; length];
    // What was begun comes whole.
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    match stream.read_exact(&mut answer) {
        Ok(()) => Ok(Some(answer)),
        Err(err) if err.kind() == ErrorKind::ConnectionReset => Ok(None),
        Err(err) => panic!("an answer ends within: {err}"),
    }
}

fn send(stream: &mut TcpStream, frame: &[u8]) -> std::io::Result<()> {
    let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    stream.write_all(&bytes)
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    body.put_u16(text.len() as u16);
    body.put_slice(text.as_bytes());
}

impl Session {
    pub(super) fn start() -> Self {
        let base = Path::new(IN_MEMORY);
        let made = if base.is_dir() { tempfile::tempdir_in(base) } else { tempfile::tempdir() };
        let dir = made.expect("a temporary directory is made");
        let broker = start(dir.path());
        let (address, stream) = (broker.address(), connect(broker.address()));
        let (broker, waiting) = (Some(broker), Vec::new());
        let mut session = Self { dir, broker, address, stream, waiting, kept: Vec::new(), kept_id: [0; 16] };
        // Asking for it makes it. Metadata, version 10: topics are told with their ids.
        let mut body = vec![2];
        body.put_bytes(0, 16);
        body.put_u8(KEPT.len() as u8 + 1);
        body.put_slice(KEPT.as_bytes());
        body.put_slice(&[0, 1, 0, 0, 0]);
        let answer = session.simple(ApiKey::Metadata, 10, &body);
        let at = answer.windows(KEPT.len()).position(|window| window == KEPT.as_bytes());
        let at = at.expect("the topic is told") + KEPT.len();
        session.kept_id.copy_from_slice(&answer[at..at + 16]);
        for acks in [1, -1, 1i16] {
            let mut builder = BatchBuilder::new();
            builder.push(1_700_000_000_000, Some(b"key"), Some(&[acks as u8; 100]));
            let batch = builder.finish().expect("a batch");
            let mut body = Vec::new();
            body.put_i16(-1);
            body.put_i16(acks);
            body.put_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
            put_text(&mut body, KEPT);
            body.put_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
            body.put_u32(batch.len() as u32);
            body.put_slice(&batch);
            session.simple(ApiKey::Produce, 7, &body);
        }
        session.kept = session.fetch_kept();
        assert!(session.kept.len() > 3 * 160, "the records are there");
        session
    }

    /// A request of a connection of its own, which is always answered, whatever quotas there are.
    fn simple(&self, key: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
        let mut stream = connect(self.address);
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("a timeout is set");
        send(&mut stream, &frame(key, version, 1, body)).expect("it is sent");
        receive(&mut stream).expect("it is answered in time").expect("the connection is kept")
    }

    /// The records of the topic that stays as it is.
    fn fetch_kept(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for number in [-1, 0, 0, 1 << 20] {
            body.put_i32(number);
        }
        body.put_slice(&[0, 0, 0, 0, 1]);
        put_text(&mut body, KEPT);
        body.put_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
        body.put_i64(0);
        body.put_i32(1 << 20);
        let answer = self.simple(ApiKey::Fetch, 4, &body);
        // Correlation id, throttle time, topics, name, partitions; then index and error code.
        let at = 4 + 4 + 4 + 2 + KEPT.len() + 4;
        assert_eq!(answer[at..at + 6], [0; 6], "it is read without an error");
        // High watermark, last stable offset, aborted transactions, length.
        answer[at + 6 + 8 + 8 + 4 + 4..].to_vec()
    }

    /// Whether a request names the topic that stays as it is.
    pub(super) fn names_kept(&self, frame: &[u8]) -> bool {
        let names = |what: &[u8]| frame.windows(what.len()).any(|window| window == what);
        names(KEPT.as_bytes()) || names(&self.kept_id)
    }

    /// Sends a request, and another after it that tells when it is over.
    pub(super) fn ask(&mut self, frame_bytes: &[u8], correlation_id: i32, may_wait: bool) -> Reply {
        let patience = if may_wait { PATIENCE } else { ANSWER_MAX };
        self.stream.set_read_timeout(Some(patience)).expect("a timeout is set");
        // A connection that is closed meanwhile is seen when the answer is read.
        let _ = send(&mut self.stream, frame_bytes)
            .and_then(|()| send(&mut self.stream, &frame(ApiKey::ApiVersions, 0, FENCE, &[])));
        let mut reply = Reply::Silence;
        loop {
            match receive(&mut self.stream) {
                Ok(Some(answer)) if answer[..4] == FENCE.to_be_bytes() => return reply,
                Ok(Some(answer)) => {
                    assert_eq!(answer[..4], correlation_id.to_be_bytes(), "answers come in order");
                    assert_eq!(reply, Reply::Silence, "a request is answered once");
                    reply = Reply::Answer(answer);
                }
                Ok(None) => {
                    self.stream = connect(self.address);
                    return if reply == Reply::Silence { Reply::Closed } else { reply };
                }
                Err(err) => {
                    assert!(may_wait, "no answer: {err}");
                    let stream = std::mem::replace(&mut self.stream, connect(self.address));
                    self.waiting.push(stream);
                    return if reply == Reply::Silence { Reply::Waiting } else { reply };
                }
            }
        }
    }

    /// The broker serves others and holds what it held, now and after it was killed and started again.
    pub(super) fn end(mut self) {
        assert_eq!(self.fetch_kept(), self.kept, "other topics are untouched");
        self.waiting.clear();
        drop(self.broker.take());
        let broker = start(self.dir.path());
        self.address = broker.address();
        self.broker = Some(broker);
        assert_eq!(self.fetch_kept(), self.kept, "other topics are untouched after a start");
    }
}
