//! The command `compare`: Ringmain and others on one machine, in turns, with one and the same workload.

mod arithmetic;
pub(crate) mod client;
mod fair;
mod kafka_load;
mod medium;
mod own_tool;
mod peers;
mod plan;
mod ports;
mod process;
mod render;
mod shop;
mod turn;
mod usage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cli::CompareArgs;
use crate::compare::arithmetic::{ORDER, Side};
use crate::compare::fair::{Done, row};
use crate::compare::medium::Journaled;
use crate::compare::peers::{OURS, Peer, Ringmain, known, unavailable};
use crate::compare::plan::{Plan, check_names};
use crate::compare::shop::Shop;
use crate::compare::turn::{Order, Rooms, TurnReport, turn};
use crate::device::Medium;
use crate::error::BenchError;
use crate::generator::self_check;
use crate::machine::Machine;
use crate::progress::Progress;
use crate::result::compare::{
    COMPARE_FORMAT, Client, Comparison, Configuration, Life, NotRun, OwnToolRow, PeerFacts,
};
use crate::result::run::{SelfCheck, Tool};
use crate::scratch::{Scratch, raise_open_files};
use crate::stop::Stop;
use crate::workload::{Durability, Workload, WorkloadError};

pub(crate) use crate::compare::arithmetic::figures as figures_of;
pub(crate) use crate::compare::render::render;

/// A short comparison begins no turn that would end later.
const SHORT_LIMIT: Duration = Duration::from_secs(28 * 60);
/// Rounds of A B B A.
const ROUNDS_SHORT: u32 = 1;
const ROUNDS_LONG: u32 = 3;
/// How long a peer's own tool reports.
const TOOL_SHORT_S: u64 = 8;
const TOOL_LONG_S: u64 = 30;

/// Why there is no comparison at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    /// A name.
    #[error("there is no peer {name}; choose from {known}")]
    NoSuchPeer {
        /// As given.
        name: String,
        /// All names.
        known: String,
    },
    /// A name.
    #[error(transparent)]
    NoSuchWorkload(#[from] plan::NoSuchWorkload),
    /// A workload.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// Without it nothing can be compared.
    #[error("ringmain cannot be run: {0}; build it, or name a program with --ringmain")]
    Ringmain(String),
    /// No peer was measured.
    #[error("no peer could be measured: {0}; the result says why of each")]
    Nobody(String),
}

/// Runs the whole comparison.
pub(crate) fn compare(args: &CompareArgs, stop: &Stop) -> Result<Comparison, BenchError> {
    let chosen = choose(args)?;
    if let Some(names) = &args.workloads {
        check_names(names).map_err(CompareError::from)?;
    }
    let plan = Plan::new(args.short, args.workloads.as_deref()).map_err(CompareError::from)?;
    process::adopt_orphans();
    raise_open_files();
    let scratch = Scratch::new(&args.data_dir, stop)?;
    let shop = Shop { cache: args.cache_dir(), logs: scratch.path().to_path_buf(), stop: stop.clone() };
    let installing = Instant::now();
    let mut run = CompareRun::new(args, stop, plan, &scratch);
    let mut ringmain = Ringmain::new(args.ringmain.clone());
    let progress = Progress::new(1 + chosen.peers.len());
    progress.turn("building ringmain".to_string());
    ringmain.install(&shop).map_err(CompareError::Ringmain)?;
    let mut ready = Vec::new();
    for (name, why) in chosen.unavailable {
        run.skip(&name, None, why);
    }
    for mut peer in chosen.peers {
        progress.turn(format!("installing {}", peer.name()));
        match peer.install(&shop) {
            Ok(()) => ready.push(peer),
            Err(_) if stop.interrupted() => return Err(BenchError::Interrupted),
            Err(why) => run.skip(peer.name(), None, format!("it could not be installed: {why}")),
        }
    }
    drop(progress);
    run.result.install_s = installing.elapsed().as_secs_f64();
    let began = Instant::now();
    let outcome = run.measure(&ringmain, &ready, began);
    // What is still there has left its group; whoever holds a file system must go before it does.
    process::end_adopted(run.journaled.as_ref().ok().and_then(Journaled::holder));
    outcome?;
    run.result.elapsed_s = began.elapsed().as_secs_f64();
    Ok(run.result)
}

struct Chosen {
    peers: Vec<Box<dyn Peer>>,
    unavailable: Vec<(String, String)>,
}

