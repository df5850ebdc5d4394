//! One round of a workload: its spans, one after the other, and the phases that come of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::admin::{Admin, FETCH, PRODUCE};
use crate::batch::Noise;
use crate::error::BenchError;
use crate::generator::RunOptions;
use crate::generator::coordinate::{Expected, Span, Spanned, watched};
use crate::generator::fetch_session::{FetchSession, Position};
use crate::generator::group::GroupMembers;
use crate::generator::keys::keyed_batches;
use crate::generator::lane::Lane;
use crate::generator::payload::{Payload, RequestKind, RequestTemplate};
use crate::generator::read_back::Sent;
use crate::generator::reader::Reader;
use crate::generator::recorder::Recorder;
use crate::generator::schedule::Schedule;
use crate::generator::socket::Socket;
use crate::generator::span::{Clock, Figures, Plan};
use crate::generator::topics::Topics;
use crate::generator::usage::Watched;
use crate::generator::verdict::{Client, client_limited};
use crate::generator::worker::Worker;
use crate::result::run::{Phase, PhaseKind, Usage};
use crate::stop::Stop;
use crate::target::spread;
use crate::workload::{Consumers, From, Rate, Workload};

/// All requests that are kept encoded, together, at most.
const TEMPLATE_BYTES_MAX: usize = 256 << 20;
/// Keyed batches of a connection at most; at least two, whatever they take.
const KEYED_BATCHES_MAX: usize = 256;
/// A step of a ramp that took so much longer than planned, or fell so much behind, was not kept up with.
const KEPT_UP: f64 = 0.95;

/// A round under way.
pub(crate) struct Round<'a> {
    workload: &'a Workload,
    options: &'a RunOptions,
    stop: &'a Stop,
    clock: Clock,
    origin_ms: i64,
    number: u32,
    topics: &'a Topics,
    /// When the round began.
    began: Duration,
    /// The next connection's number.
    streams: u32,
    /// Batches sent so far.
    pub(crate) sent: Sent,
    sent_records: u64,
    sent_bytes: u64,
    pub(crate) phases: Vec<Phase>,
}

/// A span to be run.
struct Plans<'a> {
    name: String,
    schedule: Schedule,
    /// How long the part that counts is planned to be.
    planned: Duration,
    bytes_max: u64,
    rate: Option<f64>,
    consumers: &'a [Consumers],
    /// Where those that begin at the start begin.
    from_start: bool,
}

