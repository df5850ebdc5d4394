//! No more records a second than asked for: when the next may go.

use std::time::Duration;

/// How far behind its schedule a sender may catch up at once: sleeping is not exact.
const CATCH_UP_MAX: Duration = Duration::from_millis(20);

/// A schedule of records.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// When the next record is due, since the start.
    due: Duration,
}

impl Pace {
    /// At most so many records a second.
    pub(super) fn new(records_per_second: f64) -> Self {
        let interval = Duration::try_from_secs_f64(records_per_second.recip()).unwrap_or(Duration::MAX);
        Self { interval, due: Duration::ZERO }
    }

    /// How long to wait at `now` (since the start) before one more record is sent.
    pub(super) fn wait(&mut self, now: Duration) -> Duration {
        self.due = self.due.max(now.saturating_sub(CATCH_UP_MAX));
        let wait = self.due.saturating_sub(now);
        self.due = self.due.saturating_add(self.interval);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of the records goes, if every sleep takes `late` longer than asked for.
    fn sent_at(rate: f64, records: u32, late: Duration) -> Vec<Duration> {
        let (mut pace, mut now) = (Pace::new(rate), Duration::ZERO);
        let mut send = || {
            let wait = pace.wait(now);
            if !wait.is_zero() {
                now += wait + late;
            }
            now
        };
        (0..records).map(|_| send()).collect()
    }

    #[test]
    fn records_go_at_the_rate_also_when_sleeps_take_longer() {
        for late_ms in [0, 1, 5] {
            let sent = sent_at(1000.0, 1001, Duration::from_millis(late_ms));
            let last = sent[1000];
            assert!(last >= Duration::from_secs(1) && last <= Duration::from_millis(1010), "{last:?}");
        }
        assert_eq!(sent_at(0.5, 3, Duration::ZERO)[2], Duration::from_secs(4));
    }

    #[test]
    fn a_pause_of_the_input_is_not_caught_up() {
        let mut pace = Pace::new(100.0);
        assert_eq!(pace.wait(Duration::ZERO), Duration::ZERO);
        let later = Duration::from_secs(10);
        let at_once = (0..100).take_while(|_| pace.wait(later).is_zero()).count();
        assert!(at_once <= 3, "{at_once} at once");
    }
}
