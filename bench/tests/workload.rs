//! `ringmain-bench load --workload`: what it reports is what happened, and its workloads run.

#![allow(clippy::unwrap_used)] // a test fails by panicking

// Not everything of the fake broker is used here.
#[allow(dead_code)]
mod fake;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use fake::{FakeBroker, Faults};
use ringmain::{Config, Running};
use serde_json::Value;

fn run(broker: &str, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain-bench"));
    command.args(["load", "--json", "--broker", broker]).args(options);
    command.output().unwrap()
}

/// A run that must succeed.
fn load(broker: &str, options: &[&str]) -> Value {
    let output = run(broker, options);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    // Nothing is shown to what is no terminal.
    assert!(output.stderr.is_empty(), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn phase<'a>(run: &'a Value, kind: &str) -> &'a Value {
    let phases = run["phases"].as_array().unwrap();
    let found = phases.iter().find(|phase| phase["kind"] == kind && phase["warmup"] == false);
    found.unwrap_or_else(|| panic!("no phase {kind}"))
}

fn file(dir: &Path, text: &str) -> String {
    let path = dir.join("workload.toml");
    std::fs::write(&path, format!("name = \"test\"\nwarmup = 0\n{text}")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Delays from 100 to 500 ms on 40 connections, one request a second on each, so that none waits for another. The
/// server says how long each really took; the percentiles must be those within 2 %.
#[test]
fn a_known_distribution_of_delays_is_measured_within_two_percent() {
    let delays: Vec<Duration> = (0..200).map(|n| Duration::from_millis(100 + 2 * (n * 37 % 200))).collect();
    let faults = Faults { produce_delays: delays.clone(), ..Faults::default() };
    let broker = FakeBroker::start(faults);
    let dir = tempfile::tempdir().unwrap();
    let workload = file(
        dir.path(),
        "duration = 5\npartitions = 40\n[producers]\nconnections = 40\nrecord_bytes = 100\n\
         rate = { kind = \"fixed\", records_per_s = 40 }\n",
    );
    let report = load(&broker.address.to_string(), &["--workload", &workload]);
    let mut served = broker.state.lock().unwrap().served.clone();
    served.sort();
    assert_eq!(served.len(), 200);
    // The server did delay as it was told.
    assert!(served[0] >= Duration::from_millis(100) && served[199] >= Duration::from_millis(498));
    let latency = &phase(&report, "produce")["latency"];
    assert_eq!(latency["count"], 200);
    for (name, rank) in [("p50_us", 100), ("p90_us", 180), ("p99_us", 198), ("max_us", 200)] {
        let known_us = served[rank - 1].as_micros() as f64;
        let measured_us = latency[name].as_f64().unwrap();
        let error = (measured_us - known_us) / known_us;
        assert!(error.abs() < 0.02, "{name}: {known_us} us were measured as {measured_us}");
    }
    let mean_us = served.iter().map(|time| time.as_micros() as f64).sum::<f64>() / 200.0;
    let measured_us = latency["mean_us"].as_f64().unwrap();
    assert!((measured_us - mean_us).abs() < 0.02 * mean_us, "{mean_us} {measured_us}");
}

/// A stall of one second at 200 requests a second, in five seconds: one request of five was due meanwhile, and waited
/// for the rest of it. So 10 % of all waited for more than half of it, 1 % for more than 95 % of it: whether the
/// window had room for them or not.
#[test]
fn a_stall_shows_in_the_percentiles_as_theory_says() {
    for in_flight in [1, 400] {
        let faults = Faults { stall: Some((400, Duration::from_secs(1))), ..Faults::default() };
        let broker = FakeBroker::start(faults);
        let dir = tempfile::tempdir().unwrap();
        let workload = file(
            dir.path(),
            &format!(
                "duration = 5\n[producers]\nin_flight = {in_flight}\nrecord_bytes = 100\n\
                 rate = {{ kind = \"fixed\", records_per_s = 200 }}\n[[consumers]]\nfetch_wait = \"1ms\"\n"
            ),
        );
        let report = load(&broker.address.to_string(), &["--workload", &workload]);
        let stall_us = broker.state.lock().unwrap().served.iter().max().unwrap().as_micros() as f64;
        let produce = phase(&report, "produce");
        let latency = &produce["latency"];
        assert_eq!((produce["records"].as_u64(), latency["count"].as_u64()), (Some(1000), Some(1000)));
        let theory_us = [
            ("p90_us", stall_us - 500_000.0),
            ("p99_us", stall_us - 50_000.0),
            ("p99_9_us", stall_us - 5_000.0),
            ("max_us", stall_us),
        ];
        for (name, due_us) in theory_us {
            let measured_us = latency[name].as_f64().unwrap();
            // Half a request's distance, and the time that it takes to work off what waited.
            assert!(
                measured_us > due_us - 20_000.0 && measured_us < due_us + 100_000.0,
                "in flight {in_flight}: {name} is {measured_us}, due are {due_us} of a stall of {stall_us}"
            );
        }
        let silent = produce["over_time"].as_array().unwrap().iter();
        assert!(silent.filter(|moment| moment["p50_us"].is_null()).count() >= 8);
        assert_eq!(report["verified"]["records"], 1000);
    }
}

#[test]
fn losses_damage_and_disorder_leave_no_figures() {
    let dir = tempfile::tempdir().unwrap();
    let workload = file(
        dir.path(),
        "duration = 0.3\n[producers]\nrecord_bytes = 100\nbatch_records = 3\n\
         rate = { kind = \"fixed\", records_per_s = 300 }\n",
    );
    for (faults, says) in [
        (Faults { lose: Some(7), ..Faults::default() }, "were sent"),
        (Faults { damage: Some(7), ..Faults::default() }, "checksum"),
        (Faults { swap_with_next: Some(7), ..Faults::default() }, "was due"),
        (Faults { refuse: Some((7, 19)), ..Faults::default() }, "NOT_ENOUGH_REPLICAS"),
        (Faults { close_at: Some(7), ..Faults::default() }, "closed the connection"),
    ] {
        let broker = FakeBroker::start(faults.clone());
        let out = dir.path().join("run.json");
        let path = out.to_str().unwrap();
        let output = run(&broker.address.to_string(), &["--workload", &workload, "--out", path]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{faults:?}: {stderr}");
        assert!(output.stdout.is_empty() && !out.exists(), "{faults:?}");
        assert!(stderr.contains(says) && stderr.lines().count() == 1, "{faults:?}: {stderr}");
        assert_eq!(broker.state.lock().unwrap().deleted.len(), 1, "a topic was left behind");
    }
}

/// Each file as it is, but short and small, against a broker in this process.
#[test]
fn every_workload_runs_and_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: dir.path().to_path_buf(),
        ..Config::default()
    };
    let broker = Running::start(config).unwrap();
    let address = broker.address().to_string();
    let directories = [
        concat!(env!("CARGO_MANIFEST_DIR"), "/workloads"),
        concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/compare"),
    ];
    let entries = directories.iter().flat_map(|directory| std::fs::read_dir(directory).unwrap());
    let mut ran = 0;
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.to_str().unwrap();
        let mut options = vec!["--workload", name, "--set", "duration=0.3", "--set", "warmup=0.1"];
        let less = ["fill.bytes=2MiB", "topics=5", "partitions=150"];
        if text.contains("fill = {") || text.contains("[fill]") {
            options.extend(["--set", less[0]]);
        }
        if text.contains("topics = 100") {
            options.extend(["--set", less[1]]);
        }
        if text.contains("partitions = 10000") || text.contains("partitions = 1000\n") {
            options.extend(["--set", less[2]]);
        }
        if text.contains("\"ramp\"") {
            options.extend(["--set", "producers.rate.steps_max=2"]);
        }
        let report = load(&address, &options);
        let consumes = text.contains("[[consumers]]");
        let kinds: &[&str] = if consumes { &["produce", "consume", "end_to_end"] } else { &["produce"] };
        for kind in kinds {
            let phase = phase(&report, kind);
            assert!(phase["records"].as_u64().unwrap() > 0, "{name} {kind}");
            assert!(*kind == "consume" || phase["latency"]["count"].as_u64().unwrap() > 0, "{name} {kind}");
        }
        let phases = report["phases"].as_array().unwrap().iter();
        let produced = phases.filter(|phase| phase["kind"] == "produce");
        let produced: u64 = produced.map(|phase| phase["records"].as_u64().unwrap()).sum();
        assert_eq!(report["verified"]["records"].as_u64().unwrap(), produced, "{name}");
        assert_eq!(report["format"], "ringmain-bench/run/1");
        ran += 1;
    }
    assert!(ran >= 20);
    broker.stop().unwrap();
}

#[test]
fn the_generator_alone_is_measured() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain-bench"));
    let output = command.args(["load", "--self-check", "--workload", "one-record-64-connections"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let rate = text.strip_prefix("the generator alone: ").unwrap().split(' ').next().unwrap();
    assert!(rate.parse::<f64>().unwrap() > 0.0, "{text}");
}

#[test]
fn mistakes_are_one_line() {
    for (options, says) in [
        (vec!["--workload", "no-such-workload"], "--list"),
        (vec!["--workload", "ramp", "--set", "duration"], "write for example"),
        (vec!["--workload", "ramp", "--set", "colour=red"], "colour"),
        (vec!["--workload", "ramp", "--rate", "5"], "--rate"),
    ] {
        let output = run("127.0.0.1:1", &options);
        assert!(!output.status.success() && output.stdout.is_empty());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(says), "{options:?}: {stderr}");
    }
}
