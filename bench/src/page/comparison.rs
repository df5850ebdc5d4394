//! What is shown of a comparison.

use crate::page::case::{Case, colour, kind_name, spread};
use crate::page::chart::{BarRow, Bars, Chart, Plot, Scale, Unit, slug};
use crate::page::document::{Block, Section, Table};
use crate::page::facts;
use crate::page::number::{digits, show};
use crate::page::run::with_ends;
use crate::result::compare::{Client, Comparison, Figure, Row, Spread};
use crate::result::run::PhaseKind;
use crate::workload::Rate;

/// The first side of every row.
pub(crate) const OURS: &str = "ringmain";

/// All of it.
pub(crate) fn sections(name: &str, comparison: &Comparison) -> Vec<Section> {
    let mut all = vec![overview(name, comparison)];
    all.extend(cases(comparison).iter().map(|case| {
        let class = facts::durability(case.workload.durability);
        let mut section = Section::new(format!("{}, {class}", case.workload.name));
        section.add(Block::Text(case.workload.description.clone()));
        section.add(Block::Plots(case.plots()));
        section.add(Block::List(case.notes.clone()));
        let rows = comparison.rows.iter().filter(|row| row.workload == *case.workload);
        section.add(Block::Table(figures(rows)));
        let text = toml::to_string(case.workload).unwrap_or_default();
        section.add(Block::Folded { summary: "Workload".into(), text });
        section
    }));
    all.extend([lives(comparison), own_tools(comparison), peers(comparison), not_run(comparison)]);
    all.retain(|section| !section.blocks.is_empty());
    all
}

/// Workloads with all that did them.
pub(crate) fn cases(comparison: &Comparison) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for row in &comparison.rows {
        let at = cases.iter().position(|case| *case.workload == row.workload).unwrap_or_else(|| {
            let (workload, machine) = (&row.workload, &comparison.machine);
            cases.push(Case { workload, machine, sides: Vec::new(), notes: Vec::new() });
            cases.len() - 1
        });
        let case = &mut cases[at];
        case.notes.extend(row.notes.iter().map(|note| format!("{}: {note}", row.peer)));
        for turn in row.rounds.iter().flat_map(|round| &round.turns) {
            let phases = turn.phases.iter().filter(|phase| !phase.warmup).collect();
            case.side(&turn.side).turns.push(phases);
        }
    }
    cases
}

fn overview(name: &str, comparison: &Comparison) -> Section {
    let mut section = Section::new(format!("Comparison, from {name}"));
    if comparison.short {
        section.add(Block::Text("A short one: fewer rounds and less data than a whole one.".into()));
    }
    for life in &comparison.lives {
        for lost in life.recoveries.iter().filter(|one| one.found_records < one.acknowledged_records) {
            section.add(Block::Warning(format!(
                "{} lost records: {} were acknowledged ({}), {} were there after kill -9.",
                life.peer,
                lost.acknowledged_records,
                facts::durability(lost.durability),
                lost.found_records
            )));
        }
    }
    let limited = client_limits(comparison);
    if !limited.is_empty() {
        section.add(Block::Warning(
            "The client, not the broker, may have set the limit. Here each figure stands for both of them:"
                .into(),
        ));
        section.add(Block::List(limited));
    }
    let mut plots = headline(comparison);
    let costs = [
        cost(
            comparison,
            "Processor time of the broker",
            "broker_cpu_s_per_gb",
            Unit::CpuSecondsPerGigabyte,
            "CPU seconds for each GB; less is better",
        ),
        cost(
            comparison,
            "Memory of the broker",
            "broker_rss_max_bytes",
            Unit::Bytes,
            "resident at most; less is better",
        ),
    ];
    plots.extend(costs.into_iter().flatten());
    section.add(Block::Plots(plots));
    let mut all = facts::tool(&comparison.tool, comparison.unix_time_s);
    all.push(("It took".into(), format!("{} min", digits(comparison.elapsed_s / 60.0))));
    all.extend(facts::machine(&comparison.machine));
    if let Some(medium) = &comparison.synced_medium {
        all.push(("File system of synced rows".into(), medium.describe()));
    }
    section.add(Block::Facts(all));
    section.add(Block::List(comparison.notes.clone()));
    section
}

/// What is seen first: how fast, and at a fixed rate how late.
pub(crate) fn headline(comparison: &Comparison) -> Vec<Plot> {
    // Latency under full load is the length of the queue; steps of a ramp have plots of their own.
    let fastest = |row: &Row| matches!(row.workload.producers.rate, Rate::Max);
    let paced = |row: &Row| matches!(row.workload.producers.rate, Rate::Fixed { .. } | Rate::Burst { .. });
    let plots = [
        times_better(comparison, "Throughput", "mb_per_s", &fastest),
        times_better(comparison, "99th percentile of latency", "p99_us", &paced),
    ];
    plots.into_iter().flatten().collect()
}

