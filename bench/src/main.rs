//! The `ringmain-bench` command: how fast a Kafka-protocol broker is, and how fast this machine
//! could be at best.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, CompareArgs};
use crate::error::BenchError;
use crate::figures::FiguresReport;
use crate::stop::Stop;

mod admin;
mod batch;
mod cache;
mod cli;
mod compare;
mod device;
mod direct;
mod engine;
mod error;
mod fetch_frame;
mod fetcher;
mod figures;
mod floor;
mod generator;
mod latency;
mod load;
mod machine;
mod page;
mod peer;
mod phase;
mod produce_frame;
mod producer;
mod progress;
mod quantity;
mod refusal;
mod report;
// Read by commands that are not there yet.
#[allow(dead_code)]
mod result;
mod scratch;
mod stop;
mod table;
mod target;
mod verify;
mod window;
mod wire;
mod workload;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ringmain-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, BenchError> {
    if let Command::Report(args) = &cli.command {
        // Nothing to clean up: signals end it at once.
        return Ok(page::report(args)?.into());
    }
    let stop = Stop::on_signals().map_err(BenchError::Signals)?;
    match cli.command {
        Command::Load(args) if generator::command::asked_for(&args) => {
            finished(generator::command::load_workload(&args, &stop), &stop)
        }
        Command::NullBroker => generator::serve(),
        Command::Load(args) => finished(load::load(&args, &stop), &stop)?.deliver(&args.output),
        Command::Floors(args) => finished(floor::floors(&args, &stop), &stop)?.deliver(&args.output),
        Command::Engine(args) => {
            let report = finished(engine::engine(&args, &stop), &stop)?;
            report::deliver(&report, FiguresReport::render, &args.output)
        }
        Command::Compare(args) => deliver_comparison(&args, &stop),
        Command::Fill(args) => finished(engine::fill(&args, &stop), &stop),
        Command::Report(_) => unreachable!("it was looked for first"),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Whatever failed after the user stopped it, failed because its sockets were shut.
fn finished<R>(outcome: Result<R, BenchError>, stop: &Stop) -> Result<R, BenchError> {
    if stop.interrupted() { Err(BenchError::Interrupted) } else { outcome }
}

/// A result that nobody is in is written, too: it says why.
fn deliver_comparison(args: &CompareArgs, stop: &Stop) -> Result<(), BenchError> {
    let comparison = finished(compare::compare(args, stop), stop)?;
    comparison.write(&args.out)?;
    println!("{}", compare::render(&comparison));
    compare::someone_was_measured(&comparison)?;
    Ok(())
}
