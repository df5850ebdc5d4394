//! One workload and all sides that did it: what plots of latency and rate are drawn from, whether the sides
//! are of one comparison or of several runs.

use crate::machine::Machine;
use crate::page::chart::{Axis, Chart, Lines, Plot, Scale, Series, Unit, slug};
use crate::result::run::{LatencySummary, Moment, Phase, PhaseKind};
use crate::workload::Workload;

/// Span names of the steps of a ramp begin so.
const RAMP: &str = "ramp-";

/// A workload and who did it.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) machine: &'a Machine,
    pub(crate) sides: Vec<Side<'a>>,
    /// What a reader must know.
    pub(crate) notes: Vec<String>,
}

/// Who did it.
#[derive(Debug)]
pub(crate) struct Side<'a> {
    pub(crate) name: String,
    pub(crate) colour: usize,
    /// Its turns or rounds, without those that only warmed up.
    pub(crate) turns: Vec<Vec<&'a Phase>>,
}

/// What is drawn on its own: a kind of work in a span, of one set of consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key<'a> {
    kind: PhaseKind,
    span: &'a str,
    label: &'a str,
}

/// The colour of a product, the same on every plot.
pub(crate) fn colour(product: &str) -> usize {
    let known = ["ringmain", "kafka", "nats", "rabbitmq", "redis"];
    known.iter().position(|name| product.starts_with(name)).unwrap_or(5)
}

/// A kind of work, as it is written.
pub(crate) fn kind_name(kind: PhaseKind) -> &'static str {
    match kind {
        PhaseKind::Produce => "produce",
        PhaseKind::Consume => "consume",
        PhaseKind::EndToEnd => "end to end",
    }
}

/// Median, least and most.
pub(crate) fn spread(mut values: Vec<f64>) -> Option<(f64, f64, f64)> {
    values.retain(|value| value.is_finite());
    let spread = crate::report::Spread::of(values)?;
    Some((spread.median, spread.min, spread.max))
}

