//! What this machine does at best: the same client against servers that do next to nothing.

mod primitives;
mod relay;
mod sendfile;
mod touch;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::batch::{BatchShape, BatchTemplate};
use crate::cli::{FloorsArgs, Shape};
use crate::error::BenchError;
use crate::fetch_frame::FetchFrame;
use crate::fetcher::{FetchLane, Stretch, fetch};
use crate::floor::primitives::Primitives;
use crate::floor::relay::Relay;
use crate::floor::sendfile::WarmFile;
use crate::load::{fetch_moved, produce_moved};
use crate::machine::{Machine, process_cpu_s};
use crate::peer::{Peer, PeerError};
use crate::phase::PhaseName;
use crate::produce_frame::ProduceFrame;
use crate::producer::{Ending, ProduceLane, ProducePace, produce};
use crate::progress::Progress;
use crate::report::{Moved, PhaseKind, PhaseReport, Report, Round, summarize};
use crate::result::figures::Head;
use crate::scratch::ScratchError;
use crate::stop::Stop;
use crate::target::split;

pub(crate) use crate::floor::relay::Extra;
pub(crate) use crate::floor::touch::touch_memory;

/// The topic that the frames of the floors name.
const TOPIC: &str = "floor";
/// The one partition of each connection.
const PARTITION: i32 = 0;
/// The versions that the frames of the floors have: the newest that a broker would be sent.
const PRODUCE_VERSION: i16 = 7;
const FETCH_VERSION: i16 = 11;

/// Send buffers that the sendfile floor tries before the first round; `None` leaves it to the
/// kernel. Which one costs least was seen to differ with the number of connections, and by up to
/// a factor of two; why has not been looked into.
const SEND_BUFFERS_BYTES: [Option<usize>; 5] =
    [None, Some(64 << 10), Some(128 << 10), Some(256 << 10), Some(1 << 20)];
/// How often each is tried. The one that costs both sides the least processor time is taken: other
/// work on the machine changes that less than it changes the throughput.
const SEND_BUFFER_TRIALS: usize = 3;