fn choose(args: &CompareArgs) -> Result<Chosen, CompareError> {
    let mut all = known();
    let mut unavailable = unavailable();
    let names: Vec<String> = all.iter().map(|peer| peer.name().to_string()).collect();
    if let Some(wanted) = &args.peers {
        for name in wanted {
            if !names.contains(name) && !unavailable.contains_key(name.as_str()) {
                let known = names.iter().map(String::as_str).chain(unavailable.keys().copied());
                let known = known.collect::<Vec<_>>().join(", ");
                return Err(CompareError::NoSuchPeer { name: name.clone(), known });
            }
        }
        all.retain(|peer| wanted.iter().any(|name| name == peer.name()));
        unavailable.retain(|name, _| wanted.iter().any(|wanted| wanted == name));
    }
    if args.peers.is_none() && !args.others.is_empty() {
        all.clear();
        unavailable.clear();
    }
    for (name, program) in &args.others {
        all.push(Box::new(Ringmain::other(name.clone(), program.clone())));
    }
    let named = unavailable.into_iter().map(|(name, why)| (name.to_string(), why.to_string()));
    Ok(Chosen { peers: all, unavailable: named.collect() })
}

struct CompareRun<'a> {
    args: &'a CompareArgs,
    stop: &'a Stop,
    plan: Plan,
    scratch: &'a Scratch,
    /// Where synced rows keep their data, or why there are none.
    journaled: Result<Journaled, String>,
    self_checks: BTreeMap<String, SelfCheck>,
    lives: BTreeMap<String, Life>,
    configurations: BTreeMap<String, Vec<Configuration>>,
    result: Comparison,
}

