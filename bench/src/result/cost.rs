//! What a gigabyte costs. Every file, table and plot takes it from here. Pure.

use crate::result::run::{Phase, PhaseKind};

/// An amount for each 10^9 bytes; `None` where nothing was moved.
pub(crate) fn per_gb(amount: f64, bytes: u64) -> Option<f64> {
    (bytes > 0).then(|| amount / (bytes as f64 / 1e9))
}

/// Seconds of processor time for each 10^9 bytes that were produced or consumed in the span of `phase`.
///
/// `cpu_s` is what the span used, as each of its phases says. What ran side by side cannot be told apart, so
/// a record that is produced and consumed in one span counts twice, as it does if that is done in two spans. `all`
/// are phases of one side and, if they are of several turns, of different rounds.
pub(crate) fn cpu_s_per_gb<'p>(
    cpu_s: f64,
    phase: &Phase,
    all: impl IntoIterator<Item = &'p Phase>,
) -> Option<f64> {
    let beside = all.into_iter().filter(|other| {
        (other.round, other.span.as_str(), other.warmup) == (phase.round, phase.span.as_str(), phase.warmup)
            && other.kind != PhaseKind::EndToEnd
    });
    per_gb(cpu_s, beside.map(|other| other.bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_side_by_side_is_counted_together() {
        let sample = crate::result::run::tests::sample().phases.remove(0);
        let phase = |kind, span: &str, round, warmup, bytes| Phase {
            kind,
            span: span.into(),
            round,
            warmup,
            bytes,
            ..sample.clone()
        };
        let all = [
            phase(PhaseKind::Produce, "steady", 1, true, 7_000_000_000),
            phase(PhaseKind::Produce, "steady", 1, false, 1_000_000_000),
            phase(PhaseKind::Consume, "steady", 1, false, 3_000_000_000),
            phase(PhaseKind::EndToEnd, "steady", 1, false, 1_000_000_000),
            phase(PhaseKind::Produce, "steady", 2, false, 9_000_000_000),
            phase(PhaseKind::Consume, "drain", 1, false, 2_000_000_000),
        ];
        for of_span in &all[1..4] {
            assert_eq!(cpu_s_per_gb(8.0, of_span, &all), Some(2.0));
        }
        assert_eq!(cpu_s_per_gb(8.0, &all[5], &all), Some(4.0));
        assert_eq!(cpu_s_per_gb(7.0, &all[0], &all), Some(1.0));
        let nothing = [phase(PhaseKind::Produce, "steady", 1, false, 0)];
        assert_eq!(cpu_s_per_gb(1.0, &nothing[0], &nothing), None);
    }
}
