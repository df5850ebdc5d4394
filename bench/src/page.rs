//! The command `report`: one page of HTML, and pictures, from the files of other commands.

mod case;
mod chart;
mod comparison;
mod document;
mod draw;
mod error;
mod facts;
mod figures;
mod figures_file;
mod html;
mod input;
mod number;
mod pictures;
mod readme;
mod regression;
mod run;
mod scale;

pub(crate) use error::PageError;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::ReportArgs;
use crate::page::document::{Block, Document, Section, Table};
use crate::page::input::{Content, Input};
use crate::page::number::{digits, show};
use crate::page::regression::{Change, Measured, Verdict, changes};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The page is there.
    Done,
    /// The page is there, and something is worse than it may be.
    Regressed,
}

/// The exit code of a regression.
const REGRESSED: u8 = 3;

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Regressed => Self::from(REGRESSED),
        }
    }
}

/// Reads the results, writes the page and the pictures, and says what regressed if that was asked.
///
/// # Errors
/// A result cannot be read, or something cannot be written; or nothing could be compared though that was
/// asked for.
pub(crate) fn report(args: &ReportArgs) -> Result<Outcome, PageError> {
    let inputs = read_all(&args.results)?;
    let old = read_all(&args.against)?;
    let compared = changes(&old, &inputs);
    let mut document = document(&inputs, (!old.is_empty()).then_some(&compared));
    document.name_plots();
    write(&args.out, &html::render(&document)?)?;
    println!("{}", args.out.display());
    if let Some(dir) = &args.svg {
        println!("{}", pictures::write(dir, &document)?.display());
    }
    if let Some(readme) = &args.readme {
        let comparisons = args.results.iter().zip(&inputs).filter_map(|(path, input)| match &input.content {
            Content::Comparison(comparison) => Some((path, comparison)),
            Content::Run(_) | Content::Figures(_) => None,
        });
        let comparisons: Vec<_> = comparisons.collect();
        let [(path, comparison)] = comparisons[..] else { return Err(PageError::NotOne(comparisons.len())) };
        readme::write(readme, path, comparison)?;
        println!("{}", readme.display());
    }
    let (changes, _) = compared;
    for change in changes.iter().filter(|change| matches!(change.verdict, Verdict::Better | Verdict::Worse)) {
        println!("{}", line(change));
    }
    let Some(percent) = args.fail_on_regression else { return Ok(Outcome::Done) };
    if !changes.iter().any(Change::is_judged) {
        return Err(PageError::NothingCompared);
    }
    let regressed = changes.iter().filter(|change| change.is_regression(percent)).count();
    eprintln!("{regressed} figures are worse by more than {percent} % and beyond noise");
    Ok(if regressed > 0 { Outcome::Regressed } else { Outcome::Done })
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Input>, PageError> {
    paths.iter().map(|path| Input::read(path)).collect()
}

fn write(path: &Path, text: &str) -> Result<(), PageError> {
    std::fs::write(path, text).map_err(|source| PageError::Write { path: path.to_path_buf(), source })
}

/// A change in one line.
fn line(change: &Change) -> String {
    let Measured { case, what, unit, .. } = &change.new;
    let (old, new) = (show(change.old.median, *unit), show(change.new.median, *unit));
    format!("{}: {case}, {what}: {old} -> {new} ({:+.1} %)", change.words(), change.percent)
}

fn document(inputs: &[Input], compared: Option<&(Vec<Change>, Vec<Measured>)>) -> Document {
    let mut sections = Vec::new();
    if let Some((changes, alone)) = compared {
        sections.push(regressions(changes, alone));
    }
    let mut runs = Vec::new();
    for input in inputs {
        match &input.content {
            Content::Run(run) => runs.push((input.name.as_str(), &**run)),
            Content::Comparison(comparison) => {
                sections.extend(comparison::sections(&input.name, comparison));
            }
            Content::Figures(file) => sections.push(figures::section(&input.name, file)),
        }
    }
    sections.extend(run::sections(&runs));
    let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    Document {
        title: "Ringmain benchmarks".into(),
        lead: format!(
            "From {}. MB and GB are powers of ten; figures are medians with least and most.",
            names.join(", ")
        ),
        sections,
    }
}

fn regressions(changes: &[Change], alone: &[Measured]) -> Section {
    let mut section = Section::new("Against the older results");
    let count = |verdict| changes.iter().filter(|change| change.verdict == verdict).count();
    section.add(Block::Text(format!(
        "{} figures worse, {} better, {} within noise, {} with too few rounds to tell, {} under other \
         conditions, {} without an older one. A figure is worse or better only if every round of now lies \
         beyond every round of then, with 3 rounds or more on both sides.",
        count(Verdict::Worse),
        count(Verdict::Better),
        count(Verdict::WithinNoise),
        count(Verdict::TooFewRounds),
        count(Verdict::OtherConditions),
        alone.len()
    )));
    if changes.iter().any(|change| change.old.machine != change.new.machine) {
        section.add(Block::Warning(
            "Kernel, processors, memory or file system differ between the two: the changes may be theirs."
                .into(),
        ));
    }
    let columns = ["", "of", "figure", "#then", "#now", "#change", "#rounds"];
    let mut table = Table::new("Median (least – most).", &columns);
    let rank = |change: &&Change| match change.verdict {
        Verdict::Worse => 0,
        Verdict::Better => 1,
        Verdict::WithinNoise => 2,
        Verdict::TooFewRounds | Verdict::OtherConditions => 3,
    };
    let mut ordered: Vec<&Change> = changes.iter().collect();
    ordered.sort_by_key(rank);
    for change in ordered {
        let ends = |one: &Measured| run::with_ends(vec![one.least, one.median, one.most], one.unit);
        table.row(vec![
            change.words().to_owned(),
            change.new.case.clone(),
            change.new.what.clone(),
            ends(&change.old),
            ends(&change.new),
            format!("{}{} %", if change.percent > 0.0 { "+" } else { "" }, digits(change.percent)),
            format!("{} / {}", change.old.rounds, change.new.rounds),
        ]);
    }
    section.add(Block::Table(table));
    let alone = alone.iter().map(|one| format!("{}, {}", one.case, one.what)).collect::<Vec<_>>();
    section.add(Block::Folded { summary: "Without an older figure".into(), text: alone.join("\n") });
    section
}

#[cfg(test)]
#[path = "page/tests.rs"]
mod tests;