impl<'a> Round<'a> {
    pub(crate) fn new(
        workload: &'a Workload,
        options: &'a RunOptions,
        stop: &'a Stop,
        clock: Clock,
        number: u32,
        topics: &'a Topics,
    ) -> Self {
        let began = clock.now();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            workload,
            options,
            stop,
            clock,
            origin_ms: since_epoch.saturating_sub(began).as_millis() as i64,
            number,
            topics,
            began,
            streams: 0,
            sent: Sent::new(),
            sent_records: 0,
            sent_bytes: 0,
            phases: Vec::new(),
        }
    }

    /// Runs all spans.
    pub(crate) fn spans(&mut self, admin: &mut Admin) -> Result<(), BenchError> {
        let workload = self.workload;
        if let Some(fill) = workload.fill {
            let plans = Plans {
                name: "fill".into(),
                schedule: Schedule::at_once(),
                planned: Duration::from_secs(10),
                bytes_max: fill.bytes.0,
                rate: None,
                consumers: &[],
                from_start: false,
            };
            self.span(admin, plans)?;
        }
        if workload.consumers.iter().any(|set| set.cold) {
            self.options.evict()?;
        }
        let records = workload.producers.batch_records;
        let (warmup, duration) = (workload.warmup.0, workload.duration.0);
        // Consumers that only drain have no warm-up.
        let warmup = if duration.is_zero() { Duration::ZERO } else { warmup };
        let bytes_max = workload.bytes_max.0.saturating_sub(self.sent_bytes);
        let plans = |name: &str, rate: Rate, warmup, from_start| Plans {
            name: name.to_owned(),
            schedule: Schedule::new(rate, records, warmup, duration),
            planned: duration,
            bytes_max,
            rate: mean_rate(rate),
            consumers: &workload.consumers,
            from_start,
        };
        match workload.producers.rate {
            Rate::Ramp { from_records_per_s, factor, steps_max } => {
                let mut rate = from_records_per_s;
                for step in 1..=steps_max {
                    let fixed = Rate::Fixed { records_per_s: rate };
                    let warmup = if step == 1 { warmup } else { Duration::ZERO };
                    let plans = plans(&format!("ramp-{step}"), fixed, warmup, step == 1);
                    let elapsed = self.span(admin, plans)?;
                    if duration.as_secs_f64() < KEPT_UP * elapsed.as_secs_f64() {
                        break;
                    }
                    rate *= factor;
                }
                Ok(())
            }
            rate @ Rate::Burst { .. } => self.span(admin, plans("burst", rate, warmup, true)).map(drop),
            rate if duration.is_zero() => self.span(admin, plans("drain", rate, warmup, true)).map(drop),
            rate => self.span(admin, plans("steady", rate, warmup, true)).map(drop),
        }
    }

    /// Runs one span; returns how long its producing took.
    fn span(&mut self, admin: &mut Admin, plans: Plans<'_>) -> Result<Duration, BenchError> {
        let workload = self.workload;
        let producers = &workload.producers;
        let request = RequestKind {
            version: admin.version(PRODUCE)?,
            acks: producers.acks.code(),
            timeout_ms: self.options.timeout.as_millis().min(i32::MAX as u128) as i32,
        };
        let lanes = self.lanes(request)?;
        let topics = self.topics;
        let plan = Plan {
            clock: self.clock,
            stop: self.stop,
            topics: &topics.names,
            slots: &topics.slots,
            schedule: plans.schedule.clone(),
            request,
            records: producers.batch_records,
            in_flight: producers.in_flight as usize,
            lanes: lanes.len() as u64,
            bytes_max: plans.bytes_max,
            timeout: self.options.timeout,
            origin_ms: self.origin_ms,
            watched: watched(),
        };
        let (readers, groups, expected) = self.consumers(admin, &plans)?;
        let threads = threads(lanes.len() + readers.len());
        let mut workers: Vec<Worker> = Vec::new();
        workers.resize_with(threads, || Worker { lanes: Vec::new(), readers: Vec::new() });
        for (index, lane) in lanes.into_iter().enumerate() {
            workers[index % threads].lanes.push(lane);
        }
        // From the other end: with one of each, they do not share a thread.
        for (index, reader) in readers.into_iter().enumerate() {
            workers[threads - 1 - index % threads].readers.push(reader);
        }
        let span = Span {
            name: format!("{} {}", plans.name, self.number),
            plan: &plan,
            watched: &Watched {
                broker_pids: self.options.broker_pids.clone(),
                data_dir: self.options.data_dir.clone(),
            },
            workers,
            groups,
            expected,
            drain_max: workload.drain_max.0,
            figures: Figures::new(&plans.schedule, plans.planned, plans.consumers.len()),
        };
        let spanned = span.run()?;
        self.streams += plan.lanes as u32;
        for (key, batches) in &spanned.figures.sent {
            *self.sent.entry(*key).or_insert(0) += batches;
        }
        self.sent_records += spanned.records;
        let produce = &spanned.figures.produce;
        self.sent_bytes += produce.warmup.bytes + produce.counted.bytes;
        let elapsed = produce.counted.ended;
        self.report(&plans, &spanned, threads);
        Ok(elapsed)
    }

    fn lanes(&self, request: RequestKind) -> Result<Vec<Lane>, BenchError> {
        let producers = &self.workload.producers;
        let payload = Payload::of(producers);
        let keyed = producers.keys != crate::workload::Keys::None;
        let connections = producers.connections as usize;
        let places = self.topics.places();
        let shares = spread(&places, connections, true)?;
        let topic = &self.topics.names[0];
        let mut lanes = Vec::with_capacity(connections);
        let frame_bytes = (producers.record_bytes.0 as usize + 24) * payload.records as usize;
        let batches_max = (TEMPLATE_BYTES_MAX / connections / frame_bytes).clamp(2, KEYED_BATCHES_MAX);
        for (index, share) in shares.into_iter().enumerate() {
            let stream = self.streams + index as u32;
            let seed = self.workload.seed ^ (u64::from(stream) << 32);
            let mut noise = Noise::new(seed);
            let mut template =
                |keys: &[u64]| RequestTemplate::new(request, &payload, topic, stream, keys, &mut noise);
            // A connection with keys serves every partition of its leader: keys decide.
            let slots: Vec<usize> = if keyed {
                (0..places.len()).filter(|slot| places[*slot].address == share.address).collect()
            } else {
                share.slots
            };
            let batches = keyed_batches(producers.keys, slots.len(), payload.records, batches_max, seed);
            let templates: Vec<_> = if keyed {
                batches.iter().map(|batch| (Some(batch.place), template(&batch.keys))).collect()
            } else {
                vec![(None, template(&[]))]
            };
            if templates.is_empty() {
                return Err(BenchError::Options {
                    what: "no batch fills up with keys of one partition".into(),
                    advice: "use more keys, fewer partitions or smaller batches",
                });
            }
            let socket = Socket::connect(&share.address, self.options.timeout)?;
            lanes.push(Lane::new(socket, stream, index as u64, slots, templates));
        }
        Ok(lanes)
    }

    #[allow(clippy::type_complexity)]
    fn consumers(
        &self,
        admin: &mut Admin,
        plans: &Plans<'_>,
    ) -> Result<(Vec<Reader>, Vec<GroupMembers>, Vec<Expected>), BenchError> {
        let (mut readers, mut groups, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        if plans.consumers.is_empty() {
            return Ok((readers, groups, expected));
        }
        let version = admin.version(FETCH)?;
        let ends = self.ends(admin)?;
        let places = self.topics.places();
        for (set, consumers) in plans.consumers.iter().enumerate() {
            let at_start = plans.from_start && consumers.from == From::Start;
            let before = if at_start { self.sent_records } else { 0 };
            expected.push(Expected { before, copies: u64::from(consumers.sets) });
            for copy in 0..consumers.sets {
                if consumers.group {
                    groups.push(GroupMembers {
                        set,
                        group: format!("{}-{set}-{copy}", self.topics.names[0]),
                        members: consumers.connections,
                        broker: self.options.broker.clone(),
                        fetch_bytes: consumers.fetch_bytes.0,
                        fetch_wait: consumers.fetch_wait.0,
                    });
                    continue;
                }
                let shares = spread(&places, consumers.connections as usize, false)?;
                let rate = consumers.records_per_s_max.map(|rate| rate / shares.len() as f64);
                for share in shares {
                    let positions = share.slots.iter().map(|place| Position {
                        topic: self.topics.slots[*place].topic,
                        partition: self.topics.slots[*place].partition,
                        offset: if at_start { 0 } else { ends[*place] },
                    });
                    let mut positions: Vec<Position> = positions.collect();
                    positions.sort_unstable_by_key(|at| (at.topic, at.partition));
                    let session = FetchSession::new(
                        version,
                        &self.topics.names,
                        positions,
                        consumers.fetch_wait.0,
                        consumers.fetch_bytes.0,
                    );
                    let socket = Socket::connect(&share.address, self.options.timeout)?;
                    readers.push(Reader::new(socket, session, set, rate));
                }
            }
        }
        Ok((readers, groups, expected))
    }

    /// Where each slot ends: what was sent there is all that there is.
    fn ends(&self, admin: &mut Admin) -> Result<Vec<i64>, BenchError> {
        if self.sent.is_empty() {
            return Ok(vec![0; self.topics.slots.len()]);
        }
        Ok(self.topics.ends(admin)?)
    }

    fn report(&mut self, plans: &Plans<'_>, spanned: &Spanned, threads: usize) {
        let figures = &spanned.figures;
        let began = spanned.began.saturating_sub(self.began);
        let warmup = plans.schedule.warmup();
        let latency_of_sends = self.workload.producers.acks.code() != 0;
        let mut parts = vec![(PhaseKind::Produce, String::new(), &figures.produce)];
        for (consumers, (consume, end_to_end)) in plans.consumers.iter().zip(&figures.sets) {
            parts.push((PhaseKind::Consume, consumers.label.clone(), consume));
            parts.push((PhaseKind::EndToEnd, consumers.label.clone(), end_to_end));
        }
        for warm in [true, false] {
            let usage = if warm { spanned.usage.0 } else { spanned.usage.1 };
            for (kind, label, parts) in &parts {
                let recorder = if warm { &parts.warmup } else { &parts.counted };
                if recorder.records == 0 {
                    continue;
                }
                let paced = plans.rate.is_some() && *kind == PhaseKind::Produce;
                let client = Client {
                    self_check: self.options.self_check.filter(|_| *kind == PhaseKind::Produce),
                    lag: &figures.lag,
                    paced: paced && latency_of_sends,
                    cpu_s: usage.client_cpu_s,
                    threads,
                };
                let mut phase = phase(*kind, recorder, usage, &client);
                phase.span.clone_from(&plans.name);
                phase.label.clone_from(label);
                phase.round = self.number;
                // What is filled in is no figure of the workload, but that of its own span.
                phase.warmup = warm;
                phase.began_s = if warm { began } else { began + warmup }.as_secs_f64();
                phase.target_records_per_s = plans.rate.filter(|_| *kind == PhaseKind::Produce);
                self.phases.push(phase);
            }
        }
    }
}

