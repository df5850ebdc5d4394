//! Whether a figure moved between two runs, and by more than it moves by itself. No I/O.

use crate::page::case::kind_name;
use crate::page::case::spread;
use crate::page::chart::Unit;
use crate::page::comparison::unit_of;
use crate::page::facts::durability;
use crate::page::input::{Content, Input};
use crate::page::{figures, run};
use crate::result::compare::Comparison;
use crate::result::cost::cpu_s_per_gb;
use crate::result::run::{Phase, Run};

/// With fewer rounds on a side, nobody knows how much a figure moves by itself.
const ROUNDS_MIN: usize = 3;

/// A figure of ours that may have moved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// Of what: target, workload, span.
    pub(crate) case: String,
    /// Which figure, its unit last.
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) more_is_better: bool,
    /// How many rounds or turns it stands for.
    pub(crate) rounds: usize,
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// Under which conditions: figures under different ones are not compared.
    pub(crate) conditions: String,
    /// On which machine.
    pub(crate) machine: String,
}

/// What became of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// Some round of the one lies among those of the other.
    WithinNoise,
    /// Every new round is better than every old one.
    Better,
    /// Every new round is worse than every old one.
    Worse,
    /// Nobody knows the noise.
    TooFewRounds,
    /// Workload or parameters differ.
    OtherConditions,
}

/// A figure, before and now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) old: Measured,
    pub(crate) new: Measured,
    pub(crate) verdict: Verdict,
    /// By how much the median moved, in percent of the old one.
    pub(crate) percent: f64,
}

impl Change {
    fn of(old: &Measured, new: &Measured) -> Self {
        let (higher, lower) = (new.least > old.most, new.most < old.least);
        let verdict = if old.conditions != new.conditions {
            Verdict::OtherConditions
        } else if old.rounds.min(new.rounds) < ROUNDS_MIN {
            Verdict::TooFewRounds
        } else if !higher && !lower {
            Verdict::WithinNoise
        } else if higher == new.more_is_better {
            Verdict::Better
        } else {
            Verdict::Worse
        };
        let percent = if old.median == 0.0 { 0.0 } else { (new.median / old.median - 1.0) * 100.0 };
        Self { old: old.clone(), new: new.clone(), verdict, percent }
    }

    /// In a word or two. Rates and times are fast or slow; what is used is more or less.
    pub(crate) fn words(&self) -> &'static str {
        let speed = matches!(
            self.new.unit,
            Unit::PerSecond | Unit::MegabytesPerSecond | Unit::Microseconds | Unit::Seconds
        );
        match (self.verdict, speed) {
            (Verdict::WithinNoise, _) => "within noise",
            (Verdict::Better, true) => "faster",
            (Verdict::Worse, true) => "slower",
            (Verdict::Better, false) => "uses less",
            (Verdict::Worse, false) => "uses more",
            (Verdict::TooFewRounds, _) => "too few rounds to tell",
            (Verdict::OtherConditions, _) => "not compared: other conditions",
        }
    }

    /// Whether it is worse beyond noise and by more than so many percent.
    pub(crate) fn is_regression(&self, percent: f64) -> bool {
        self.verdict == Verdict::Worse && self.percent.abs() > percent
    }

    /// Whether noise and change could be told apart.
    pub(crate) fn is_judged(&self) -> bool {
        matches!(self.verdict, Verdict::WithinNoise | Verdict::Better | Verdict::Worse)
    }
}

/// All figures of both, in the order of the new ones; and those of the new ones that the old ones lack.
pub(crate) fn changes(old: &[Input], new: &[Input]) -> (Vec<Change>, Vec<Measured>) {
    let before: Vec<Measured> = old.iter().flat_map(measured).collect();
    let (mut changes, mut alone) = (Vec::new(), Vec::new());
    for now in new.iter().flat_map(measured) {
        match before.iter().find(|one| (&one.case, &one.what) == (&now.case, &now.what)) {
            Some(one) => changes.push(Change::of(one, &now)),
            None => alone.push(now),
        }
    }
    (changes, alone)
}

/// What a result says of what it measured: of a comparison, of our side only.
fn measured(input: &Input) -> Vec<Measured> {
    match &input.content {
        Content::Run(run) => of_run(run),
        Content::Comparison(comparison) => of_comparison(comparison),
        Content::Figures(file) => of_figures(file),
    }
}

type Pick<'p> = (&'static str, bool, &'p dyn Fn(&Phase) -> Option<f64>);

