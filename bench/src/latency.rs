//! Latencies of requests.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::result::run::LatencySummary as DetailedSummary;

/// Latencies are told apart up to here; longer ones count as this long.
pub(crate) const LATENCY_US_MAX: u64 = 600_000_000;
/// Significant decimal digits.
const DIGITS: u8 = 3;

/// A histogram of one connection or of all of them.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    us: Histogram<u64>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        let us = Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS)
            .unwrap_or_else(|_| unreachable!("the bounds are constants that the library accepts"));
        Self { us }
    }

    /// Records one request. Rounded up, so that no request looks faster than it was.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.us.saturating_record(latency.as_nanos().div_ceil(1000).min(u128::from(u64::MAX)) as u64);
    }

    /// Adds those of another connection.
    pub(crate) fn add(&mut self, other: &Self) {
        self.us.add(&other.us).unwrap_or_else(|_| unreachable!("both histograms have the same bounds"));
    }

    /// The figures, or `None` if nothing was recorded.
    pub(crate) fn summary(&self) -> Option<LatencySummary> {
        if self.us.is_empty() {
            return None;
        }
        Some(LatencySummary {
            samples: self.us.len(),
            min_us: self.us.min(),
            mean_us: self.us.mean(),
            p50_us: self.us.value_at_quantile(0.5),
            p90_us: self.us.value_at_quantile(0.9),
            p99_us: self.us.value_at_quantile(0.99),
            p99_9_us: self.us.value_at_quantile(0.999),
            max_us: self.us.max(),
        })
    }
}

/// Points of a percentile curve between halvings of what is left (50 %, 75 %, 87.5 %, ...).
const CURVE_STEPS: u32 = 5;

impl Latencies {
    /// The figures with a curve, or `None` if nothing was recorded.
    pub(crate) fn detailed(&self) -> Option<DetailedSummary> {
        let plain = self.summary()?;
        let mut curve: Vec<(f64, u64)> = Vec::new();
        for point in self.us.iter_quantiles(CURVE_STEPS) {
            let value = point.value_iterated_to().min(plain.max_us);
            curve.push((point.quantile_iterated_to() * 100.0, value));
        }
        curve.push((100.0, plain.max_us));
        curve.dedup();
        Some(DetailedSummary {
            count: plain.samples,
            min_us: plain.min_us,
            mean_us: plain.mean_us,
            p50_us: plain.p50_us,
            p90_us: plain.p90_us,
            p99_us: plain.p99_us,
            p99_9_us: plain.p99_9_us,
            p99_99_us: self.us.value_at_quantile(0.9999),
            max_us: plain.max_us,
            curve,
        })
    }
}

/// A histogram of short times: nanoseconds are told apart.
#[derive(Debug, Clone)]
pub(crate) struct ShortTimes {
    ns: Histogram<u64>,
}

impl ShortTimes {
    pub(crate) fn new() -> Self {
        let ns = Histogram::new_with_bounds(1, LATENCY_US_MAX * 1000, DIGITS)
            .unwrap_or_else(|_| unreachable!("the bounds are constants that the library accepts"));
        Self { ns }
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.ns.saturating_record(time.as_nanos().min(u128::from(u64::MAX)) as u64);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.ns.add(&other.ns).unwrap_or_else(|_| unreachable!("both histograms have the same bounds"));
    }

    /// How many were recorded.
    pub(crate) fn samples(&self) -> u64 {
        self.ns.len()
    }

    /// The time that this share of them did not exceed, in seconds.
    pub(crate) fn quantile_s(&self, quantile: f64) -> f64 {
        self.ns.value_at_quantile(quantile) as f64 / 1e9
    }

    /// The longest, in seconds.
    pub(crate) fn max_s(&self) -> f64 {
        self.ns.max() as f64 / 1e9
    }
}

/// The percentiles of one phase, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs)]
pub(crate) struct LatencySummary {
    pub(crate) samples: u64,
    pub(crate) min_us: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p99_9_us: u64,
    pub(crate) max_us: u64,
}
