//! How long a store takes to open, after a clean stop and after its process was killed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use ringmain_engine::{Store, StoreConfig};

use crate::engine::fill::READY;
use crate::engine::{EngineError, Run};
use crate::figures::{Goal, Group, Unit};

const CLEAN: &str = "after a clean stop";
const KILLED: &str = "after kill -9";
/// Of each round.
pub(super) const TURNS: usize = 2;
/// How often it is asked whether the user wants to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn open(run: &Run<'_>) -> Result<Group, EngineError> {
    let args = run.args;
    let gib = args.open_bytes as f64 / f64::from(1 << 30);
    let durability = args.open_durability.to_possible_value();
    let title = format!(
        "open: {} logs with {gib:.2} GiB, appended with durability {}",
        args.open_logs,
        durability.as_ref().map_or("unknown", |value| value.get_name())
    );
    let mut group = Group::new("open", title, Unit::Milliseconds);
    for round in 1..=args.rounds {
        for name in [CLEAN, KILLED] {
            run.turn(round, name)?;
            let elapsed = fill_and_open(run, name == CLEAN)?;
            group.add(name, elapsed.as_secs_f64() * 1e3);
        }
    }
    group.expect(CLEAN, Goal::AtMost(100.0));
    group.expect(KILLED, Goal::AtMost(1000.0));
    Ok(group)
}

fn fill_and_open(run: &Run<'_>, clean: bool) -> Result<Duration, EngineError> {
    let mut filler = Filler::start(run, clean)?;
    let filled = filler.wait_until_ready(run)?;
    // SIGKILL either way: what is stopped cleanly has nothing more to do.
    drop(filler);
    let began = Instant::now();
    let store = Store::open(run.scratch.join("open"), StoreConfig::default())?;
    let elapsed = began.elapsed();
    if store.was_clean() != clean {
        return Err(EngineError::Filler(
            "the store was not stopped as it should have been; run it again".into(),
        ));
    }
    // Of a killed process nothing is lost that it wrote: the page cache is the kernel's.
    let found = store.logs().iter().map(|log| log.size_bytes()).sum();
    drop(store);
    if found != filled {
        return Err(EngineError::Lost { found, filled });
    }
    run.remove("open")?;
    Ok(elapsed)
}

/// The child process; killed when dropped.
struct Filler {
    child: Child,
}

impl Filler {
    fn start(run: &Run<'_>, clean: bool) -> Result<Self, EngineError> {
        let failed = |error: std::io::Error| EngineError::Filler(error.to_string());
        let args = run.args;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.arg("fill").arg("--store").arg(run.scratch.join("open"));
        command.args(["--logs", &args.open_logs.to_string()]);
        let bytes_per_log = args.open_bytes.div_ceil(u64::from(args.open_logs));
        command.args(["--bytes-per-log", &bytes_per_log.to_string()]);
        if let Some(durability) = args.open_durability.to_possible_value() {
            command.args(["--durability", durability.get_name()]);
        }
        if clean {
            command.arg("--clean");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self { child: command.spawn().map_err(failed)? })
    }

    /// Returns how many bytes it appended.
    fn wait_until_ready(&mut self, run: &Run<'_>) -> Result<u64, EngineError> {
        let stdout = self.child.stdout.take();
        let (sender, receiver) = sync_channel(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            // Without a line the process failed, and says why on standard error.
            let _ = stdout.map(|stdout| BufReader::new(stdout).read_line(&mut line));
            let _ = sender.send(line);
        });
        let line = loop {
            run.go_on()?;
            match receiver.recv_timeout(LOOK_EVERY) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break String::new(),
            }
        };
        run.go_on()?;
        let bytes = line.strip_prefix(READY).and_then(|bytes| bytes.trim().parse().ok());
        bytes.ok_or_else(|| EngineError::Filler(self.complaint()))
    }

    fn complaint(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.read_to_string(&mut text);
        }
        let line = text.lines().next().unwrap_or("it ended without a word; look at the system's log");
        line.trim_start_matches("ringmain-bench: ").to_string()
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
