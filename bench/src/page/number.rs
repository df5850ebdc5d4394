//! Numbers for people: three digits that count, and a unit of a fitting size.

use crate::page::chart::Unit;

/// A value with its unit.
pub(crate) fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Microseconds => microseconds(value),
        Unit::Seconds if value == 0.0 => "0 s".into(),
        Unit::Seconds => microseconds(value * 1e6),
        Unit::PerSecond => with_prefix(value, &["", "k", "M", "G"], ""),
        Unit::MegabytesPerSecond => format!("{} MB/s", digits(value)),
        Unit::CpuSecondsPerGigabyte => format!("{} s", digits(value)),
        Unit::Percentile => percentile(value),
        Unit::Times => format!("{}×", digits(value)),
        Unit::Bytes => with_prefix(value, &["B", "kB", "MB", "GB", "TB"], " "),
        Unit::Plain => digits(value),
    }
}

/// A median with its ends, unless all read the same; the unit once, if it is the same.
pub(crate) fn show_ends(median: f64, least: f64, most: f64, unit: Unit) -> String {
    let texts = [median, least, most].map(|value| show(value, unit));
    let of =
        |text: &str| text.trim_start_matches(|c: char| c.is_ascii_digit() || "-.".contains(c)).to_owned();
    let [median, least, most] = &texts;
    if median == least && median == most {
        return median.clone();
    }
    if of(median) == of(least) && of(median) == of(most) {
        let number = |text: &str| text[..text.len() - of(text).len()].to_owned();
        return format!("{median} ({}–{})", number(least), number(most));
    }
    format!("{median} ({least} – {most})")
}

/// Three digits that count, no exponent.
pub(crate) fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor();
    let decimals = (2.0 - magnitude).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn microseconds(us: f64) -> String {
    match us.abs() {
        us_abs if us_abs >= 1e6 => format!("{} s", digits(us / 1e6)),
        us_abs if us_abs >= 1e3 => format!("{} ms", digits(us / 1e3)),
        _ => format!("{} µs", digits(us)),
    }
}

fn with_prefix(value: f64, prefixes: &[&str], between: &str) -> String {
    let mut value = value;
    let mut at = 0;
    while value.abs() >= 999.5 && at + 1 < prefixes.len() {
        value /= 1e3;
        at += 1;
    }
    format!("{}{between}{}", digits(value), prefixes[at])
}

fn percentile(p: f64) -> String {
    let text = format!("{p:.5}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_unit_is_written_once() {
        assert_eq!(show_ends(1200.0, 1000.0, 1500.0, Unit::Microseconds), "1.2 ms (1–1.5)");
        assert_eq!(show_ends(1200.0, 900.0, 1500.0, Unit::Microseconds), "1.2 ms (900 µs – 1.5 ms)");
        assert_eq!(show_ends(2.0, 1.0, 3.0, Unit::Times), "2× (1–3)");
        assert_eq!(show_ends(2.0, 1.9999, 2.0001, Unit::Times), "2×");
    }

    #[test]
    fn three_digits_and_a_fitting_unit() {
        for (value, unit, expected) in [
            (0.0, Unit::Microseconds, "0 µs"),
            (999.0, Unit::Microseconds, "999 µs"),
            (1234.0, Unit::Microseconds, "1.23 ms"),
            (2_500_000.0, Unit::Microseconds, "2.5 s"),
            (0.0123, Unit::Seconds, "12.3 ms"),
            (1_234_567.0, Unit::PerSecond, "1.23M"),
            (999_600.0, Unit::PerSecond, "1M"),
            (999.9, Unit::PerSecond, "1k"),
            (12.0, Unit::PerSecond, "12"),
            (99.99, Unit::Percentile, "99.99%"),
            (0.05123, Unit::Times, "0.0512×"),
            (123_456.0, Unit::MegabytesPerSecond, "123456 MB/s"),
            (1_500_000.0, Unit::Bytes, "1.5 MB"),
        ] {
            assert_eq!(show(value, unit), expected);
        }
    }
}