impl<'a> Case<'a> {
    /// The side of this name, which is made if it is not there.
    pub(crate) fn side(&mut self, name: &str) -> &mut Side<'a> {
        let at = self.sides.iter().position(|side| side.name == name).unwrap_or_else(|| {
            let taken: Vec<usize> = self.sides.iter().map(|side| side.colour).collect();
            let wanted = colour(name);
            let free = (0..=6).find(|colour| !taken.contains(colour)).unwrap_or(6);
            let colour = if taken.contains(&wanted) { free } else { wanted };
            self.sides.push(Side { name: name.to_owned(), colour, turns: Vec::new() });
            self.sides.len() - 1
        });
        &mut self.sides[at]
    }

    fn keys(&self) -> Vec<Key<'a>> {
        let mut keys = Vec::new();
        for phase in self.sides.iter().flat_map(|side| &side.turns).flatten() {
            let key = Key { kind: phase.kind, span: &phase.span, label: &phase.label };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// All plots of the case.
    pub(crate) fn plots(&self) -> Vec<Plot> {
        let mut plots = Vec::new();
        for key in self.keys().into_iter().filter(|key| !key.span.starts_with(RAMP)) {
            plots.extend(self.percentiles(key));
            plots.extend(self.over_time(key));
            if key.kind != PhaseKind::EndToEnd {
                plots.extend(self.rate_over_time(key));
            }
        }
        for kind in [PhaseKind::Produce, PhaseKind::Consume, PhaseKind::EndToEnd] {
            plots.extend(self.ramp(kind));
        }
        plots
    }

    fn plot(
        &self,
        key: Key<'_>,
        what: &str,
        subtitle: String,
        caption: &str,
        mut lines: Lines,
    ) -> Option<Plot> {
        lines.series.retain(|series| !series.points.is_empty());
        let series = !lines.series.is_empty();
        let mut of = format!("{}: {}", self.workload.name, kind_name(key.kind));
        for part in [key.span, key.label].iter().filter(|part| !part.is_empty() && **part != "steady") {
            of += &format!(", {part}");
        }
        series.then(|| Plot {
            id: slug(&format!("{of} {what}")),
            title: format!("{of}, {what}"),
            subtitle,
            caption: caption.to_owned(),
            chart: Chart::Lines(lines),
        })
    }

    /// Phases of a side, one a turn.
    fn phases<'s>(side: &'s Side<'a>, key: Key<'s>) -> impl Iterator<Item = &'a Phase> + 's {
        side.turns.iter().filter_map(move |turn| {
            let same = |phase: &&&'a Phase| {
                (phase.kind, phase.span.as_str(), phase.label.as_str()) == (key.kind, key.span, key.label)
            };
            turn.iter().find(same).copied()
        })
    }

    fn percentiles(&self, key: Key<'_>) -> Option<Plot> {
        let series = self.sides.iter().filter_map(|side| {
            let curves: Vec<_> =
                Self::phases(side, key).filter_map(|phase| phase.latency.as_ref()).map(curve).collect();
            let (points, band) = together(&curves)?;
            Some(Series { label: side.name.clone(), colour: side.colour, points, band, marked: false })
        });
        let lines = Lines {
            x: Axis { label: "percentile", scale: Scale::Nines, unit: Unit::Percentile },
            y: Axis { label: "latency", scale: Scale::Log, unit: Unit::Microseconds },
            series: series.collect(),
            diagonal: false,
        };
        let several = self.sides.iter().any(|side| side.turns.len() > 1);
        let caption = if several { "Line: median of the turns; band: least to most of them." } else { "" };
        self.plot(key, "latency", "by percentile; lower is better".into(), caption, lines)
    }

    fn over_time(&self, key: Key<'_>) -> Option<Plot> {
        let mut series = Vec::new();
        let alone = self.sides.len() == 1;
        for side in &self.sides {
            let Some(phase) = middle_turn(Self::phases(side, key)) else { continue };
            let mut add = |label: String, colour, pick: fn(&Moment) -> Option<u64>| {
                let points = whole_pieces(&phase.over_time)
                    .iter()
                    .filter_map(|one| Some((one.t_s, pick(one)? as f64)));
                let points = points.collect();
                series.push(Series { label, colour, points, band: Vec::new(), marked: false });
            };
            if alone {
                add("max".into(), 1, |one| one.max_us);
                add("p99".into(), 4, |one| one.p99_us);
                add("p50".into(), 0, |one| one.p50_us);
            } else {
                add(side.name.clone(), side.colour, |one| one.p99_us);
            }
        }
        let subtitle = if alone { "of each piece of time" } else { "99th percentile of each piece of time" };
        let lines = Lines {
            x: Axis { label: "time", scale: Scale::Linear, unit: Unit::Seconds },
            y: Axis { label: "latency", scale: Scale::Log, unit: Unit::Microseconds },
            series,
            diagonal: false,
        };
        let caption = "Of the turn whose p99 is the middle one of its side.";
        self.plot(key, "latency over time", format!("{subtitle}; lower is better"), caption, lines)
    }

    fn rate_over_time(&self, key: Key<'_>) -> Option<Plot> {
        let series = self.sides.iter().filter_map(|side| {
            let phase = middle_turn(Self::phases(side, key))?;
            let pieces = whole_pieces(&phase.over_time).iter();
            let points = pieces.map(|one| (one.t_s, one.records_per_s)).collect();
            let (label, colour) = (side.name.clone(), side.colour);
            Some(Series { label, colour, points, band: Vec::new(), marked: false })
        });
        let lines = Lines {
            x: Axis { label: "time", scale: Scale::Linear, unit: Unit::Seconds },
            y: Axis { label: "records/s", scale: Scale::Linear, unit: Unit::PerSecond },
            series: series.collect(),
            diagonal: false,
        };
        self.plot(key, "rate over time", "records a second, of each piece of time".into(), "", lines)
    }

    /// Of a ramp: what came of each rate that was asked for, and at what latency.
    fn ramp(&self, kind: PhaseKind) -> Vec<Plot> {
        let steps = |side: &Side<'a>, pick: &dyn Fn(&Phase) -> Option<f64>| {
            let mut steps: Vec<(f64, Vec<f64>)> = Vec::new();
            let phases = side.turns.iter().flatten();
            for phase in phases.filter(|phase| phase.kind == kind && phase.span.starts_with(RAMP)) {
                let (Some(asked), Some(value)) = (phase.target_records_per_s, pick(phase)) else { continue };
                match steps.iter_mut().find(|(rate, _)| *rate == asked) {
                    Some((_, values)) => values.push(value),
                    None => steps.push((asked, vec![value])),
                }
            }
            steps.sort_by(|a, b| a.0.total_cmp(&b.0));
            steps.into_iter().filter_map(|(rate, values)| Some((rate, spread(values)?))).collect::<Vec<_>>()
        };
        let series = |pick: &dyn Fn(&Phase) -> Option<f64>| -> Vec<Series> {
            let of = |side: &Side<'a>| {
                let steps = steps(side, pick);
                Series {
                    label: side.name.clone(),
                    colour: side.colour,
                    points: steps.iter().map(|(rate, (median, ..))| (*rate, *median)).collect(),
                    band: steps.iter().map(|(rate, (_, least, most))| (*rate, *least, *most)).collect(),
                    marked: true,
                }
            };
            self.sides.iter().map(of).collect()
        };
        let key = Key { kind, span: "", label: "" };
        let asked = |scale| Axis { label: "records/s asked for", scale, unit: Unit::PerSecond };
        let rate = Lines {
            x: asked(Scale::Linear),
            y: Axis { label: "records/s", scale: Scale::Linear, unit: Unit::PerSecond },
            series: series(&|phase| Some(phase.records_per_s)),
            diagonal: true,
        };
        let latency = Lines {
            x: asked(Scale::Linear),
            y: Axis { label: "latency", scale: Scale::Log, unit: Unit::Microseconds },
            series: series(&|phase| phase.latency.as_ref().map(|latency| latency.p99_us as f64)),
            diagonal: false,
        };
        let dashed = "Dashed: what was asked for. A line that leaves it can no more.";
        [
            self.plot(key, "throughput against rate", "records a second that were done".into(), dashed, rate),
            self.plot(key, "latency against rate", "99th percentile; lower is better".into(), "", latency),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The phase whose p99 is the middle one.
fn middle_turn<'a>(phases: impl Iterator<Item = &'a Phase>) -> Option<&'a Phase> {
    let mut phases: Vec<&Phase> = phases.filter(|phase| !phase.over_time.is_empty()).collect();
    phases.sort_by_key(|phase| phase.latency.as_ref().map(|latency| latency.p99_us));
    phases.get(phases.len().saturating_sub(1) / 2).copied()
}

