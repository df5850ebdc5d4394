//! The command `load`: rounds of producing, fetching and verifying, with or without floors.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::admin::{Admin, End, FETCH, PRODUCE};
use crate::batch::{BatchShape, BatchTemplate};
use crate::cli::{Acks, LoadArgs, Mode};
use crate::error::BenchError;
use crate::fetch_frame::FetchFrame;
use crate::fetcher::{FetchLane, FetchOutcome, Stretch, fetch};
use crate::floor::{Extra, Floors, touch_memory};
use crate::latency::Latencies;
use crate::machine::{Machine, ProcessUse, process_cpu_s};
use crate::peer::Peer;
use crate::phase::{PhaseName, PhaseRun};
use crate::produce_frame::ProduceFrame;
use crate::producer::{Ending, ProduceLane, ProduceOutcome, ProducePace, produce};
use crate::report::{Moved, PhaseKind, PhaseReport, Report, Round, summarize};
use crate::result::figures::Head;
use crate::stop::Stop;
use crate::target::{Share, Target, split, spread};
use crate::verify::{Check, Sent, Verified, VerifyError, await_ends, verify};

/// Rounds that count, with floors and without.
const ROUNDS_WITH_FLOORS: u32 = 3;
const ROUNDS_ALONE: u32 = 1;
/// All templates together at most.
const TEMPLATE_BYTES_MAX: u64 = 4 << 30;
/// What the verifying pass asks for at once, unless a batch is larger.
const VERIFY_FETCH_BYTES: u64 = 4 << 20;

/// Runs all rounds.
pub(crate) fn load(args: &LoadArgs, stop: &Stop) -> Result<Report, BenchError> {
    let run = LoadRun::new(args, stop)?;
    let default_rounds = if args.floors { ROUNDS_WITH_FLOORS } else { ROUNDS_ALONE };
    let counted = args.rounds.unwrap_or(default_rounds);
    let rounds = args.warmup_rounds + counted;
    let mut floors = None;
    let mut phases = Vec::new();
    let mut verified = Verified::default();
    for number in 1..=rounds {
        let round = Round { number, warmup: number <= args.warmup_rounds };
        let mut admin = Admin::connect(args.broker(), args.shape.timeout)?;
        let target = Target::open(&mut admin, args, round, rounds, run.encoded_bytes as usize)?;
        let outcome = run.round(round, &target, &mut admin, &mut floors, &mut phases);
        // The topic goes even if the round failed; then its failure is what matters.
        let closed = Admin::connect(args.broker(), args.shape.timeout)
            .map_err(BenchError::from)
            .and_then(|mut admin| target.close(&mut admin, args.keep_topic));
        let read = outcome?;
        closed?;
        verified.records += read.records;
        verified.batches += read.batches;
        verified.batch_bytes += read.batch_bytes;
    }
    let (summaries, ratios) = summarize(&phases);
    Ok(Report {
        head: Head::of("load"),
        machine: Machine::probe(&args.shape.data_dir),
        parameters: serde_json::to_value(args).unwrap_or_default(),
        records_per_batch: run.batch.records,
        encoded_batch_bytes: run.encoded_bytes,
        floor_send_buffer_bytes: floors.as_ref().and_then(Floors::send_buffer_bytes),
        verified: Some(verified),
        phases,
        summaries,
        ratios,
        groups: Vec::new(),
    })
}

struct LoadRun<'a> {
    args: &'a LoadArgs,
    stop: &'a Stop,
    batch: BatchShape,
    encoded_bytes: u64,
    timestamp_ms: i64,
}

/// Of a round's producing: what was sent, and where it lies.
struct Produced {
    sent: Sent,
    stretches: Vec<Stretch>,
}

