//! `ringmain-bench load` against a broker that behaves, and brokers that do not.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod fake;

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fake::{FakeBroker, Faults};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn run(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmain-bench")).args(line.split_whitespace()).output().unwrap()
}

/// Runs `load` with JSON output, which must succeed.
fn load(broker: &FakeBroker, options: &str) -> Value {
    let output = run(&format!("load --broker {} --json {options}", broker.address));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs `load`, which must fail with one line and no figures; returns the line.
fn load_fails(faults: Faults, options: &str) -> String {
    let broker = FakeBroker::start(faults);
    let output = run(&format!("load --broker {} {options}", broker.address));
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("ringmain-bench: "), "{stderr}");
    assert!(stderr.contains("; "), "what to do is missing: {stderr}");
    assert_eq!(broker.state.lock().unwrap().deleted.len(), 1, "the topic was left behind");
    stderr
}

fn phase<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let phases = report["phases"].as_array().unwrap();
    phases.iter().find(|phase| phase["kind"] == kind).unwrap()
}

/// Twenty batches of a few records over three connections and two partitions.
const SMALL: &str = "--total-bytes 20000 --batch-bytes 1000 --record-bytes 100 --fetch-bytes 2500 \
                     --connections 3 --partitions 2";

#[test]
fn everything_is_sent_read_and_verified() {
    for options in ["--acks 1", "--acks all --in-flight 1", "--acks 0", "--in-flight 7 --rounds 2"] {
        let broker = FakeBroker::start(Faults::default());
        let report = load(&broker, &format!("{SMALL} {options}"));
        let records_per_batch = report["records_per_batch"].as_u64().unwrap();
        let state = broker.state.lock().unwrap();
        let records = report["verified"]["records"].as_u64().unwrap();
        assert_eq!(records, state.produced * records_per_batch, "{options}");
        assert_eq!(report["verified"]["batches"].as_u64().unwrap(), state.produced);
        let rounds = state.deleted.len() as u64;
        for kind in ["produce", "fetch"] {
            assert_eq!(phase(&report, kind)["records"].as_u64().unwrap() * rounds, records);
        }
        let latency = &phase(&report, "produce")["latency"];
        if options == "--acks 0" {
            assert!(latency.is_null());
        } else {
            assert_eq!(latency["samples"].as_u64().unwrap() * rounds, state.produced);
        }
        assert!(report["machine"]["cpus"].as_u64().unwrap() > 0);
        assert_eq!(report["parameters"]["shape"]["record_bytes"], 100);
    }
}

#[test]
fn floors_move_as_much_as_the_broker() {
    let broker = FakeBroker::start(Faults::default());
    let dir = tempfile::tempdir().unwrap();
    let options = format!("{SMALL} --floors --rounds 2 --data-dir {}", dir.path().display());
    let report = load(&broker, &options);
    let of = |kind: &str| phase(&report, kind)["batch_bytes"].as_u64().unwrap();
    for kind in ["floor_relay", "floor_answered", "floor_sendfile", "fetch"] {
        assert_eq!(of(kind), of("produce"), "{kind}");
    }
    assert_eq!(report["ratios"].as_array().unwrap().len(), 3);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "a floor left files behind");
}

#[test]
fn floors_alone_need_no_broker() {
    let dir = tempfile::tempdir().unwrap();
    let options = "--total-bytes 1MiB --rounds 2 --sync-writes 3 --sync-files 4";
    let line = format!("floors --json {options} --dir {}", dir.path().display());
    let output = run(&line);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["phases"].as_array().unwrap().len(), 8);
    assert_eq!(report["summaries"].as_array().unwrap().len(), 4);
    assert_eq!(report["groups"].as_array().unwrap().len(), 3);
    for group in report["groups"].as_array().unwrap() {
        for series in group["series"].as_array().unwrap() {
            let rounds = series["rounds"].as_array().unwrap();
            assert!(
                rounds.len() == 2 && rounds.iter().all(|figure| figure.as_f64().unwrap() > 0.0),
                "{series}"
            );
        }
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "a floor left files behind");
}

#[test]
fn no_latency_is_below_the_delay_of_the_broker() {
    let produce_delay = Duration::from_millis(20);
    for in_flight in [1, 4] {
        let broker = FakeBroker::start(Faults { produce_delay, ..Faults::default() });
        let options = format!(
            "--mode produce --total-bytes 15000 --batch-bytes 1000 --record-bytes 100 --in-flight {in_flight}"
        );
        let report = load(&broker, &options);
        let latency = &phase(&report, "produce")["latency"];
        assert_eq!(latency["samples"].as_u64().unwrap(), broker.state.lock().unwrap().produced);
        assert!(latency["min_us"].as_u64().unwrap() >= 20_000, "{latency}");
        assert!(latency["max_us"].as_u64() >= latency["p99_us"].as_u64());
    }
}

