//! What a command found out, for people (a table) and for machines (JSON).

use std::io::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::Output;
use crate::error::BenchError;
use crate::figures::Group;
use crate::latency::{Latencies, LatencySummary};
use crate::machine::Machine;
use crate::result::cost::per_gb;
use crate::result::figures::Head;
use crate::table;
use crate::verify::Verified;

/// What a phase measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PhaseKind {
    /// Floor of producing: receive and write.
    FloorRelay,
    /// The same with a checksum of what was received.
    FloorChecked,
    /// The plain one with answers.
    FloorAnswered,
    /// A broker takes batches.
    Produce,
    /// Floor of fetching.
    FloorSendfile,
    /// A broker gives batches.
    Fetch,
}

impl PhaseKind {
    /// As it is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FloorRelay => "floor relay",
            Self::FloorChecked => "floor crc relay",
            Self::FloorAnswered => "floor answered",
            Self::Produce => "produce",
            Self::FloorSendfile => "floor sendfile",
            Self::Fetch => "fetch",
        }
    }
}

/// The figures of one phase of one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PhaseReport {
    pub(crate) kind: PhaseKind,
    pub(crate) round: u32,
    /// Does not count in summary and ratios.
    pub(crate) warmup: bool,
    pub(crate) records: u64,
    pub(crate) batch_bytes: u64,
    pub(crate) elapsed_s: f64,
    pub(crate) mb_per_s: f64,
    pub(crate) records_per_s: f64,
    /// Absent where nothing is answered.
    pub(crate) latency: Option<LatencySummary>,
    pub(crate) client_cpu_s: f64,
    /// Of the broker (with --broker-pid) or of the floor's server threads.
    pub(crate) server_cpu_s: Option<f64>,
    pub(crate) server_rss_bytes: Option<u64>,
    pub(crate) server_rss_max_bytes: Option<u64>,
}

/// What was moved in a phase, and when.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) records: u64,
    pub(crate) batch_bytes: u64,
    pub(crate) latencies: Latencies,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

impl PhaseReport {
    /// The figures that follow from what was moved; processor time is added by the caller.
    pub(crate) fn new(kind: PhaseKind, round: Round, moved: &Moved) -> Self {
        let elapsed = moved.ended.saturating_duration_since(moved.began);
        // The clock's own grain: nothing is faster than that.
        let elapsed_s = elapsed.max(Duration::from_nanos(1)).as_secs_f64();
        Self {
            kind,
            round: round.number,
            warmup: round.warmup,
            records: moved.records,
            batch_bytes: moved.batch_bytes,
            elapsed_s,
            mb_per_s: moved.batch_bytes as f64 / 1e6 / elapsed_s,
            records_per_s: moved.records as f64 / elapsed_s,
            latency: moved.latencies.summary(),
            client_cpu_s: 0.0,
            server_cpu_s: None,
            server_rss_bytes: None,
            server_rss_max_bytes: None,
        }
    }
}

/// A round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) warmup: bool,
}

/// The middle and the ends of several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[upper]
        } else {
            f64::midpoint(values[upper - 1], values[upper])
        };
        Some(Self { median, min, max })
    }
}

/// One kind of phase over all rounds that count.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    pub(crate) kind: PhaseKind,
    pub(crate) rounds: usize,
    pub(crate) mb_per_s: Spread,
    pub(crate) records_per_s: Spread,
    pub(crate) p50_us: Option<Spread>,
    pub(crate) p99_us: Option<Spread>,
    pub(crate) client_cpu_s_per_gb: Option<Spread>,
    pub(crate) server_cpu_s_per_gb: Option<Spread>,
}

/// Throughput of the broker by that of a floor, round by round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ratio {
    pub(crate) broker: PhaseKind,
    pub(crate) floor: PhaseKind,
    pub(crate) throughput: Spread,
    /// In some round the broker was faster, so the floor was not one.
    pub(crate) floor_beaten: bool,
}

/// The report of a command.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) head: Head,
    pub(crate) machine: Machine,
    pub(crate) parameters: serde_json::Value,
    pub(crate) records_per_batch: u32,
    pub(crate) encoded_batch_bytes: u64,
    /// The send buffer that the sendfile floor found best; absent: the kernel's own choice.
    pub(crate) floor_send_buffer_bytes: Option<usize>,
    /// What was read back and found right, over all rounds, outside the timed phases.
    pub(crate) verified: Option<Verified>,
    pub(crate) phases: Vec<PhaseReport>,
    pub(crate) summaries: Vec<Summary>,
    pub(crate) ratios: Vec<Ratio>,
    /// Floors without a connection.
    pub(crate) groups: Vec<Group>,
}

