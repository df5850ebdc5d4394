//! What a README shows of a comparison: two pictures and a table between two lines of it, all from the result.

use std::fmt::Write;
use std::path::Path;

use maud::html;

use crate::page::case::{kind_name, spread};
use crate::page::chart::{Plot, Unit};
use crate::page::comparison::{OURS, better, figure_name, headline, unit_of};
use crate::page::draw::{Theme, svg};
use crate::page::error::PageError;
use crate::page::facts;
use crate::page::number::{show, show_ends};
use crate::result::compare::{Client, Comparison, Figure, Life, Row};
use crate::result::run::PhaseKind;
use crate::workload::Rate;

/// The lines between which everything is replaced.
const BEGIN: &str = "<!-- comparison -->";
const END: &str = "<!-- /comparison -->";
/// Where the client may have been the limit.
const LIMITED: &str = " †";
const NOTHING: &str = "–";

/// Writes pictures beside the result, and all of it into the README.
///
/// # Errors
/// The README lacks its lines or the result is not below its directory; something cannot be read, drawn or written.
pub(crate) fn write(readme: &Path, result: &Path, comparison: &Comparison) -> Result<(), PageError> {
    let read = |path: &Path, source| PageError::Read { path: path.to_path_buf(), source };
    let text = std::fs::read_to_string(readme).map_err(|source| read(readme, source))?;
    let from = readme.canonicalize().map_err(|source| read(readme, source))?;
    let to = result.canonicalize().map_err(|source| read(result, source))?;
    let below = from.parent().zip(to.parent()).and_then(|(from, to)| to.strip_prefix(from).ok());
    let outside = || PageError::NotBelow { readme: readme.to_path_buf(), path: result.to_path_buf() };
    let below = below.ok_or_else(outside)?;
    let stem = to.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut block = String::new();
    for plot in headline(comparison) {
        let name = format!("{stem}-{}", plot.id.trim_start_matches("compare-"));
        for (theme, end) in [(&Theme::LIGHT, "light"), (&Theme::DARK, "dark")] {
            super::write(&to.with_file_name(format!("{name}-{end}.svg")), &svg(&plot, theme)?)?;
        }
        let source = |end: &str| below.join(format!("{name}-{end}.svg")).to_string_lossy().into_owned();
        block += &picture(&plot, &source("light"), &source("dark"));
    }
    block += &figures(comparison, &below.join(to.file_name().unwrap_or_default()).to_string_lossy());
    let filled = fill(&text, &block).ok_or_else(|| PageError::NoPlace {
        path: readme.to_path_buf(),
        begin: BEGIN,
        end: END,
    })?;
    super::write(readme, &filled)
}

/// The text with the block between its two lines; `None` if it has no such lines.
fn fill(text: &str, block: &str) -> Option<String> {
    let (before, rest) = text.split_once(&format!("{BEGIN}\n"))?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{block}{END}{after}"))
}

fn picture(plot: &Plot, light: &str, dark: &str) -> String {
    let picture = html! {
        picture {
            source media="(prefers-color-scheme: dark)" srcset=(dark);
            img src=(light) alt={ (plot.title) ": " (plot.subtitle) } width="640";
        }
    };
    picture.into_string() + "\n\n"
}

/// Text that is no Markdown and no HTML.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '\n' => out.push(' '),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

/// One line of the table: of which work, which figure.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line<'a> {
    row: &'a Row,
    kind: PhaseKind,
    what: &'a str,
}

