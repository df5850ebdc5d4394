//! Crash histories of a store on the simulated disk: random steps, crashes at any operation, and a
//! naive model that says what must be there afterwards.

mod history;
mod model;
mod random;
mod runner;
mod settings;
mod steps;

use runner::Options;
use std::process::ExitCode;

const HELP: &str = "\
Runs a store on a simulated disk through crashes, and checks what every start finds.

usage: sim [--seeds N] [--from S] [--jobs J] [--resume FILE] [--failures N] [--twice]
       sim --seed X [--verbose]

  --seeds N      histories to run, one for each seed [default: 2000]
  --from S       the first seed [default: 0]
  --jobs J       histories at once [default: 2]
  --resume FILE  note finished blocks of seeds in FILE, and skip those noted there
  --failures N   stop after so many failures [default: 10]
  --twice        run each history twice: both must do and see the same
  --seed X       run one history
  --verbose      tell each of its steps

example: sim --seeds 100000 --resume seeds.done";

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    let mut wrong = None;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let mut number = || {
            let value = value()?;
            value.parse::<u64>().map_err(|_| format!("{argument} needs a number, not {value:?}"))
        };
        let outcome = match argument.as_str() {
            "--seeds" => number().map(|n| options.seeds = n),
            "--from" => number().map(|n| options.from = n),
            "--jobs" => number().map(|n| options.jobs = n.max(1)),
            "--failures" => number().map(|n| options.failures_max = n.max(1)),
            "--seed" => number().map(|n| options.seed = Some(n)),
            "--resume" => value().map(|file| options.resume = Some(file.into())),
            "--verbose" => {
                options.verbose = true;
                Ok(())
            }
            "--twice" => {
                options.twice = true;
                Ok(())
            }
            "--help" | "-h" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            other => Err(format!("unknown argument {other:?}")),
        };
        if let Err(what) = outcome {
            wrong.get_or_insert(what);
        }
    }
    if let Some(wrong) = wrong {
        eprintln!("sim: {wrong}; see --help");
        return ExitCode::from(2);
    }
    match runner::run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("sim: {err}");
            ExitCode::from(2)
        }
    }
}