const KINDS: [PhaseKind; 6] = [
    PhaseKind::FloorRelay,
    PhaseKind::FloorChecked,
    PhaseKind::FloorAnswered,
    PhaseKind::Produce,
    PhaseKind::FloorSendfile,
    PhaseKind::Fetch,
];

const COMPARISONS: [(PhaseKind, PhaseKind); 3] = [
    (PhaseKind::Produce, PhaseKind::FloorRelay),
    (PhaseKind::Produce, PhaseKind::FloorAnswered),
    (PhaseKind::Fetch, PhaseKind::FloorSendfile),
];

/// Sums up the rounds that count.
pub(crate) fn summarize(phases: &[PhaseReport]) -> (Vec<Summary>, Vec<Ratio>) {
    let of = |kind| phases.iter().filter(move |phase| phase.kind == kind && !phase.warmup);
    let summaries = KINDS.iter().filter_map(|kind| summary(*kind, of(*kind))).collect();
    let ratios = COMPARISONS.iter().filter_map(|(broker, floor)| {
        let pairs = of(*broker).filter_map(|taken| {
            let best = of(*floor).find(|best| best.round == taken.round)?;
            Some(taken.mb_per_s / best.mb_per_s)
        });
        let throughput = Spread::of(pairs.collect())?;
        let floor_beaten = throughput.max > 1.0;
        Some(Ratio { broker: *broker, floor: *floor, throughput, floor_beaten })
    });
    (summaries, ratios.collect())
}

fn summary<'a>(kind: PhaseKind, phases: impl Iterator<Item = &'a PhaseReport>) -> Option<Summary> {
    let phases: Vec<_> = phases.collect();
    let spread = |value: &dyn Fn(&PhaseReport) -> Option<f64>| {
        Spread::of(phases.iter().filter_map(|phase| value(phase)).collect())
    };
    Some(Summary {
        kind,
        rounds: phases.len(),
        mb_per_s: spread(&|phase| Some(phase.mb_per_s))?,
        records_per_s: spread(&|phase| Some(phase.records_per_s))?,
        p50_us: spread(&|phase| phase.latency.map(|latency| latency.p50_us as f64)),
        p99_us: spread(&|phase| phase.latency.map(|latency| latency.p99_us as f64)),
        client_cpu_s_per_gb: spread(&|phase| per_gb(phase.client_cpu_s, phase.batch_bytes)),
        server_cpu_s_per_gb: spread(&|phase| per_gb(phase.server_cpu_s?, phase.batch_bytes)),
    })
}

impl Report {
    /// Prints the report and writes the file, as asked.
    pub(crate) fn deliver(&self, output: &Output) -> Result<(), BenchError> {
        deliver(self, table::render, output)
    }
}

/// Prints a report and writes the file, as asked.
pub(crate) fn deliver<R: Serialize>(
    report: &R,
    render: impl FnOnce(&R) -> String,
    output: &Output,
) -> Result<(), BenchError> {
    let json = || {
        serde_json::to_string_pretty(report).unwrap_or_else(|_| unreachable!("the report has only text keys"))
    };
    if let Some(path) = &output.out {
        let written = std::fs::write(path, json() + "\n");
        written.map_err(|source| BenchError::Report { path: path.clone(), source })?;
    }
    let text = if output.json { json() + "\n" } else { render(report) };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(BenchError::Print)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(kind: PhaseKind, number: u32, warmup: bool, mb_per_s: f64) -> PhaseReport {
        let now = Instant::now();
        let moved =
            Moved { records: 1, batch_bytes: 1_000_000, latencies: Latencies::new(), began: now, ended: now };
        let round = Round { number, warmup };
        PhaseReport { mb_per_s, ..PhaseReport::new(kind, round, &moved) }
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_without_warmup() {
        let phases = [
            phase(PhaseKind::FloorRelay, 0, true, 1.0),
            phase(PhaseKind::Produce, 0, true, 100.0),
            phase(PhaseKind::FloorRelay, 1, false, 10.0),
            phase(PhaseKind::Produce, 1, false, 5.0),
            phase(PhaseKind::FloorRelay, 2, false, 100.0),
            phase(PhaseKind::Produce, 2, false, 80.0),
        ];
        let (summaries, ratios) = summarize(&phases);
        assert_eq!(summaries.len(), 2);
        assert_eq!(summaries[1].mb_per_s, Spread { median: 42.5, min: 5.0, max: 80.0 });
        assert_eq!(ratios.len(), 1);
        assert!(!ratios[0].floor_beaten);
        assert_eq!(ratios[0].throughput, Spread { median: 0.65, min: 0.5, max: 0.8 });
    }
}
