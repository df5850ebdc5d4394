//! Latencies and counts of one kind of work: as a whole, and in pieces of time.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::latency::{LATENCY_US_MAX, Latencies};
use crate::result::run::{LatencySummary, Moment};

/// Pieces at most; what comes later counts for the last one.
const PIECES_MAX: usize = 600;
/// Significant decimal digits of the percentiles of a piece.
const PIECE_DIGITS: u8 = 2;
/// A piece is no shorter, so that its percentiles mean something.
const PIECE_MIN: Duration = Duration::from_millis(100);
/// A phase that takes as long as planned has about so many pieces.
const PIECES_USUAL: u32 = 60;

/// Where a thread records; those of several threads are added up.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    latencies: Latencies,
    piece: Duration,
    pieces: Vec<Piece>,
    /// Records so far.
    pub(crate) records: u64,
    /// Bytes so far.
    pub(crate) bytes: u64,
    /// When the last of it came, from the start of the phase.
    pub(crate) ended: Duration,
}

#[derive(Debug, Clone)]
struct Piece {
    records: u64,
    us: Histogram<u64>,
}

impl Piece {
    fn new() -> Self {
        let us = Histogram::new(PIECE_DIGITS)
            .unwrap_or_else(|_| unreachable!("the library accepts so many digits"));
        Self { records: 0, us }
    }
}

impl Recorder {
    /// For a phase that is planned to take so long. Recorders of one phase need the same plan.
    pub(crate) fn new(planned: Duration) -> Self {
        let piece = (planned / PIECES_USUAL).max(PIECE_MIN);
        Self {
            latencies: Latencies::new(),
            piece,
            pieces: Vec::new(),
            records: 0,
            bytes: 0,
            ended: Duration::ZERO,
        }
    }

    /// Something was done at that time, counted from the start of the phase. Without a latency it only counts.
    pub(crate) fn record(&mut self, at: Duration, latency: Option<Duration>, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        self.ended = self.ended.max(at);
        let place = (at.as_nanos() / self.piece.as_nanos()).min(PIECES_MAX as u128 - 1) as usize;
        if self.pieces.len() <= place {
            self.pieces.resize_with(place + 1, Piece::new);
        }
        self.pieces[place].records += records;
        if let Some(latency) = latency {
            self.latencies.record(latency);
            // `saturating_record` would cut at the present bound of a histogram that could grow.
            let recorded =
                self.pieces[place].us.record(latency.as_micros().min(LATENCY_US_MAX.into()) as u64);
            debug_assert!(recorded.is_ok(), "it grows as needed");
        }
    }

    /// Adds what another thread recorded.
    pub(crate) fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.piece, other.piece, "recorders of one phase have one plan");
        self.latencies.add(&other.latencies);
        self.records += other.records;
        self.bytes += other.bytes;
        self.ended = self.ended.max(other.ended);
        if self.pieces.len() < other.pieces.len() {
            self.pieces.resize_with(other.pieces.len(), Piece::new);
        }
        for (piece, more) in self.pieces.iter_mut().zip(&other.pieces) {
            piece.records += more.records;
            // A histogram that resizes takes any value.
            let _ = piece.us.add(&more.us);
        }
    }

    /// `None` if nothing with a latency was recorded.
    pub(crate) fn summary(&self) -> Option<LatencySummary> {
        self.latencies.detailed()
    }

    /// The pieces in order, those of a silence included.
    pub(crate) fn over_time(&self) -> Vec<Moment> {
        let length_s = self.piece.as_secs_f64();
        let pieces = self.pieces.iter().enumerate();
        pieces
            .map(|(place, piece)| {
                let quantile = |q| (!piece.us.is_empty()).then(|| piece.us.value_at_quantile(q));
                // The last piece ends with the phase.
                let end_s = ((place + 1) as f64 * length_s).min(self.ended.as_secs_f64());
                let took_s = (end_s - place as f64 * length_s).max(1e-3);
                Moment {
                    t_s: end_s,
                    records_per_s: piece.records as f64 / took_s,
                    p50_us: quantile(0.5),
                    p99_us: quantile(0.99),
                    max_us: quantile(1.0),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up_and_silence_is_a_piece() {
        let ms = Duration::from_millis;
        let mut one = Recorder::new(ms(1000));
        let mut other = one.clone();
        one.record(ms(10), Some(ms(5)), 2, 20);
        other.record(ms(350), Some(ms(7)), 3, 30);
        other.record(ms(360), None, 1, 10);
        one.add(&other);
        assert_eq!((one.records, one.bytes, one.ended), (6, 60, ms(360)));
        let moments = one.over_time();
        assert_eq!(moments.len(), 4);
        assert_eq!(moments[0].records_per_s, 20.0);
        for (moment, us) in [(&moments[0], 5000), (&moments[3], 7000)] {
            let of = |found: Option<u64>| found.is_some_and(|found| found.abs_diff(us) <= us / 50);
            assert!(of(moment.p50_us) && of(moment.p99_us) && of(moment.max_us), "{moment:?}");
        }
        assert_eq!((moments[1].records_per_s, moments[1].p50_us), (0.0, None));
        assert!((moments[3].records_per_s - 4.0 / 0.06).abs() < 0.001, "{:?}", moments[3]);
        let summary = one.summary().unwrap();
        assert_eq!((summary.count, summary.min_us / 10, summary.max_us / 10), (2, 500, 700));
        assert_eq!(summary.curve.last(), Some(&(100.0, summary.max_us)));
        assert!(summary.curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert_eq!(Recorder::new(ms(1)).summary(), None);
    }
}