fn of_run(run: &Run) -> Vec<Measured> {
    let rounds = run::rounds(run);
    let all: Vec<&Phase> = rounds.iter().flatten().copied().collect();
    let picks: [Pick<'_>; 6] = [
        ("records_per_s", true, &|phase| Some(phase.records_per_s)),
        ("p50_us", false, &|phase| phase.latency.as_ref().map(|latency| latency.p50_us as f64)),
        ("p99_us", false, &|phase| phase.latency.as_ref().map(|latency| latency.p99_us as f64)),
        ("p99_9_us", false, &|phase| phase.latency.as_ref().map(|latency| latency.p99_9_us as f64)),
        ("broker_cpu_s_per_gb", false, &|phase| {
            cpu_s_per_gb(phase.usage.broker_cpu_s?, phase, all.iter().copied())
        }),
        ("client_cpu_s_per_gb", false, &|phase| {
            cpu_s_per_gb(phase.usage.client_cpu_s, phase, all.iter().copied())
        }),
    ];
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for phase in &all {
        let key = (phase.kind, &phase.span, &phase.label);
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let same = || all.iter().filter(|other| (other.kind, &other.span, &other.label) == key);
        for (what, more_is_better, pick) in picks {
            let values: Vec<f64> = same().filter_map(|phase| pick(phase)).collect();
            let rounds = values.len();
            let Some((median, least, most)) = spread(values) else { continue };
            let case = [
                run.target.name.as_str(),
                &run.workload.name,
                durability(run.workload.durability),
                kind_name(phase.kind),
                &phase.span,
                &phase.label,
            ];
            let case: Vec<&str> = case.into_iter().filter(|part| !part.is_empty()).collect();
            found.push(Measured {
                case: case.join(", "),
                what: what.to_owned(),
                unit: unit_of(what),
                more_is_better,
                rounds,
                median,
                least,
                most,
                // How often does not change what.
                conditions: format!("{:?}", crate::workload::Workload { rounds: 1, ..run.workload.clone() }),
                machine: format!("{:?}", run.machine),
            });
        }
    }
    found
}

fn of_comparison(comparison: &Comparison) -> Vec<Measured> {
    let rows = comparison.rows.iter().flat_map(|row| row.figures.iter().map(move |figure| (row, figure)));
    let rows = rows.map(|(row, figure)| Measured {
        case: [
            "ringmain",
            &row.workload.name,
            durability(row.workload.durability),
            kind_name(figure.kind),
            &format!("in turns with {}", row.peer),
        ]
        .join(", "),
        what: figure.what.clone(),
        unit: unit_of(&figure.what),
        more_is_better: figure.more_is_better,
        // Two turns of a round are ours.
        rounds: 2 * row.rounds.len(),
        median: figure.ringmain.median,
        least: figure.ringmain.least,
        most: figure.ringmain.most,
        conditions: format!("{:?}", crate::workload::Workload { rounds: 1, ..row.workload.clone() }),
        machine: format!("{:?}", comparison.machine),
    });
    rows.collect()
}

