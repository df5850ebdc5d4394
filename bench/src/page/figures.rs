//! What is shown of files of `engine`, `floors` and the former `load`.

use crate::page::chart::{BarRow, Bars, Chart, Plot, Scale, Unit, slug};
use crate::page::document::{Block, Section, Table};
use crate::page::draw::GREY;
use crate::page::facts;
use crate::page::figures_file::{Ends, FiguresFile, Goal, GroupFacts};
use crate::page::number::{digits, show};
use crate::page::run::with_ends;

/// All of it.
pub(crate) fn section(name: &str, file: &FiguresFile) -> Section {
    let mut section = Section::new(format!("{}, from {name}", title(&file.command)));
    section.add(Block::Plots(phases(file).into_iter().collect()));
    section.add(Block::Table(summaries(file)));
    section.add(Block::Table(floor_ratios(file)));
    for group in &file.groups {
        section.add(Block::Heading(group.title.clone()));
        section.add(Block::Plots(bars(group).into_iter().collect()));
        section.add(Block::Table(series(group)));
        section.add(Block::Table(ratios(group)));
        section.add(Block::List(group.notes.clone()));
    }
    section.add(Block::Heading("How it was measured".into()));
    let mut all = Vec::new();
    if let Some(time) = file.unix_time_s {
        all.push(("Measured".to_owned(), facts::moment(time)));
    }
    all.push(("By".to_owned(), format!("ringmain-bench {} {}", file.version, file.command)));
    if !file.command_line.is_empty() {
        all.push(("Command".to_owned(), file.command_line.join(" ")));
    }
    all.extend(facts::older_machine(&file.machine));
    section.add(Block::Facts(all));
    let text = serde_json::to_string_pretty(&file.parameters).unwrap_or_default();
    section.add(Block::Folded { summary: "Parameters".into(), text });
    section
}

fn title(command: &str) -> &'static str {
    match command {
        "engine" => "The engine",
        "floors" => "The machine's own limits",
        _ => "Load",
    }
}

/// The unit of a group, and what its figures are multiplied by to be in it.
pub(crate) fn unit_of(unit: &str) -> (Unit, f64) {
    match unit {
        "MB/s" => (Unit::MegabytesPerSecond, 1.0),
        "1/s" => (Unit::PerSecond, 1.0),
        "us" => (Unit::Microseconds, 1.0),
        "ms" => (Unit::Microseconds, 1000.0),
        _ => (Unit::Plain, 1.0),
    }
}

/// The engine's bars stand out among those that it is measured against.
fn colour(name: &str) -> usize {
    match name {
        "engine" | "ringmain" | "produce" | "fetch" => 0,
        _ => GREY,
    }
}

fn phases(file: &FiguresFile) -> Option<Plot> {
    let rows: Vec<BarRow> = file
        .summaries
        .iter()
        .map(|one| {
            let (label, colour) = (one.kind.replace('_', " "), colour(&one.kind));
            let Ends { median: value, min: least, max: most } = one.mb_per_s;
            BarRow::Bar { label, colour, value, least, most }
        })
        .collect();
    (!rows.is_empty()).then(|| Plot {
        id: slug(&format!("{} throughput", file.command)),
        title: "Throughput".into(),
        subtitle: "MB/s of record batches; more is better".into(),
        caption: "Median of the rounds, whiskers from least to most.".into(),
        chart: Chart::Bars(Bars { scale: Scale::Linear, unit: Unit::MegabytesPerSecond, rows }),
    })
}

fn three(ends: Ends) -> Vec<f64> {
    vec![ends.min, ends.median, ends.max]
}

fn summaries(file: &FiguresFile) -> Table {
    let columns =
        ["phase", "#rounds", "#MB/s", "#records/s", "#p50", "#p99", "#client CPU s/GB", "#server CPU s/GB"];
    let mut table = Table::new("Median of the rounds (least – most).", &columns);
    for one in &file.summaries {
        let optional = |ends: Option<Ends>, unit| with_ends(ends.map(three).unwrap_or_default(), unit);
        table.row(vec![
            one.kind.replace('_', " "),
            one.rounds.to_string(),
            with_ends(three(one.mb_per_s), Unit::Plain),
            with_ends(three(one.records_per_s), Unit::PerSecond),
            optional(one.p50_us, Unit::Microseconds),
            optional(one.p99_us, Unit::Microseconds),
            optional(one.client_cpu_s_per_gb, Unit::Plain),
            optional(one.server_cpu_s_per_gb, Unit::Plain),
        ]);
    }
    table
}

