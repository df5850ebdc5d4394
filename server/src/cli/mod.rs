//! The command line.

mod serve;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// A message log that speaks the Kafka wire protocol.
#[derive(Debug, Parser)]
#[command(name = "ringmain", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Example:\n  ringmain serve --data-dir /var/lib/ringmain --listen 127.0.0.1:9092\n\n\
    RINGMAIN_LOG sets what is logged to standard error (error, warn, info, debug, or by module).")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Serve(serve::ServeArgs),
}

/// Parses the arguments and does what they say.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome: Result<(), Box<dyn std::error::Error>> = match cli.command {
        Command::Serve(args) => {
            log_to_stderr("info");
            serve::run(args).map_err(Into::into)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("ringmain: {err}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_env("RINGMAIN_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color).init();
}