fn of_figures(file: &crate::page::figures_file::FiguresFile) -> Vec<Measured> {
    let mut parameters = file.parameters.clone();
    if let Some(parameters) = parameters.as_object_mut() {
        // Where and how often does not change what.
        for name in
            ["output", "dir", "rounds", "warmup_rounds", "broker", "broker_pid", "topic", "keep_topic"]
        {
            parameters.remove(name);
        }
        if let Some(shape) = parameters.get_mut("shape").and_then(|shape| shape.as_object_mut()) {
            shape.remove("data_dir");
        }
    }
    let conditions = parameters.to_string();
    let machine = format!("{:?}", file.machine);
    let groups = file.groups.iter().flat_map(|group| {
        let (unit, factor) = figures::unit_of(&group.unit);
        group.series.iter().map(move |series| (group, series, unit, factor))
    });
    let mut found: Vec<Measured> = Vec::new();
    for (group, series, unit, factor) in groups {
        let Some((median, least, most)) = spread(series.rounds.iter().map(|value| value * factor).collect())
        else {
            continue;
        };
        found.push(Measured {
            case: format!("{}, {}: {}", file.command, group.title, series.name),
            what: group.unit.clone(),
            unit,
            more_is_better: unit != Unit::Microseconds,
            rounds: series.rounds.len(),
            median,
            least,
            most,
            conditions: conditions.clone(),
            machine: machine.clone(),
        });
    }
    for one in &file.summaries {
        let picks = [
            ("mb_per_s", true, Some(one.mb_per_s)),
            ("p50_us", false, one.p50_us),
            ("p99_us", false, one.p99_us),
            ("server_cpu_s_per_gb", false, one.server_cpu_s_per_gb),
        ];
        for (what, more_is_better, ends) in picks {
            let Some(ends) = ends else { continue };
            found.push(Measured {
                case: format!("{}, {}", file.command, one.kind.replace('_', " ")),
                what: what.to_owned(),
                unit: unit_of(what),
                more_is_better,
                rounds: one.rounds,
                median: ends.median,
                least: ends.min,
                most: ends.max,
                conditions: conditions.clone(),
                machine: machine.clone(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(values: &[f64], more_is_better: bool) -> Measured {
        let (median, least, most) = spread(values.to_vec()).unwrap();
        Measured {
            case: "ringmain, one".into(),
            what: if more_is_better { "mb_per_s".into() } else { "p99_us".into() },
            unit: if more_is_better { Unit::MegabytesPerSecond } else { Unit::Microseconds },
            more_is_better,
            rounds: values.len(),
            median,
            least,
            most,
            conditions: String::new(),
            machine: String::new(),
        }
    }

    #[test]
    fn what_overlaps_is_noise_and_what_does_not_has_a_direction() {
        for (old, new, more_is_better, verdict, words) in [
            (&[90.0, 100.0, 110.0], &[80.0, 85.0, 91.0], true, Verdict::WithinNoise, "within noise"),
            (&[90.0, 100.0, 110.0], &[70.0, 80.0, 89.0], true, Verdict::Worse, "slower"),
            (&[90.0, 100.0, 110.0], &[111.0, 120.0, 130.0], true, Verdict::Better, "faster"),
            (&[90.0, 100.0, 110.0], &[111.0, 120.0, 130.0], false, Verdict::Worse, "slower"),
            (&[90.0, 100.0, 110.0], &[70.0, 80.0, 89.0], false, Verdict::Better, "faster"),
        ] {
            let change = Change::of(&measured(old, more_is_better), &measured(new, more_is_better));
            assert_eq!((change.verdict, change.words()), (verdict, words), "{old:?} {new:?}");
        }
    }

    #[test]
    fn a_regression_is_beyond_noise_and_beyond_the_percentage() {
        let old = measured(&[99.0, 100.0, 101.0], true);
        let change = Change::of(&old, &measured(&[89.0, 90.0, 91.0], true));
        assert!((change.percent + 10.0).abs() < 1e-9, "{}", change.percent);
        assert!(change.is_regression(9.0) && !change.is_regression(11.0));
        // As far away, and so noisy that it says nothing.
        let noisy = Change::of(&old, &measured(&[50.0, 90.0, 99.5], true));
        assert!(!noisy.is_regression(9.0) && noisy.is_judged());
        // Better by as much.
        let better = Change::of(&old, &measured(&[120.0, 121.0, 122.0], true));
        assert!(!better.is_regression(9.0));
        let costs = Measured { unit: Unit::CpuSecondsPerGigabyte, ..measured(&[1.0, 1.0, 1.0], false) };
        let more = Change::of(&costs, &Measured { unit: costs.unit, ..measured(&[2.0, 2.0, 2.0], false) });
        assert_eq!((more.words(), more.is_regression(50.0)), ("uses more", true));
    }

    #[test]
    fn few_rounds_and_other_conditions_judge_nothing() {
        let old = measured(&[100.0, 100.0, 100.0], true);
        let few = Change::of(&old, &measured(&[10.0, 10.0], true));
        assert_eq!(
            (few.verdict, few.is_regression(1.0), few.is_judged()),
            (Verdict::TooFewRounds, false, false)
        );
        let other = Measured { conditions: "longer".into(), ..measured(&[10.0, 10.0, 10.0], true) };
        let other = Change::of(&old, &other);
        assert_eq!((other.verdict, other.is_judged()), (Verdict::OtherConditions, false));
    }

    #[test]
    fn figures_are_matched_by_what_they_are_of() {
        let run = crate::result::run::tests::sample();
        let input = |run: &Run| Input { name: "x".into(), content: Content::Run(Box::new(run.clone())) };
        let mut renamed = run.clone();
        renamed.workload.name = "another".into();
        let (changed, alone) = changes(&[input(&run)], &[input(&run)]);
        assert!(changed.len() >= 4 && alone.is_empty());
        assert!(
            changed.iter().all(|change| change.verdict == Verdict::TooFewRounds && change.percent == 0.0)
        );
        let (changed, alone) = changes(&[input(&run)], &[input(&renamed)]);
        assert!(changed.is_empty() && alone.len() >= 4);
    }
}
