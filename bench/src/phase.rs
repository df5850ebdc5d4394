//! Runs the connections of one phase side by side, from a common start.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::peer::PeerError;
use crate::stop::Stop;

/// How often the progress line is looked after.
const PROGRESS_PAUSE: Duration = Duration::from_millis(50);
/// After so long a sleeping sender looks whether the phase has ended.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// What the connections of a phase share.
#[derive(Debug)]
pub(crate) struct Start {
    ready: Barrier,
    go: Barrier,
    at: OnceLock<Instant>,
    /// Bytes of batches moved so far, for the progress line.
    pub(crate) moved_bytes: AtomicU64,
    over: AtomicBool,
    stop: Stop,
}

impl Start {
    /// A connection failed: nobody needs to begin another request.
    pub(crate) fn give_up(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Sleeps until `due`; `false` if the phase ended meanwhile.
    pub(crate) fn sleep_until(&self, due: Instant) -> bool {
        loop {
            if self.over.load(Ordering::Relaxed) || self.stop.interrupted() {
                return false;
            }
            let now = Instant::now();
            if now >= due {
                return true;
            }
            std::thread::sleep((due - now).min(SLEEP_MAX));
        }
    }

    /// Waits until all connections are ready; returns when the phase began.
    pub(crate) fn wait(&self) -> Instant {
        self.ready.wait();
        self.go.wait();
        self.at.get().copied().unwrap_or_else(Instant::now)
    }
}

/// What a phase is called, and how much it will move if that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhaseName<'a> {
    /// Shown in the progress line.
    pub(crate) name: &'a str,
    /// Bytes of batches that the phase will move, if known.
    pub(crate) total_bytes: Option<u64>,
}

/// What came of a phase.
#[derive(Debug)]
pub(crate) struct PhaseRun<R> {
    /// One result for each connection, in order.
    pub(crate) lanes: Vec<R>,
    /// When all connections began.
    pub(crate) began: Instant,
}

/// Runs `work` for each lane on a thread of its own. The first failure ends the others.
pub(crate) fn run_lanes<L, R>(
    phase: PhaseName<'_>,
    stop: &Stop,
    lanes: Vec<L>,
    work: impl Fn(L, &Start) -> Result<R, PeerError> + Sync,
) -> Result<PhaseRun<R>, PeerError>
where
    L: Send,
    R: Send,
{
    let start = Start {
        ready: Barrier::new(lanes.len() + 1),
        go: Barrier::new(lanes.len() + 1),
        at: OnceLock::new(),
        moved_bytes: AtomicU64::new(0),
        over: AtomicBool::new(false),
        stop: stop.clone(),
    };
    let first_failure: Mutex<Option<PeerError>> = Mutex::new(None);
    let mut results = Vec::with_capacity(lanes.len());
    std::thread::scope(|scope| {
        let handles: Vec<_> = lanes
            .into_iter()
            .map(|lane| {
                let (start, work, first_failure) = (&start, &work, &first_failure);
                scope.spawn(move || match work(lane, start) {
                    Ok(result) => Some(result),
                    Err(error) => {
                        let mut first = first_failure.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert(error);
                        drop(first);
                        start.give_up();
                        stop.shut_sockets();
                        None
                    }
                })
            })
            .collect();
        start.ready.wait();
        let _ = start.at.set(Instant::now());
        start.go.wait();
        let bar = progress_bar(phase);
        while !handles.iter().all(|handle| handle.is_finished()) {
            bar.set_position(start.moved_bytes.load(Ordering::Relaxed));
            std::thread::sleep(PROGRESS_PAUSE);
        }
        bar.finish_and_clear();
        for handle in handles {
            match handle.join() {
                Ok(result) => results.extend(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    stop.release_sockets();
    let first = first_failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (first, start.at.into_inner()) {
        (Some(error), _) => Err(error),
        (None, began) => Ok(PhaseRun { lanes: results, began: began.unwrap_or_else(Instant::now) }),
    }
}

/// Hidden by the library unless standard error is a terminal.
fn progress_bar(phase: PhaseName<'_>) -> ProgressBar {
    let (bar, template) = match phase.total_bytes {
        Some(total) => {
            (ProgressBar::new(total), "{prefix:>18} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}")
        }
        None => (ProgressBar::new_spinner(), "{prefix:>18} {elapsed} {bytes} {bytes_per_sec}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_prefix(phase.name.to_string())
}
