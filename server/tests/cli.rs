//! The commands that change topics and groups, against a broker.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};
use support::tool::Tool;
use support::{ringmain, start};

#[test]
fn a_groups_offsets_are_shown_first_and_then_set() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let tool = Tool(broker.address());
    tool.run(&["topic", "create", "orders", "--partitions", "1"], "");
    tool.run(&["produce", "orders"], "a\nb\nc\nd\n");
    let all = ["consume", "orders", "--group", "billing", "--exit-at-end"];
    assert_eq!(tool.run(&all, ""), "a\nb\nc\nd\n");
    assert_eq!(tool.run(&all, ""), "", "it has read all");
    let committed = || tool.json(&["group", "describe", "billing"])[0]["offsets"][0]["committed"].clone();
    let shown = tool.json(&["group", "reset", "billing", "--shift", "-1"]);
    assert_eq!(
        (&shown[0]["from"], &shown[0]["to"], &shown[0]["executed"]),
        (&4.into(), &3.into(), &false.into())
    );
    assert_eq!(committed(), 4, "a dry run changes nothing");
    tool.run(&["group", "reset", "billing", "--shift", "-1", "--execute"], "");
    assert_eq!(committed(), 3);
    assert_eq!(tool.run(&all, ""), "d\n");
    tool.run(&["group", "reset", "billing", "--topic", "orders", "--to-offset", "2", "--execute"], "");
    assert_eq!(tool.run(&all, ""), "c\nd\n");
    tool.run(&["group", "reset", "billing", "--to-time", "1970-01-01T00:00:00Z", "--execute"], "");
    assert!(tool.run(&["group", "describe", "billing"], "").contains("4 records behind"));
    assert_eq!(tool.run(&all, ""), "a\nb\nc\nd\n");
    // One that is new, of a topic that is named.
    tool.run(&["group", "reset", "fresh", "--topic", "orders", "--to-latest", "--execute"], "");
    assert_eq!(tool.run(&["consume", "orders", "--group", "fresh", "--exit-at-end"], ""), "");
    assert!(
        tool.refused(&["group", "reset", "nobody", "--to-latest"]).contains("check the name of the group")
    );
    // Nothing that could be set is an error, not a table without rows.
    tool.run(&["topic", "create", "payments", "--partitions", "2"], "");
    for (args, why) in [
        (&["billing", "--partition", "99", "--to-latest"][..], "\"orders\" has no partition 99; it has 1"),
        (
            &["billing", "--topic", "payments", "--partition", "0", "--partition", "7", "--to-latest"],
            "no partition 7",
        ),
        (&["biling", "--topic", "orders", "--shift", "-1"], "\"biling\""),
        (&["biling", "--topic", "orders", "--shift", "-1", "--execute"], "check the name of the group"),
        (&["billing", "--topic", "payments", "--shift", "-1"], "committed nothing in these partitions"),
        (&["billing", "--topic", "payments", "--shift", "-1", "--json"], "use --to-earliest, --to-latest"),
    ] {
        let said = tool.refused(&[&["group", "reset"], args].concat());
        assert!(said.contains(why), "{args:?}: {said}");
    }
    assert_eq!(committed(), 4, "what is refused changes nothing");
    assert_eq!(tool.json(&["group", "delete", "billing", "fresh"]), serde_json::json!(["billing", "fresh"]));
    assert_eq!(tool.json(&["group", "list"]), serde_json::json!([]));
    assert!(tool.refused(&["group", "delete", "billing"]).contains("check the name of the group"));
}

#[test]
fn a_group_with_members_is_neither_reset_nor_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let tool = Tool(broker.address());
    tool.run(&["topic", "create", "orders", "--partitions", "1"], "");
    tool.run(&["produce", "orders"], "a\n");
    let mut member = ringmain();
    member.args(["consume", "orders", "--group", "busy", "--broker", &broker.address().to_string()]);
    let mut member = member.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It writes what it has read once it has its share.
    let mut first = [0; 2];
    std::io::Read::read_exact(member.stdout.as_mut().unwrap(), &mut first).unwrap();
    let reset = ["group", "reset", "busy", "--topic", "orders", "--to-earliest", "--execute"];
    assert!(tool.refused(&reset).contains("stop its members first"));
    assert!(tool.refused(&["group", "delete", "busy"]).contains("stop its members first"));
    member.kill().unwrap();
    member.wait().unwrap();
}

