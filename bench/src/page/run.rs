//! What is shown of runs. Runs of one workload on one machine share their plots.

use crate::page::case::{Case, Side, kind_name, spread};
use crate::page::chart::{BarRow, Bars, Chart, Plot, Scale, Unit, slug};
use crate::page::document::{Block, Section, Table};
use crate::page::facts;
use crate::page::number::{show, show_ends};
use crate::result::cost::cpu_s_per_gb;
use crate::result::run::{Phase, PhaseKind, Run};

/// Runs with their files' names.
pub(crate) type Runs<'a> = Vec<(&'a str, &'a Run)>;

/// All runs.
pub(crate) fn sections(runs: &Runs<'_>) -> Vec<Section> {
    let mut cases: Vec<(Case<'_>, Runs<'_>)> = Vec::new();
    for (name, run) in runs {
        let same = |case: &Case<'_>| *case.workload == run.workload && *case.machine == run.machine;
        let at = cases.iter().position(|(case, _)| same(case)).unwrap_or_else(|| {
            let (workload, machine) = (&run.workload, &run.machine);
            cases.push((Case { workload, machine, sides: Vec::new(), notes: Vec::new() }, Vec::new()));
            cases.len() - 1
        });
        let (case, members) = &mut cases[at];
        members.push((*name, *run));
        let product = &run.target.name;
        let taken = case.sides.iter().any(|side| side.name == *product);
        let side = if taken { format!("{product} {}", members.len()) } else { product.clone() };
        case.side(&side).turns = rounds(run);
    }
    cases.iter().map(|(case, members)| section(case, members)).collect()
}

/// Phases that count, round by round.
pub(crate) fn rounds(run: &Run) -> Vec<Vec<&Phase>> {
    let mut rounds: Vec<(u32, Vec<&Phase>)> = Vec::new();
    for phase in run.phases.iter().filter(|phase| !phase.warmup) {
        match rounds.iter_mut().find(|(number, _)| *number == phase.round) {
            Some((_, phases)) => phases.push(phase),
            None => rounds.push((phase.round, vec![phase])),
        }
    }
    rounds.into_iter().map(|(_, phases)| phases).collect()
}

fn section(case: &Case<'_>, members: &Runs<'_>) -> Section {
    let class = facts::durability(case.workload.durability);
    let mut section = Section::new(format!("{}, {class}", case.workload.name));
    section.add(Block::Text(case.workload.description.clone()));
    for (name, run) in members {
        for phase in run.phases.iter().filter(|phase| phase.client_limited && !phase.warmup) {
            let (of, span, why) = (kind_name(phase.kind), &phase.span, &phase.client_limited_why);
            let text = format!("{name}: the client may have set the limit of {of}, {span}: {why}");
            section.add(Block::Warning(text));
        }
    }
    let mut plots = case.plots();
    plots.extend(cpu(case));
    section.add(Block::Plots(plots));
    section.add(Block::Table(phases(case)));
    section.add(Block::Table(costs(case)));
    for (name, run) in members {
        section.add(Block::Heading(format!(
            "{}, from {name}",
            facts::product(&run.target.name, &run.target.version)
        )));
        section.add(Block::Facts(facts_of(run)));
        section.add(Block::List(run.notes.clone()));
        let text = run.target.configuration.clone();
        section.add(Block::Folded { summary: "Configuration of the broker".into(), text });
    }
    // It came from TOML, so it goes back to it.
    let text = toml::to_string(case.workload).unwrap_or_default();
    section.add(Block::Folded { summary: "Workload".into(), text });
    section
}

fn facts_of(run: &Run) -> facts::Facts {
    let mut all = facts::tool(&run.tool, run.unix_time_s);
    all.extend(facts::machine(&run.machine));
    all.push(("An acknowledgement means".into(), facts::durability(run.target.durability).into()));
    all.push(("Address".into(), run.target.address.clone()));
    let checks = [("checksums", run.verified.checksums), ("order", run.verified.order)];
    let looked_at: Vec<&str> = checks.iter().filter(|(_, done)| *done).map(|(name, _)| *name).collect();
    all.push((
        "Read back and found right".into(),
        format!("{} records; {}", run.verified.records, looked_at.join(" and ")),
    ));
    all.push(("The generator alone".into(), alone(run)));
    all
}

/// What the generator can do beside what was done.
fn alone(run: &Run) -> String {
    let Some(alone) = run.self_check else {
        return "not measured (--self-check does): it may have been the limit where a rate is high".into();
    };
    let produced = run.phases.iter().filter(|phase| phase.kind == PhaseKind::Produce && !phase.warmup);
    let most = produced.map(|phase| phase.records_per_s).fold(0.0, f64::max);
    let mut text = format!(
        "{} records/s, {}",
        show(alone.records_per_s, Unit::PerSecond),
        show(alone.mb_per_s, Unit::MegabytesPerSecond)
    );
    if most > 0.0 {
        text += &format!(
            ": {} the highest rate of producing; below 2× it would be the limit",
            show(alone.records_per_s / most, Unit::Times)
        );
    }
    text
}