impl<'a> CompareRun<'a> {
    fn new(args: &'a CompareArgs, stop: &'a Stop, plan: Plan, scratch: &'a Scratch) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let result = Comparison {
            format: COMPARE_FORMAT.to_string(),
            tool: Tool {
                name: "ringmain-bench".to_string(),
                version: env!("CARGO_PKG_VERSION").to_string(),
                command: std::env::args().collect(),
            },
            unix_time_s: since_epoch.as_secs(),
            elapsed_s: 0.0,
            install_s: 0.0,
            short: args.short,
            machine: Machine::probe(&args.data_dir),
            synced_medium: None,
            peers: Vec::new(),
            rows: Vec::new(),
            lives: Vec::new(),
            own_tool: Vec::new(),
            not_run: Vec::new(),
            notes: Vec::new(),
        };
        Self {
            args,
            stop,
            plan,
            scratch,
            journaled: Err("no synced workload was chosen".to_string()),
            self_checks: BTreeMap::new(),
            lives: BTreeMap::new(),
            configurations: BTreeMap::new(),
            result,
        }
    }

    fn skip(&mut self, peer: &str, workload: Option<&str>, why: String) {
        let skipped = NotRun { peer: peer.to_string(), workload: workload.map(str::to_owned), why };
        if !self.result.not_run.contains(&skipped) {
            self.result.not_run.push(skipped);
        }
    }

    fn rounds(&self) -> u32 {
        self.args.rounds.unwrap_or(if self.args.short { ROUNDS_SHORT } else { ROUNDS_LONG })
    }

    fn limit(&self) -> Option<Duration> {
        self.args.time_limit.or(self.args.short.then_some(SHORT_LIMIT))
    }

    fn measure(
        &mut self,
        ringmain: &Ringmain,
        peers: &[Box<dyn Peer>],
        began: Instant,
    ) -> Result<(), BenchError> {
        let needs_sync = self.plan.workloads.iter().any(|workload| workload.durability == Durability::Synced);
        if needs_sync {
            self.journaled = Journaled::find_or_make(self.scratch.path(), &self.args.data_dir, self.stop);
        }
        self.result.synced_medium =
            self.journaled.as_ref().ok().map(|journaled| Medium::of(journaled.path()));
        let classes = [Durability::PageCache, Durability::Synced];
        let turns: usize = peers
            .iter()
            .map(|peer| if is_own_tool(peer.as_ref()) { 2 } else { 2 * ORDER.len() * self.rounds() as usize })
            .sum();
        let progress = Progress::new(turns + self.plan.workloads.len());
        if peers.iter().any(|peer| !is_own_tool(peer.as_ref())) {
            for workload in &self.plan.workloads {
                progress.turn(format!("the load generator alone: {}", workload.name));
                let check = self_check(workload, self.stop)?;
                self.self_checks.insert(workload.name.clone(), check);
            }
        }
        for durability in classes {
            for peer in peers {
                if is_own_tool(peer.as_ref()) {
                    self.own_tool(peer.as_ref(), durability, began, &progress);
                } else {
                    self.pair(ringmain, peer.as_ref(), durability, began, &progress);
                }
                if self.stop.interrupted() {
                    return Err(BenchError::Interrupted);
                }
            }
        }
        drop(progress);
        self.conclude(ringmain, peers);
        Ok(())
    }

    /// Where data of that class lies, or why it lies nowhere.
    fn medium(&self, durability: Durability) -> Result<PathBuf, String> {
        match (durability, &self.journaled) {
            (Durability::PageCache, _) => Ok(self.scratch.path().to_path_buf()),
            (Durability::Synced, Ok(journaled)) => Ok(journaled.path().to_path_buf()),
            (Durability::Synced, Err(why)) => Err(why.clone()),
        }
    }

    /// All rounds of one peer and one class.
    fn pair(
        &mut self,
        ringmain: &Ringmain,
        peer: &dyn Peer,
        durability: Durability,
        began: Instant,
        progress: &Progress,
    ) {
        let plan = self.plan.clone();
        let mut workloads = plan.of(durability, peer.has_batches());
        let skip_all = |run: &mut Self, workloads: &[&Workload], why: &str| {
            for workload in workloads {
                run.skip(peer.name(), Some(&workload.name), why.to_string());
            }
        };
        if workloads.is_empty() {
            return;
        }
        if !peer.durabilities().contains(&durability) {
            return skip_all(self, &workloads, "it cannot be set up for this class of durability");
        }
        let medium = match self.medium(durability) {
            Ok(medium) => medium,
            Err(why) => return skip_all(self, &workloads, &why),
        };
        let warmup = plan.warmup(durability);
        let self_checks = self.self_checks.clone();
        let mut done: BTreeMap<String, Vec<Done>> = BTreeMap::new();
        let mut notes = Vec::new();
        for round in 1..=self.rounds() {
            for (place, side) in ORDER.into_iter().enumerate() {
                if workloads.is_empty() || self.stop.interrupted() {
                    return;
                }
                if !plan.has_time(began.elapsed(), self.limit()) {
                    return skip_all(self, &workloads, "the time limit was reached");
                }
                let runner: &dyn Peer = if side == Side::Ringmain { ringmain } else { peer };
                progress.turn(format!(
                    "{} against {}, {}: round {round}, turn {} of 4: {}",
                    OURS,
                    peer.name(),
                    class_name(durability),
                    place + 1,
                    runner.name()
                ));
                let is_late = place >= ORDER.len() / 2;
                let order = Order {
                    durability,
                    warmup: &warmup,
                    workloads: &workloads,
                    self_checks: &self_checks,
                    idle: durability == Durability::PageCache && !is_late,
                    recovery: (durability == Durability::PageCache && is_late).then_some(&plan.recovery),
                };
                let report = match Rooms::new(&medium, self.scratch.path(), runner.name()) {
                    Ok(rooms) => turn(runner, &order, &rooms, self.stop),
                    Err(why) => return skip_all(self, &workloads, &why),
                };
                self.live(runner.name(), durability, &report);
                for note in report.notes {
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                }
                for (name, why) in report.failed {
                    workloads.retain(|workload| workload.name != name);
                    done.remove(&name);
                    self.skip(peer.name(), Some(&name), why);
                }
                for one in report.done {
                    done.entry(one.workload.name.clone()).or_default().push(one);
                }
            }
        }
        for workload in workloads {
            let turns = done.remove(&workload.name).unwrap_or_default();
            let prefix = format!("{}: ", workload.name);
            let own = notes.iter().filter_map(|note| note.strip_prefix(&prefix).map(str::to_owned));
            let own = differences(peer).into_iter().chain(own).collect();
            match row(peer.name(), peer.client(), turns, own) {
                Ok(made) => self.result.rows.push(made),
                Err(why) => self.skip(peer.name(), Some(&workload.name), format!("refused as unfair: {why}")),
            }
        }
    }

    fn live(&mut self, name: &str, durability: Durability, report: &TurnReport) {
        let life = self.lives.entry(name.to_string()).or_insert_with(|| Life {
            peer: name.to_string(),
            start_up_s: Vec::new(),
            idle_rss_bytes: Vec::new(),
            idle_cpu_s_per_s: Vec::new(),
            recoveries: Vec::new(),
            notes: Vec::new(),
        });
        life.start_up_s.extend(report.start_up_s);
        if let Some((rss_bytes, cpu_s_per_s)) = report.idle {
            life.idle_rss_bytes.push(rss_bytes);
            life.idle_cpu_s_per_s.push(cpu_s_per_s);
        }
        match &report.recovery {
            Some(Ok(recovery)) => life.recoveries.push(recovery.clone()),
            Some(Err(why)) => life.notes.push(format!("no recovery: {why}")),
            None => {}
        }
        self.configured(name, durability, &report.configuration);
    }

    fn configured(&mut self, name: &str, durability: Durability, text: &str) {
        let known = self.configurations.entry(name.to_string()).or_default();
        if !text.is_empty() && !known.iter().any(|one| one.durability == durability) {
            known.push(Configuration { durability, text: text.to_string() });
        }
    }

    fn own_tool(&mut self, peer: &dyn Peer, durability: Durability, began: Instant, progress: &Progress) {
        let seconds = if self.args.short { TOOL_SHORT_S } else { TOOL_LONG_S };
        let is_wanted = !self.plan.of(durability, true).is_empty();
        if !is_wanted {
            return;
        }
        progress.turn(format!("{} by its own tool, {}", peer.name(), class_name(durability)));
        let tool = format!("own tool, {}", class_name(durability));
        if !self.plan.has_time(began.elapsed(), self.limit()) {
            return self.skip(peer.name(), Some(&tool), "the time limit was reached".to_string());
        }
        let outcome = self.medium(durability).and_then(|medium| {
            let rooms = Rooms::new(&medium, self.scratch.path(), peer.name())?;
            let seat = rooms.seat(durability, self.stop);
            let running = peer.start(&seat)?;
            let figures = peer.own_tool(&seat, &running, seconds);
            let configuration = running.configuration.clone();
            running.stop();
            Ok((figures?, configuration))
        });
        match outcome {
            Ok((figures, configuration)) => {
                self.configured(peer.name(), durability, &configuration);
                let rows = figures.into_iter().map(|figure| {
                    let peer = peer.name().to_string();
                    OwnToolRow { peer, durability, figure }
                });
                self.result.own_tool.extend(rows);
            }
            Err(why) => self.skip(peer.name(), Some(&tool), why),
        }
    }

    fn conclude(&mut self, ringmain: &Ringmain, peers: &[Box<dyn Peer>]) {
        let all = std::iter::once(ringmain as &dyn Peer).chain(peers.iter().map(AsRef::as_ref));
        for peer in all {
            self.result.peers.push(PeerFacts {
                name: peer.name().to_string(),
                version: peer.version(),
                source: peer.source().to_string(),
                configurations: self.configurations.remove(peer.name()).unwrap_or_default(),
                client: peer.client(),
                notes: peer.notes(),
                own_tool: is_own_tool(peer),
            });
            self.result.lives.extend(self.lives.remove(peer.name()));
        }
        let place: fn(&str) -> usize =
            |name| plan::names().iter().position(|known| *known == name).unwrap_or(usize::MAX);
        self.result.rows.sort_by_key(|row| place(&row.workload.name));
    }
}