/// Why there is no floor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FloorError {
    /// Its file.
    #[error("cannot write a floor's file in {}: {source}; choose another --data-dir", dir.display())]
    File {
        /// Directory.
        dir: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// Its server.
    #[error("the floor's own server failed: {0}; check the limits of sockets and disk space")]
    Server(#[from] io::Error),
    /// The files of the primitive floors.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// Its client.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// The floors of a run: files and parameters.
#[derive(Debug)]
pub(crate) struct Floors<'a> {
    shape: &'a Shape,
    batch: BatchShape,
    batches: Vec<u64>,
    warm: Vec<WarmFile>,
    send_buffer_bytes: Option<usize>,
}

/// What a server thread of a floor did.
type Served = io::Result<f64>;

impl<'a> Floors<'a> {
    /// Prepares for so many batches over all connections; writes and syncs the warm files.
    pub(crate) fn prepare(
        shape: &'a Shape,
        batch: BatchShape,
        total_batches: u64,
        fetch_connections: usize,
        stop: &Stop,
    ) -> Result<Self, FloorError> {
        let failed = |source| FloorError::File { dir: shape.data_dir.clone(), source };
        let warm = split(total_batches, fetch_connections)
            .into_iter()
            .enumerate()
            .map(|(stream, batches)| {
                let mut template = BatchTemplate::new(batch, stream as u32, 0, shape.seed);
                WarmFile::write(&shape.data_dir, &mut template, batch.records, batches, stop)
            })
            .collect::<io::Result<_>>()
            .map_err(failed)?;
        let batches = split(total_batches, shape.connections as usize);
        let mut floors = Self { shape, batch, batches, warm, send_buffer_bytes: None };
        floors.send_buffer_bytes = floors.best_send_buffer(stop)?;
        Ok(floors)
    }

    fn best_send_buffer(&mut self, stop: &Stop) -> Result<Option<usize>, FloorError> {
        let mut best = (f64::INFINITY, None);
        let mut cpu_s = [0.0; SEND_BUFFERS_BYTES.len()];
        for _ in 0..SEND_BUFFER_TRIALS {
            for (index, candidate) in SEND_BUFFERS_BYTES.iter().enumerate() {
                self.send_buffer_bytes = *candidate;
                let trial = self.sendfile(Round { number: 0, warmup: true }, stop)?;
                cpu_s[index] += trial.client_cpu_s + trial.server_cpu_s.unwrap_or(0.0);
            }
        }
        for (cpu_s, candidate) in cpu_s.into_iter().zip(SEND_BUFFERS_BYTES) {
            if cpu_s < best.0 {
                best = (cpu_s, candidate);
            }
        }
        Ok(best.1)
    }

    /// The send buffer that did best with sendfile; `None`: the kernel's own choice.
    pub(crate) fn send_buffer_bytes(&self) -> Option<usize> {
        self.send_buffer_bytes
    }

    /// Sends frames to servers that write what they get.
    pub(crate) fn relay(&self, extra: Extra, round: Round, stop: &Stop) -> Result<PhaseReport, FloorError> {
        let mut lanes = Vec::with_capacity(self.batches.len());
        let mut servers = Vec::with_capacity(self.batches.len());
        for (stream, batches) in self.batches.iter().enumerate() {
            let (peer, accepted) = connect_pair(self.shape.timeout)?;
            let relay = Relay::new(accepted, nameless_file(&self.shape.data_dir)?, extra);
            servers.push(spawn(move || relay.serve())?);
            let template = BatchTemplate::new(self.batch, stream as u32, 0, self.shape.seed);
            lanes.push(ProduceLane {
                peer,
                stream: stream as u32,
                partitions: vec![PARTITION],
                frame: ProduceFrame::new(PRODUCE_VERSION, 1, 0, TOPIC, &template),
                batches_max: *batches,
                ending: if extra == Extra::Answers { Ending::Answers } else { Ending::Close },
            });
        }
        let batch_bytes = lanes.first().map_or(0, |lane| lane.frame.batch_bytes());
        let pace = ProducePace {
            in_flight: self.shape.in_flight as usize,
            duration: None,
            interval: None,
            connections: self.shape.connections,
        };
        let kind = match extra {
            Extra::Nothing => PhaseKind::FloorRelay,
            Extra::Checksum => PhaseKind::FloorChecked,
            Extra::Answers => PhaseKind::FloorAnswered,
        };
        let total_bytes = self.batches.iter().sum::<u64>() * batch_bytes;
        let phase = PhaseName { name: kind.name(), total_bytes: Some(total_bytes) };
        touch_memory(&self.shape.data_dir, total_bytes, stop)?;
        let cpu_s = process_cpu_s();
        let run = produce(phase, stop, lanes, pace);
        let served = join(servers);
        let moved = produce_moved(&run?, batch_bytes, self.batch.records);
        Ok(report(kind, round, &moved, process_cpu_s() - cpu_s, served?))
    }

    /// Fetches from servers that send a file.
    pub(crate) fn sendfile(&self, round: Round, stop: &Stop) -> Result<PhaseReport, FloorError> {
        let mut lanes = Vec::with_capacity(self.warm.len());
        let mut servers = Vec::with_capacity(self.warm.len());
        let fetch_bytes = self.shape.fetch_bytes;
        let mut total_bytes = 0;
        for warm in &self.warm {
            let (peer, accepted) = connect_pair(self.shape.timeout)?;
            let mut server = warm.server(accepted, fetch_bytes, self.send_buffer_bytes)?;
            servers.push(spawn(move || server.serve())?);
            let frame = FetchFrame::new(FETCH_VERSION, TOPIC, fetch_bytes as i32);
            let stretch = Stretch { partition: PARTITION, start: 0, end: warm.records() };
            lanes.push(FetchLane::new(peer, frame, vec![stretch]));
            total_bytes += warm.bytes();
        }
        let kind = PhaseKind::FloorSendfile;
        let phase = PhaseName { name: kind.name(), total_bytes: Some(total_bytes) };
        let cpu_s = process_cpu_s();
        let run = fetch(phase, stop, lanes);
        let served = join(servers);
        let moved = fetch_moved(&run?);
        Ok(report(kind, round, &moved, process_cpu_s() - cpu_s, served?))
    }
}

fn report(kind: PhaseKind, round: Round, moved: &Moved, cpu_s: f64, server_cpu_s: f64) -> PhaseReport {
    PhaseReport {
        // Both sides are threads of this process.
        client_cpu_s: (cpu_s - server_cpu_s).max(0.0),
        server_cpu_s: Some(server_cpu_s),
        ..PhaseReport::new(kind, round, moved)
    }
}

/// A connection over loopback: the client's side and the server's.
fn connect_pair(timeout: Duration) -> Result<(Peer, TcpStream), FloorError> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let peer = Peer::connect(&listener.local_addr()?.to_string(), timeout)?;
    let (accepted, _) = listener.accept()?;
    accepted.set_nodelay(true)?;
    accepted.set_read_timeout(Some(timeout))?;
    accepted.set_write_timeout(Some(timeout))?;
    Ok((peer, accepted))
}