/// Where the client may have been the limit, and why: once for each side of a workload.
fn client_limits(comparison: &Comparison) -> Vec<String> {
    let mut found: Vec<(String, &str)> = Vec::new();
    for row in &comparison.rows {
        for turn in row.rounds.iter().flat_map(|round| &round.turns) {
            for phase in turn.phases.iter().filter(|phase| phase.client_limited && !phase.warmup) {
                let who =
                    if turn.side == OURS { format!("{OURS} beside {}", row.peer) } else { turn.side.clone() };
                let of = format!("{}, {who}, {}", row_name(row), kind_name(phase.kind));
                if !found.iter().any(|(known, _)| *known == of) {
                    found.push((of, &phase.client_limited_why));
                }
            }
        }
    }
    found.into_iter().map(|(of, why)| format!("{of}: {why}")).collect()
}

fn row_name(row: &Row) -> String {
    format!("{}, {}", row.workload.name, facts::durability(row.workload.durability))
}

/// How many times better than a peer, so that bars to the right of 1 are in favour.
fn times_better(
    comparison: &Comparison,
    title: &str,
    what: &str,
    wanted: &dyn Fn(&Row) -> bool,
) -> Option<Plot> {
    let rows = by_work(comparison, what, &|found| {
        let bars = found.iter().filter(|(row, _)| wanted(row)).filter_map(|(row, figure)| {
            let Spread { median: value, least, most } = better(figure.ratio?, figure.more_is_better);
            let label = format!("than {}{}", row.peer, other_client(&row.client));
            Some(BarRow::Bar { label, colour: colour(&row.peer), value, least, most })
        });
        bars.collect()
    });
    (!rows.is_empty()).then(|| Plot {
        id: slug(&format!("compare {what}")),
        title: title.to_owned(),
        subtitle: "how many times better Ringmain is; below 1: worse".into(),
        caption: "Median of the rounds, whiskers from least to most. A star: another client library.".into(),
        chart: Chart::Bars(Bars { scale: Scale::Log, unit: Unit::Times, rows }),
    })
}

/// A figure and the row that it is of.
type Found<'a> = (&'a Row, &'a Figure);