fn is_own_tool(peer: &dyn Peer) -> bool {
    matches!(peer.client(), Client::OwnTool { .. })
}

fn class_name(durability: Durability) -> &'static str {
    match durability {
        Durability::PageCache => "page cache",
        Durability::Synced => "synced",
    }
}

/// What a reader of a row must know of its two clients.
fn differences(peer: &dyn Peer) -> Vec<String> {
    match peer.client() {
        Client::Own { library } => vec![format!(
            "the sides have clients of their own: ringmain the load generator, {} {library}; sizes, connections, what is in \
             flight, schedule and clock are the same, what a client costs is not",
            peer.name()
        )],
        Client::Same | Client::OwnTool { .. } => Vec::new(),
    }
}

/// Whether a comparison compares anything.
pub(crate) fn someone_was_measured(comparison: &Comparison) -> Result<(), CompareError> {
    if !comparison.rows.is_empty() || !comparison.own_tool.is_empty() {
        return Ok(());
    }
    let whys: Vec<&str> = comparison.not_run.iter().map(|skipped| skipped.why.as_str()).collect();
    Err(CompareError::Nobody(whys.first().copied().unwrap_or("none was chosen").to_string()))
}

/// Where installed peers stay if nothing else is said.
pub(crate) fn default_cache() -> PathBuf {
    let home = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    home("XDG_CACHE_HOME")
        .or_else(|| home("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(|| Path::new(".").to_path_buf())
        .join("ringmain-bench")
}
