//! Plots as data: what is drawn, not how.

/// A plot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plot {
    /// Unique in the page; letters, digits and dashes only. The name of its files.
    pub(crate) id: String,
    pub(crate) title: String,
    /// The unit and how to read it, in one line under the title.
    pub(crate) subtitle: String,
    /// What must be said beside it; may be empty.
    pub(crate) caption: String,
    pub(crate) chart: Chart,
}

/// What a plot looks like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Chart {
    Lines(Lines),
    Bars(Bars),
}

/// Series over a common axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lines {
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
    /// A dashed line from the origin at 45 degrees: what was asked for is what came.
    pub(crate) diagonal: bool,
}

/// One line, with a band around it where it stands for several rounds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) colour: usize,
    /// `(x, y)`, by ascending x.
    pub(crate) points: Vec<(f64, f64)>,
    /// `(x, least, most)`, by ascending x.
    pub(crate) band: Vec<(f64, f64, f64)>,
    /// Points are marked.
    pub(crate) marked: bool,
}

/// An axis and what its numbers are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) scale: Scale,
    pub(crate) unit: Unit,
}

/// How values are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    /// Powers of ten at equal distances.
    Log,
    /// Percentiles from 0 to 100, each further nine at an equal distance, as HdrHistogram plots them.
    Nines,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Microseconds,
    Seconds,
    /// Per second.
    PerSecond,
    MegabytesPerSecond,
    CpuSecondsPerGigabyte,
    Percentile,
    /// How many times.
    Times,
    Bytes,
    /// None, or one that is told elsewhere.
    Plain,
}

/// Horizontal bars, from top to bottom.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bars {
    /// `Linear`, from zero, or `Log`, from one.
    pub(crate) scale: Scale,
    pub(crate) unit: Unit,
    pub(crate) rows: Vec<BarRow>,
}

/// A bar, or a heading over the bars below it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum BarRow {
    Heading(String),
    Bar { label: String, colour: usize, value: f64, least: f64, most: f64 },
}

/// What names can hold: no control characters, which XML has no place for, and not longer than legible.
pub(crate) fn label(text: &str, chars_max: usize) -> String {
    let clean: Vec<char> = text.chars().filter(|c| !c.is_control()).collect();
    if clean.len() <= chars_max {
        return clean.into_iter().collect();
    }
    let mut short: String = clean[..chars_max.saturating_sub(1)].iter().collect();
    short.push('…');
    short
}

/// An id from any text: what is neither a letter nor a digit of ASCII becomes a dash.
pub(crate) fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => out.push(c),
            _ if out.ends_with('-') || out.is_empty() => {}
            _ => out.push('-'),
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() { "x".into() } else { out.chars().take(80).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_whatever_the_name() {
        assert_eq!(slug("1 topic / 16 Partitions"), "1-topic-16-partitions");
        assert_eq!(slug("../../etc/<script>"), "etc-script");
        assert_eq!(slug("💥"), "x");
        assert!(slug(&"a".repeat(500)).len() <= 80);
    }

    #[test]
    fn labels_are_short_and_hold_no_control_characters() {
        assert_eq!(label("a\u{0}b\nc", 10), "abc");
        assert_eq!(label("abcdef", 4), "abc…");
    }
}
