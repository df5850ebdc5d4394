//! When requests are due. Pure: no clock is read here.

use std::time::Duration;

use crate::workload::Rate;

/// Due times of the requests of all producers together, counted from 0, from the start of a span.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schedule {
    warmup: Duration,
    /// Requests in the warm-up.
    warmup_requests: u64,
    /// From the start of the span; nothing is due from then on.
    end: Duration,
    pace: Pace,
}

/// Requests per second.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    AtOnce,
    Even { per_s: f64 },
    Burst { base_per_s: f64, peak_per_s: f64, peak_s: f64, period_s: f64 },
}

/// When a request is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// As soon as it can be sent, until the end.
    AtOnce,
    /// Then.
    At(Duration),
    /// Never: the span is over.
    Over,
}

impl Schedule {
    /// Requests of `records_per_request` records at that rate, for `warmup` and `duration`. The rate of a ramp
    /// is that of its first step: steps are schedules of their own.
    pub(crate) fn new(rate: Rate, records_per_request: u32, warmup: Duration, duration: Duration) -> Self {
        let requests_per_s = |records_per_s: f64| records_per_s / f64::from(records_per_request.max(1));
        let pace = match rate {
            Rate::Max => Pace::AtOnce,
            Rate::Fixed { records_per_s } => Pace::Even { per_s: requests_per_s(records_per_s) },
            Rate::Ramp { from_records_per_s, .. } => Pace::Even { per_s: requests_per_s(from_records_per_s) },
            Rate::Burst { base_records_per_s, peak_factor, peak, period } => Pace::Burst {
                base_per_s: requests_per_s(base_records_per_s),
                peak_per_s: requests_per_s(base_records_per_s * peak_factor),
                peak_s: peak.as_secs_f64(),
                period_s: period.as_secs_f64(),
            },
        };
        let mut schedule = Self { warmup, warmup_requests: 0, end: warmup + duration, pace };
        if let Some(per_s) = schedule.base_per_s() {
            schedule.warmup_requests = (warmup.as_secs_f64() * per_s).ceil() as u64;
        }
        schedule
    }

    /// A schedule without end at no rate: whoever sends knows how much.
    pub(crate) fn at_once() -> Self {
        Self { warmup: Duration::ZERO, warmup_requests: 0, end: Duration::MAX, pace: Pace::AtOnce }
    }

    /// When that request is due.
    pub(crate) fn due(&self, index: u64) -> Due {
        let Some(base_per_s) = self.base_per_s() else {
            return Due::AtOnce;
        };
        let s = if index < self.warmup_requests {
            index as f64 / base_per_s
        } else {
            self.warmup.as_secs_f64() + self.pace.due_s(index - self.warmup_requests)
        };
        match Duration::try_from_secs_f64(s) {
            Ok(at) if at < self.end => Due::At(at),
            _ => Due::Over,
        }
    }

    /// Where the part that counts begins, from the start of the span.
    pub(crate) fn warmup(&self) -> Duration {
        self.warmup
    }

    /// Where nothing more is due, from the start of the span.
    pub(crate) fn end(&self) -> Duration {
        self.end
    }

    /// Requests that are due in the part that counts; `None` if they are not at fixed times.
    #[cfg(test)]
    fn requests(&self) -> Option<u64> {
        self.base_per_s()?;
        let (mut low, mut high) = (self.warmup_requests, u64::MAX >> 12);
        while low < high {
            let middle = low.midpoint(high);
            match self.due(middle) {
                Due::Over => high = middle,
                Due::At(_) | Due::AtOnce => low = middle + 1,
            }
        }
        Some(low - self.warmup_requests)
    }

    fn base_per_s(&self) -> Option<f64> {
        match self.pace {
            Pace::AtOnce => None,
            Pace::Even { per_s } => Some(per_s),
            Pace::Burst { base_per_s, .. } => Some(base_per_s),
        }
    }
}

impl Pace {
    fn due_s(self, index: u64) -> f64 {
        let index = index as f64;
        match self {
            Self::AtOnce => 0.0,
            Self::Even { per_s } => index / per_s,
            Self::Burst { base_per_s, peak_per_s, peak_s, period_s } => {
                let in_peak = peak_per_s * peak_s;
                let in_period = in_peak + base_per_s * (period_s - peak_s);
                let period = (index / in_period).floor();
                let within = index - period * in_period;
                let s = if within < in_peak {
                    within / peak_per_s
                } else {
                    peak_s + (within - in_peak) / base_per_s
                };
                period * period_s + s
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Time;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_even_rate_is_even_and_ends() {
        let schedule = Schedule::new(Rate::Fixed { records_per_s: 1000.0 }, 10, SECOND, 3 * SECOND);
        assert_eq!(schedule.due(0), Due::At(Duration::ZERO));
        assert_eq!(schedule.due(150), Due::At(Duration::from_millis(1500)));
        assert_eq!(schedule.due(399), Due::At(Duration::from_millis(3990)));
        assert_eq!(schedule.due(400), Due::Over);
        assert_eq!(schedule.requests(), Some(300));
    }

    #[test]
    fn a_burst_comes_first_in_each_period() {
        let rate = Rate::Burst {
            base_records_per_s: 10.0,
            peak_factor: 10.0,
            peak: Time(SECOND),
            period: Time(5 * SECOND),
        };
        let schedule = Schedule::new(rate, 1, 2 * SECOND, 10 * SECOND);
        let mut seconds = [0; 12];
        for index in 0..10_000 {
            match schedule.due(index) {
                Due::At(at) => seconds[at.as_secs() as usize] += 1,
                Due::Over => break,
                Due::AtOnce => unreachable!(),
            }
        }
        assert_eq!(seconds, [10, 10, 100, 10, 10, 10, 10, 100, 10, 10, 10, 10]);
        assert_eq!(schedule.requests(), Some(280));
    }

    #[test]
    fn due_times_never_go_back() {
        let rate = Rate::Burst {
            base_records_per_s: 333.0,
            peak_factor: 7.5,
            peak: Time(Duration::from_millis(100)),
            period: Time(Duration::from_millis(700)),
        };
        let schedule = Schedule::new(rate, 4, Duration::from_millis(150), 5 * SECOND);
        let mut before = Duration::ZERO;
        let mut index = 0;
        while let Due::At(at) = schedule.due(index) {
            assert!(at >= before, "{index}");
            before = at;
            index += 1;
        }
        assert!(index > 100);
    }
}