/// Of each side, kind and span: median and ends over its rounds.
fn phases(case: &Case<'_>) -> Table {
    let columns = [
        "side",
        "work",
        "span",
        "#rounds",
        "#asked/s",
        "#records/s",
        "#MB/s",
        "#p50",
        "#p99",
        "#p99.9",
        "#max",
    ];
    let mut table = Table::new("Rates and latencies: median of the rounds (least – most).", &columns);
    for side in &case.sides {
        let mut seen: Vec<(PhaseKind, &str, &str)> = Vec::new();
        for phase in side.turns.iter().flatten() {
            let key = (phase.kind, phase.span.as_str(), phase.label.as_str());
            if seen.contains(&key) {
                continue;
            }
            seen.push(key);
            let same: Vec<&Phase> = side
                .turns
                .iter()
                .flatten()
                .copied()
                .filter(|other| (other.kind, other.span.as_str(), other.label.as_str()) == key)
                .collect();
            let cell = |unit, pick: &dyn Fn(&Phase) -> Option<f64>| {
                with_ends(same.iter().filter_map(|phase| pick(phase)).collect(), unit)
            };
            let latency = |pick: fn(&crate::result::run::LatencySummary) -> u64| {
                cell(Unit::Microseconds, &|phase| phase.latency.as_ref().map(|latency| pick(latency) as f64))
            };
            let span = [phase.span.as_str(), &phase.label].join(" ");
            table.row(vec![
                side.name.clone(),
                kind_name(phase.kind).into(),
                span.trim().to_owned(),
                same.len().to_string(),
                cell(Unit::PerSecond, &|phase| phase.target_records_per_s),
                cell(Unit::PerSecond, &|phase| Some(phase.records_per_s)),
                cell(Unit::Plain, &|phase| Some(phase.mb_per_s)),
                latency(|latency| latency.p50_us),
                latency(|latency| latency.p99_us),
                latency(|latency| latency.p99_9_us),
                latency(|latency| latency.max_us),
            ]);
        }
    }
    table
}

/// Of each side and span: median and ends over its rounds.
fn costs(case: &Case<'_>) -> Table {
    let columns = [
        "side",
        "span",
        "#rounds",
        "#broker CPU / GB",
        "#client CPU / GB",
        "#broker memory",
        "#device writes",
    ];
    let mut table = Table::new(
        "Costs of a span, all of its work together: median of the rounds (least – most). CPU in seconds for each GB \
         that was produced or consumed.",
        &columns,
    );
    for side in &case.sides {
        for span in spans(side) {
            let first = || side.turns.iter().filter_map(|turn| turn.iter().find(|phase| phase.span == span));
            let cell = |unit, pick: &dyn Fn(&Phase) -> Option<f64>| {
                with_ends(first().filter_map(|phase| pick(phase)).collect(), unit)
            };
            let cpu = |pick: fn(&Phase) -> Option<f64>| {
                cell(Unit::CpuSecondsPerGigabyte, &|phase| {
                    cpu_s_per_gb(pick(phase)?, phase, side.turns.iter().flatten().copied())
                })
            };
            table.row(vec![
                side.name.clone(),
                span.to_owned(),
                first().count().to_string(),
                cpu(|phase| phase.usage.broker_cpu_s),
                cpu(|phase| Some(phase.usage.client_cpu_s)),
                cell(Unit::Bytes, &|phase| phase.usage.broker_rss_max_bytes.map(|bytes| bytes as f64)),
                cell(Unit::Bytes, &|phase| phase.usage.device_write_bytes.map(|bytes| bytes as f64)),
            ]);
        }
    }
    table
}

/// The spans of a side, in the order in which they began.
fn spans<'a>(side: &Side<'a>) -> Vec<&'a str> {
    let mut spans: Vec<&str> = Vec::new();
    for phase in side.turns.iter().flatten() {
        if !spans.contains(&phase.span.as_str()) {
            spans.push(&phase.span);
        }
    }
    spans
}

/// Median and ends of values; a dash if there are none.
pub(crate) fn with_ends(values: Vec<f64>, unit: Unit) -> String {
    match spread(values) {
        None => "–".into(),
        Some((median, least, most)) if least < most => show_ends(median, least, most, unit),
        Some((median, ..)) => show(median, unit),
    }
}

/// Processor time of broker and client for each gigabyte, by side and span.
fn cpu(case: &Case<'_>) -> Option<Plot> {
    let mut rows = Vec::new();
    for side in &case.sides {
        for span in spans(side).into_iter().filter(|span| !span.starts_with("ramp-")) {
            let first = side.turns.iter().filter_map(|turn| turn.iter().find(|phase| phase.span == span));
            let first: Vec<&&Phase> = first.collect();
            for (who, pick) in [
                ("broker", (|phase| phase.usage.broker_cpu_s) as fn(&Phase) -> Option<f64>),
                ("client", |phase| Some(phase.usage.client_cpu_s)),
            ] {
                let values = first.iter().filter_map(|phase| {
                    cpu_s_per_gb(pick(phase)?, phase, side.turns.iter().flatten().copied())
                });
                let Some((value, least, most)) = spread(values.collect()) else { continue };
                let colour = if who == "broker" { side.colour } else { crate::page::draw::GREY };
                let label = format!("{} {who}, {span}", side.name);
                rows.push(BarRow::Bar { label, colour, value, least, most });
            }
        }
    }
    (!rows.is_empty()).then(|| Plot {
        id: slug(&format!("{} cpu per gb", case.workload.name)),
        title: format!("{}: processor time", case.workload.name),
        subtitle: "CPU seconds for each GB produced and consumed; less is better".into(),
        caption: String::new(),
        chart: Chart::Bars(Bars { scale: Scale::Linear, unit: Unit::CpuSecondsPerGigabyte, rows }),
    })
}
