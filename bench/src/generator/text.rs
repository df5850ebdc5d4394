//! A run for people.

use std::fmt::Write;

use crate::result::run::{PhaseKind, Run, SelfCheck};
use crate::table::write_machine;

/// The whole run as a table.
pub(crate) fn render(run: &Run) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(run, &mut text);
    text
}

/// What the generator does alone, in a line.
pub(crate) fn render_self_check(alone: &SelfCheck) -> String {
    format!(
        "the generator alone: {:.0} records/s, {:.1} MB/s, {:.2} of a processor\n",
        alone.records_per_s, alone.mb_per_s, alone.client_cpu_s_per_s
    )
}

fn write(run: &Run, out: &mut String) -> std::fmt::Result {
    write_machine(&run.machine, out)?;
    let durability = match run.target.durability {
        crate::workload::Durability::PageCache => "acknowledged from the page cache",
        crate::workload::Durability::Synced => "synced before it is acknowledged",
    };
    writeln!(
        out,
        "{} {} at {}, {durability}; workload {}",
        run.target.name, run.target.version, run.target.address, run.workload.name
    )?;
    if let Some(alone) = &run.self_check {
        out.push_str(&render_self_check(alone));
    }
    writeln!(
        out,
        "\n{:<10}{:<24}{:>6}{:>11}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}{:>9}{:>9}",
        "span", "", "round", "records/s", "MB/s", "p50", "p90", "p99", "p99.9", "max", "client", "broker"
    )?;
    for phase in &run.phases {
        let kind = match phase.kind {
            PhaseKind::Produce => "produce",
            PhaseKind::Consume => "consume",
            PhaseKind::EndToEnd => "end to end",
        };
        let name = if phase.label.is_empty() { kind.to_owned() } else { format!("{kind} ({})", phase.label) };
        let round = if phase.warmup { format!("({})", phase.round) } else { phase.round.to_string() };
        write!(
            out,
            "{:<10}{name:<24}{round:>6}{:>11.0}{:>9.1}",
            phase.span, phase.records_per_s, phase.mb_per_s
        )?;
        match &phase.latency {
            Some(l) => {
                for us in [l.p50_us, l.p90_us, l.p99_us, l.p99_9_us, l.max_us] {
                    write!(out, "{:>10}", format!("{:.3}ms", us as f64 / 1e3))?;
                }
            }
            None => write!(out, "{:>50}", "-")?,
        }
        let broker = phase.usage.broker_cpu_s.map_or_else(|| "-".to_owned(), |cpu_s| format!("{cpu_s:.2}s"));
        writeln!(out, "{:>8.2}s{broker:>9}", phase.usage.client_cpu_s)?;
    }
    let limited = run.phases.iter().filter(|phase| phase.client_limited && !phase.warmup);
    for phase in limited {
        writeln!(out, "{}: the client may have been the limit: {}", phase.span, phase.client_limited_why)?;
    }
    for note in &run.notes {
        writeln!(out, "note: {note}")?;
    }
    writeln!(
        out,
        "\nverified outside the timed phases: {} records in {} batches, {:.0} MB",
        run.verified.records,
        run.verified.batches.unwrap_or(0),
        run.verified.bytes as f64 / 1e6
    )
}
