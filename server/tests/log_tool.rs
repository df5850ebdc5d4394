//! `ringmain log` on a data directory, in use and not: what it prints, and what it notices.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::{BatchBuilder, Durability, LogConfig, LogId, Store, StoreConfig};
use serde_json::Value;
use std::fs;
use std::path::Path;
use support::ringmain;

/// Appends, each durably, until the journal is used.
fn store(dir: &Path) -> Store {
    let config = LogConfig {
        segment_bytes: 2000,
        index_interval_bytes: 100,
        index_memory_entries_max: 4,
        ..LogConfig::default()
    };
    let store = Store::open(
        dir,
        StoreConfig {
            log: config,
            journal_file_bytes: 1 << 20,
            checkpoint_age_ms: 3_600_000,
            ..StoreConfig::default()
        },
    );
    let store = store.unwrap();
    let log = store.create_log("orders-0", LogId([1; 16]), config).unwrap();
    for n in 0.. {
        let mut batch = BatchBuilder::new();
        batch.push(n * 10, Some(b"key"), Some(format!("value {n}").as_bytes()));
        let appended = log.append(&mut batch.finish().unwrap(), Durability::Durable).unwrap();
        appended.completion.wait().unwrap();
        if n > 60 && json(&["dump"], &dir.join("journal")).map_or(0, |lines| lines.len()) > 5 {
            break;
        }
    }
    store
}

/// Exit code, standard output and standard error.
fn run(args: &[&str], path: &Path) -> (Option<i32>, String, String) {
    let output = ringmain().arg("log").args(args).arg(path).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Every line, which is a JSON object; nothing if the command failed.
fn json(args: &[&str], path: &Path) -> Option<Vec<Value>> {
    let (code, out, _) = run(&[args, &["--json"]].concat(), path);
    (code == Some(0)).then(|| out.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn every_kind_of_file_is_printed_while_the_store_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let _store = store(dir.path());
    let log = dir.path().join("orders-0");
    let has = |path: &Path, what: &str| {
        let (code, out, err) = run(&["dump"], path);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.contains(what), "{what}: {out}");
    };
    has(&log, "  batch at 0: offsets 0 to 0, 1 records");
    has(&log.join("00000000000000000000.log"), "  batch at 0: offsets 0 to 0, 1 records");
    has(&log.join("00000000000000000000.index"), "is in the batch at ");
    has(&log.join("00000000000000000000.timeindex"), "is the largest up to offset ");
    has(&dir.path().join("journal"), "data of log 0: offsets ");
    has(&dir.path().join("journal/0"), ", needed\n");
    has(&dir.path().join("checkpoint"), "the journal is needed from entry 1 on");
    let records = json(&["dump", "--records"], &log).unwrap();
    assert!(records.iter().any(|line| line["value"] == "value 60"));
    let offsets = json(&["dump"], &log.join("00000000000000000000.index")).unwrap();
    assert!(offsets[0]["position"].as_u64().unwrap() > 0);
    let times = json(&["dump"], &log.join("00000000000000000000.timeindex")).unwrap();
    assert_eq!(times[0]["timestamp_ms"].as_u64().unwrap(), times[0]["offset"].as_u64().unwrap() * 10);
    let entries = json(&["dump"], &dir.path().join("journal")).unwrap();
    assert!(entries.iter().all(|entry| entry["standing"] == "needed" && entry["known"] == true));
    assert!(entries.iter().any(|entry| entry["sections"][0]["kind"] == "data"));
    assert_eq!(json(&["dump"], &dir.path().join("checkpoint")).unwrap()[0]["sequence"], 1);
}

#[test]
fn a_sound_store_is_found_sound_in_use_after_a_crash_and_after_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let open = store(dir.path());
    let verify = || {
        let lines = json(&["verify"], dir.path()).unwrap();
        assert_eq!((lines.len(), lines[0]["logs"].as_u64()), (1, Some(1)));
        assert_eq!(lines[0]["problems"], serde_json::json!([]));
        lines[0]["journal"]["entries"].as_u64().unwrap()
    };
    assert!(verify() > 5);
    open.close().unwrap();
    drop(open);
    assert_eq!(verify(), 0, "all is in the checkpoint");
    fs::remove_file(dir.path().join("clean-shutdown")).unwrap();
    assert_eq!(verify(), 0);
    let (code, out, err) = run(&["verify"], dir.path());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.starts_with("checkpoint: epoch ")
            && out.contains("\njournal: ")
            && out.contains(" files, 0 entries"),
        "{out}"
    );
    assert!(out.ends_with(": 0 problems\n"), "{out}");
    assert_eq!(json(&["verify"], &dir.path().join("orders-0")).unwrap()[0]["checkpoint"], Value::Null);
    let past = json(&["dump"], &dir.path().join("journal")).unwrap();
    assert!(!past.is_empty() && past.iter().all(|entry| entry["standing"] == "checkpointed"));
}

#[test]
fn a_problem_is_listed_and_is_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path()).close().unwrap();
    let file = dir.path().join("checkpoint");
    let mut content = fs::read(&file).unwrap();
    content[30] ^= 1;
    fs::write(&file, &content).unwrap();
    let (code, out, err) = run(&["verify"], dir.path());
    assert_eq!(code, Some(1));
    assert!(
        out.contains("PROBLEM in ") && out.contains("checksum") && out.ends_with(": 1 problems\n"),
        "{out}"
    );
    assert!(err.starts_with("ringmain: 1 problems in "), "{err}");
    let (code, out, _) = run(&["verify", "--json"], dir.path());
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, report["problems"].as_array().unwrap().len()), (Some(1), 1));
    let (code, out, _) = run(&["dump"], &file);
    assert!(code == Some(1) && out.contains("PROBLEM in "), "{out}");
}

#[test]
fn a_path_with_nothing_to_print_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["dump"][..], &["verify"]] {
        for path in [dir.path(), &dir.path().join("nothing")] {
            let (code, out, err) = run(args, path);
            assert_eq!((code, out.as_str(), err.lines().count()), (Some(1), "", 1), "{err}");
        }
    }
}
