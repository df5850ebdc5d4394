//! What the commands that talk to a broker share: its address, errors, and printing.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use indicatif::{BinaryBytes, HumanCount, ProgressBar, ProgressStyle};
use ringmain_client::Client;
use ringmain_client::admin::AdminError;
use ringmain_client::config::ClientConfig;
use ringmain_client::consumer::ConsumeError;
use ringmain_client::error::ClusterError;
use ringmain_client::group::GroupError;
use ringmain_client::offsets::OffsetError;
use ringmain_client::producer::ProduceError;
use serde::Serialize;

/// How often the progress on a terminal is drawn.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Why a command failed: what happened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The cluster could not be reached, or does not have what was asked for.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// An administrative request failed.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Records could not be produced.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// Records could not be consumed.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// Taking part in a group failed.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Offsets could not be looked up.
    #[error(transparent)]
    Offset(#[from] OffsetError),
    /// The input could not be read.
    #[error("cannot read {input} ({source}); check that it exists and may be read")]
    Input {
        /// A file name or "standard input".
        input: String,
        /// What the system said.
        source: io::Error,
    },
    /// The output could not be written.
    #[error("cannot write to standard output ({0}); check where it goes")]
    Output(io::Error),
    /// A line of the input is too long for a record.
    #[error("line {line} is longer than {limit} bytes; split it, since a record cannot be larger")]
    LineTooLong {
        /// The number of the line, from 1.
        line: u64,
        /// The limit.
        limit: usize,
    },
    /// A line of the input is no record.
    #[error("line {number} {problem}; correct it and go on from there: the lines before it were written")]
    Line {
        /// The number of the line, from 1.
        number: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A signal came before all was written.
    #[error("interrupted after {records} records, which were written")]
    Interrupted {
        /// How many.
        records: u64,
    },
    /// The output could not be put as JSON.
    #[error("cannot express the result as JSON ({0}); try without --json")]
    Json(serde_json::Error),
    /// Signals could not be listened to.
    #[error("cannot listen to signals ({0}); check the limits of this process")]
    Signal(io::Error),
    /// A writing thread ended without a result.
    #[error("the thread that writes the output ended early; report it")]
    Writer,
    /// A start that a group does not have.
    #[error(
        "a group starts at what it has committed, so --from takes beginning or end with --group; leave out one of the two"
    )]
    FromWithGroup,
    /// A shift begins at what is committed.
    #[error(
        "group {group:?} has committed nothing in these partitions, so nothing can be shifted; use --to-earliest, --to-latest, --to-offset or --to-time"
    )]
    NothingToShift {
        /// The group.
        group: String,
    },
    /// No topic was named to set a group's offsets of.
    #[error("group {group:?} has committed nothing; name the topics with --topic")]
    NothingCommitted {
        /// The group.
        group: String,
    },
    /// The brokers answer without what was asked for.
    #[error("no broker tells where the partitions begin and end; see the log of the broker")]
    NoOffsets,
}

/// The broker that a command talks to.
#[derive(Debug, Clone, Args)]
pub(crate) struct BrokerArgs {
    /// Address of any broker of the cluster, or several with commas between them
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9092",
        env = "RINGMAIN_BROKER",
        value_delimiter = ',',
        value_parser = address
    )]
    broker: Vec<String>,
    /// How long to try before giving up
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl BrokerArgs {
    /// Connects to the cluster of that broker.
    pub(crate) async fn connect(&self) -> Result<Client, CliError> {
        let mut config = ClientConfig { operation_timeout: self.timeout(), ..ClientConfig::default() };
        let connection = &mut config.connection;
        connection.connect_timeout = connection.connect_timeout.min(config.operation_timeout);
        connection.request_timeout = connection.request_timeout.min(config.operation_timeout);
        Ok(Client::connect(&self.broker, config).await?)
    }

    /// How long to try before giving up.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(1..) => Ok(text.to_owned()),
        _ => Err("give it as HOST:PORT, for example 127.0.0.1:9092".to_owned()),
    }
}

/// Writes a line for people to standard error. Nobody may read it any more.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes text to standard output. A reader that has gone away is no error: `| head` does that.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}

/// Writes a value as one line of JSON to standard output.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let mut line = serde_json::to_string(value).map_err(CliError::Json)?;
    line.push('\n');
    print(&line)
}

/// Rows of text as aligned columns, the first row being the headings.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// An optional number as text: `-` for none.
pub(crate) fn or_dash(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// Counts records and bytes on standard error while it is a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows progress if `wanted` and standard error is a terminal.
    pub(crate) fn new(wanted: bool) -> Self {
        let bar = if wanted && io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            // The template is constant; should it not parse, the default style will do.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(PROGRESS_INTERVAL);
            bar
        } else {
            ProgressBar::hidden()
        };
        Self { bar }
    }

    /// Shows the counts so far.
    pub(crate) fn show(&self, records: u64, bytes: u64) {
        if !self.bar.is_hidden() {
            let seconds = self.bar.elapsed().as_secs_f64().max(0.001);
            let (rate, bytes_rate) = (records as f64 / seconds, bytes as f64 / seconds);
            self.bar.set_message(format!(
                "{} records, {}, {} records/s, {}/s",
                HumanCount(records),
                BinaryBytes(bytes),
                HumanCount(rate as u64),
                BinaryBytes(bytes_rate as u64)
            ));
        }
    }
}

/// Says on standard error what is waited for, while it is a terminal.
pub(crate) struct Waiting {
    bar: ProgressBar,
}

impl Waiting {
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.set_message(what);
        bar.enable_steady_tick(PROGRESS_INTERVAL);
        Self { bar }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Shows how much of a known number of bytes is done, while standard error is a terminal.
pub(crate) struct BytesProgress {
    bar: ProgressBar,
}

impl BytesProgress {
    /// Begins with nothing done.
    pub(crate) fn new(total_bytes: u64) -> Self {
        let bar =
            if io::stderr().is_terminal() { ProgressBar::new(total_bytes) } else { ProgressBar::hidden() };
        // The template is constant; should it not parse, the default style will do.
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {eta} left") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Shows the bytes done so far.
    pub(crate) fn show(&self, done_bytes: u64) {
        self.bar.set_position(done_bytes);
    }
}

impl Drop for BytesProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_have_no_trailing_blanks() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let text = columns(&[row("NAME", "N"), row("a", ""), row("longer", "12")]);
        assert_eq!(text, "NAME    N\na\nlonger  12\n");
    }
}
