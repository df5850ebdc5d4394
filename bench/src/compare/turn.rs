//! One turn: a broker is started on an empty directory, loaded with one workload after the other, perhaps
//! killed and started again, and ended; its data goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::compare::fair::Done;
use crate::compare::peers::{LoadPlace, Peer, Running, Seat};
use crate::compare::process::tree;
use crate::compare::usage::Meter;
use crate::result::compare::Recovery;
use crate::result::run::SelfCheck;
use crate::stop::Stop;
use crate::workload::{Durability, Workload};

/// What a broker does when it was just started is no idling.
const IDLE_AFTER: Duration = Duration::from_secs(2);
/// How long it is then watched.
const IDLE_FOR: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// What a turn is to do.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    /// How the broker is set up.
    pub(crate) durability: Durability,
    /// Not measured.
    pub(crate) warmup: &'a Workload,
    /// In order.
    pub(crate) workloads: &'a [&'a Workload],
    /// What the load generator does alone, by workload.
    pub(crate) self_checks: &'a BTreeMap<String, SelfCheck>,
    /// Whether it is watched while it does nothing.
    pub(crate) idle: bool,
    /// Filled, killed and started again in the end.
    pub(crate) recovery: Option<&'a Workload>,
}

/// What came of a turn. What went wrong is told, and what came before it counts.
#[derive(Debug, Default)]
pub(crate) struct TurnReport {
    /// From the start of the process to its first answer.
    pub(crate) start_up_s: Option<f64>,
    /// Resident memory and processor time per second while nothing happened.
    pub(crate) idle: Option<(u64, f64)>,
    /// How it was set up.
    pub(crate) configuration: String,
    /// Workloads that were run.
    pub(crate) done: Vec<Done>,
    /// Workloads that have no figures, and why.
    pub(crate) failed: Vec<(String, String)>,
    /// The start after a kill.
    pub(crate) recovery: Option<Result<Recovery, String>>,
    /// What the generator said.
    pub(crate) notes: Vec<String>,
}

/// The directories of a turn, which go with it.
#[derive(Debug)]
pub(crate) struct Rooms {
    data: tempfile::TempDir,
    desk: tempfile::TempDir,
}

impl Rooms {
    /// Data on the medium in question, the rest in the scratch directory.
    pub(crate) fn new(medium: &Path, scratch: &Path, name: &str) -> Result<Self, String> {
        let make = |parent: &Path| {
            let made = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(parent);
            made.map_err(|error| format!("no directory in {}: {error}", parent.display()))
        };
        Ok(Self { data: make(medium)?, desk: make(scratch)? })
    }

    /// What a peer is told of them.
    pub(crate) fn seat<'a>(&'a self, durability: Durability, stop: &'a Stop) -> Seat<'a> {
        Seat { data: self.data.path(), desk: self.desk.path(), durability, stop }
    }

    fn data(&self) -> PathBuf {
        self.data.path().to_path_buf()
    }
}

/// Runs a turn. The broker is gone when it returns.
pub(crate) fn turn(peer: &dyn Peer, order: &Order<'_>, rooms: &Rooms, stop: &Stop) -> TurnReport {
    let mut report = TurnReport::default();
    let seat = rooms.seat(order.durability, stop);
    let data = rooms.data();
    let fail_all = |report: &mut TurnReport, why: &str| {
        let known: Vec<String> = report.done.iter().map(|done| done.workload.name.clone()).collect();
        let missing = order.workloads.iter().filter(|workload| !known.contains(&workload.name));
        report.failed = missing.map(|workload| (workload.name.clone(), why.to_string())).collect();
    };
    let mut running = match peer.start(&seat) {
        Ok(running) => running,
        Err(why) => {
            fail_all(&mut report, &format!("{} did not start: {why}", peer.name()));
            return report;
        }
    };
    report.start_up_s = Some(running.ready_s);
    report.configuration = running.configuration.clone();
    if order.idle {
        report.idle = idle(&running, stop);
    }
    if let Err(why) = peer.load(order.warmup, &place(&running, &data, order, None, stop)) {
        fail_all(&mut report, &format!("{} failed while it was warmed up: {why}", peer.name()));
        return report;
    }
    for workload in order.workloads {
        if let Some(status) = running.process.poll() {
            fail_all(&mut report, &format!("{} ended with {status}", peer.name()));
            return report;
        }
        let self_check = order.self_checks.get(&workload.name).copied();
        match peer.load(workload, &place(&running, &data, order, self_check, stop)) {
            Ok(loaded) => {
                report.notes.extend(loaded.notes.iter().map(|note| format!("{}: {note}", workload.name)));
                report.done.push(Done {
                    side: peer.name().to_string(),
                    workload: loaded.workload,
                    durability: order.durability,
                    client: peer.client(),
                    phases: loaded.phases,
                    verified: loaded.verified,
                });
            }
            Err(why) => report.failed.push((workload.name.clone(), format!("{}: {why}", peer.name()))),
        }
        if stop.interrupted() {
            return report;
        }
    }
    match order.recovery {
        Some(workload) => report.recovery = Some(recover(peer, workload, running, &seat, &data)),
        None => running.stop(),
    }
    report
}

fn place<'a>(
    running: &'a Running,
    data: &'a Path,
    order: &Order<'_>,
    self_check: Option<SelfCheck>,
    stop: &'a Stop,
) -> LoadPlace<'a> {
    LoadPlace { running, data, durability: order.durability, self_check, keep: false, stop }
}

fn idle(running: &Running, stop: &Stop) -> Option<(u64, f64)> {
    wait(IDLE_AFTER, stop);
    let meter = Meter::start(tree(running.process.id()), None);
    let began = Instant::now();
    wait(IDLE_FOR, stop);
    let usage = meter.finish();
    Some((usage.broker_rss_bytes?, usage.broker_cpu_s? / began.elapsed().as_secs_f64()))
}

fn wait(time: Duration, stop: &Stop) {
    let end = Instant::now() + time;
    while Instant::now() < end && !stop.interrupted() {
        std::thread::sleep(POLL);
    }
}

fn recover(
    peer: &dyn Peer,
    workload: &Workload,
    running: Running,
    seat: &Seat<'_>,
    data: &Path,
) -> Result<Recovery, String> {
    let place = LoadPlace {
        running: &running,
        data,
        durability: seat.durability,
        self_check: None,
        keep: true,
        stop: seat.stop,
    };
    let loaded = peer.load(workload, &place)?;
    running.kill();
    let again = peer.start(seat).map_err(|why| format!("{} did not start again: {why}", peer.name()))?;
    let answered = Instant::now();
    peer.serves(&again, data, seat.stop)?;
    let recovery_after_kill9_s = again.ready_s + answered.elapsed().as_secs_f64();
    let found_records = peer.count(workload, &again, data)?;
    again.stop();
    Ok(Recovery {
        durability: seat.durability,
        recovery_after_kill9_s,
        acknowledged_records: loaded.verified.records,
        found_records,
        bytes: loaded.verified.bytes,
    })
}
