//! `ringmain-bench engine`, small.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn command(dir: &Path, options: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain-bench"));
    command.args(["engine", "--json", "--dir"]).arg(dir).args(options.split_whitespace());
    command
}

/// Runs it; returns its groups, each of which has as many figures in each series as there are rounds.
fn groups(options: &str, rounds: usize) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path(), &format!("--rounds {rounds} {options}")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "it left files behind");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_ne!(report["machine"]["medium"]["filesystem"], "unknown");
    let groups = report["groups"].as_array().unwrap();
    for series in groups.iter().flat_map(|group| group["series"].as_array().unwrap()) {
        let figures = series["rounds"].as_array().unwrap();
        assert_eq!(figures.len(), rounds, "{series}");
        assert!(figures.iter().all(|figure| figure.as_f64().unwrap() > 0.0), "{series}");
    }
    groups.clone()
}

#[test]
fn appends_and_small_batches_are_compared_with_their_floors() {
    let groups = groups("--parts append,small --append-bytes 2MiB --small-appends 400", 2);
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0]["series"].as_array().unwrap().len(), 3);
    assert_eq!(groups[0]["ratios"][0]["by"], "crc32c + pwrite");
    assert_eq!(groups[0]["ratios"][0]["goal"]["at_least"], 0.85);
    assert_eq!(groups[1]["ratios"].as_array().unwrap().len(), 2);
}

#[test]
fn every_number_of_logs_is_a_group() {
    let groups = groups("--parts durable --log-counts 1,3 --commits 2", 2);
    assert_eq!(groups.len(), 2);
    for group in groups {
        let series = group["series"].as_array().unwrap();
        // Where the file system has no direct writes, there is no bare work.
        assert!(series.len() == 5 || !group["notes"].as_array().unwrap().is_empty());
        assert!(series.iter().all(|series| series["percentiles"]["samples"] == 4));
        assert!(group["ratios"].as_array().unwrap().iter().all(|ratio| ratio["goal"].is_null()));
    }
}

#[test]
fn tails_are_taken_at_a_rate_while_segments_roll() {
    let options = "--parts tail --tail-batch-bytes 1KiB --tail-duration 500ms --tail-sync 50ms --tail-segment-bytes 64KiB \
                   --tail-keep-bytes 1MiB";
    let groups = groups(options, 1);
    assert_eq!(groups[0]["quantile"], 0.999);
    // The rate, and what was written back in each turn.
    assert_eq!(groups[0]["notes"].as_array().unwrap().len(), 3);
}

#[test]
fn a_store_is_opened_after_a_stop_and_after_a_kill() {
    for durability in ["written", "durable"] {
        let options = format!("--parts open --open-logs 3 --open-bytes 1MiB --open-durability {durability}");
        let groups = groups(&options, 1);
        assert_eq!(groups[0]["series"].as_array().unwrap().len(), 2);
    }
}

/// Starts something long and waits until it is under way.
fn under_way(dir: &Path, options: &str) -> Child {
    let mut command = command(dir, options);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while dir.read_dir().unwrap().count() == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "nothing happened");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200));
    child
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    for options in ["--parts tail --tail-keep-bytes 64MiB", "--parts open", "--parts durable --log-counts 16"]
    {
        let dir = tempfile::tempdir().unwrap();
        let child = under_way(dir.path(), &format!("--rounds 100 {options}"));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{options}");
        assert!(output.stdout.is_empty(), "{options}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("interrupted"), "{options}: {stderr}");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "{options}");
    }
}
