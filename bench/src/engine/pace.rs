//! Work at a fixed rate, whatever it takes, timed from the moment it is due.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use crate::engine::EngineError;
use crate::latency::ShortTimes;

/// Sleeping is not exact: so long before work is due, its thread stays awake.
const AWAKE: Duration = Duration::from_micros(200);
/// Who takes so many times as long as planned cannot keep up, and is not waited for.
const LATE_FACTOR_MAX: u32 = 3;

/// What came of it.
#[derive(Debug)]
pub(super) struct Paced {
    /// From due to done.
    pub(super) times: ShortTimes,
    /// Whether all was done.
    pub(super) kept_up: bool,
}

/// Does `work` so often per second for `duration`.
pub(super) fn at_rate(
    per_second: f64,
    duration: Duration,
    mut work: impl FnMut() -> Result<(), EngineError>,
) -> Result<Paced, EngineError> {
    let count = (per_second * duration.as_secs_f64()) as u64;
    let mut times = ShortTimes::new();
    let began = Instant::now();
    for number in 0..count {
        // From the number, not from the last one: so the rate does not drift.
        let due = began + Duration::from_secs_f64(number as f64 / per_second);
        wait_until(due);
        work()?;
        times.record(due.elapsed());
        if began.elapsed() > duration * LATE_FACTOR_MAX {
            return Ok(Paced { times, kept_up: false });
        }
    }
    Ok(Paced { times, kept_up: true })
}

/// Does `task` again and again, with a pause before each, on another thread, until `work` is done.
/// Without a pause it is never done.
pub(super) fn beside<R>(pause: Option<Duration>, task: impl Fn() + Send, work: impl FnOnce() -> R) -> R {
    let Some(pause) = pause else { return work() };
    let (over, ended) = sync_channel::<()>(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                task();
            }
        });
        let outcome = work();
        drop(over);
        outcome
    })
}

fn wait_until(due: Instant) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        if left > AWAKE {
            std::thread::sleep(left - AWAKE);
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_for_all_that_was_due() {
        let mut number = 0;
        let paced = at_rate(1000.0, Duration::from_millis(400), || {
            number += 1;
            if number == 100 {
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        });
        let Paced { times, kept_up } = paced.unwrap();
        assert!(kept_up);
        assert_eq!(times.samples(), 400);
        // A hundred of four hundred were due while nothing went on.
        assert!(times.quantile_s(0.9) > 0.04, "{}", times.quantile_s(0.9));
    }

    #[test]
    fn a_task_beside_ends_with_the_work() {
        let count = std::sync::atomic::AtomicU32::new(0);
        let task = || {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        };
        beside(Some(Duration::from_millis(1)), task, || std::thread::sleep(Duration::from_millis(50)));
        assert!(count.load(std::sync::atomic::Ordering::SeqCst) > 1);
        assert_eq!(beside(None, || panic!("without a pause it is not done"), || 7), 7);
    }

    #[test]
    fn who_cannot_keep_up_is_given_up() {
        let work = || {
            std::thread::sleep(Duration::from_millis(10));
            Ok(())
        };
        assert!(!at_rate(10_000.0, Duration::from_millis(20), work).unwrap().kept_up);
    }
}
