//! A history: several lives of a store on one disk, each ended by a crash or a clean stop, and what
//! must hold after each.

use crate::model::{LogModel, Presence};
use crate::random::Random;
use crate::settings::{Coverage, Shape, store_config};
use ringmain_engine::sim::{self, Disk, FaultHits, Faults};
use ringmain_engine::{Completion, Durability, Log, Store, StoreConfig, WaitError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The directory of the store; two levels, both of which are made.
const DIR: &str = "/var/store";

/// What a history ends with: nothing, or what was violated.
pub(crate) type Outcome<T> = Result<T, String>;

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Closed, and perhaps the power was lost after it.
    Clean,
    Power,
    Kill,
}

/// An append whose durability is not known yet.
pub(crate) struct Waiting {
    pub(crate) log: String,
    pub(crate) end: i64,
    pub(crate) asked: Durability,
    pub(crate) completion: Completion,
    /// The log was truncated before its end.
    pub(crate) was_cut: bool,
}

/// A seed's history, under way.
pub(crate) struct History {
    pub(crate) random: Random,
    pub(crate) disk: Disk,
    pub(crate) config: StoreConfig,
    pub(crate) shape: Shape,
    /// Checkpoints come only when the journal is full.
    pub(crate) no_checkpoints: bool,
    /// Whether the disk can be read past the page cache.
    direct: bool,
    pub(crate) logs: BTreeMap<String, LogModel>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) coverage: Coverage,
    verbose: bool,
    /// A number for all that was done and seen: equal for equal histories.
    digest: u64,
    /// Made unique by counting.
    pub(crate) count: u64,
    /// What had gone wrong when the store was last open and whole.
    pub(crate) hits: FaultHits,
    /// Whether the store was closed, or that was tried.
    closing: bool,
}

/// What can be told of a history that passed.
pub(crate) struct Passed {
    pub(crate) coverage: Coverage,
    pub(crate) digest: u64,
}

/// Runs the history of a seed.
pub(crate) fn run(seed: u64, verbose: bool) -> Outcome<Passed> {
    let mut random = Random::new(seed ^ 0x5157_11fe_a12e_0d15);
    let (config, shape) = (store_config(&mut random), Shape::any(&mut random));
    let no_checkpoints = random.percent(20);
    let disk = Disk::new(seed);
    let direct = random.percent(90);
    disk.set_direct(direct);
    disk.set_write_back(if random.percent(50) { 30 } else { 0 });
    disk.set_mappings(random.percent(80));
    let mut history = History {
        random,
        disk,
        config,
        shape,
        no_checkpoints,
        direct,
        logs: BTreeMap::new(),
        waiting: Vec::new(),
        coverage: Coverage::default(),
        verbose,
        digest: seed,
        count: 0,
        hits: FaultHits::default(),
        closing: false,
    };
    history.say(|| format!("{:?}, config {:?}", history.shape, history.config));
    let lives = history.shape.lives(&mut history.random);
    let mut stop = Stop::Clean;
    for _ in 0..lives {
        let store = history.start(stop)?;
        history.coverage.count("lives");
        stop = history.live(store)?;
    }
    history.disk.keep_running();
    drop(history.start(stop)?);
    history.coverage.add("operations of the disk", history.disk.operations());
    Ok(Passed { coverage: history.coverage, digest: history.digest })
}

