//! Writes to a store in every way that the rigs for real media ask for, and checks afterwards that
//! it kept its word. The scripts `powerloss`, `writelog` and `diskfaults` drive it.
//!
//! All that is tried and all that is confirmed goes to a history, which must lie on another file
//! system than the store, so that it outlives what happens to the store's.

mod check;
mod fault;
mod history;
mod values;
mod write;

use history::Notes;
use ringmain_engine::{LogConfig, Store, StoreConfig};
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Writes to a store and checks what it kept.

torture write DIR --acks FILE --seed S [--logs N=8] [--batches N] [--position LOG] [--keep-logs]
    Appends batches of random size and durability to N logs until it is ended, or N batches, then
    closes the store. Deletes logs and makes them again now and then. Prints `running` after the
    first durable append.
torture check DIR --acks FILE [--written] [--at N] [--note] [--close] [--position LOG]
    Opens the store and compares it with the history.
torture fail DIR --acks FILE --seed S [--logs N=8]
    Writes until the store fails, which must happen soon. Then appends must be refused and reads go
    on. Prints `failed: REASON`, waits for a line on standard input, and checks that appends are
    still refused.
torture fill DIR --acks FILE --seed S [--logs N=8]
    Appends until the disk is full, which must not make the store fail. Prints `full`, waits for a
    line on standard input, which promises room, and checks that appends succeed. Again and again,
    until standard input ends.

  --acks FILE      the history, which grows over runs; on another file system than DIR
  --seed S         for the random choices; another one for each run of a history
  --position LOG   notes with each line how many entries this write log (dm-log-writes) has
  --keep-logs      no log is deleted
  --written        all that was appended must be there, durable or not: no power was lost
  --at N           what the history knows at entry N of the write log
  --note           notes what was found: later checks must find it too
  --close          stops the store cleanly afterwards
";

/// What the command line asks for.
pub(crate) struct Options {
    command: String,
    dir: PathBuf,
    acks: PathBuf,
    seed: u64,
    logs: usize,
    batches: Option<u64>,
    position: Option<PathBuf>,
    keep_logs: bool,
    written: bool,
    at: Option<u64>,
    note: bool,
    close: bool,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let command = args.next().ok_or("a command is missing")?;
    let mut options = Options {
        command,
        dir: PathBuf::new(),
        acks: PathBuf::new(),
        seed: 0,
        logs: 8,
        batches: None,
        position: None,
        keep_logs: false,
        written: false,
        at: None,
        note: false,
        close: false,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--acks" => options.acks = value()?.into(),
            "--seed" => options.seed = number(&arg, &value()?)?,
            "--logs" => options.logs = number(&arg, &value()?)?,
            "--batches" => options.batches = Some(number(&arg, &value()?)?),
            "--position" => options.position = Some(value()?.into()),
            "--keep-logs" => options.keep_logs = true,
            "--written" => options.written = true,
            "--at" => options.at = Some(number(&arg, &value()?)?),
            "--note" => options.note = true,
            "--close" => options.close = true,
            _ if !arg.starts_with('-') && options.dir.as_os_str().is_empty() => options.dir = arg.into(),
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    if options.dir.as_os_str().is_empty() || options.acks.as_os_str().is_empty() || options.logs == 0 {
        return Err("a directory, --acks and at least one log are needed".into());
    }
    Ok(options)
}

fn number<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{what} needs a number, not {text}"))
}

/// Segments are small, so that a short run makes many.
pub(crate) fn log_config() -> LogConfig {
    LogConfig { segment_bytes: 256 << 10, ..LogConfig::default() }
}

impl Options {
    fn open(&self) -> Result<Store, String> {
        // A small journal and frequent checkpoints, so that all of it happens all the time.
        let config = StoreConfig {
            log: log_config(),
            journal_file_bytes: 1 << 20,
            journal_files_max: 4,
            journal_entry_bytes_max: 512 << 10,
            journal_range_bytes_max: 128 << 10,
            checkpoint_age_ms: 50,
            ..StoreConfig::default()
        };
        Store::open(&self.dir, config).map_err(|err| format!("the store does not open: {err}"))
    }

    fn notes(&self) -> Result<Notes, String> {
        Notes::open(&self.acks, self.position.as_deref())
            .map_err(|err| format!("{}: {err}", self.acks.display()))
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match parse(args.into_iter()) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("torture: {reason}; see --help");
            return ExitCode::from(2);
        }
    };
    let outcome = match options.command.as_str() {
        "write" => write::run(&options),
        "check" => check::run(&options),
        "fail" => fault::fail(&options),
        "fill" => fault::fill(&options),
        other => Err(format!("unknown command {other}; see --help")),
    };
    match outcome {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("torture: {reason}");
            ExitCode::FAILURE
        }
    }
}
