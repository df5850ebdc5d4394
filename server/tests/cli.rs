//! The commands that change topics and groups, against a broker.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain::Running;
use std::io::Write;
use std::process::{Output, Stdio};
use support::{ringmain, start};

struct Tool<'a>(&'a Running);

impl Tool<'_> {
    fn output(&self, args: &[&str], input: &str) -> Output {
        let mut command = ringmain();
        command.args(args).args(["--broker", &self.0.address().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What it prints; it must succeed.
    fn run(&self, args: &[&str], input: &str) -> String {
        let output = self.output(args, input);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.run(&[args, &["--json"]].concat(), "")).unwrap()
    }

    /// Why it refuses; it must.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.output(args, "");
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn a_groups_offsets_are_shown_first_and_then_set() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let tool = Tool(&broker);
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
    assert_eq!(tool.json(&["group", "delete", "billing", "fresh"]), serde_json::json!(["billing", "fresh"]));
    assert_eq!(tool.json(&["group", "list"]), serde_json::json!([]));
    assert!(tool.refused(&["group", "delete", "billing"]).contains("check the name of the group"));
}

#[test]
fn a_group_with_members_is_neither_reset_nor_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let tool = Tool(&broker);
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
    let tool = Tool(&broker);
    tool.run(&["topic", "create", "orders", "--partitions", "1"], "");
    tool.run(&["produce", "orders"], "a\nb\nc\n");
    tool.run(
        &["topic", "alter", "orders", "--set", "max.message.bytes=100", "--set", "durability=page-cache"],
        "",
    );
    let long = "x".repeat(200);
    let refused = tool.output(&["produce", "orders"], &long);
    assert!(!refused.status.success(), "the record is larger than the topic allows");
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
