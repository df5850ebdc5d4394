//! `ringmain-bench compare` with brokers that are shell scripts: what is left behind, and what is told.

#![allow(clippy::unwrap_used)] // a test fails by panicking

// Each test file uses a part of it.
#[allow(dead_code)]
mod fake;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use fake::{FakeBroker, Faults};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A place for everything, and a broker that answers beside the scripts that pretend to be it.
struct Bench {
    dir: tempfile::TempDir,
    broker: FakeBroker,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        Self { dir, broker: FakeBroker::start(Faults::default()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program that acts as a broker. It notes the ids of its processes; a child of it does not listen to
    /// SIGTERM and outlives it.
    fn program(&self, name: &str, on_start: &str) -> PathBuf {
        let path = self.path(name);
        let text = format!(
            "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'ringmain 9.9'; exit 0; fi\n{on_start}\n\
             (trap '' TERM; exec sleep 1000) &\necho $! >>{pids}\necho $$ >>{pids}\n\
             echo ringmain ready {address}\nwait\n",
            pids = self.path("pids").display(),
            address = self.broker.address
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn command(&self, ringmain: &Path, options: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain-bench"));
        command.args(["compare", "--short"]).args(options.split_whitespace());
        command.arg("--ringmain").arg(ringmain).arg("--out").arg(self.path("result.json"));
        command.arg("--data-dir").arg(self.path("data")).arg("--cache").arg(self.path("cache"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn pids(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(self.path("pids")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Until the broker of the first turn runs.
    fn await_broker(&self) {
        for _ in 0..1500 {
            if self.pids().len() == 2 {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no broker was started");
    }

    fn assert_nothing_is_left(&self) {
        for pid in self.pids() {
            // A process that ended and was not waited for yet is gone, too; one that was killed may be at it.
            let mut state = String::new();
            for _ in 0..500 {
                state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                if state.is_empty() || state.contains(") Z ") {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(state.is_empty() || state.contains(") Z "), "process {pid} is left: {state}");
        }
        let data: Vec<_> = self.path("data").read_dir().unwrap().flatten().collect();
        assert!(data.is_empty(), "left behind: {data:?}");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(self.dir.path().to_str().unwrap()), "{mounts}");
    }

    fn result(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.path("result.json")).unwrap()).unwrap()
    }
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_interruption_leaves_nothing() {
    // The second one with a file system of its own, where that may be mounted.
    for (with, workloads) in [(Signal::SIGINT, "end-to-end"), (Signal::SIGTERM, "end-to-end,durable-1")] {
        let bench = Bench::new();
        let program = bench.program("ringmain", "");
        let other = format!("--other old={} --workloads {workloads}", program.display());
        let child = bench.command(&program, &other).spawn().unwrap();
        bench.await_broker();
        for pid in bench.pids() {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            assert!(status.contains("SigBlk:\t0000000000000000"), "it cannot be asked to end: {status}");
        }
        signal(&child, with);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("interrupted"), "{}", said(&output));
        assert!(!bench.path("result.json").exists(), "a part of a comparison is no result");
        bench.assert_nothing_is_left();
    }
}

#[test]
fn a_second_signal_ends_brokers_that_do_not_listen() {
    let bench = Bench::new();
    let program = bench.program("ringmain", "trap '' TERM");
    let other = format!("--other old={} --workloads end-to-end", program.display());
    let child = bench.command(&program, &other).spawn().unwrap();
    bench.await_broker();
    signal(&child, Signal::SIGINT);
    // The first one is being handled.
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    bench.assert_nothing_is_left();
}

#[test]
fn peers_that_cannot_be_had_are_told_and_the_result_is_written() {
    let bench = Bench::new();
    let program = bench.program("ringmain", "");
    let options = "--other gone=/nowhere/at-all --peers iggy --workloads end-to-end";
    let output = bench.command(&program, options).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "nobody was measured");
    assert!(said(&output).contains("no peer could be measured"), "{}", said(&output));
    let result = bench.result();
    assert_eq!(result["format"], "ringmain-bench/compare/1");
    let not_run = result["not_run"].as_array().unwrap();
    let why = |peer: &str| {
        let found = not_run.iter().find(|skipped| skipped["peer"] == peer).unwrap();
        found["why"].as_str().unwrap().to_string()
    };
    assert!(why("iggy").contains("registry"), "{}", why("iggy"));
    assert!(why("gone").contains("at-all cannot be started"), "{}", why("gone"));
    bench.assert_nothing_is_left();
}

/// A user without rights, on a file system without a journal.
#[test]
fn without_root_it_says_what_it_could_not_run_and_why() {
    const NOBODY: u32 = 65534;
    let bench = Bench::new();
    let program = bench.program("ringmain", "");
    let data = tempfile::tempdir_in("/dev/shm").unwrap();
    // The build may be where nobody else may look.
    let tool = bench.path("ringmain-bench");
    std::fs::copy(env!("CARGO_BIN_EXE_ringmain-bench"), &tool).unwrap();
    for path in [bench.dir.path(), data.path(), &tool] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = Command::new(&tool);
    command.args(["compare", "--short", "--workloads", "durable-1", "--ringmain"]).arg(&program);
    command.arg("--other").arg(format!("old={}", program.display()));
    command.arg("--out").arg(bench.path("result.json")).arg("--cache").arg(bench.path("cache"));
    command.arg("--data-dir").arg(data.path()).current_dir(bench.dir.path());
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "nothing was measured: {}", said(&output));
    let result = bench.result();
    let skipped = &result["not_run"][0];
    assert_eq!((skipped["peer"].as_str(), skipped["workload"].as_str()), (Some("old"), Some("durable-1")));
    let why = skipped["why"].as_str().unwrap();
    assert!(why.contains("tmpfs") && why.contains("needs root"), "{why}");
    assert!(said(&output).contains("needs root"), "{}", said(&output));
    assert_eq!(data.path().read_dir().unwrap().count(), 0);
    bench.assert_nothing_is_left();
}

#[test]
fn no_turn_begins_that_would_end_too_late() {
    let bench = Bench::new();
    let program = bench.program("ringmain", "");
    let options = format!("--other old={} --workloads end-to-end --time-limit 1s", program.display());
    let output = bench.command(&program, &options).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(bench.pids().is_empty(), "a broker was started");
    let result = bench.result();
    assert_eq!(result["not_run"][0]["workload"], "end-to-end");
    assert!(result["not_run"][0]["why"].as_str().unwrap().contains("time limit"));
    assert_eq!(result["peers"][0]["version"], "9.9");
}

#[test]
fn wrong_names_are_told_with_the_right_ones() {
    let bench = Bench::new();
    let program = bench.program("ringmain", "");
    for (options, told) in [("--peers kafak", "kafka"), ("--peers iggy --workloads end", "end-to-end")] {
        let output = bench.command(&program, options).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(told), "{}", said(&output));
        assert!(bench.pids().is_empty() && !bench.path("result.json").exists());
    }
}
