//! The command line.

mod consume;
mod escape;
mod generate;
mod group;
mod log;
mod output;
mod produce;
mod record_json;
mod serve;
mod stop;
mod topic;

use clap::{Parser, Subcommand};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// A message log that speaks the Kafka wire protocol.
#[derive(Debug, Parser)]
#[command(name = "ringmain", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Example:\n  ringmain serve --data-dir /var/lib/ringmain --listen 127.0.0.1:9092\n\n\
    RINGMAIN_LOG sets what is logged to standard error (error, warn, info, debug, or by module); RINGMAIN_BROKER is the\n\
    default of --broker. The exit code is 0 if all went well, 1 if something went wrong, 2 if the arguments make no sense,\n\
    130 if Ctrl-C came before the work was done.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Serve(serve::ServeArgs),
    /// Create, list, describe, change and delete topics.
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Write the lines of standard input to a topic.
    Produce(produce::ProduceArgs),
    /// Write the records of a topic to standard output.
    Consume(consume::ConsumeArgs),
    /// List, describe, reset and delete consumer groups.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Look at the files of a log, without a broker.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Print a script that completes commands in a shell.
    Completions(generate::CompletionsArgs),
    /// Write manual pages.
    Man(generate::ManArgs),
}

/// Parses the arguments and does what they say.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(if matches!(cli.command, Command::Serve(_)) { "info" } else { "error" });
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(args).map_err(Into::into),
        Command::Log(command) => log::run(command).map_err(Into::into),
        Command::Completions(args) => generate::completions(&args).map_err(Into::into),
        Command::Man(args) => generate::man(&args).map_err(|err| {
            format!("the manual cannot be written to {}: {err}", args.directory().display()).into()
        }),
        Command::Topic(command) => client(topic::run(command)),
        Command::Produce(args) => client(produce::run(args)),
        Command::Consume(args) => client(consume::run(args)),
        Command::Group(command) => client(group::run(command)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            // Nobody may read it any more.
            let _ = writeln!(std::io::stderr(), "ringmain: {err}");
            match err.downcast_ref() {
                Some(output::CliError::Interrupted { .. }) => ExitCode::from(stop::INTERRUPTED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Runs a command that talks to a broker.
fn client(command: impl Future<Output = Result<(), output::CliError>>) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(command)?)
}

fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_env("RINGMAIN_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A line that cannot be written, as to a full disk or to a reader that has gone away, is lost. It would be told on
    // standard error, where that fails, too, and ends the process.
    let log = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    log.with_writer(std::io::stderr).with_ansi(color).init();
}