/// One record a request, 100 requests a second for 1.5 s, and a stall of 300 ms: thirty requests
/// were due meanwhile. Without counting from when they were due, one of 150 would show it.
#[test]
fn a_stall_counts_for_all_requests_that_were_due() {
    for in_flight in [1, 2] {
        let stall = Some((50, Duration::from_millis(300)));
        let broker = FakeBroker::start(Faults { stall, ..Faults::default() });
        let options = format!(
            "--mode produce --rate 100 --duration 1.5s --record-bytes 100 --batch-bytes 150 --in-flight {in_flight}"
        );
        let report = load(&broker, &options);
        let produce = phase(&report, "produce");
        assert_eq!(produce["records"], 150);
        let latency = &produce["latency"];
        assert_eq!(latency["samples"], 150);
        assert!(latency["p99_us"].as_u64().unwrap() >= 250_000, "{latency}");
        // A tenth of all requests waited; half of those more than 150 ms.
        assert!(latency["p90_us"].as_u64().unwrap() >= 100_000, "{latency}");
    }
}

#[test]
fn a_lost_batch_is_no_figure() {
    let line = load_fails(
        Faults { lose: Some(7), ..Faults::default() },
        "--total-bytes 20000 --batch-bytes 1000 --record-bytes 100",
    );
    assert!(line.contains("do not use these figures"), "{line}");
    let faults = Faults { lose_with_hole: Some(7), ..Faults::default() };
    let line = load_fails(faults, SMALL);
    assert!(line.contains("do not use these figures"), "{line}");
}

#[test]
fn damage_and_disorder_are_no_figures() {
    let line = load_fails(Faults { damage: Some(7), ..Faults::default() }, SMALL);
    assert!(line.contains("checksum"), "{line}");
    let one = "--total-bytes 20000 --batch-bytes 1000 --record-bytes 100";
    let line = load_fails(Faults { swap_with_next: Some(7), ..Faults::default() }, one);
    assert!(line.contains("was due"), "{line}");
}

#[test]
fn a_closed_connection_or_a_refusal_is_one_line() {
    for in_flight in [1, 5] {
        let options = format!("{SMALL} --in-flight {in_flight}");
        let line = load_fails(Faults { close_at: Some(5), ..Faults::default() }, &options);
        assert!(line.contains("closed the connection"), "{line}");
        let line = load_fails(Faults { refuse: Some((5, 19)), ..Faults::default() }, &options);
        assert!(line.contains("NOT_ENOUGH_REPLICAS"), "{line}");
    }
}

#[test]
fn nobody_there_is_one_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let output = run(&format!("load --broker {address}"));
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with(&format!("ringmain-bench: cannot connect to {address}")), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}

#[test]
fn a_topic_of_others_is_read_and_left_alone() {
    let broker = FakeBroker::start(Faults::default());
    let first = load(&broker, &format!("{SMALL} --mode produce --topic orders --keep-topic"));
    let report = load(&broker, "--mode fetch --topic orders --connections 2");
    let records = report["verified"]["records"].as_u64().unwrap();
    assert_eq!(records, first["verified"]["records"].as_u64().unwrap());
    assert!(records > 0);
    assert!(broker.state.lock().unwrap().deleted.is_empty());
    let again = load(&broker, &format!("{SMALL} --topic orders"));
    assert_eq!(phase(&again, "fetch")["records"], phase(&again, "produce")["records"]);
    assert!(broker.state.lock().unwrap().deleted.is_empty());
}

#[test]
fn ctrl_c_leaves_neither_topic_nor_files() {
    // A rate so low that the only sender sleeps when the signal comes.
    let broker = FakeBroker::start(Faults::default());
    let options = "--mode produce --rate 1 --duration 100s --record-bytes 100 --batch-bytes 150";
    let stderr = interrupt(&format!("load --broker {} {options}", broker.address), || {
        broker.state.lock().unwrap().produced > 0
    });
    assert!(stderr.contains("interrupted"), "{stderr}");
    assert_eq!(broker.state.lock().unwrap().deleted.len(), 1);

    let dir = tempfile::tempdir().unwrap();
    let line = format!("floors --rounds 100 --total-bytes 64MiB --data-dir {}", dir.path().display());
    let stderr = interrupt(&line, || true);
    assert!(stderr.contains("interrupted"), "{stderr}");
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

/// Starts the command, interrupts it once `ready`, and returns what it said.
fn interrupt(line: &str, ready: impl Fn() -> bool) -> String {
    let child = Command::new(env!("CARGO_BIN_EXE_ringmain-bench"))
        .args(line.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..500 {
        std::thread::sleep(Duration::from_millis(20));
        if ready() {
            break;
        }
    }
    // Time to get into the middle of something.
    std::thread::sleep(Duration::from_millis(200));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}
