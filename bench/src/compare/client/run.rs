//! One workload against a peer with a protocol of its own: fill, then senders and readers side by side.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::tally::Odd;
use super::traffic::{Reader, Recorded, Traffic, lock};
use super::{ClientError, Protocol};
use crate::compare::peers::LoadPlace;
use crate::compare::process::tree;
use crate::compare::usage::Meter;
use crate::generator::recorder::Recorder;
use crate::generator::schedule::{Due, Schedule};
use crate::result::run::{Phase, PhaseKind, Usage, Verified};
use crate::stop::Stop;
use crate::workload::{Codec, Keys, Rate, Workload};

/// Threads of the libraries' runtime.
const WORKERS: usize = 2;
/// Requests that are due and wait for room; the time they wait counts.
const DUE_QUEUE: usize = 65_536;
/// A fill, and a span without a rate, are planned as so long where nothing else is said.
const FILL_PLANNED: Duration = Duration::from_secs(10);
/// The kernel's slack for wake-ups of the thread that keeps the schedule.
const TIMER_SLACK_NS: u64 = 1_000;
/// How often it is looked at whether the user stopped the run.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnRunError {
    /// The workload has something that these clients do not do.
    #[error("these clients have no {0}")]
    Beyond(&'static str),
    /// A library.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was read is not what was sent.
    #[error("reading gave {0}: do not use these figures")]
    Wrong(#[from] Odd),
    /// Records are missing.
    #[error("{missing} of {sent} acknowledged records were not read within {limit_s} s: no figures")]
    Missing {
        /// Not read.
        missing: u64,
        /// Acknowledged.
        sent: u64,
        /// The limit.
        limit_s: f64,
    },
    /// No threads.
    #[error("the clients' threads cannot be started: {0}")]
    Threads(#[from] std::io::Error),
    /// The user.
    #[error("interrupted")]
    Interrupted,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct OwnRun {
    /// In order.
    pub(crate) phases: Vec<Phase>,
    /// What was read back.
    pub(crate) verified: Verified,
}

/// Runs it, with streams of its own, which stay if `keep`.
pub(crate) fn run<P: Protocol>(workload: &Workload, place: &LoadPlace<'_>) -> Result<OwnRun, OwnRunError> {
    check(workload)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let load = Load::<P>::new(workload, &place.running.address, place.stop);
        tokio::select! {
            outcome = load.run(place) => outcome,
            () = interrupted(place.stop) => Err(OwnRunError::Interrupted),
        }
    });
    // A library's task may wait for a broker that is gone.
    runtime.shutdown_timeout(STOP_POLL);
    outcome
}

/// How many records the streams of a workload hold.
pub(crate) fn count<P: Protocol>(workload: &Workload, address: &str) -> Result<u64, OwnRunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let streams: Vec<u32> = (0..workload.partitions).collect();
    let mut found = 0;
    runtime.block_on(P::at(address).consume(&streams, |record| {
        found += u64::from(record.is_some());
        // Silence is the end: nobody sends.
        record.is_some()
    }))?;
    runtime.shutdown_timeout(STOP_POLL);
    Ok(found)
}

async fn interrupted(stop: &Stop) {
    while !stop.interrupted() {
        tokio::time::sleep(STOP_POLL).await;
    }
}

fn check(workload: &Workload) -> Result<(), OwnRunError> {
    let beyond = |is: bool, what| if is { Err(OwnRunError::Beyond(what)) } else { Ok(()) };
    let producers = &workload.producers;
    beyond(workload.topics != 1 || workload.rounds != 1, "several topics or rounds")?;
    beyond(workload.fill.is_some() && !workload.duration.0.is_zero(), "fill beside a timed part")?;
    beyond(producers.keys != Keys::None, "keys")?;
    beyond(producers.compression != Codec::None, "compression")?;
    beyond(!matches!(producers.rate, Rate::Max | Rate::Fixed { .. }), "rates that change")?;
    beyond(workload.consumers.len() > 1 || workload.consumers.iter().any(|set| set.sets != 1), "fan-out")?;
    beyond(workload.consumers.iter().any(|set| set.group || set.cold), "groups or cold readers")
}