#[test]
fn topics_are_changed_while_they_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let tool = Tool(broker.address());
    tool.run(&["topic", "create", "orders", "--partitions", "1"], "");
    tool.run(&["produce", "orders"], "a\nb\nc\n");
    tool.run(
        &["topic", "alter", "orders", "--set", "max.message.bytes=100", "--set", "durability=page-cache"],
        "",
    );
    let long = "x".repeat(200);
    let refused = tool.refused_input(&["produce", "orders"], &long);
    assert!(refused.contains("send smaller records, or raise max.message.bytes"), "{refused}");
    let unset = tool.json(&["topic", "alter", "orders", "--unset", "max.message.bytes"]);
    assert_eq!(unset, serde_json::json!({"max.message.bytes": null}));
    tool.run(&["produce", "orders"], &long);
    assert!(
        tool.refused(&["topic", "alter", "orders", "--set", "no.such.key=1"])
            .contains("check the configuration")
    );
    assert!(
        tool.refused(&["topic", "alter", "nothing", "--set", "max.message.bytes=100"])
            .contains("create the topic")
    );
    let grown = tool.json(&["topic", "add-partitions", "orders", "--total", "3"]);
    assert_eq!(grown, serde_json::json!({"topic": "orders", "partitions": 3}));
    assert!(
        tool.refused(&["topic", "add-partitions", "orders", "--total", "2"]).contains("add partitions to")
    );
    let starts =
        tool.json(&["topic", "delete-records", "orders", "--partition", "0", "--before-offset", "2"]);
    assert_eq!(starts, serde_json::json!([{"topic": "orders", "partition": 0, "earliest": 2}]));
    let kept = tool.run(&["consume", "orders", "--exit-at-end"], "");
    assert_eq!(kept, format!("c\n{long}\n"));
    assert!(
        tool.refused(&["topic", "delete-records", "orders", "--before-offset", "99"]).contains("earliest")
    );
    tool.run(&["topic", "delete-records", "orders", "--all"], "");
    assert_eq!(tool.run(&["consume", "orders", "--exit-at-end"], ""), "");
}

#[test]
fn how_soon_a_group_has_caught_up_is_told_from_two_looks() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let tool = Tool(broker.address());
    tool.run(&["topic", "create", "orders", "--partitions", "1"], "");
    let mut member =
        tool.command(&["consume", "orders", "--group", "busy"]).stderr(Stdio::null()).spawn().unwrap();
    let mut out = member.stdout.take().unwrap();
    tool.run(&["produce", "orders"], "a\n");
    std::io::Read::read_exact(&mut out, &mut [0; 2]).unwrap();
    let describe = |interval| tool.json(&["group", "describe", "busy", "--interval", interval])[0].clone();
    let deadline = Instant::now() + Duration::from_secs(20);
    while describe("0")["offsets"][0]["committed"] != 1 && Instant::now() < deadline {}
    // Nobody reads what it writes now: once the pipe is full it commits no further.
    tool.run(&["produce", "orders"], format!("{}\n", "x".repeat(999)).repeat(3000));
    let stuck = loop {
        let found = describe("1");
        let speed = &found["offsets"][0]["consumed_per_second"];
        if *speed == 0.0 || Instant::now() > deadline {
            break found;
        }
    };
    assert_eq!(stuck["offsets"][0]["consumed_per_second"], 0.0, "{stuck}");
    assert!(stuck["lag"].as_i64().unwrap() > 0 && stuck["drain_seconds"].is_null(), "{stuck}");
    assert!(tool.run(&["group", "describe", "busy", "--interval", "0.1"], "").contains("not catching up"));
    assert!(describe("0")["offsets"][0].get("consumed_per_second").is_none(), "one look tells no speed");
    // Now somebody reads, slowly enough to be looked at twice.
    let reading = std::thread::spawn(move || {
        let mut some = [0; 50_000];
        while std::io::Read::read(&mut out, &mut some).unwrap() > 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let drained = loop {
        let found = describe("1.5");
        if found["drain_seconds"].is_number() || Instant::now() > deadline {
            break found;
        }
    };
    assert!(drained["drain_seconds"].is_number(), "{drained}");
    member.kill().unwrap();
    member.wait().unwrap();
    reading.join().unwrap();
}
