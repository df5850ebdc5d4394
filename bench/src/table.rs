//! The report for people.

use std::fmt::Write;

use crate::figures::write_groups;
use crate::machine::Machine;
use crate::report::{PhaseReport, Report, Spread};

/// The whole report.
pub(crate) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(report, &mut text);
    text
}

fn write(report: &Report, out: &mut String) -> std::fmt::Result {
    write_machine(&report.machine, out)?;
    writeln!(
        out,
        "{} records in each batch of {} bytes",
        report.records_per_batch, report.encoded_batch_bytes
    )?;
    writeln!(
        out,
        "\n{:<16}{:>6}{:>10}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}{:>9}{:>9}",
        "", "round", "MB/s", "records/s", "p50", "p90", "p99", "p99.9", "max", "client", "server"
    )?;
    for phase in &report.phases {
        write_phase(phase, out)?;
    }
    if report.phases.iter().any(|phase| phase.round > 1) {
        writeln!(out, "\nmedian (least to most) of the rounds that count")?;
        for summary in &report.summaries {
            writeln!(
                out,
                "{:<16}{:>34} MB/s, CPU-s/GB client {}, server {}",
                summary.kind.name(),
                spread(summary.mb_per_s, 0),
                optional(summary.client_cpu_s_per_gb, 2),
                optional(summary.server_cpu_s_per_gb, 2),
            )?;
        }
    }
    if !report.ratios.is_empty() {
        writeln!(out, "\nbroker / floor, throughput, median (least to most)")?;
        for ratio in &report.ratios {
            let name = format!("{} / {}", ratio.broker.name(), ratio.floor.name());
            let beaten = if ratio.floor_beaten { "  floor beaten: do not quote" } else { "" };
            writeln!(out, "{name:<32}{}{beaten}", spread(ratio.throughput, 3))?;
        }
    }
    write_groups(&report.groups, out)?;
    let memory = report
        .phases
        .iter()
        .rev()
        .find_map(|phase| Some((phase.server_rss_bytes?, phase.server_rss_max_bytes?)));
    if let Some((rss_bytes, rss_max_bytes)) = memory {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (now, most) = (mib(rss_bytes), mib(rss_max_bytes));
        writeln!(out, "\nbroker memory: {now:.0} MiB resident at the end, {most:.0} MiB at most")?;
    }
    if let Some(verified) = report.verified {
        writeln!(
            out,
            "\nverified outside the timed phases: {} records in {} batches, {:.0} MB",
            verified.records,
            verified.batches,
            verified.batch_bytes as f64 / 1e6
        )?;
    }
    Ok(())
}

/// Where the figures were taken.
pub(crate) fn write_machine(machine: &Machine, out: &mut String) -> std::fmt::Result {
    let gib = machine.memory_bytes as f64 / f64::from(1 << 30);
    writeln!(
        out,
        "Linux {}, {} x {}, {gib:.1} GiB, {}",
        machine.kernel,
        machine.cpus,
        machine.cpu_model,
        machine.medium.describe(),
    )
}

fn write_phase(phase: &PhaseReport, out: &mut String) -> std::fmt::Result {
    let round = if phase.warmup { format!("({})", phase.round) } else { phase.round.to_string() };
    write!(out, "{:<16}{round:>6}{:>10.1}{:>12.0}", phase.kind.name(), phase.mb_per_s, phase.records_per_s)?;
    match phase.latency {
        Some(l) => {
            for us in [l.p50_us, l.p90_us, l.p99_us, l.p99_9_us, l.max_us] {
                write!(out, "{:>10}", milliseconds(us))?;
            }
        }
        None => write!(out, "{:>50}", "no latency: nothing is answered")?,
    }
    let server = match phase.server_cpu_s {
        Some(cpu_s) => format!("{cpu_s:.2}s"),
        None => "-".to_string(),
    };
    writeln!(out, "{:>8.2}s{server:>9}", phase.client_cpu_s)
}

fn milliseconds(us: u64) -> String {
    format!("{:.3}ms", us as f64 / 1e3)
}

pub(crate) fn spread(spread: Spread, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
}

fn optional(value: Option<Spread>, digits: usize) -> String {
    value.map_or_else(|| "-".to_string(), |value| spread(value, digits))
}
