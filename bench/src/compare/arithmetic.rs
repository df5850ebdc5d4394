//! Orders, spreads and ratios. Pure.

use crate::result::compare::{Figure, Round, Spread};
use crate::result::cost::cpu_s_per_gb;
use crate::result::run::{Phase, PhaseKind};

/// The order of the turns of a round. Each side comes once first and once last, so that what changes steadily
/// with time falls on both alike.
pub(crate) const ORDER: [Side; 4] = [Side::Ringmain, Side::Peer, Side::Peer, Side::Ringmain];

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Ringmain,
    Peer,
}

/// Median, least and most; `None` of nothing.
pub(crate) fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median =
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
    Some(Spread { median, least, most })
}

/// Ringmain divided by the peer, from the figures of each round's turns of either side.
pub(crate) fn ratio(rounds: &[(Vec<f64>, Vec<f64>)]) -> Option<Spread> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let usable =
        rounds.iter().filter(|(ours, theirs)| !ours.is_empty() && theirs.iter().any(|value| *value != 0.0));
    let mut of_rounds = Vec::new();
    let mut of_turns = Vec::new();
    for (ours, theirs) in usable {
        of_rounds.push(mean(ours) / mean(theirs));
        of_turns.extend(ours.iter().flat_map(|our| theirs.iter().map(move |their| our / their)));
    }
    let (least, most) = spread(&of_turns).map(|all| (all.least, all.most))?;
    let median = spread(&of_rounds)?.median;
    [median, least, most].iter().all(|value| value.is_finite()).then_some(Spread { median, least, most })
}