/// Bars for each workload and kind of work that has such a figure, under a heading.
fn by_work(comparison: &Comparison, what: &str, bars: &dyn Fn(&[Found<'_>]) -> Vec<BarRow>) -> Vec<BarRow> {
    let mut rows = Vec::new();
    for case in cases(comparison) {
        for kind in [PhaseKind::Produce, PhaseKind::Consume, PhaseKind::EndToEnd] {
            let members = comparison.rows.iter().filter(|row| row.workload == *case.workload);
            let figures = members.flat_map(|row| row.figures.iter().map(move |figure| (row, figure)));
            let found: Vec<_> =
                figures.filter(|(_, figure)| figure.what == what && figure.kind == kind).collect();
            let below = bars(&found);
            if let (Some((first, _)), false) = (found.first(), below.is_empty()) {
                rows.push(BarRow::Heading(format!("{}: {}", row_name(first), kind_name(kind))));
                rows.extend(below);
            }
        }
    }
    rows
}

/// What is marked where the sides have different clients.
fn other_client(client: &Client) -> &'static str {
    if *client == Client::Same { "" } else { " *" }
}

pub(crate) fn better(ratio: Spread, more_is_better: bool) -> Spread {
    if more_is_better {
        return ratio;
    }
    Spread { median: 1.0 / ratio.median, least: 1.0 / ratio.most, most: 1.0 / ratio.least }
}

/// A figure of all sides, workload by workload.
fn cost(comparison: &Comparison, title: &str, what: &str, unit: Unit, subtitle: &str) -> Option<Plot> {
    let rows = by_work(comparison, what, &|found| {
        let medians = found.iter().map(|(_, figure)| figure.ringmain.median).collect();
        let Some((value, ..)) = spread(medians) else { return Vec::new() };
        // Our turns with every peer together.
        let ends = |pick: fn(Spread) -> f64, worse: fn(f64, f64) -> f64| {
            found.iter().map(|(_, figure)| pick(figure.ringmain)).fold(value, worse)
        };
        let (least, most) = (ends(|one| one.least, f64::min), ends(|one| one.most, f64::max));
        let ours = BarRow::Bar { label: OURS.into(), colour: colour(OURS), value, least, most };
        let peers = found.iter().map(|(row, figure)| {
            let Spread { median: value, least, most } = figure.peer;
            BarRow::Bar { label: row.peer.clone(), colour: colour(&row.peer), value, least, most }
        });
        [ours].into_iter().chain(peers).collect()
    });
    (!rows.is_empty()).then(|| Plot {
        id: slug(&format!("compare {what}")),
        title: title.to_owned(),
        subtitle: subtitle.to_owned(),
        caption:
            "Median of the turns, whiskers from least to most; Ringmain's turns with all peers together."
                .into(),
        chart: Chart::Bars(Bars { scale: Scale::Linear, unit, rows }),
    })
}

/// The unit of a figure, by the end of its name.
pub(crate) fn unit_of(what: &str) -> Unit {
    match what {
        what if what.ends_with("_per_gb") => Unit::CpuSecondsPerGigabyte,
        what if what.ends_with("mb_per_s") => Unit::MegabytesPerSecond,
        what if what.ends_with("_per_s") => Unit::PerSecond,
        what if what.ends_with("_us") => Unit::Microseconds,
        what if what.ends_with("_s") => Unit::Seconds,
        what if what.ends_with("_bytes") => Unit::Bytes,
        _ => Unit::Plain,
    }
}

fn figures<'r>(rows: impl Iterator<Item = &'r Row>) -> Table {
    let columns = [
        "work",
        "figure",
        "peer",
        "client",
        "#rounds",
        "#Ringmain",
        "#peer",
        "#Ringmain / peer",
        "better is",
    ];
    let mut table = Table::new("Median (least – most). Ratios are taken within a round.", &columns);
    let rows: Vec<&Row> = rows.collect();
    // Peers below each other, figure by figure.
    let mut kinds: Vec<(PhaseKind, &str)> = Vec::new();
    for figure in rows.iter().flat_map(|row| &row.figures) {
        if !kinds.contains(&(figure.kind, &figure.what)) {
            kinds.push((figure.kind, &figure.what));
        }
    }
    kinds.sort_by_key(|(kind, _)| *kind);
    for kind in kinds {
        let same = |figure: &&Figure| (figure.kind, figure.what.as_str()) == kind;
        for (row, figure) in rows.iter().filter_map(|row| Some((row, row.figures.iter().find(same)?))) {
            let unit = unit_of(&figure.what);
            table.row(vec![
                kind_name(figure.kind).into(),
                figure_name(&figure.what).into(),
                row.peer.clone(),
                client(&row.client),
                row.rounds.len().to_string(),
                with_ends(ends(figure.ringmain), unit),
                with_ends(ends(figure.peer), unit),
                figure.ratio.map_or_else(|| "–".into(), |ratio| with_ends(ends(ratio), Unit::Times)),
                (if figure.more_is_better { "more" } else { "less" }).into(),
            ]);
        }
    }
    table
}

/// A figure as it is written: its values bring their units.
pub(crate) fn figure_name(what: &str) -> &str {
    match what {
        "records_per_s" => "records/s",
        "mb_per_s" => "throughput",
        "p50_us" => "p50",
        "p99_us" => "p99",
        "p99_9_us" => "p99.9",
        "broker_cpu_s_per_gb" => "broker CPU / GB",
        "client_cpu_s_per_gb" => "client CPU / GB",
        "broker_rss_max_bytes" => "broker memory",
        "device_bytes_per_byte" => "device bytes / byte",
        other => other,
    }
}

/// Three values whose median and ends are the spread's own.
fn ends(spread: Spread) -> Vec<f64> {
    vec![spread.least, spread.median, spread.most]
}

fn client(client: &Client) -> String {
    match client {
        Client::Same => "the load generator".into(),
        Client::Own { library } => library.clone(),
        Client::OwnTool { tool } => format!("{tool}, the peer's own"),
    }
}

