//! Gives damaged inputs to whatever of the engine reads files, until the time is over.
//! See `scripts/fuzz`. An input that something is wrong with is kept, and its path printed.

use ringmain_engine::fuzzing::{TARGETS, mutated};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io};

const HELP: &str = "Usage: fuzz [--target NAME] [--seconds N] [--from SEED] [--keep DIR]
  --target NAME  batch, segment, index, timeindex, checkpoint or journal; all in turn if not given
  --seconds N    how long, for each target (10)
  --from SEED    the first seed (0); one seed is one input for each file of the corpus
  --keep DIR     where failing inputs go (.work/fuzz)";

/// Enough to look at.
const FAILURES_MAX: u64 = 20;

struct Arguments {
    target: Option<String>,
    time: Duration,
    from: u64,
    keep: PathBuf,
}

fn arguments() -> Option<Arguments> {
    let mut found =
        Arguments { target: None, time: Duration::from_secs(10), from: 0, keep: PathBuf::from(".work/fuzz") };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--target" => found.target = Some(value),
            "--seconds" => found.time = Duration::from_secs(value.parse().ok()?),
            "--from" => found.from = value.parse().ok()?,
            "--keep" => found.keep = value.into(),
            _ => return None,
        }
    }
    let known = |name: &String| TARGETS.iter().any(|target| target.name == name);
    found.target.as_ref().is_none_or(known).then_some(found)
}

fn corpus(name: &str) -> io::Result<Vec<Vec<u8>>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    paths.into_iter().map(fs::read).collect()
}

fn main() -> io::Result<ExitCode> {
    let Some(arguments) = arguments() else {
        eprintln!("{HELP}");
        return Ok(ExitCode::from(2));
    };
    let mut failed = 0u64;
    for target in TARGETS.iter().filter(|one| arguments.target.as_ref().is_none_or(|name| name == one.name)) {
        let corpus = corpus(target.name)?;
        let (begun, mut count, mut seed) = (Instant::now(), 0u64, arguments.from);
        while begun.elapsed() < arguments.time && failed < FAILURES_MAX {
            for (number, input) in corpus.iter().enumerate() {
                let given = mutated(input, seed);
                count += 1;
                if catch_unwind(AssertUnwindSafe(|| (target.run)(&given))).is_err() {
                    failed += 1;
                    fs::create_dir_all(&arguments.keep)?;
                    let path = arguments.keep.join(format!("{}-{number}-{seed}", target.name));
                    fs::write(&path, given)?;
                    println!("fuzz: {} fails: {}", target.name, path.display());
                }
            }
            seed += 1;
        }
        println!("fuzz: {}: {count} inputs, seeds {} to {}", target.name, arguments.from, seed - 1);
    }
    println!("fuzz: {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
