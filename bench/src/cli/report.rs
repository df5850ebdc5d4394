//! The command line of `report`.

use std::path::PathBuf;

use clap::Args;

pub(super) const REPORT_HELP: &str = "\
Examples:
  ringmain-bench report kafka.json run.json engine.json --out report.html --svg pictures
  ringmain-bench report bench/results/compare-short.json --out report.html --readme README.md
  ringmain-bench report new.json --against old.json --out report.html --fail-on-regression 5

The page is one file: it loads nothing, runs nothing, and is light or dark as the browser is. --svg writes each
plot twice, as NAME-light.svg and NAME-dark.svg, and pictures.md with the <picture> elements that show them in a
README. Runs of the same workload on the same machine share their plots.

--readme puts the two main plots and a table of a comparison between the lines `<!-- comparison -->` and
`<!-- /comparison -->` of a README. The plots are written beside the result, which must be below the README's directory.

--against compares each figure with the one of the same workload, target and span in OLD. It is called
  slower, faster     every round of now lies beyond every round of then (of costs: uses more, uses less)
  within noise       the rounds overlap
  too few rounds     on one side there are fewer than 3: nobody knows how much the figure moves by itself
  other conditions   workload or parameters differ
Of comparisons Ringmain's own figures are compared, not the peers'.

Exit codes:
  0   the page is written
  1   a file cannot be used (the message names file and field), or --fail-on-regression had nothing to compare
  2   the command line is wrong
  3   with --fail-on-regression: a figure is worse beyond noise, by more than PERCENT; the page is written";

#[derive(Debug, Clone, Args)]
pub(crate) struct ReportArgs {
    /// Files that `load`, `compare`, `engine` or `floors` wrote with --out
    #[arg(required = true, value_name = "RESULT.json")]
    pub(crate) results: Vec<PathBuf>,
    /// The page
    #[arg(long, value_name = "REPORT.html")]
    pub(crate) out: PathBuf,
    /// Directory for the plots as SVG; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) svg: Option<PathBuf>,
    /// A README that gets the pictures and the table of the comparison that is among the results
    #[arg(long, value_name = "README.md")]
    pub(crate) readme: Option<PathBuf>,
    /// Older results to compare with; may be given several times
    #[arg(long, value_name = "OLD.json")]
    pub(crate) against: Vec<PathBuf>,
    /// Exit with code 3 if a figure is worse than in OLD beyond noise, and by more than so many percent
    #[arg(long, value_name = "PERCENT", requires = "against", value_parser = parse_percent)]
    pub(crate) fail_on_regression: Option<f64>,
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(percent),
        _ => Err("must be from 0 to 1000".to_string()),
    }
}
