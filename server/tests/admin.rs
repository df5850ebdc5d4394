//! Metrics and health over HTTP, and stopping while requests are under way.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain::{Config, Running};
use ringmain_engine::BatchBuilder;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use support::{call, config, create, framed, produce_body, receive, request, string};

fn get(address: SocketAddr, head: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{head}\r\nHost: broker\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn start(dir: &std::path::Path) -> (Running, SocketAddr, TcpStream) {
    let admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let running = Running::start(Config { admin, ..config(dir) }).unwrap();
    let stream = TcpStream::connect(running.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let admin = running.admin_address().unwrap();
    (running, admin, stream)
}

fn produce(stream: &mut TcpStream, records: usize) {
    let mut batch = BatchBuilder::new();
    for _ in 0..records {
        batch.push(1000, None, Some(b"value"));
    }
    let body = produce_body("counted", 0, -1, &batch.finish().unwrap());
    call(stream, &request(0, 7, 1, &body)).unwrap();
}

/// Fetch version 4 of the topic from its beginning.
fn fetch(wait_ms: i32, bytes_min: i32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((-1i32).to_be_bytes());
    body.extend(wait_ms.to_be_bytes());
    body.extend(bytes_min.to_be_bytes());
    body.extend((1i32 << 20).to_be_bytes());
    body.push(0);
    body.extend(1i32.to_be_bytes());
    body.extend(string("counted"));
    body.extend(1i32.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend(0i64.to_be_bytes());
    body.extend((1i32 << 20).to_be_bytes());
    request(1, 4, 9, &body)
}

/// OffsetCommit version 2 of a consumer that assigns partitions itself.
fn commit(stream: &mut TcpStream, offset: i64) {
    let mut body = string("billing");
    body.extend((-1i32).to_be_bytes());
    body.extend(string(""));
    body.extend((-1i64).to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(string("counted"));
    body.extend(1i32.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend(string("m"));
    let answer = call(stream, &request(8, 2, 1, &body)).unwrap();
    assert!(answer.ends_with(&[0, 0]), "{answer:?}");
}

/// Names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let word = |at: usize| {
        let rest = &text[at..];
        let end = rest.find(|one: char| !one.is_ascii_alphanumeric() && one != '_').unwrap_or(rest.len());
        rest[..end].to_owned()
    };
    text.match_indices("ringmain_").map(|(at, _)| word(at)).collect()
}

/// The dashboard and the documentation name the metrics that there are, and all of them.
#[test]
fn what_is_drawn_and_documented_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (running, admin, mut stream) = start(dir.path());
    create(&mut stream, "counted");
    produce(&mut stream, 5);
    commit(&mut stream, 3);
    let (_, metrics) = get(admin, "GET /metrics HTTP/1.1");
    // Their names, without what is added for samples.
    let families: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    assert!(families.len() > 20, "{families:?}");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let dashboard = std::fs::read_to_string(repository.join("dist/grafana-dashboard.json")).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let targets =
        parsed["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    let family = |name: String| {
        let histogram = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        histogram.map_or_else(|| name.clone(), str::to_owned)
    };
    let drawn: BTreeSet<String> = names(&queries.join("\n")).into_iter().map(family).collect();
    assert_eq!(drawn, families, "the panels of dist/grafana-dashboard.json");
    let documented = std::fs::read_to_string(repository.join("docs/operations.md")).unwrap();
    let table: String = documented.lines().filter(|line| line.starts_with("| `ringmain_")).collect();
    assert_eq!(names(&table), families, "the table of docs/operations.md");
    running.stop().unwrap();
}

#[test]
fn metrics_tell_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let (running, admin, mut stream) = start(dir.path());
    create(&mut stream, "counted");
    produce(&mut stream, 5);
    produce(&mut stream, 2);
    // Of a partition that there is not; and a fetch of all that there is.
    let mut batch = BatchBuilder::new();
    batch.push(1000, None, Some(b"value"));
    let lost = produce_body("counted", 99, -1, &batch.finish().unwrap());
    call(&mut stream, &request(0, 7, 1, &lost)).unwrap();
    call(&mut stream, &fetch(0, 0)).unwrap();
    commit(&mut stream, 3);
    // A request is counted after its answer was sent.
    let counted = r#"ringmain_request_duration_seconds_count{api="OffsetCommit"} 1"#;
    let deadline = Instant::now() + Duration::from_secs(20);
    let (head, metrics) = loop {
        let (head, metrics) = get(admin, "GET /metrics HTTP/1.1");
        if metrics.contains(counted) || Instant::now() > deadline {
            break (head, metrics);
        }
    };
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    let has = |line: &str| assert!(metrics.lines().any(|one| one == line), "no {line:?} in\n{metrics}");
    has(r#"ringmain_request_duration_seconds_count{api="Produce"} 3"#);
    has(r#"ringmain_request_duration_seconds_bucket{le="+Inf",api="Produce"} 3"#);
    has(r#"ringmain_request_duration_seconds_count{api="OffsetCommit"} 1"#);
    has("ringmain_connections 1");
    has("ringmain_connections_accepted_total 1");
    has(r#"ringmain_topic_end_offsets{topic="counted"} 7"#);
    has(r#"ringmain_group_lag_records{group="billing",topic="counted"} 4"#);
    has(r#"ringmain_groups{state="Empty"} 1"#);
    has(r#"ringmain_request_errors_total{api="Produce",code="UnknownTopicOrPartition"} 1"#);
    has(r#"ringmain_topic_produced_records_total{topic="counted"} 7"#);
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse::<u64>().unwrap()
    };
    let produced = value(r#"ringmain_topic_produced_bytes_total{topic="counted"}"#);
    assert!(produced > 0);
    assert_eq!(value(r#"ringmain_topic_fetched_bytes_total{topic="counted"}"#), produced);
    // Both batches are durable: in entries of the journal, or by a sync of their segment.
    assert!(value("ringmain_journal_entries_total") + value("ringmain_journal_segment_syncs_total") > 0);
    has("ringmain_cold_reads_waiting 0");
    has("ringmain_store_failed 0");
    has("# EOF");
    let size =
        metrics.lines().find_map(|line| line.strip_prefix(r#"ringmain_topic_size_bytes{topic="counted"} "#));
    assert!(size.unwrap().parse::<u64>().unwrap() > 0);
    // A connection that breaks the protocol is counted.
    let mut wrong = TcpStream::connect(running.address()).unwrap();
    wrong.write_all(&framed(&[127, 127, 0, 0, 0, 0, 0, 1, 255, 255])).unwrap();
    assert!(receive(&mut wrong).is_none());
    let deadline = Instant::now() + Duration::from_secs(20);
    while !get(admin, "GET /metrics HTTP/1.1").1.contains("ringmain_connections_broken_total 1\n") {
        assert!(Instant::now() < deadline);
    }
    running.stop().unwrap();
}

#[test]
fn health_is_told_and_nothing_else_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let (running, admin, _stream) = start(dir.path());
    for (head, status) in [
        ("GET /livez HTTP/1.1", "200"),
        ("GET /readyz HTTP/1.1", "200"),
        ("HEAD /readyz HTTP/1.1", "200"),
        ("GET / HTTP/1.1", "404"),
        ("POST /metrics HTTP/1.1", "405"),
        ("nonsense", "400"),
    ] {
        let (answer, _) = get(admin, head);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
    }
    // Connections that say nothing keep nobody from being served for longer than their time.
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(admin).unwrap()).collect();
    let (answer, _) = get(admin, "GET /livez HTTP/1.1");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(silent);
    running.stop().unwrap();
    assert!(TcpStream::connect(admin).is_err(), "it ends with the broker");
}

#[test]
fn a_port_that_is_taken_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = Some(taken.local_addr().unwrap());
    let refused = Running::start(Config { admin, ..config(dir.path()) }).unwrap_err().to_string();
    assert!(refused.contains("--admin"), "{refused}");
}

/// Requests that were received before the stop are answered, and those that wait for more than a second are not
/// waited for. Meanwhile the broker says that it is not ready.
#[test]
fn a_stop_answers_what_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let (running, admin, mut stream) = start(dir.path());
    create(&mut stream, "counted");
    // A fetch at the end of the log that waits for 500 ms; one on another connection that waits for a minute.
    let mut patient = TcpStream::connect(running.address()).unwrap();
    patient.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Something is answered first: the fetches are under way when the stop comes.
    patient.write_all(&[request(18, 0, 1, b""), fetch(60_000, 1)].concat()).unwrap();
    stream.write_all(&[request(18, 0, 1, b""), fetch(500, 1)].concat()).unwrap();
    receive(&mut patient).unwrap();
    receive(&mut stream).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let stopping = std::thread::spawn(move || running.stop());
    let deadline = Instant::now() + Duration::from_secs(20);
    // It is there until nothing is waited for any more.
    while !get(admin, "GET /readyz HTTP/1.1").0.starts_with("HTTP/1.1 503") {
        assert!(Instant::now() < deadline);
    }
    stopping.join().unwrap().unwrap();
    let answer = receive(&mut stream).expect("what was under way is answered");
    assert_eq!(answer[..4], 9i32.to_be_bytes());
    assert!(receive(&mut patient).is_none());
    // It was a clean stop.
    assert!(dir.path().join("data/clean-shutdown").exists());
}