/// Without a last piece that is much shorter than the others: what came in it says nothing of a rate.
fn whole_pieces(pieces: &[Moment]) -> &[Moment] {
    match pieces {
        [before @ .., one, last] if last.t_s - one.t_s < one.t_s / (before.len() + 1) as f64 / 2.0 => {
            &pieces[..pieces.len() - 1]
        }
        _ => pieces,
    }
}

/// The points of a curve, the longest latency at the share that it stands for: of n, all but one were faster.
fn curve(latency: &LatencySummary) -> Vec<(f64, f64)> {
    let last = 100.0 * (1.0 - 1.0 / latency.count.max(2) as f64);
    let within = latency.curve.iter().filter(|(percentile, _)| *percentile < last);
    let points = within.map(|(percentile, us)| (*percentile, *us as f64));
    points.chain([(last, latency.max_us as f64)]).collect()
}

/// Points of a line.
type Points = Vec<(f64, f64)>;
/// Points of a band: least and most.
type Band = Vec<(f64, f64, f64)>;

/// Several curves as one: the median of them at each percentile of the shortest, and their ends.
fn together(curves: &[Points]) -> Option<(Points, Band)> {
    let end = |curve: &Points| curve.last().map_or(0.0, |last| last.0);
    let shortest = curves.iter().min_by(|a, b| end(a).total_cmp(&end(b)))?;
    let (mut points, mut band) = (Vec::new(), Vec::new());
    for (percentile, _) in shortest {
        let at = |curve: &Points| curve.iter().find(|(p, _)| p >= percentile).map(|(_, us)| *us);
        let (median, least, most) = spread(curves.iter().filter_map(at).collect())?;
        points.push((*percentile, median));
        if curves.len() > 1 {
            band.push((*percentile, least, most));
        }
    }
    Some((points, band))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_turns_make_a_line_and_a_band() {
        let curves = [
            vec![(0.0, 1.0), (50.0, 2.0), (99.0, 9.0)],
            vec![(0.0, 2.0), (60.0, 4.0), (99.9, 8.0)],
            vec![(0.0, 3.0), (50.0, 3.0), (99.0, 30.0)],
        ];
        let (points, band) = together(&curves).unwrap();
        assert_eq!(points, [(0.0, 2.0), (50.0, 3.0), (99.0, 9.0)]);
        assert_eq!(band, [(0.0, 1.0, 3.0), (50.0, 2.0, 4.0), (99.0, 8.0, 30.0)]);
        assert_eq!(together(&[]), None);
    }

    #[test]
    fn a_sliver_at_the_end_is_no_piece() {
        let piece = |t_s| Moment { t_s, records_per_s: 1.0, p50_us: None, p99_us: None, max_us: None };
        let ends = |pieces: &[f64]| {
            let pieces: Vec<Moment> = pieces.iter().copied().map(piece).collect();
            whole_pieces(&pieces).iter().map(|piece| piece.t_s).collect::<Vec<_>>()
        };
        assert_eq!(ends(&[0.1, 0.2, 0.201]), [0.1, 0.2]);
        assert_eq!(ends(&[0.1, 0.2, 0.28]), [0.1, 0.2, 0.28]);
        assert_eq!(ends(&[0.1, 0.101]), [0.1]);
        assert_eq!(ends(&[0.1]), [0.1]);
        assert_eq!(ends(&[]), [0.0; 0]);
    }

    #[test]
    fn the_longest_latency_stands_where_its_share_is() {
        let latency = crate::result::run::tests::sample().phases[0].latency.clone().unwrap();
        let latency = LatencySummary {
            count: 1000,
            max_us: 70,
            curve: vec![(0.0, 1), (99.5, 5), (99.95, 60), (100.0, 70)],
            ..latency
        };
        let points = curve(&latency);
        assert_eq!(points[..2], [(0.0, 1.0), (99.5, 5.0)]);
        assert!((points[2].0 - 99.9).abs() < 1e-9 && points[2].1 == 70.0 && points.len() == 3);
    }
}