/// A file without a name: whatever ends this process removes it.
fn nameless_file(dir: &Path) -> Result<std::fs::File, FloorError> {
    tempfile::tempfile_in(dir).map_err(|source| FloorError::File { dir: dir.to_path_buf(), source })
}

fn spawn(serve: impl FnOnce() -> Served + Send + 'static) -> io::Result<JoinHandle<Served>> {
    std::thread::Builder::new().name("floor".into()).spawn(serve)
}

/// Processor seconds of all server threads.
fn join(servers: Vec<JoinHandle<Served>>) -> Served {
    let mut cpu_s = 0.0;
    let mut failure = None;
    for server in servers {
        match server.join() {
            Ok(Ok(own_s)) => cpu_s += own_s,
            Ok(Err(error)) => failure = Some(error),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    failure.map_or(Ok(cpu_s), Err)
}

/// The command `floors`.
pub(crate) fn floors(args: &FloorsArgs, stop: &Stop) -> Result<Report, BenchError> {
    let shape = &args.shape;
    let batch = BatchShape::fitting(shape.record_bytes as usize, shape.batch_bytes as usize);
    let encoded_bytes = BatchTemplate::new(batch, 0, 0, 0).bytes().len() as u64;
    let total_batches = args.total_bytes.div_ceil(encoded_bytes);
    let floors = Floors::prepare(shape, batch, total_batches, shape.connections as usize, stop)?;
    let mut primitives = Primitives::prepare(args, stop).map_err(FloorError::from)?;
    let mut phases = Vec::new();
    for number in 1..=args.rounds {
        let round = Round { number, warmup: false };
        for extra in [Extra::Nothing, Extra::Checksum, Extra::Answers] {
            phases.push(floors.relay(extra, round, stop)?);
        }
        phases.push(floors.sendfile(round, stop)?);
        primitives.round(number, &Progress::new(primitives::TURNS))?;
    }
    let (summaries, ratios) = summarize(&phases);
    Ok(Report {
        head: Head::of("floors"),
        machine: Machine::probe(&shape.data_dir),
        parameters: serde_json::to_value(args).unwrap_or_default(),
        records_per_batch: batch.records,
        encoded_batch_bytes: encoded_bytes,
        floor_send_buffer_bytes: floors.send_buffer_bytes(),
        verified: None,
        phases,
        summaries,
        ratios,
        groups: primitives.finish(),
    })
}