/// What is quoted of a workload: rates where there is no rate that was asked for, else latencies; and the cost.
fn lines(comparison: &Comparison) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for row in &comparison.rows {
        let has_both = row.figures.iter().any(|figure| figure.kind == PhaseKind::EndToEnd);
        let is_quoted = |figure: &&Figure| match (&row.workload.producers.rate, figure.what.as_str()) {
            (_, "broker_cpu_s_per_gb") => true,
            (Rate::Max, "records_per_s") => true,
            (Rate::Fixed { .. } | Rate::Burst { .. }, "p50_us" | "p99_us") => {
                !has_both || figure.kind == PhaseKind::EndToEnd
            }
            _ => false,
        };
        for figure in row.figures.iter().filter(is_quoted) {
            let line = Line { row, kind: figure.kind, what: &figure.what };
            let same = |one: &Line<'_>| {
                one.row.workload == row.workload && (one.kind, one.what) == (line.kind, line.what)
            };
            if !lines.iter().any(same) {
                lines.push(line);
            }
        }
    }
    lines
}

/// Whether a side's client may have been the limit of a kind of work in a row.
fn is_limited(row: &Row, side: &str, kind: PhaseKind) -> bool {
    let turns = row.rounds.iter().flat_map(|round| &round.turns).filter(|turn| turn.side == side);
    let phases = turns.flat_map(|turn| &turn.phases).filter(|phase| !phase.warmup);
    phases.into_iter().any(|phase| phase.client_limited && phase.kind == kind)
}

fn mark(limited: bool) -> &'static str {
    if limited { LIMITED } else { "" }
}

/// The table and what must be said of it.
fn figures(comparison: &Comparison, result: &str) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_figures(comparison, result, &mut out);
    out
}

fn write_figures(comparison: &Comparison, result: &str, out: &mut String) -> std::fmt::Result {
    let peers: Vec<&str> = comparison
        .peers
        .iter()
        .filter(|peer| !peer.own_tool && peer.name != OURS)
        .map(|peer| peer.name.as_str())
        .collect();
    let name = |name: &str| {
        let facts = comparison.peers.iter().find(|peer| peer.name == name);
        let star = facts.is_some_and(|peer| peer.client != Client::Same);
        let product = facts.map_or_else(|| name.to_owned(), |peer| facts::product(name, &peer.version));
        plain(&product) + if star { " \\*" } else { "" }
    };
    let heads: Vec<String> = std::iter::once(OURS).chain(peers.iter().copied()).map(name).collect();
    writeln!(out, "| | {} |\n|---|{}", heads.join(" | "), "---:|".repeat(heads.len()))?;
    for line in lines(comparison) {
        write_line(comparison, &peers, line, out)?;
    }
    write_lives(comparison, &peers, out)?;
    writeln!(
        out,
        "\nMedians of all turns; in brackets how many times better Ringmain is (least–most of any two turns of a round): \
         below 1 it is worse. \\*: loaded by a client library of its own; compare the costs with care. †: the client may have \
         been the limit. CPU is that of the broker, in seconds for each GB that was produced or consumed.\n"
    )?;
    for (index, row) in comparison.rows.iter().enumerate() {
        if comparison.rows[..index].iter().all(|other| other.workload != row.workload) {
            writeln!(out, "- {}: {}", plain(&row.workload.name), plain(&row.workload.description))?;
        }
    }
    for row in &comparison.own_tool {
        writeln!(
            out,
            "- By its own tool, which cannot be compared: {}, {}: {}: {} messages/s",
            plain(&row.peer),
            facts::durability(row.durability),
            plain(&row.figure.what),
            show(row.figure.messages_per_s.median, Unit::PerSecond)
        )?;
    }
    for skipped in &comparison.not_run {
        let what = skipped.workload.as_deref().map_or_else(String::new, |name| format!(", {name}"));
        writeln!(out, "- Not run: {}{}: {}", plain(&skipped.peer), plain(&what), plain(&skipped.why))?;
    }
    let rounds = comparison.rows.iter().map(|row| row.rounds.len()).max().unwrap_or(0);
    let machine = &comparison.machine;
    let synced = comparison.synced_medium.as_ref();
    writeln!(
        out,
        "\n{}, {} × {}, {}, Linux {}, {}{}; {rounds} {} of four turns (Ringmain, peer, peer, Ringmain), with the client on \
         the same machine. All of it is in [{result}]({result}), which was written by\n\n```sh\n{}\n```",
        facts::moment(comparison.unix_time_s),
        machine.cpus,
        plain(&machine.cpu_model),
        show(machine.memory_bytes as f64, Unit::Bytes),
        plain(&machine.kernel),
        plain(&machine.medium.describe()),
        synced.map_or_else(String::new, |medium| format!("; synced rows on {}", plain(&medium.describe()))),
        if rounds == 1 { "round" } else { "rounds" },
        comparison.tool.command.join(" ").replace("```", "")
    )
}