impl<'a> LoadRun<'a> {
    fn new(args: &'a LoadArgs, stop: &'a Stop) -> Result<Self, BenchError> {
        let shape = &args.shape;
        if args.rate.is_some() && args.mode == Mode::Fetch {
            return Err(BenchError::Options {
                what: "--rate is the rate of producing".to_string(),
                advice: "leave it out in mode fetch",
            });
        }
        let batch = BatchShape::fitting(shape.record_bytes as usize, shape.batch_bytes as usize);
        let encoded_bytes = BatchTemplate::new(batch, 0, 0, 0).bytes().len() as u64;
        if encoded_bytes * u64::from(shape.connections) > TEMPLATE_BYTES_MAX {
            return Err(BenchError::Options {
                what: "each connection holds a batch, and all of them are more than 4 GiB".into(),
                advice: "use fewer --connections or smaller --batch-bytes",
            });
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp_ms = since_epoch.as_millis() as i64;
        Ok(Self { args, stop, batch, encoded_bytes, timestamp_ms })
    }

    fn round(
        &self,
        round: Round,
        target: &Target,
        admin: &mut Admin,
        floors: &mut Option<Floors<'a>>,
        phases: &mut Vec<PhaseReport>,
    ) -> Result<Verified, BenchError> {
        let fetch_shares = self.spread(target, false)?;
        if self.args.floors && floors.is_none() {
            let shape = &self.args.shape;
            let batches = self.total_batches();
            *floors = Some(Floors::prepare(shape, self.batch, batches, fetch_shares.len(), self.stop)?);
        }
        let produced = if self.args.mode == Mode::Fetch {
            None
        } else {
            if let Some(floors) = floors {
                phases.push(floors.relay(Extra::Nothing, round, self.stop)?);
                phases.push(floors.relay(Extra::Answers, round, self.stop)?);
            }
            let (report, produced) = self.produce(round, target, admin)?;
            phases.push(report);
            Some(produced)
        };
        let (sent, stretches) = match produced {
            Some(produced) => (Some(produced.sent), produced.stretches),
            None => (None, self.whole_topic(target, admin)?),
        };
        if self.args.mode != Mode::Produce {
            if let Some(floors) = floors {
                phases.push(floors.sendfile(round, self.stop)?);
            }
            phases.push(self.fetch(round, target, admin, &fetch_shares, &stretches)?);
        }
        let verify_bytes = VERIFY_FETCH_BYTES.max(self.encoded_bytes) as i32;
        let check = Check {
            leaders: &target.leaders,
            stretches: &stretches,
            sent,
            records_per_batch: self.batch.records,
            frame: FetchFrame::new(admin.version(FETCH)?, &target.topic, verify_bytes),
        };
        Ok(verify(check, self.stop, self.args.shape.timeout)?)
    }

    fn total_batches(&self) -> u64 {
        self.args.total_bytes.div_ceil(self.encoded_bytes)
    }

    fn spread(&self, target: &Target, sharing: bool) -> Result<Vec<Share>, BenchError> {
        spread(&target.leaders, self.args.shape.connections as usize, sharing)
    }

    fn whole_topic(&self, target: &Target, admin: &mut Admin) -> Result<Vec<Stretch>, BenchError> {
        let starts = admin.offsets(&target.topic, &target.leaders, End::Earliest)?;
        let ends = admin.offsets(&target.topic, &target.leaders, End::Latest)?;
        if starts == ends {
            return Err(BenchError::Options {
                what: format!("topic {} holds no records", target.topic),
                advice: "produce some first, or use --mode both",
            });
        }
        Ok(stretches(target, &starts, &ends))
    }

    fn produce(
        &self,
        round: Round,
        target: &Target,
        admin: &mut Admin,
    ) -> Result<(PhaseReport, Produced), BenchError> {
        let args = self.args;
        let starts = admin.offsets(&target.topic, &target.leaders, End::Latest)?;
        let lanes = self.produce_lanes(target, admin)?;
        let connections = lanes.len() as u32;
        let interval = args.rate.map(|rate| {
            let requests_per_s = rate / f64::from(self.batch.records);
            Duration::from_secs_f64(f64::from(connections) / requests_per_s)
        });
        let pace = ProducePace {
            in_flight: args.shape.in_flight as usize,
            duration: args.duration,
            interval,
            connections,
        };
        let total_bytes = args.duration.is_none().then(|| self.total_batches() * self.encoded_bytes);
        let phase = PhaseName { name: PhaseKind::Produce.name(), total_bytes };
        if let (Some(total_bytes), None) = (total_bytes, args.rate) {
            touch_memory(&args.shape.data_dir, total_bytes, self.stop)?;
        }
        let usage = Usage::start(args.broker_pid)?;
        let run = produce(phase, self.stop, lanes, pace)?;
        let moved = produce_moved(&run, self.encoded_bytes, self.batch.records);
        let report = usage.finish(PhaseReport::new(PhaseKind::Produce, round, &moved))?;

        let mut sent = Sent::new();
        for lane in &run.lanes {
            for (partition, batches) in &lane.sent {
                sent.insert((*partition, lane.stream), *batches);
            }
        }
        let ends = await_ends(admin, &target.topic, &target.leaders, &starts, moved.records)?;
        let stretches = stretches(target, &starts, &ends);
        Ok((report, Produced { sent, stretches }))
    }

    fn produce_lanes(&self, target: &Target, admin: &mut Admin) -> Result<Vec<ProduceLane>, BenchError> {
        let args = self.args;
        let version = admin.version(PRODUCE)?;
        let timeout_ms = args.shape.timeout.as_millis().min(i32::MAX as u128) as i32;
        let shares = self.spread(target, true)?;
        let budgets = split(self.total_batches(), shares.len());
        let mut lanes = Vec::with_capacity(shares.len());
        for (index, (share, budget)) in shares.into_iter().zip(budgets).enumerate() {
            let stream = index as u32;
            let template = BatchTemplate::new(self.batch, stream, self.timestamp_ms, args.shape.seed);
            let topic = &target.topic;
            let frame = ProduceFrame::new(version, args.acks.code(), timeout_ms, topic, &template);
            let partitions: Vec<i32> =
                share.slots.iter().map(|slot| target.leaders[*slot].partition).collect();
            let ending = match args.acks {
                Acks::Zero => Ending::Barrier(admin.barrier(topic, partitions[0])?),
                Acks::One | Acks::All => Ending::Answers,
            };
            lanes.push(ProduceLane {
                peer: Peer::connect(&share.address, args.shape.timeout)?,
                stream,
                partitions,
                frame,
                batches_max: if args.duration.is_some() { u64::MAX } else { budget },
                ending,
            });
        }
        Ok(lanes)
    }

    fn fetch(
        &self,
        round: Round,
        target: &Target,
        admin: &Admin,
        shares: &[Share],
        stretches: &[Stretch],
    ) -> Result<PhaseReport, BenchError> {
        let args = self.args;
        let fetch_bytes = args.shape.fetch_bytes as i32;
        let frame = FetchFrame::new(admin.version(FETCH)?, &target.topic, fetch_bytes);
        let duration = args.duration.filter(|_| args.mode == Mode::Fetch);
        let mut lanes = Vec::with_capacity(shares.len());
        for share in shares {
            let own = share.slots.iter().map(|slot| stretches[*slot]);
            let own: Vec<Stretch> = own.filter(|own| own.start < own.end).collect();
            let peer = Peer::connect(&share.address, args.shape.timeout)?;
            let mut lane = FetchLane::new(peer, frame.clone(), own);
            lane.duration = duration;
            lanes.push(lane);
        }
        let total_bytes = (args.mode == Mode::Both && args.duration.is_none())
            .then(|| self.total_batches() * self.encoded_bytes);
        let phase = PhaseName { name: PhaseKind::Fetch.name(), total_bytes };
        let usage = Usage::start(args.broker_pid)?;
        let run = fetch(phase, self.stop, lanes)?;
        let moved = fetch_moved(&run);
        let report = usage.finish(PhaseReport::new(PhaseKind::Fetch, round, &moved))?;
        let held: u64 = stretches.iter().map(|held| held.end.abs_diff(held.start)).sum();
        if duration.is_none() && moved.records != held {
            return Err(VerifyError::Count { sent: held, held: moved.records }.into());
        }
        Ok(report)
    }
}

fn stretches(target: &Target, starts: &[i64], ends: &[i64]) -> Vec<Stretch> {
    let ranges = target.leaders.iter().zip(starts.iter().zip(ends));
    ranges
        .map(|(leader, (start, end))| Stretch { partition: leader.partition, start: *start, end: *end })
        .collect()
}

/// What a producing phase moved, of a broker or of a floor.
pub(crate) fn produce_moved(
    run: &PhaseRun<ProduceOutcome>,
    batch_bytes: u64,
    records_per_batch: u32,
) -> Moved {
    let mut latencies = Latencies::new();
    let mut batches = 0;
    for lane in &run.lanes {
        latencies.add(&lane.latencies);
        batches += lane.sent.iter().map(|(_, batches)| batches).sum::<u64>();
    }
    Moved {
        records: batches * u64::from(records_per_batch),
        batch_bytes: batches * batch_bytes,
        latencies,
        began: run.began,
        ended: run.lanes.iter().map(|lane| lane.ended).max().unwrap_or(run.began),
    }
}

/// What a fetching phase moved, of a broker or of a floor.
pub(crate) fn fetch_moved(run: &PhaseRun<FetchOutcome>) -> Moved {
    let mut latencies = Latencies::new();
    for lane in &run.lanes {
        latencies.add(&lane.latencies);
    }
    Moved {
        records: run.lanes.iter().map(|lane| lane.records).sum(),
        batch_bytes: run.lanes.iter().map(|lane| lane.batch_bytes).sum(),
        latencies,
        began: run.began,
        ended: run.lanes.iter().map(|lane| lane.ended).max().unwrap_or(run.began),
    }
}

/// Processor time of both sides over a phase.
struct Usage {
    client_cpu_s: f64,
    broker: Option<(u32, ProcessUse)>,
}

impl Usage {
    fn start(broker_pid: Option<u32>) -> Result<Self, BenchError> {
        let broker = broker_pid.map(|pid| ProcessUse::of(pid).map(|used| (pid, used)));
        Ok(Self { client_cpu_s: process_cpu_s(), broker: broker.transpose()? })
    }

    fn finish(self, report: PhaseReport) -> Result<PhaseReport, BenchError> {
        let mut report = PhaseReport { client_cpu_s: process_cpu_s() - self.client_cpu_s, ..report };
        if let Some((pid, before)) = self.broker {
            let after = ProcessUse::of(pid)?;
            report.server_cpu_s = Some(after.cpu_s - before.cpu_s);
            report.server_rss_bytes = Some(after.rss_bytes);
            report.server_rss_max_bytes = Some(after.rss_max_bytes);
        }
        Ok(report)
    }
}