struct Load<'a, P> {
    protocol: P,
    workload: &'a Workload,
    stop: Stop,
    shared: Arc<Traffic>,
}

impl<'a, P: Protocol> Load<'a, P> {
    fn new(workload: &'a Workload, address: &str, stop: &Stop) -> Self {
        let producers = &workload.producers;
        let shared = Traffic::new(producers.record_bytes.0, producers.batch_records, workload.seed);
        let shared = Arc::new(shared);
        Self { protocol: P::at(address), workload, stop: stop.clone(), shared }
    }

    async fn run(self, place: &LoadPlace<'_>) -> Result<OwnRun, OwnRunError> {
        let partitions = self.workload.partitions;
        self.protocol.create(partitions).await?;
        let mut lanes = Vec::new();
        for connection in 0..self.workload.producers.connections {
            let streams = streams_of(connection, self.workload.producers.connections, partitions);
            lanes.push((self.protocol.sender(&streams).await?, streams));
        }
        let meter = || Meter::start(tree(place.running.process.id()), Some(place.data));
        let mut phases = Vec::new();
        if let Some(fill) = self.workload.fill {
            let batches = fill.bytes.0.div_ceil(self.shared.batch_bytes());
            let meter = meter();
            let began = self.shared.now();
            let recorded = self.until(&lanes, began, Duration::MAX, batches).await?;
            let usage = meter.finish();
            phases.push(self.phase(PhaseKind::Produce, "fill", began, None, &lock(&recorded), usage));
        }
        let has_steady = !self.workload.duration.0.is_zero();
        let meter = Arc::new(Mutex::new(meter()));
        let began = self.shared.now();
        let warmup = if has_steady { self.workload.warmup.0 } else { Duration::ZERO };
        let count_from = began + warmup;
        let planned = if has_steady { self.workload.duration.0 } else { FILL_PLANNED };
        let consumed = Arc::new(Mutex::new(Recorder::new(planned)));
        let end_to_end = Arc::new(Mutex::new(Recorder::new(planned)));
        let end = count_from + planned + self.workload.drain_max.0;
        let has_readers = !self.workload.consumers.is_empty();
        let reading =
            if has_readers { self.read(count_from, end, &consumed, &end_to_end) } else { JoinSet::new() };
        if !warmup.is_zero() {
            // What the warm-up uses is no part of the figures.
            let behind_it = meter.clone();
            tokio::spawn(async move {
                tokio::time::sleep(warmup).await;
                lock(&behind_it).restart();
            });
        }
        let mut produced = None;
        if has_steady {
            produced = Some(self.steady(&lanes, began, count_from).await?);
        }
        self.shared.senders_end();
        join(reading).await?;
        let usage = lock(&meter).finish();
        let rate = match self.workload.producers.rate {
            Rate::Fixed { records_per_s } => Some(records_per_s),
            _ => None,
        };
        if let Some(produced) = produced {
            phases.push(self.phase(PhaseKind::Produce, "steady", count_from, rate, &lock(&produced), usage));
        }
        if has_readers {
            phases.push(self.phase(PhaseKind::Consume, "steady", count_from, None, &lock(&consumed), usage));
            if has_steady {
                phases.push(self.phase(
                    PhaseKind::EndToEnd,
                    "steady",
                    count_from,
                    None,
                    &lock(&end_to_end),
                    usage,
                ));
            }
        } else {
            // Nobody read in the timed part: read everything now, not timed.
            join(self.read(
                count_from,
                self.shared.now() + self.workload.drain_max.0,
                &consumed,
                &end_to_end,
            ))
            .await?;
        }
        let acknowledged = self.shared.acknowledged();
        let count = self.shared.count();
        if count < acknowledged {
            return Err(OwnRunError::Missing {
                missing: acknowledged - count,
                sent: acknowledged,
                limit_s: self.workload.drain_max.as_secs_f64(),
            });
        }
        drop(lanes);
        if !place.keep {
            self.protocol.delete(partitions).await?;
        }
        let bytes = count * self.shared.record_bytes();
        let verified = Verified { records: count, batches: None, bytes, checksums: false, order: false };
        Ok(OwnRun { phases, verified })
    }

