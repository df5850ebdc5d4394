//! Runs histories on several threads, each history on one, and tells what came of them.

use crate::history::{self, Passed};
use crate::settings::Coverage;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Seeds that are noted as one.
const BLOCK_SEEDS: u64 = 100;

/// A history takes milliseconds: one that takes this long waits for something that never comes.
const HISTORY_MAX: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) seeds: u64,
    pub(crate) from: u64,
    pub(crate) jobs: u64,
    pub(crate) failures_max: u64,
    pub(crate) resume: Option<PathBuf>,
    pub(crate) seed: Option<u64>,
    pub(crate) verbose: bool,
    pub(crate) twice: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seeds: 2000,
            from: 0,
            jobs: 2,
            failures_max: 10,
            resume: None,
            seed: None,
            verbose: false,
            twice: false,
        }
    }
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static SEED: RefCell<u64> = const { RefCell::new(0) };
}

/// What all threads share.
struct Shared {
    next: u64,
    passed: u64,
    failed: u64,
    skipped: u64,
    coverage: Coverage,
    /// Histories under way, and since when.
    running: BTreeMap<u64, Instant>,
    shown: Instant,
    error: Option<io::Error>,
}

/// One history; a panic is a failure as well.
fn one(seed: u64, verbose: bool) -> Result<Passed, String> {
    SEED.set(seed);
    match panic::catch_unwind(AssertUnwindSafe(|| history::run(seed, verbose))) {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("panicked: {}", PANIC.take())),
    }
}

fn checked(seed: u64, options: &Options) -> Result<Coverage, String> {
    let first = one(seed, options.verbose)?;
    if options.twice && one(seed, false)?.digest != first.digest {
        return Err("the same seed gave two different histories".into());
    }
    Ok(first.coverage)
}

/// Says whether all passed.
pub(crate) fn run(options: &Options) -> io::Result<bool> {
    panic::set_hook(Box::new(|info| {
        let told = format!("{info}");
        // Where a panic ends the process, this is all that will be told of it.
        if cfg!(panic = "abort") {
            eprintln!("sim: seed {} panicked: {told}", SEED.with_borrow(|seed| *seed));
        }
        PANIC.set(told);
    }));
    let begun = Instant::now();
    let (from, seeds) = options.seed.map_or((options.from, options.seeds), |seed| (seed, 1));
    let to = from.saturating_add(seeds);
    let done = finished(options)?;
    let shared = Mutex::new(Shared {
        next: from,
        passed: 0,
        failed: 0,
        skipped: 0,
        coverage: Coverage::default(),
        running: BTreeMap::new(),
        shown: begun,
        error: None,
    });
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&shared, &ended));
        let jobs = 0..options.jobs.min(seeds);
        let workers: Vec<_> = jobs.map(|_| scope.spawn(|| work(options, &shared, to, &done))).collect();
        for worker in workers {
            // Histories that panic are caught; this one has told its panic.
            let _ = worker.join();
        }
        ended.store(true, Ordering::Release);
    });
    let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(err) = shared.error {
        return Err(err);
    }
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    for line in shared.coverage.lines() {
        println!("{line}");
    }
    if shared.skipped > 0 {
        println!("sim: {} histories had passed before", shared.skipped);
    }
    let (passed, failed) = (shared.passed, shared.failed);
    println!("sim: {passed} histories passed, {failed} failed, in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(failed == 0)
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends everything if a history does not end: its thread cannot be stopped.
fn watch(shared: &Mutex<Shared>, ended: &AtomicBool) {
    while !ended.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(20));
        let shared = lock(shared);
        let mut stuck = shared.running.iter().filter(|(_, since)| since.elapsed() > HISTORY_MAX).peekable();
        if stuck.peek().is_none() {
            continue;
        }
        for (seed, _) in stuck {
            println!(
                "sim: seed {seed} FAILED: it does not end\n     replay it with: --seed {seed} --verbose"
            );
        }
        println!(
            "sim: {} histories passed, {} failed, and the rest was given up",
            shared.passed,
            shared.failed + 1
        );
        std::process::exit(1);
    }
}

fn work(options: &Options, shared: &Mutex<Shared>, to: u64, done: &BTreeSet<String>) {
    loop {
        let (from, until) = {
            let mut shared = lock(shared);
            if shared.next >= to || shared.failed >= options.failures_max || shared.error.is_some() {
                return;
            }
            let from = shared.next;
            // Blocks end at round numbers, so that runs that begin elsewhere share them.
            shared.next = to.min((from / BLOCK_SEEDS + 1) * BLOCK_SEEDS);
            (from, shared.next)
        };
        let name = format!("{from}..{until}");
        if done.contains(&name) {
            lock(shared).skipped += until - from;
            continue;
        }
        let mut whole = true;
        for seed in from..until {
            lock(shared).running.insert(seed, Instant::now());
            let outcome = checked(seed, options);
            let mut shared = lock(shared);
            shared.running.remove(&seed);
            match outcome {
                Ok(coverage) => {
                    shared.passed += 1;
                    shared.coverage.merge(&coverage);
                }
                Err(what) => {
                    whole = false;
                    shared.failed += 1;
                    println!("sim: seed {seed} FAILED: {what}\n     replay it with: --seed {seed} --verbose");
                }
            }
            show(&mut shared, to);
            if shared.failed >= options.failures_max {
                return;
            }
        }
        if whole
            && let Some(file) = &options.resume
            && options.seed.is_none()
        {
            let noted = OpenOptions::new().create(true).append(true).open(file);
            if let Err(err) = noted.and_then(|mut file| writeln!(file, "{name}")) {
                lock(shared).error = Some(err);
            }
        }
    }
}

/// The blocks that were finished before.
fn finished(options: &Options) -> io::Result<BTreeSet<String>> {
    let Some(file) = options.resume.as_ref().filter(|_| options.seed.is_none()) else {
        return Ok(BTreeSet::new());
    };
    match fs::read_to_string(file) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(err) => Err(err),
    }
}

/// Progress, on a terminal only.
fn show(shared: &mut Shared, to: u64) {
    if io::stderr().is_terminal() && shared.shown.elapsed() > Duration::from_millis(300) {
        shared.shown = Instant::now();
        eprint!("\r\x1b[Ksim: {} passed, {} failed, up to seed {to}", shared.passed, shared.failed);
    }
}
