//! The comparison for people: one line a figure.

use std::fmt::Write;

use crate::result::compare::{Comparison, Figure, Life, OwnToolRow, Row, Spread};
use crate::result::run::PhaseKind;

/// The figures of a row that are printed; all are in the file.
const PRINTED: [&str; 5] =
    ["records_per_s", "p50_us", "p99_us", "broker_cpu_s_per_gb", "broker_rss_max_bytes"];

/// The whole comparison.
pub(crate) fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(comparison, &mut text);
    text
}

fn write(comparison: &Comparison, out: &mut String) -> std::fmt::Result {
    let machine = &comparison.machine;
    writeln!(out, "{} x {}, Linux {}", machine.cpus, machine.cpu_model, machine.kernel)?;
    writeln!(out, "page-cache rows on {}", machine.medium.describe())?;
    if let Some(medium) = &comparison.synced_medium {
        writeln!(out, "synced rows on {}", medium.describe())?;
    }
    writeln!(out, "{:.0} s, and {:.0} s of installing", comparison.elapsed_s, comparison.install_s)?;
    for peer in &comparison.peers {
        writeln!(out, "  {:<10}{} ({})", peer.name, peer.version, peer.source)?;
    }
    if !comparison.rows.is_empty() {
        writeln!(out, "\nmedian (least to most); + and -: better or worse in any two turns of one round")?;
    }
    for row in &comparison.rows {
        write_row(row, out)?;
    }
    if !comparison.lives.is_empty() {
        writeln!(out, "\nstarts, idling, recovery: median (least to most)")?;
        for life in &comparison.lives {
            write_life(life, out)?;
        }
    }
    if !comparison.own_tool.is_empty() {
        writeln!(
            out,
            "\nby tools that peers bring: closed loops of their own, not comparable with the rows above"
        )?;
        for row in &comparison.own_tool {
            write_own_tool(row, out)?;
        }
    }
    if !comparison.not_run.is_empty() {
        writeln!(out, "\nnot run")?;
        for skipped in &comparison.not_run {
            let what = skipped.workload.as_deref().unwrap_or("everything");
            writeln!(out, "  {} {what}: {}", skipped.peer, skipped.why)?;
        }
    }
    comparison.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
}

fn write_row(row: &Row, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n{} against {}: {}", row.workload.name, row.peer, row.workload.description)?;
    writeln!(out, "{:<34}{:>28}{:>28}{:>24}", "", "ringmain", row.peer, "ringmain / peer")?;
    for figure in row.figures.iter().filter(|figure| PRINTED.contains(&figure.what.as_str())) {
        write_figure(figure, out)?;
    }
    row.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))
}

fn write_figure(figure: &Figure, out: &mut String) -> std::fmt::Result {
    let kind = match figure.kind {
        PhaseKind::Produce => "produce",
        PhaseKind::Consume => "consume",
        PhaseKind::EndToEnd => "end to end",
    };
    let ratio = figure.ratio.map_or_else(|| "-".to_string(), |ratio| spread(ratio, 2));
    let mark = match figure.ratio {
        Some(ratio) if ratio.least > 1.0 => {
            if figure.more_is_better {
                " +"
            } else {
                " -"
            }
        }
        Some(ratio) if ratio.most < 1.0 => {
            if figure.more_is_better {
                " -"
            } else {
                " +"
            }
        }
        _ => "",
    };
    let (what, scale) = match figure.what.strip_suffix("_bytes") {
        Some(name) => (format!("{name}_mib"), 1.0 / f64::from(1 << 20)),
        None => (figure.what.clone(), 1.0),
    };
    writeln!(
        out,
        "  {:<32}{:>28}{:>28}{:>24}{mark}",
        format!("{kind} {what}"),
        scaled(figure.ringmain, scale),
        scaled(figure.peer, scale),
        ratio
    )
}

fn write_life(life: &Life, out: &mut String) -> std::fmt::Result {
    let of = |values: &[f64], digits| {
        crate::compare::arithmetic::spread(values)
            .map_or_else(|| "-".to_string(), |found| spread(found, digits))
    };
    let mib: Vec<f64> = life.idle_rss_bytes.iter().map(|bytes| *bytes as f64 / f64::from(1 << 20)).collect();
    let recovered: Vec<f64> = life.recoveries.iter().map(|one| one.recovery_after_kill9_s).collect();
    writeln!(
        out,
        "  {:<10}start {} s, idle {} MiB, {} CPU-s/s, after kill -9 {} s",
        life.peer,
        of(&life.start_up_s, 2),
        of(&mib, 0),
        of(&life.idle_cpu_s_per_s, 4),
        of(&recovered, 2)
    )?;
    for one in life.recoveries.iter().filter(|one| one.found_records < one.acknowledged_records) {
        let lost = one.acknowledged_records - one.found_records;
        writeln!(
            out,
            "            LOST {lost} of {} acknowledged records after kill -9",
            one.acknowledged_records
        )?;
    }
    life.notes.iter().try_for_each(|note| writeln!(out, "            {note}"))
}

fn write_own_tool(row: &OwnToolRow, out: &mut String) -> std::fmt::Result {
    let latencies: Vec<String> =
        row.figure.latencies.iter().map(|(name, value)| format!("{name} {value}")).collect();
    writeln!(
        out,
        "  {:<10}{:<12}{}: {} messages/s, {}",
        row.peer,
        format!("{:?}", row.durability),
        row.figure.what,
        spread(row.figure.messages_per_s, 0),
        latencies.join(", ")
    )
}

fn scaled(of: Spread, scale: f64) -> String {
    let of = Spread { median: of.median * scale, least: of.least * scale, most: of.most * scale };
    spread(of, digits(of))
}

fn digits(of: Spread) -> usize {
    if of.most < 10.0 { 3 } else { 0 }
}

fn spread(of: Spread, digits: usize) -> String {
    if of.least == of.most {
        return format!("{:.digits$}", of.median);
    }
    format!("{:.digits$} ({:.digits$} to {:.digits$})", of.median, of.least, of.most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_losses_and_reasons_are_told() {
        let mut comparison = crate::result::compare::tests::sample();
        comparison.lives[0].recoveries[0].found_records = 5;
        let text = render(&comparison);
        for told in ["kafka", "2.00 (1.00 to 3.00)", "LOST 2 of 7", "iggy everything: no server", "rocketmq"]
        {
            assert!(text.contains(told), "{told} is missing:\n{text}");
        }
    }
}