    /// Reads all streams from the first record on, over the connections of the set.
    fn read(
        &self,
        count_from: Duration,
        end: Duration,
        consumed: &Recorded,
        end_to_end: &Recorded,
    ) -> JoinSet<Result<(), OwnRunError>> {
        // Without a set of its own, one connection reads for the check.
        let connections = self.workload.consumers.first().map_or(1, |set| set.connections);
        let mut reading = JoinSet::new();
        for connection in 0..connections.min(self.workload.partitions) {
            let streams = streams_of(connection, connections, self.workload.partitions);
            let (protocol, shared) = (self.protocol.clone(), self.shared.clone());
            let (consumed, end_to_end) = (consumed.clone(), end_to_end.clone());
            let mut reader = Reader::new(count_from, end, consumed, end_to_end);
            reading.spawn(async move {
                protocol.consume(&streams, |record| shared.take(record, &mut reader)).await?;
                Ok(reader.finish()?)
            });
        }
        reading
    }

    async fn steady(
        &self,
        lanes: &[(P::Sender, Vec<u32>)],
        began: Duration,
        count_from: Duration,
    ) -> Result<Recorded, OwnRunError> {
        let end = count_from + self.workload.duration.0;
        match self.workload.producers.rate {
            Rate::Fixed { .. } => self.on_schedule(lanes, began, count_from).await,
            _ => {
                let left = self.workload.bytes_max.0 / self.shared.batch_bytes();
                self.until(lanes, count_from, end, left).await
            }
        }
    }

    /// Closed loop: as many requests in flight as allowed, until a time or a number of batches.
    async fn until(
        &self,
        lanes: &[(P::Sender, Vec<u32>)],
        count_from: Duration,
        end: Duration,
        batches: u64,
    ) -> Result<Recorded, OwnRunError> {
        let planned = if end == Duration::MAX { FILL_PLANNED } else { self.workload.duration.0 };
        let recorded = Arc::new(Mutex::new(Recorder::new(planned)));
        let left = Arc::new(AtomicU64::new(batches));
        let mut sending = JoinSet::new();
        for (sender, streams) in lanes {
            for slot in 0..self.workload.producers.in_flight {
                let (sender, streams) = (sender.clone(), streams.clone());
                let (shared, recorded, left) = (self.shared.clone(), recorded.clone(), left.clone());
                sending.spawn(async move {
                    let mut turn = slot as usize;
                    while shared.now() < end
                        && left
                            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                            .is_ok()
                    {
                        let stream = streams[turn % streams.len()];
                        turn += 1;
                        let due = shared.now();
                        shared.send(&sender, stream, due, count_from, &recorded).await?;
                    }
                    Ok(())
                });
            }
        }
        join(sending).await?;
        Ok(recorded)
    }