/// FNV-1a.
fn mix(digest: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(digest, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl History {
    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>6} {}", self.disk.operations(), what());
        }
    }

    /// Notes what was done and seen.
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.say(|| what.clone());
        self.digest = mix(mix(self.digest, what.as_bytes()), &self.disk.operations().to_be_bytes());
    }

    /// Whether something other than a lack of space has gone wrong since the store was whole.
    pub(crate) fn faulted(&self) -> bool {
        let without_full = |mut hits: FaultHits| {
            hits.full = 0;
            hits
        };
        without_full(self.disk.fault_hits()) != without_full(self.hits)
    }

    /// Whether operations may fail.
    pub(crate) fn excused(&self) -> bool {
        self.disk.is_off() || self.faulted()
    }

    fn crash(&mut self, stop: Stop) {
        if stop == Stop::Kill {
            self.disk.process_kill();
        } else {
            self.disk.power_loss();
        }
        self.note(format!("crash: {stop:?}"));
        self.coverage.count(match stop {
            Stop::Kill => "crashes: end of the process",
            Stop::Power => "crashes: loss of power",
            Stop::Clean => "loss of power after a clean stop",
        });
        self.disk.set_faults(Faults::default());
        self.disk.set_capacity(u64::MAX);
    }

    fn any_crash(&mut self) -> Stop {
        if self.random.percent(60) { Stop::Power } else { Stop::Kill }
    }

    /// Opens the store after a stop, perhaps with crashes in between, and checks what it finds.
    fn start(&mut self, stop: Stop) -> Outcome<Store> {
        let mut power = stop == Stop::Power;
        let mut crashed_alive = stop != Stop::Clean && !self.closing;
        self.disk.set_faults(Faults::default());
        if self.random.percent(10) {
            // Indexes are as the configuration of logs tells, so that one stays.
            self.config = StoreConfig { log: self.config.log, ..store_config(&mut self.random) };
            self.say(|| format!("config {:?}", self.config));
        }
        // Where a name may not be durable yet, what the start does with it is worth a crash.
        let in_doubt = self.logs.values().any(|model| model.presence == Presence::InDoubt);
        let interrupted_percent = if in_doubt { 80 } else { 30 };
        for _ in 0..2 {
            if !self.random.percent(interrupted_percent) {
                break;
            }
            let faults = self.random.percent(25);
            if faults {
                let per_mille = u32::try_from(self.random.within(20..=300)).unwrap_or(0);
                self.disk.set_faults(Faults {
                    write_per_mille: per_mille,
                    sync_per_mille: per_mille,
                    sync_dir_per_mille: per_mille,
                    ..Faults::default()
                });
            }
            // Without both a start cannot prove what it finds, and goes on.
            if self.direct && self.random.percent(10) {
                self.disk.set_capacity(self.disk.used_bytes() + self.random.below(6000));
            }
            let reach = [5, 20, 80, 300][usize::try_from(self.random.below(4)).unwrap_or(0)];
            let operations = self.random.within(1..=reach);
            self.disk.stop_after(operations);
            let hits = self.disk.fault_hits();
            let opened = sim::open(&self.disk, Path::new(DIR), self.config.clone());
            let failed = opened.as_ref().err().map(ToString::to_string);
            if let (Some(err), false, true) = (&failed, self.disk.is_off(), hits == self.disk.fault_hits()) {
                return Err(format!("the store does not open: {err}"));
            }
            let outcome = failed.as_deref().unwrap_or("opened");
            self.note(format!("a start that is interrupted: {outcome}"));
            self.coverage.count("starts interrupted");
            if let (Ok(store), false) = (&opened, self.disk.is_off()) {
                // What was served once is the truth.
                self.check_recovered(store, power || self.faulted(), crashed_alive)?;
                self.hits = self.disk.fault_hits();
                (power, crashed_alive) = (false, true);
            }
            let next = self.any_crash();
            power |= next == Stop::Power;
            self.crash(next);
            drop(opened);
        }
        self.disk.keep_running();
        let opened = sim::open(&self.disk, Path::new(DIR), self.config.clone());
        let store = opened.map_err(|err| format!("the store does not open: {err}"))?;
        self.note(format!("started after {stop:?}, clean {}", store.was_clean()));
        self.check_recovered(&store, power || self.faulted(), crashed_alive)?;
        self.hits = self.disk.fault_hits();
        self.closing = false;
        Ok(store)
    }

    /// What must hold after each start.
    fn check_recovered(&mut self, store: &Store, only_durable: bool, crashed_alive: bool) -> Outcome<()> {
        let found: BTreeMap<String, Arc<Log>> =
            store.logs().into_iter().map(|log| (log.name().to_owned(), log)).collect();
        let known = std::mem::take(&mut self.logs);
        if let Some(name) = found.keys().find(|name| !known.contains_key(*name)) {
            return Err(format!("the log {name} is there, which was deleted or never created"));
        }
        for (name, mut model) in known {
            let wrong = |what: String| format!("log {name}: {what}");
            let Some(log) = found.get(&name) else {
                if model.presence == Presence::Sure {
                    return Err(wrong("it is gone".into()));
                }
                self.coverage.count("logs in doubt that were gone");
                continue;
            };
            if log.id() != model.id {
                return Err(wrong(format!("it has the id {:?}, not {:?}", log.id(), model.id)));
            }
            let before = model.epoch;
            let had_batches = !model.batches.is_empty();
            let lost = model.recover(log, only_durable).map_err(wrong)?;
            self.coverage.add("batches lost that were not promised", lost);
            self.coverage.add("batches recovered", model.batches.len() as u64);
            sim::check_log(log).map_err(wrong)?;
            let epoch = log.leader_epoch().0;
            if epoch < before || (crashed_alive && had_batches && epoch <= before) {
                return Err(wrong(format!("its epoch is {epoch}, batches of {before} were appended before")));
            }
            self.note(format!("log {name}: {} to {}, epoch {epoch}, lost {lost}", model.start, model.end));
            model.durable_to(log.progress().durable.0);
            model.visible_to(log.progress().visible.0);
            self.logs.insert(name, model);
        }
        Ok(())
    }

    /// Steps until the life ends; how it ended.
    fn live(&mut self, mut store: Store) -> Outcome<Stop> {
        let steps = self.shape.steps(&mut self.random);
        let fault_at = if self.random.percent(self.shape.faulty_percent()) {
            self.random.below(steps)
        } else {
            u64::MAX
        };
        if self.random.percent(60) {
            let reach = if self.random.percent(50) { 40 } else { 400 };
            let operations = self.random.within(1..=reach);
            self.disk.stop_after(operations);
        } else {
            self.disk.keep_running();
        }
        for step in 0..steps {
            if step == fault_at {
                self.inject();
            }
            if self.random.percent(2) {
                if let Some(next) = self.reopen(store)? {
                    store = next;
                } else {
                    let stop = self.any_crash();
                    self.crash(stop);
                    return Ok(stop);
                }
            }
            self.step(&store)?;
            self.observe(&store)?;
            if self.disk.is_off() {
                self.coverage.count("crashes inside of an operation");
                break;
            }
            if store.failure().is_some() {
                self.after_failure(&store)?;
                break;
            }
        }
        self.observe(&store)?;
        let mut stop = self.any_crash();
        if !self.disk.is_off() && store.failure().is_none() && self.random.percent(20) {
            self.disk.set_faults(Faults::default());
            self.disk.set_capacity(u64::MAX);
            if self.close(&store)? {
                stop = Stop::Clean;
                if self.random.percent(50) {
                    self.disk.keep_running();
                    self.waiting.clear();
                    drop(store);
                    return Ok(stop);
                }
            }
        }
        self.waiting.clear();
        self.crash(stop);
        // Only now: what it still does when it is dropped comes from the grave.
        drop(store);
        Ok(stop)
    }

    /// Closes the store and opens it again. `None` if the machine went off in the middle.
    fn reopen(&mut self, store: Store) -> Outcome<Option<Store>> {
        self.disk.set_capacity(u64::MAX);
        let closed = self.close(&store)?;
        self.waiting.clear();
        drop(store);
        if !closed {
            return Ok(None);
        }
        let opened = sim::open(&self.disk, Path::new(DIR), self.config.clone());
        match opened {
            Ok(store) => {
                self.note(format!("opened again, clean {}", store.was_clean()));
                self.coverage.count("clean stops, opened again");
                if self.disk.is_off() {
                    return Ok(None);
                }
                self.closing = false;
                if !store.was_clean() {
                    return Err("the store was closed, and is not clean".into());
                }
                self.check_recovered(&store, false, false)?;
                self.hits = self.disk.fault_hits();
                Ok(Some(store))
            }
            Err(_) if self.excused() => Ok(None),
            Err(err) => Err(format!("the store does not open after a clean stop: {err}")),
        }
    }

    /// Says whether it was closed, after which all that was appended is durable.
    fn close(&mut self, store: &Store) -> Outcome<bool> {
        self.closing = true;
        let closed = store.close();
        self.note(format!("close: {}", closed.as_ref().map_or_else(ToString::to_string, |()| "done".into())));
        match closed {
            Ok(()) => {
                for model in self.logs.values_mut() {
                    model.durable_to(model.end);
                }
                self.coverage.count("clean stops");
                Ok(true)
            }
            Err(_) if self.excused() || store.failure().is_some() => Ok(false),
            Err(err) => Err(format!("the store cannot be closed: {err}")),
        }
    }

    /// What became of an append that waited.
    pub(crate) fn told(&mut self, one: &Waiting, outcome: Result<(), WaitError>) -> Outcome<()> {
        let Waiting { log: name, end, .. } = one;
        match outcome {
            Ok(()) if one.asked != Durability::Durable => Ok(()),
            Ok(()) if one.was_cut => {
                Err(format!("log {name}: offset {end} was truncated, and is called durable"))
            }
            Ok(()) => {
                self.logs.entry(name.clone()).and_modify(|model| model.durable_to(*end));
                Ok(())
            }
            Err(WaitError::Truncated) if one.was_cut => Ok(()),
            Err(_) if self.excused() => Ok(()),
            Err(err) => Err(format!("log {name}: waiting for offset {end} failed: {err}")),
        }
    }

    /// Looks at what is durable and visible, and at appends whose outcome is known.
    fn observe(&mut self, store: &Store) -> Outcome<()> {
        // Whoever looks, waits: the journal is begun for it. So now and then nobody looks.
        let looked_at = if self.random.percent(60) { std::mem::take(&mut self.waiting) } else { Vec::new() };
        let (told, waiting) = looked_at
            .into_iter()
            .map(|one| (one.completion.outcome(), one))
            .partition::<Vec<_>, _>(|(outcome, _)| outcome.is_some());
        self.waiting.extend(waiting.into_iter().map(|(_, one)| one));
        for (outcome, one) in told {
            outcome.map_or(Ok(()), |outcome| self.told(&one, outcome))?;
        }
        for (name, model) in &mut self.logs {
            let Some(log) = store.log(name) else { continue };
            let progress = log.progress();
            let order = progress.start <= progress.durable
                && progress.durable <= progress.written
                && progress.visible <= progress.written;
            if !order {
                return Err(format!("log {name}: the order of the watermarks does not hold: {progress:?}"));
            }
            model.durable_to(progress.durable.0);
            model.visible_to(progress.visible.0);
        }
        if let Some(failed) = store.failure()
            && !self.excused()
        {
            return Err(format!("the store failed without a fault: {failed}"));
        }
        Ok(())
    }
}
