//! The `ringmain-bench` command: how fast a Kafka-protocol broker is, and how fast this machine
//! could be at best.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::error::BenchError;
use crate::stop::Stop;

mod admin;
mod batch;
mod cli;
mod error;
mod fetch_frame;
mod fetcher;
mod floor;
mod latency;
mod load;
mod machine;
mod peer;
mod phase;
mod produce_frame;
mod producer;
mod quantity;
mod refusal;
mod report;
mod stop;
mod table;
mod target;
mod verify;
mod window;
mod wire;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmain-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), BenchError> {
    let stop = Stop::on_signals().map_err(BenchError::Signals)?;
    let (report, output) = match cli.command {
        Command::Load(args) => (load::load(&args, &stop), args.output),
        Command::Floors(args) => (floor::floors(&args, &stop), args.output),
    };
    let report = match report {
        // Whatever failed, failed because its sockets were shut.
        _ if stop.interrupted() => return Err(BenchError::Interrupted),
        report => report?,
    };
    report.deliver(&output)
}
