//! Figures of measurements that take turns, round by round, and what they are compared with.

use std::fmt::Write;

use serde::Serialize;

use crate::latency::ShortTimes;
use crate::machine::Machine;
use crate::report::Spread;
use crate::result::figures::Head;
use crate::table::{spread, write_machine};

/// What a figure is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    #[serde(rename = "MB/s")]
    MegabytesPerSecond,
    #[serde(rename = "1/s")]
    PerSecond,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "ms")]
    Milliseconds,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::MegabytesPerSecond => "MB/s",
            Self::PerSecond => "1/s",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::MegabytesPerSecond | Self::PerSecond => 0,
            Self::Microseconds => 1,
            Self::Milliseconds => 3,
        }
    }

    /// How many of it are a second; times only.
    fn per_second(self) -> f64 {
        match self {
            Self::Microseconds => 1e6,
            Self::Milliseconds => 1e3,
            Self::MegabytesPerSecond | Self::PerSecond => unreachable!("not a unit of time"),
        }
    }
}

/// What a ratio should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn describe(self, value: f64) -> String {
        let (sign, bound) = match self {
            Self::AtLeast(bound) => (">=", bound),
            Self::AtMost(bound) => ("<=", bound),
        };
        format!("goal {sign} {bound}: {}", if self.is_met(value) { "met" } else { "missed" })
    }
}

/// Of all times of all rounds.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs)]
pub(crate) struct Percentiles {
    pub(crate) samples: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
}

/// One thing that was measured in every round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// One figure for each round.
    pub(crate) rounds: Vec<f64>,
    /// The middle and the ends of these.
    pub(crate) spread: Option<Spread>,
    /// Of the single times, where there are any.
    pub(crate) percentiles: Option<Percentiles>,
    pub(crate) goal: Option<Goal>,
    #[serde(skip)]
    pooled: Option<ShortTimes>,
}

/// One series by another, round by round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SeriesRatio {
    pub(crate) of: String,
    pub(crate) by: String,
    pub(crate) ratio: Spread,
    pub(crate) goal: Option<Goal>,
    pub(crate) goal_met: Option<bool>,
}

/// Series that take turns, in one unit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Group {
    pub(crate) part: &'static str,
    pub(crate) title: String,
    pub(crate) unit: Unit,
    /// Which share of the times a round's figure stands for; absent: the figure is no quantile.
    pub(crate) quantile: Option<f64>,
    pub(crate) series: Vec<Series>,
    pub(crate) ratios: Vec<SeriesRatio>,
    pub(crate) notes: Vec<String>,
}

impl Group {
    /// A group of plain figures.
    pub(crate) fn new(part: &'static str, title: impl Into<String>, unit: Unit) -> Self {
        let (series, ratios, notes) = (Vec::new(), Vec::new(), Vec::new());
        Self { part, title: title.into(), unit, quantile: None, series, ratios, notes }
    }

    /// A group of times, where each round counts with its `quantile`.
    pub(crate) fn of_times(part: &'static str, title: impl Into<String>, unit: Unit, quantile: f64) -> Self {
        Self { quantile: Some(quantile), ..Self::new(part, title, unit) }
    }

    /// Adds a round's figure.
    pub(crate) fn add(&mut self, name: &str, value: f64) {
        let series = self.series_of(name);
        series.rounds.push(value);
        series.spread = Spread::of(series.rounds.clone());
    }

    /// Adds bytes that took so long.
    pub(crate) fn add_throughput(&mut self, name: &str, bytes: u64, elapsed_s: f64) {
        assert_eq!(self.unit, Unit::MegabytesPerSecond);
        self.add(name, bytes as f64 / 1e6 / elapsed_s.max(1e-9));
    }

    /// Adds a round's times.
    pub(crate) fn add_times(&mut self, name: &str, times: &ShortTimes) {
        let per_second = self.unit.per_second();
        let quantile = self.quantile.unwrap_or(0.5);
        self.add(name, times.quantile_s(quantile) * per_second);
        let series = self.series_of(name);
        let pooled = series.pooled.get_or_insert_with(ShortTimes::new);
        pooled.add(times);
        series.percentiles = Some(Percentiles {
            samples: pooled.samples(),
            p50: pooled.quantile_s(0.5) * per_second,
            p99: pooled.quantile_s(0.99) * per_second,
            p99_9: pooled.quantile_s(0.999) * per_second,
            max: pooled.max_s() * per_second,
        });
    }

    /// States what the median of a series should be.
    pub(crate) fn expect(&mut self, name: &str, goal: Goal) {
        self.series_of(name).goal = Some(goal);
    }

