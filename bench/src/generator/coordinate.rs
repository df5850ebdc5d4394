//! Runs one span: threads from a common start, live figures, and the decision when it is over.

use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::BenchError;
use crate::generator::group::{GroupMembers, join_members};
use crate::generator::span::{Figures, Plan, Shared};
use crate::generator::usage::{Counters, Watched};
use crate::generator::worker::Worker;
use crate::latency::Latencies;
use crate::result::run::Usage;
use crate::verify::VerifyError;

/// How often the coordinator looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often live figures are shown.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// What consumers must read before a span is over, by set: records there before, and how often each record of the
/// span counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// Records that were sent before.
    pub(crate) before: u64,
    /// Copies of the set.
    pub(crate) copies: u64,
}

/// What a span is run with.
pub(crate) struct Span<'a> {
    /// Shown, with the round.
    pub(crate) name: String,
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) watched: &'a Watched,
    pub(crate) workers: Vec<Worker>,
    pub(crate) groups: Vec<GroupMembers>,
    pub(crate) expected: Vec<Expected>,
    /// How long consumers may go on when producers are done.
    pub(crate) drain_max: Duration,
    /// The empty figures that threads fill.
    pub(crate) figures: Figures,
}

/// What came of a span.
#[derive(Debug)]
pub(crate) struct Spanned {
    pub(crate) figures: Figures,
    /// When it began, on the run's clock.
    pub(crate) began: Duration,
    /// Until the end of the warm-up, and from then on.
    pub(crate) usage: (Usage, Usage),
    /// Records that were sent.
    pub(crate) records: u64,
}

impl Span<'_> {
    /// Runs it.
    pub(crate) fn run(self) -> Result<Spanned, BenchError> {
        let Self { name, plan, watched, workers, groups, expected, drain_max, figures } = self;
        let worker_count = workers.len() as u64;
        let threads = workers.len() + usize::from(!groups.is_empty());
        let shared = Shared::new(threads, expected.len());
        let mut total = figures.clone();
        let mut outcome: Result<Marks, BenchError> = Err(BenchError::Interrupted);
        std::thread::scope(|scope| {
            let shared = &shared;
            let mut handles: Vec<_> = workers
                .into_iter()
                .map(|worker| {
                    let figures = figures.clone();
                    scope.spawn(move || worker.run(plan, shared, figures))
                })
                .collect();
            if !groups.is_empty() {
                let figures = figures.clone();
                handles.push(scope.spawn(move || join_members(groups, plan, shared, figures)));
            }
            let waits = Waits { name: &name, plan, watched, shared, workers: worker_count };
            outcome = waits.until_over(&expected, drain_max);
            shared.end();
            for handle in handles {
                match handle.join() {
                    Ok(Some(figures)) => total.add(&figures),
                    Ok(None) => {}
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        let records = shared.sent_records.load(Ordering::Acquire);
        if let Some(error) = shared.failure() {
            return Err(error.into());
        }
        let marks = outcome?;
        let usage = (marks.middle.since(marks.first), marks.last.since(marks.middle));
        Ok(Spanned { figures: total, began: marks.began, usage, records })
    }
}

/// Counters at the start, at the end of the warm-up and at the end.
struct Marks {
    began: Duration,
    first: Counters,
    middle: Counters,
    last: Counters,
}

struct Waits<'a> {
    name: &'a str,
    plan: &'a Plan<'a>,
    watched: &'a Watched,
    shared: &'a Shared,
    workers: u64,
}

impl Waits<'_> {
    fn until_over(&self, expected: &[Expected], drain_max: Duration) -> Result<Marks, BenchError> {
        let first = self.watched.read(true);
        // Even if that failed: the threads wait for the start.
        let began = self.shared.begin(self.plan.clock);
        let first = first?;
        let warmup_end = began + self.plan.schedule.warmup();
        let mut middle = if self.plan.schedule.warmup().is_zero() { Some(first) } else { None };
        let mut show = Show::new(self.name, self.plan);
        let mut sent_at = None;
        loop {
            std::thread::sleep(LOOK_EVERY);
            let now = self.plan.clock.now();
            if middle.is_none() && now >= warmup_end {
                middle = Some(self.watched.read(false)?);
            }
            show.look(now - began, self.shared);
            if self.shared.over() || self.plan.stop.interrupted() {
                // If a thread failed, its failure is what is told.
                return Err(BenchError::Interrupted);
            }
            if self.shared.senders_done.load(Ordering::Acquire) < self.workers {
                continue;
            }
            let sent_at = *sent_at.get_or_insert(now);
            if self.all_consumed(expected)? {
                break;
            }
            if now > sent_at + drain_max {
                return Err(BenchError::Options {
                    what: format!("consumers had not read everything {drain_max:?} after the last record"),
                    advice: "raise drain_max in the workload, or lower its rate",
                });
            }
        }
        let last = self.watched.read(true)?;
        let middle = middle.unwrap_or(last);
        Ok(Marks { began, first, middle, last })
    }

    fn all_consumed(&self, expected: &[Expected]) -> Result<bool, VerifyError> {
        let sent = self.shared.sent_records.load(Ordering::Acquire);
        let mut all = true;
        for (expected, consumed) in expected.iter().zip(&self.shared.consumed) {
            let due = (expected.before + sent) * expected.copies;
            let held = consumed.load(Ordering::Acquire);
            if held > due {
                return Err(VerifyError::Count { sent: due, held });
            }
            all &= held == due;
        }
        Ok(all)
    }
}

/// The line on the terminal.
struct Show {
    bar: ProgressBar,
    shown: Duration,
    records: u64,
    latencies: Latencies,
}

/// Whether somebody looks: the library hides progress unless standard error is a terminal.
pub(crate) fn watched() -> bool {
    !ProgressBar::new_spinner().is_hidden()
}

impl Show {
    fn new(name: &str, plan: &Plan<'_>) -> Self {
        let bar = match plan.schedule.end().as_millis() {
            ms if ms < u128::from(u32::MAX) => ProgressBar::new(ms as u64),
            _ => ProgressBar::new_spinner(),
        };
        if let Ok(style) = ProgressStyle::with_template("{prefix:>16} {elapsed} {bar:20} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        Self { bar, shown: Duration::ZERO, records: 0, latencies: Latencies::new() }
    }

    fn look(&mut self, since_start: Duration, shared: &Shared) {
        if self.bar.is_hidden() || since_start < self.shown + SHOW_EVERY {
            return;
        }
        let records = shared.sent_records.load(Ordering::Relaxed);
        let per_s = (records - self.records) as f64 / (since_start - self.shown).as_secs_f64();
        (self.records, self.shown) = (records, since_start);
        self.latencies = shared.take_live();
        let mut line = format!("{per_s:>9.0} records/s");
        if let Some(l) = self.latencies.summary() {
            let ms = |us: u64| us as f64 / 1e3;
            line += &format!(
                "  p50 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2} ms",
                ms(l.p50_us),
                ms(l.p99_us),
                ms(l.p99_9_us),
                ms(l.max_us)
            );
        }
        let consumed: u64 = shared.consumed.iter().map(|set| set.load(Ordering::Relaxed)).sum();
        if !shared.consumed.is_empty() {
            line += &format!("  {consumed} read");
        }
        self.bar.set_position(since_start.as_millis() as u64);
        self.bar.set_message(line);
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