/// A figure of a phase: its name, whether more is better, and how it is read.
/// The second argument are all phases of the turn.
type Read = fn(&Phase, &[Phase]) -> Option<f64>;
type Reading = (&'static str, bool, Read);

const THROUGHPUT: [Reading; 2] = [
    ("records_per_s", true, |phase, _| Some(phase.records_per_s)),
    ("mb_per_s", true, |phase, _| Some(phase.mb_per_s)),
];
const LATENCIES: [Reading; 3] = [
    ("p50_us", false, |phase, _| phase.latency.as_ref().map(|latency| latency.p50_us as f64)),
    ("p99_us", false, |phase, _| phase.latency.as_ref().map(|latency| latency.p99_us as f64)),
    ("p99_9_us", false, |phase, _| phase.latency.as_ref().map(|latency| latency.p99_9_us as f64)),
];
const COSTS: [Reading; 4] = [
    ("broker_cpu_s_per_gb", false, |phase, all| cpu_s_per_gb(phase.usage.broker_cpu_s?, phase, all)),
    ("client_cpu_s_per_gb", false, |phase, all| cpu_s_per_gb(phase.usage.client_cpu_s, phase, all)),
    ("broker_rss_max_bytes", false, |phase, _| phase.usage.broker_rss_max_bytes.map(|bytes| bytes as f64)),
    ("device_bytes_per_byte", false, |phase, _| {
        let written = phase.usage.device_write_bytes?;
        (phase.bytes > 0).then(|| written as f64 / phase.bytes as f64)
    }),
];

/// What the turns of a row say, figure by figure. A figure that a turn of either side lacks is left out.
pub(crate) fn figures(rounds: &[Round], peer: &str) -> Vec<Figure> {
    let mut figures = Vec::new();
    for kind in [PhaseKind::Produce, PhaseKind::Consume, PhaseKind::EndToEnd] {
        let readings: Vec<Reading> = match kind {
            PhaseKind::EndToEnd => LATENCIES.into(),
            // Readers beside senders: the cost of the span stands with the senders, and a fetch takes as long as
            // there is nothing to read.
            PhaseKind::Consume if has_both(rounds) => THROUGHPUT.into(),
            PhaseKind::Produce | PhaseKind::Consume => {
                THROUGHPUT.into_iter().chain(LATENCIES).chain(COSTS).collect()
            }
        };
        for (what, more_is_better, read) in &readings {
            let Some((ours, theirs)) = sides(rounds, peer, kind, *read) else { continue };
            let by_round: Vec<_> = ours.iter().cloned().zip(theirs.iter().cloned()).collect();
            if let (Some(ringmain), Some(peer)) = (spread(&ours.concat()), spread(&theirs.concat())) {
                let ratio = ratio(&by_round);
                let (what, more_is_better) = ((*what).to_string(), *more_is_better);
                figures.push(Figure { kind, what, more_is_better, ringmain, peer, ratio });
            }
        }
    }
    figures
}

/// Whether records were read while they were sent.
fn has_both(rounds: &[Round]) -> bool {
    let turns = rounds.iter().flat_map(|round| &round.turns);
    turns.flat_map(|turn| &turn.phases).any(|phase| phase.kind == PhaseKind::EndToEnd)
}

/// A figure of each turn, round by round, of both sides.
type Sides = (Vec<Vec<f64>>, Vec<Vec<f64>>);

fn sides(rounds: &[Round], peer: &str, kind: PhaseKind, read: Read) -> Option<Sides> {
    let of = |side: &str| -> Option<Vec<Vec<f64>>> {
        let values = |round: &Round| -> Option<Vec<f64>> {
            let turns = round.turns.iter().filter(|turn| turn.side == side);
            turns
                .map(|turn| {
                    let found = turn.phases.iter().find(|phase| phase.kind == kind && !phase.warmup)?;
                    read(found, &turn.phases)
                })
                .collect()
        };
        rounds.iter().map(values).collect()
    };
    Some((of("ringmain")?, of(peer)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::compare::Turn;

    #[test]
    fn each_side_is_as_often_early_as_late() {
        let places =
            |side| ORDER.iter().enumerate().filter(move |(_, at)| **at == side).map(|(place, _)| place);
        assert_eq!(places(Side::Ringmain).sum::<usize>(), places(Side::Peer).sum::<usize>());
        assert_eq!(places(Side::Ringmain).count(), places(Side::Peer).count());
    }

    #[test]
    fn a_steady_drift_does_not_move_the_ratio() {
        // Both sides slow down by the same amount in each turn, and are equal: 10, 9, 8, 7.
        let rounds = [(vec![10.0, 7.0], vec![9.0, 8.0])];
        let ratio = ratio(&rounds).unwrap();
        assert_eq!(ratio.median, 1.0);
        assert_eq!((ratio.least, ratio.most), (7.0 / 9.0, 10.0 / 8.0));
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The second round ran on a machine half as fast.
        let rounds = [(vec![10.0, 10.0], vec![5.0, 5.0]), (vec![5.0, 5.0], vec![2.5, 2.5])];
        assert_eq!(ratio(&rounds), Some(Spread { median: 2.0, least: 2.0, most: 2.0 }));
        assert_eq!(ratio(&[(vec![1.0], vec![0.0])]), None);
        assert_eq!(ratio(&[]), None);
    }

    #[test]
    fn medians_of_even_and_odd_numbers() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_figure_that_a_turn_lacks_is_left_out() {
        let run = crate::result::run::tests::sample();
        let turn = |side: &str, records_per_s: f64, has_latency: bool| {
            let mut phase = run.phases[0].clone();
            phase.kind = PhaseKind::Produce;
            phase.records_per_s = records_per_s;
            if !has_latency {
                phase.latency = None;
            }
            let mut warmup = phase.clone();
            warmup.warmup = true;
            warmup.records_per_s = 1e9;
            Turn { side: side.to_string(), phases: vec![warmup, phase], verified: run.verified }
        };
        let rounds = [Round {
            round: 1,
            turns: vec![
                turn("ringmain", 30.0, true),
                turn("kafka", 10.0, true),
                turn("kafka", 10.0, false),
                turn("ringmain", 50.0, true),
            ],
        }];
        let figures = figures(&rounds, "kafka");
        let rate = figures.iter().find(|figure| figure.what == "records_per_s").unwrap();
        assert_eq!(rate.ringmain, Spread { median: 40.0, least: 30.0, most: 50.0 });
        assert_eq!(rate.ratio, Some(Spread { median: 4.0, least: 3.0, most: 5.0 }));
        assert!(figures.iter().all(|figure| figure.what != "p50_us"));
    }
}