    /// Compares two series within each round. Nothing if one of them could not be measured.
    pub(crate) fn compare(&mut self, of: &str, by: &str, goal: Option<Goal>) {
        let rounds = |name: &str| {
            let found = self.series.iter().find(|series| series.name == name);
            found.map_or(&[][..], |series| &series.rounds)
        };
        let ratios = rounds(of).iter().zip(rounds(by)).map(|(of, by)| of / by).collect();
        if let Some(ratio) = Spread::of(ratios) {
            let goal_met = goal.map(|goal| goal.is_met(ratio.median));
            self.ratios.push(SeriesRatio { of: of.into(), by: by.into(), ratio, goal, goal_met });
        }
    }

    /// Adds a line that belongs to the figures; the same line once only.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn series_of(&mut self, name: &str) -> &mut Series {
        let at = self.series.iter().position(|series| series.name == name).unwrap_or_else(|| {
            self.series.push(Series {
                name: name.into(),
                rounds: Vec::new(),
                spread: None,
                percentiles: None,
                goal: None,
                pooled: None,
            });
            self.series.len() - 1
        });
        &mut self.series[at]
    }

    /// As a table.
    pub(crate) fn write(&self, out: &mut String) -> std::fmt::Result {
        let figure = match self.quantile {
            Some(quantile) => format!("p{} of a round, {}", quantile * 100.0, self.unit.name()),
            None => self.unit.name().to_string(),
        };
        let timed = self.series.iter().any(|series| series.percentiles.is_some());
        write!(out, "\n{}\n{:<34}{figure:>32}", self.title, "")?;
        if timed {
            write!(out, "{:>12}{:>12}{:>12}{:>12}{:>9}", "all: p50", "p99", "p99.9", "max", "samples")?;
        }
        writeln!(out)?;
        let digits = self.unit.digits();
        for series in &self.series {
            let Some(rounds) = series.spread else { continue };
            write!(out, "  {:<32}{:>32}", series.name, spread(rounds, digits))?;
            if let Some(all) = series.percentiles {
                for value in [all.p50, all.p99, all.p99_9, all.max] {
                    write!(out, "{value:>12.digits$}")?;
                }
                write!(out, "{:>9}", all.samples)?;
            }
            let goal = series.goal.map(|goal| goal.describe(rounds.median));
            writeln!(out, "{}", goal.map_or_else(String::new, |goal| format!("  {goal}")))?;
        }
        for ratio in &self.ratios {
            let goal = ratio.goal.map(|goal| goal.describe(ratio.ratio.median));
            writeln!(
                out,
                "    {:<56}{:>28}{}",
                format!("{} / {}", ratio.of, ratio.by),
                spread(ratio.ratio, 3),
                goal.map_or_else(String::new, |goal| format!("  {goal}"))
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "    {note}"))
    }
}

/// The report of a command that has nothing but such groups.
#[derive(Debug, Serialize)]
pub(crate) struct FiguresReport {
    #[serde(flatten)]
    pub(crate) head: Head,
    pub(crate) machine: Machine,
    pub(crate) parameters: serde_json::Value,
    pub(crate) groups: Vec<Group>,
}

impl FiguresReport {
    /// The report for people.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write_machine(&self.machine, &mut text);
        let _ = write_groups(&self.groups, &mut text);
        text
    }
}

/// All groups, with a line that says how to read them.
pub(crate) fn write_groups(groups: &[Group], out: &mut String) -> std::fmt::Result {
    if !groups.is_empty() {
        writeln!(out, "\nmedian (least to most) of the rounds; ratios are taken within a round")?;
    }
    groups.iter().try_for_each(|group| group.write(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut group = Group::new("append", "t", Unit::MegabytesPerSecond);
        for (floor, engine) in [(10.0, 9.0), (100.0, 80.0), (50.0, 45.0)] {
            group.add("floor", floor);
            group.add("engine", engine);
        }
        group.compare("engine", "floor", Some(Goal::AtLeast(0.85)));
        group.compare("engine", "what could not be measured", None);
        assert_eq!(group.ratios.len(), 1);
        assert_eq!(group.ratios[0].ratio, Spread { median: 0.9, min: 0.8, max: 0.9 });
        assert_eq!(group.ratios[0].goal_met, Some(true));
    }

    #[test]
    fn times_count_with_their_quantile_and_all_together() {
        let mut group = Group::of_times("durable", "t", Unit::Milliseconds, 0.5);
        for base_ms in [1, 3] {
            let mut times = ShortTimes::new();
            (0..10).for_each(|_| times.record(Duration::from_millis(base_ms)));
            group.add_times("way", &times);
        }
        let series = &group.series[0];
        assert!((series.rounds[0] - 1.0).abs() < 0.01 && (series.rounds[1] - 3.0).abs() < 0.01);
        let all = series.percentiles.unwrap();
        assert_eq!(all.samples, 20);
        assert!((all.p50 - 1.0).abs() < 0.01 && (all.p99 - 3.0).abs() < 0.01);
        group.expect("way", Goal::AtMost(1.0));
        let mut text = String::new();
        group.write(&mut text).unwrap();
        assert!(text.contains("goal <= 1: missed"), "{text}");
    }
}