fn floor_ratios(file: &FiguresFile) -> Table {
    let mut table = Table::new("Throughput by that of a floor, within a round.", &["of", "by", "#ratio", ""]);
    for one in &file.ratios {
        let beaten = if one.floor_beaten { "the floor was beaten: proves nothing" } else { "" };
        table.row(vec![
            one.broker.replace('_', " "),
            one.floor.replace('_', " "),
            with_ends(three(one.throughput), Unit::Times),
            beaten.into(),
        ]);
    }
    table
}

fn bars(group: &GroupFacts) -> Option<Plot> {
    let (unit, factor) = unit_of(&group.unit);
    let rows: Vec<BarRow> = group
        .series
        .iter()
        .filter_map(|one| {
            let ends = one.spread?;
            let (value, least, most) = (ends.median * factor, ends.min * factor, ends.max * factor);
            Some(BarRow::Bar { label: one.name.clone(), colour: colour(&one.name), value, least, most })
        })
        .collect();
    let better = if matches!(unit, Unit::Microseconds) { "less" } else { "more" };
    let figure = group
        .quantile
        .map_or_else(String::new, |quantile| format!("p{} of a round; ", digits(quantile * 100.0)));
    // Titles have no room for conditions.
    let (title, condition) = group.title.split_once(", ").unwrap_or((&group.title, ""));
    let condition = if condition.is_empty() { String::new() } else { format!("{condition}; ") };
    (!rows.is_empty()).then(|| Plot {
        id: slug(&format!("{} {}", group.part, group.title)),
        title: title.to_owned(),
        subtitle: format!("{condition}{figure}{better} is better"),
        caption: String::new(),
        chart: Chart::Bars(Bars { scale: Scale::Linear, unit, rows }),
    })
}

fn series(group: &GroupFacts) -> Table {
    let columns = ["what", "#rounds", "#median (least – most)", "#p50", "#p99", "#p99.9", "#max", "#samples"];
    let timed = group.series.iter().any(|one| one.percentiles.is_some());
    let (caption, columns) = if timed {
        ("The percentiles are of all rounds together.", &columns[..])
    } else {
        ("", &columns[..3])
    };
    let mut table = Table::new(caption, columns);
    let (unit, factor) = unit_of(&group.unit);
    for one in &group.series {
        let all = |pick: fn(&crate::page::figures_file::Percentiles) -> f64| {
            one.percentiles.as_ref().map_or_else(|| "–".into(), |all| show(pick(all) * factor, unit))
        };
        let mut cells = vec![
            one.name.clone(),
            one.rounds.len().to_string(),
            with_ends(one.rounds.iter().map(|value| value * factor).collect(), unit),
            all(|all| all.p50),
            all(|all| all.p99),
            all(|all| all.p99_9),
            all(|all| all.max),
            one.percentiles.map_or_else(|| "–".into(), |all| all.samples.to_string()),
        ];
        cells.truncate(table.columns.len());
        table.row(cells);
    }
    table
}

fn ratios(group: &GroupFacts) -> Table {
    let has_goal = group.ratios.iter().any(|one| one.goal.is_some());
    let columns = ["of", "by", "#ratio", "goal", "it was"];
    let mut table = Table::new("Within a round.", if has_goal { &columns } else { &columns[..3] });
    for one in &group.ratios {
        let goal = one.goal.map_or_else(String::new, |goal| match goal {
            Goal::AtLeast(least) => format!("at least {}", digits(least)),
            Goal::AtMost(most) => format!("at most {}", digits(most)),
        });
        let met = match one.goal_met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        let ratio = with_ends(three(one.ratio), Unit::Times);
        let mut cells = vec![one.of.clone(), one.by.clone(), ratio, goal, met.into()];
        cells.truncate(table.columns.len());
        table.row(cells);
    }
    table
}