fn lives(comparison: &Comparison) -> Section {
    let mut section = Section::new("Starting, idling, recovering");
    let bars = |title: &str, id: &str, subtitle: &str, unit, pick: &dyn Fn(usize) -> Vec<f64>| {
        let rows = comparison.lives.iter().enumerate().filter_map(|(at, life)| {
            let (value, least, most) = spread(pick(at))?;
            Some(BarRow::Bar { label: life.peer.clone(), colour: colour(&life.peer), value, least, most })
        });
        let rows: Vec<BarRow> = rows.collect();
        (!rows.is_empty()).then(|| Plot {
            id: id.to_owned(),
            title: title.to_owned(),
            subtitle: subtitle.to_owned(),
            caption: String::new(),
            chart: Chart::Bars(Bars { scale: Scale::Linear, unit, rows }),
        })
    };
    let lives = &comparison.lives;
    let plots = [
        bars(
            "Start",
            "start-up",
            "until the first answer, on an empty directory; less is better",
            Unit::Seconds,
            &|at| lives[at].start_up_s.clone(),
        ),
        bars(
            "Start after kill -9",
            "recovery",
            "until the first answer; less is better",
            Unit::Seconds,
            &|at| lives[at].recoveries.iter().map(|one| one.recovery_after_kill9_s).collect(),
        ),
        bars("Memory without a client", "idle-memory", "resident; less is better", Unit::Bytes, &|at| {
            lives[at].idle_rss_bytes.iter().map(|bytes| *bytes as f64).collect()
        }),
    ];
    section.add(Block::Plots(plots.into_iter().flatten().collect()));
    let mut idle = Table::new("Median (least – most).", &["who", "#start", "#idle memory", "#idle CPU s/s"]);
    let mut recoveries = Table::new(
        "After SIGKILL right behind the last acknowledgement.",
        &["who", "durability", "#start", "#acknowledged records", "#found", "#data"],
    );
    for life in lives {
        idle.row(vec![
            life.peer.clone(),
            with_ends(life.start_up_s.clone(), Unit::Seconds),
            with_ends(life.idle_rss_bytes.iter().map(|bytes| *bytes as f64).collect(), Unit::Bytes),
            with_ends(life.idle_cpu_s_per_s.clone(), Unit::Plain),
        ]);
        for one in &life.recoveries {
            recoveries.row(vec![
                life.peer.clone(),
                facts::durability(one.durability).into(),
                show(one.recovery_after_kill9_s, Unit::Seconds),
                one.acknowledged_records.to_string(),
                one.found_records.to_string(),
                show(one.bytes as f64, Unit::Bytes),
            ]);
        }
    }
    section.add(Block::Table(idle));
    section.add(Block::Table(recoveries));
    let notes = lives.iter().flat_map(|life| life.notes.iter().map(|note| format!("{}: {note}", life.peer)));
    section.add(Block::List(notes.collect()));
    section
}

fn own_tools(comparison: &Comparison) -> Section {
    let mut section = Section::new("Peers by tools of their own");
    let columns = [
        "peer",
        "durability",
        "what",
        "#messages/s",
        "latencies",
        "#broker CPU",
        "#broker memory",
        "command",
    ];
    let mut table = Table::new("Schedules, clients and clocks differ from those above.", &columns);
    for row in &comparison.own_tool {
        let figure = &row.figure;
        let latencies =
            figure.latencies.iter().map(|(name, value)| format!("{name} {}", show(*value, Unit::Plain)));
        table.row(vec![
            row.peer.clone(),
            facts::durability(row.durability).into(),
            figure.what.clone(),
            with_ends(ends(figure.messages_per_s), Unit::PerSecond),
            latencies.collect::<Vec<_>>().join(", "),
            figure.broker_cpu_s.map_or_else(|| "–".into(), |cpu_s| show(cpu_s, Unit::Seconds)),
            figure.broker_rss_max_bytes.map_or_else(|| "–".into(), |bytes| show(bytes as f64, Unit::Bytes)),
            figure.command.clone(),
        ]);
    }
    if !table.rows.is_empty() {
        section.add(Block::Warning("These figures cannot be compared with the others on this page.".into()));
    }
    section.add(Block::Table(table));
    section
}

fn peers(comparison: &Comparison) -> Section {
    let mut section = Section::new("Who took part");
    for peer in &comparison.peers {
        section.add(Block::Heading(facts::product(&peer.name, &peer.version)));
        section.add(Block::Facts(vec![
            ("From".into(), peer.source.clone()),
            ("Loaded by".into(), client(&peer.client)),
        ]));
        section.add(Block::List(peer.notes.clone()));
        for one in &peer.configurations {
            let summary = format!("Configuration, {}", facts::durability(one.durability));
            section.add(Block::Folded { summary, text: one.text.clone() });
        }
    }
    section
}

fn not_run(comparison: &Comparison) -> Section {
    let mut section = Section::new("What was not run");
    let mut table = Table::new("", &["peer", "workload", "why"]);
    for one in &comparison.not_run {
        let workload = one.workload.clone().unwrap_or_else(|| "all".into());
        table.row(vec![one.peer.clone(), workload, one.why.clone()]);
    }
    section.add(Block::Table(table));
    section
}