/// Of bursts the mean; `None`: as fast as possible.
fn mean_rate(rate: Rate) -> Option<f64> {
    match rate {
        Rate::Max => None,
        Rate::Fixed { records_per_s } => Some(records_per_s),
        Rate::Ramp { from_records_per_s, .. } => Some(from_records_per_s),
        Rate::Burst { base_records_per_s, peak_factor, peak, period } => {
            let share = peak.as_secs_f64() / period.as_secs_f64();
            Some(base_records_per_s * (1.0 + (peak_factor - 1.0) * share))
        }
    }
}

/// As many as there are processors: more would only take turns.
pub(crate) fn threads(connections: usize) -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(connections).max(1)
}

fn phase(kind: PhaseKind, recorder: &Recorder, usage: Usage, client: &Client<'_>) -> Phase {
    // The clock's own grain: nothing is faster than that.
    let elapsed_s = recorder.ended.max(Duration::from_nanos(1)).as_secs_f64();
    let records_per_s = recorder.records as f64 / elapsed_s;
    let latency = recorder.summary();
    let why = client_limited(client, records_per_s, elapsed_s, latency.as_ref());
    Phase {
        kind,
        span: String::new(),
        label: String::new(),
        round: 0,
        warmup: false,
        began_s: 0.0,
        records: recorder.records,
        bytes: recorder.bytes,
        elapsed_s,
        target_records_per_s: None,
        records_per_s,
        mb_per_s: recorder.bytes as f64 / 1e6 / elapsed_s,
        latency,
        over_time: recorder.over_time(),
        usage,
        client_limited: !why.is_empty(),
        client_limited_why: why,
    }
}