fn write_line(comparison: &Comparison, peers: &[&str], line: Line<'_>, out: &mut String) -> std::fmt::Result {
    let Line { row: first, kind, what } = line;
    let unit = unit_of(what);
    let found = |row: &'_ Row| -> Option<Figure> {
        let is_it = row.workload == first.workload;
        row.figures
            .iter()
            .find(|figure| is_it && (figure.kind, figure.what.as_str()) == (kind, what))
            .cloned()
    };
    let rows: Vec<(&Row, Figure)> =
        comparison.rows.iter().filter_map(|row| Some((row, found(row)?))).collect();
    let ours = spread(rows.iter().map(|(_, figure)| figure.ringmain.median).collect());
    let limited = rows.iter().any(|(row, _)| is_limited(row, OURS, kind));
    write!(
        out,
        "| {}, {}: {}, {} | {}{} |",
        plain(&first.workload.name),
        facts::durability(first.workload.durability),
        kind_name(kind),
        if what == "broker_cpu_s_per_gb" { "CPU / GB" } else { figure_name(what) },
        ours.map_or_else(|| NOTHING.into(), |(median, ..)| show(median, unit)),
        mark(limited)
    )?;
    for peer in peers {
        let cell = rows.iter().find(|(row, _)| row.peer == *peer).map_or_else(
            || NOTHING.into(),
            |(row, figure)| {
                let times = figure.ratio.map_or_else(String::new, |ratio| {
                    let ratio = better(ratio, figure.more_is_better);
                    let (median, least, most) = (ratio.median, ratio.least, ratio.most);
                    format!(" [{}]", show_ends(median, least, most, Unit::Times))
                });
                show(figure.peer.median, unit) + &times + mark(is_limited(row, peer, kind))
            },
        );
        write!(out, " {cell} |")?;
    }
    writeln!(out)
}