    /// Open loop: a thread says when a request is due, whatever the broker does.
    async fn on_schedule(
        &self,
        lanes: &[(P::Sender, Vec<u32>)],
        began: Duration,
        count_from: Duration,
    ) -> Result<Recorded, OwnRunError> {
        let producers = &self.workload.producers;
        let schedule = Schedule::new(
            producers.rate,
            producers.batch_records,
            self.workload.warmup.0,
            self.workload.duration.0,
        );
        let recorded = Arc::new(Mutex::new(Recorder::new(self.workload.duration.0)));
        let mut sending = JoinSet::new();
        let mut queues = Vec::new();
        for (sender, streams) in lanes {
            let (queue, mut due) = mpsc::channel::<Duration>(DUE_QUEUE);
            queues.push(queue);
            let (sender, streams) = (sender.clone(), streams.clone());
            let (shared, recorded) = (self.shared.clone(), recorded.clone());
            let room = Arc::new(Semaphore::new(producers.in_flight as usize));
            sending.spawn(async move {
                let mut requests = JoinSet::new();
                let mut turn = 0;
                while let Some(due) = due.recv().await {
                    // Never closed.
                    let Ok(place) = room.clone().acquire_owned().await else { break };
                    let stream = streams[turn % streams.len()];
                    turn += 1;
                    let (sender, shared, recorded) = (sender.clone(), shared.clone(), recorded.clone());
                    requests.spawn(async move {
                        let outcome = shared.send(&sender, stream, due, count_from, &recorded).await;
                        drop(place);
                        outcome
                    });
                    while let Some(done) = requests.try_join_next() {
                        joined(done)??;
                    }
                }
                while let Some(done) = requests.join_next().await {
                    joined(done)??;
                }
                Ok(())
            });
        }
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        let pacer = std::thread::Builder::new().name("schedule".into()).spawn(move || {
            // Without it, requests only start a little later.
            let _ = nix::sys::prctl::set_timerslack(TIMER_SLACK_NS);
            for index in 0.. {
                let Due::At(at) = schedule.due(index) else { return };
                let due = began + at;
                if let Some(wait) = due.checked_sub(shared.now()) {
                    std::thread::sleep(wait);
                }
                let queue = &queues[(index % queues.len() as u64) as usize];
                if stop.interrupted() || queue.blocking_send(due).is_err() {
                    return;
                }
            }
        })?;
        let outcome = join(sending).await;
        // Its queues are closed or it is through.
        let _ = pacer.join();
        outcome?;
        Ok(recorded)
    }

    fn phase(
        &self,
        kind: PhaseKind,
        span: &str,
        began: Duration,
        target_records_per_s: Option<f64>,
        recorded: &Recorder,
        usage: Usage,
    ) -> Phase {
        let elapsed_s = recorded.ended.as_secs_f64().max(1e-9);
        let why = client_limited(target_records_per_s, &usage);
        Phase {
            kind,
            span: span.to_string(),
            label: String::new(),
            round: 1,
            warmup: false,
            began_s: began.as_secs_f64(),
            records: recorded.records,
            bytes: recorded.bytes,
            elapsed_s,
            target_records_per_s,
            records_per_s: recorded.records as f64 / elapsed_s,
            mb_per_s: recorded.bytes as f64 / 1e6 / elapsed_s,
            latency: recorded.summary(),
            over_time: recorded.over_time(),
            usage,
            client_limited: !why.is_empty(),
            client_limited_why: why,
        }
    }
}

/// Why the client may have been the limit; empty if nothing speaks for it. At a fixed rate none is.
fn client_limited(target_records_per_s: Option<f64>, usage: &Usage) -> String {
    match (target_records_per_s, usage.broker_cpu_s) {
        (None, Some(broker_cpu_s)) if usage.client_cpu_s > broker_cpu_s => format!(
            "the client used {:.2} s of processor time, the broker {broker_cpu_s:.2} s",
            usage.client_cpu_s
        ),
        _ => String::new(),
    }
}

/// Streams of one of several connections: shared out, or one each where connections are more.
fn streams_of(connection: u32, connections: u32, streams: u32) -> Vec<u32> {
    if connections <= streams {
        (connection..streams).step_by(connections as usize).collect()
    } else {
        vec![connection % streams]
    }
}

/// A task that panicked goes on doing so here.
fn joined<T>(done: Result<T, tokio::task::JoinError>) -> Result<T, ClientError> {
    done.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => ClientError { during: "sending", what: error.to_string() },
    })
}

async fn join(mut tasks: JoinSet<Result<(), OwnRunError>>) -> Result<(), OwnRunError> {
    while let Some(done) = tasks.join_next().await {
        joined(done)??;
    }
    Ok(())
}