fn write_lives(comparison: &Comparison, peers: &[&str], out: &mut String) -> std::fmt::Result {
    let bytes = comparison.lives.iter().flat_map(|life| &life.recoveries).map(|one| one.bytes).max();
    let killed = format!("start after kill -9, with {}", show(bytes.unwrap_or(0) as f64, Unit::Bytes));
    type Pick<'p> = (&'p str, Unit, &'p dyn Fn(&Life) -> Vec<f64>);
    let picks: [Pick<'_>; 3] = [
        ("start to first answer, empty directory", Unit::Seconds, &|life| life.start_up_s.clone()),
        (&killed, Unit::Seconds, &|life| {
            life.recoveries.iter().map(|one| one.recovery_after_kill9_s).collect()
        }),
        ("resident memory without a client", Unit::Bytes, &|life| {
            life.idle_rss_bytes.iter().map(|bytes| *bytes as f64).collect()
        }),
    ];
    for (number, (what, unit, pick)) in picks.into_iter().enumerate() {
        let cell = |peer: &str| {
            let life = comparison.lives.iter().find(|life| life.peer == peer)?;
            let (median, ..) = spread(pick(life))?;
            let lost =
                life.recoveries.iter().map(|one| one.acknowledged_records.saturating_sub(one.found_records));
            let lost: u64 = if number == 1 { lost.sum() } else { 0 };
            let lost =
                if lost > 0 { format!(", **lost {lost} acknowledged records**") } else { String::new() };
            Some(show(median, unit) + &lost)
        };
        let cells: Vec<String> = std::iter::once(OURS)
            .chain(peers.iter().copied())
            .map(|peer| cell(peer).unwrap_or_else(|| NOTHING.into()))
            .collect();
        if cells.iter().any(|cell| cell != NOTHING) {
            writeln!(out, "| {what} | {} |", cells.join(" | "))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Comparison {
        let mut comparison = crate::result::compare::tests::sample();
        for row in &mut comparison.rows {
            let figure = &mut row.figures[0];
            figure.ringmain.median = 3000.0;
            figure.ratio = Some(crate::result::compare::Spread { median: 1.5, least: 1.25, most: 2.0 });
            figure.peer.median = 2000.0;
        }
        comparison
    }

    #[test]
    fn the_block_is_replaced_and_nothing_else() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let filled = fill(&text, "new\n").unwrap();
        assert_eq!(filled, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(fill(&filled, "new\n").unwrap(), filled);
        assert_eq!(fill("a\nb\n", "new\n"), None);
        assert_eq!(fill(&format!("{BEGIN}\n"), "new\n"), None);
    }

    #[test]
    fn figures_losses_limits_and_gaps_are_told() {
        let mut comparison = sample();
        comparison.lives[0].recoveries[0].found_records -= 2;
        let text = figures(&comparison, "results/x.json");
        for told in [
            "| kafka 4.3.1 \\* |",
            "| sample, page cache: produce, records/s | 3k | 2k [1.5× (1.25–2)] |",
            "lost 2 acknowledged records",
            "Not run: iggy: no server",
            "which cannot be compared: rocketmq, page cache: 64 threads: 2 messages/s",
            "[results/x.json](results/x.json)",
            "```sh\nload\n```",
        ] {
            assert!(text.contains(told), "{told} is missing:\n{text}");
        }
        assert!(!text.contains("| 3k † |"), "{text}");
        for turn in
            comparison.rows.iter_mut().flat_map(|row| &mut row.rounds).flat_map(|round| &mut round.turns)
        {
            turn.phases[0].kind = PhaseKind::Produce;
            turn.phases[0].client_limited = turn.side == "ringmain";
        }
        assert!(figures(&comparison, "x").contains("| 3k † | 2k [1.5× (1.25–2)] |"), "{text}");
    }

    #[test]
    fn names_are_text() {
        let mut comparison = sample();
        comparison.not_run[0].why = "<script>|*x*\n# y".into();
        let text = figures(&comparison, "x");
        assert!(text.contains("&lt;script>\\|\\*x\\* \\# y"), "{text}");
    }

    #[test]
    fn pictures_lie_beside_the_result() {
        let dir = tempfile::tempdir().unwrap();
        let (readme, below) = (dir.path().join("README.md"), dir.path().join("deep/results"));
        std::fs::create_dir_all(&below).unwrap();
        let result = below.join("short.json");
        let mut comparison = sample();
        comparison.rows[0].figures[0].what = "mb_per_s".into();
        comparison.write(&result).unwrap();
        std::fs::write(&readme, "no place\n").unwrap();
        assert!(matches!(write(&readme, &result, &comparison), Err(PageError::NoPlace { .. })));
        std::fs::write(&readme, format!("# Title\n{BEGIN}\n{END}\nEnd\n")).unwrap();
        write(&readme, &result, &comparison).unwrap();
        let text = std::fs::read_to_string(&readme).unwrap();
        assert!(text.starts_with("# Title\n") && text.ends_with("\nEnd\n"), "{text}");
        for end in ["light", "dark"] {
            let name = format!("deep/results/short-mb-per-s-{end}.svg");
            assert!(text.contains(&name) && dir.path().join(&name).exists(), "{name}:\n{text}");
        }
        let elsewhere = tempfile::tempdir().unwrap();
        let other = elsewhere.path().join("README.md");
        std::fs::copy(&readme, &other).unwrap();
        assert!(matches!(write(&other, &result, &comparison), Err(PageError::NotBelow { .. })));
    }
}
