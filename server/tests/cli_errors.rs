//! What the commands say when something is wrong: what happened, to what, and what to do, in one line; with an exit
//! code that tells, and quietly when nobody listens.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use support::tool::Tool;
use support::{Process, ringmain, start};

fn said(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const OF_A_BROKER: [&[&str]; 12] = [
    &["topic", "create", "orders"],
    &["topic", "list"],
    &["topic", "describe", "orders"],
    &["topic", "alter", "orders", "--set", "a=b"],
    &["topic", "add-partitions", "orders", "--total", "3"],
    &["topic", "delete-records", "orders", "--all"],
    &["topic", "delete", "orders"],
    &["group", "list"],
    &["group", "describe", "billing"],
    &["group", "reset", "billing", "--to-latest"],
    &["consume", "orders"],
    &["produce", "orders"],
];

#[test]
fn a_broker_that_is_not_there() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for args in OF_A_BROKER {
        let said = Tool(free).refused(args);
        let wanted = format!("cannot connect to {free} (Connection refused");
        assert!(said.contains(&wanted) && said.contains("check that a broker listens there"), "{said}");
    }
}

#[test]
fn something_that_is_no_broker() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let said = Tool(address).refused(&["topic", "list"]);
    assert!(said.contains("does not answer like a broker") && said.contains("check the port"), "{said}");
    thread.join().unwrap();
}

#[test]
fn a_broker_that_does_not_answer_is_not_waited_for_longer_than_wanted() {
    // It accepts, since the kernel does, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = Tool(listener.local_addr().unwrap()).refused(&["topic", "list", "--timeout", "1"]);
    assert!(said.contains("1s") && said.contains("check"), "{said}");
}

#[test]
fn topics_groups_and_configurations_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let tool = Tool(broker.address());
    for args in [
        &["topic", "describe", "nowhere"][..],
        &["topic", "delete", "nowhere"],
        &["topic", "delete-records", "nowhere", "--all"],
        &["consume", "nowhere"],
        &["consume", "nowhere", "--group", "billing"],
        &["group", "reset", "billing", "--topic", "nowhere", "--to-latest"],
    ] {
        let said = tool.refused(args);
        assert!(
            said.contains("\"nowhere\"") && said.contains("create the topic, or check its name"),
            "{said}"
        );
    }
    let said = tool.refused(&["group", "describe", "nobody"]);
    assert!(said.contains("\"nobody\"") && said.contains("check the name of the group"), "{said}");
    let said = tool.refused(&["topic", "create", "orders", "--config", "retention=1"]);
    assert!(said.contains("retention") && said.contains("check the configuration given"), "{said}");
    let said = tool.refused(&["topic", "create", "no/slash"]);
    assert!(said.contains("letters, digits, dots"), "{said}");
    tool.run(&["topic", "create", "orders", "--partitions", "2"], "");
    let said = tool.refused(&["topic", "create", "orders"]);
    assert!(said.contains("choose another name"), "{said}");
    assert_eq!(tool.json(&["topic", "create", "orders", "--if-not-exists"])["created"], false);
    for args in [
        &["consume", "orders", "--partition", "7"][..],
        &["consume", "orders", "--partition", "7", "--from", "-1"],
    ] {
        let said = tool.refused(args);
        assert!(said.contains("no partition 7; it has 2, numbered from 0"), "{said}");
    }
    let said = tool.refused_input(&["produce", "orders", "--partition", "7"], "a\n");
    assert!(said.contains("no partition 7"), "{said}");
    let said = tool.refused(&["consume", "orders", "--group", "g", "--from", "-3"]);
    assert!(said.contains("--from takes beginning or end with --group"), "{said}");
    let said = tool.refused(&["produce", "orders", "--file", "/nowhere/orders.txt"]);
    assert!(said.contains("/nowhere/orders.txt") && said.contains("check that it exists"), "{said}");
    let said = tool.refused(&["produce", "orders", "--idempotent", "--acks", "1"]);
    assert!(said.contains("acks"), "{said}");
}

/// Exit code 2, and nothing is asked of a broker.
#[test]
fn arguments_that_make_no_sense() {
    for (args, why) in [
        (&["topic", "list", "--broker", "nowhere"][..], "HOST:PORT"),
        (&["topic", "list", "--broker", "127.0.0.1:0"], "HOST:PORT"),
        (&["topic", "create", "orders", "--config", "x"], "KEY=VALUE"),
        (&["produce", "orders", "--rate", "0"], "above 0"),
        (&["produce", "orders", "--header", "=x"], "without a name"),
        (&["produce", "orders", "--key-delimiter", ""], "empty"),
        (&["produce", "orders", "--input-json", "--headers"], "cannot be used with"),
        (&["consume", "orders", "--from", "yesterday"], "2026-01-31T12:00:00Z"),
        (&["consume", "orders", "--follow", "--exit-at-end"], "cannot be used with"),
        (&["consume", "orders", "--format", "%s", "--json"], "cannot be used with"),
        (&["group", "reset", "billing"], "--to-offset"),
        (&["group", "describe", "billing", "--interval", "soon"], "from 0 to 3600"),
        (&["topic", "alter", "orders"], "--set"),
        (&["nonsense"], "unrecognized subcommand"),
    ] {
        let (code, out, err) = said(ringmain().args(args));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.contains(why), "{args:?}: {err}");
    }
}

/// `| head` ends what it reads from; that is no error.
#[test]
fn nobody_reads_the_output() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir.path().join("broker"));
    let tool = Tool(broker.address());
    tool.run(&["topic", "create", "orders"], "");
    tool.run(&["produce", "orders"], "x\n".repeat(100_000));
    let data = dir.path().join("broker/data");
    let data = data.to_str().unwrap();
    let with_broker = |args: &[&str]| {
        let mut command = tool.command(args);
        command.stdin(Stdio::null());
        command
    };
    let without = |args: &[&str]| {
        let mut command = ringmain();
        command.args(args).stdin(Stdio::null()).stderr(Stdio::piped());
        command
    };
    for mut command in [
        with_broker(&["topic", "list"]),
        with_broker(&["topic", "describe", "orders"]),
        with_broker(&["group", "list", "--json"]),
        with_broker(&["consume", "orders", "--exit-at-end"]),
        with_broker(&["consume", "orders", "--exit-at-end", "--json"]),
        with_broker(&["consume", "orders", "--exit-at-end", "--group", "g"]),
        without(&["log", "dump", &format!("{data}/orders-0"), "--records"]),
        without(&["log", "verify", data]),
        without(&["serve", "--list-config"]),
        without(&["serve", "--list-config", "--json"]),
        without(&["completions", "bash"]),
        without(&["--help"]),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{command:?}");
    }
}

#[test]
fn a_broker_whose_ready_line_nobody_reads_serves_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let free: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = ringmain();
    command.args(["serve", "--listen", &free.to_string(), "--data-dir"]).arg(dir.path().join("data"));
    let mut broker = command.stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let served = loop {
        let served = Tool(free).output(&["topic", "list"], "").status.success();
        if served || std::time::Instant::now() > deadline {
            break served;
        }
    };
    broker.kill().unwrap();
    broker.wait().unwrap();
    assert!(served);
}

#[test]
fn the_ready_line_and_the_configuration_are_json_if_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, line) = Process::start_saying(dir.path(), &["--json", "--admin", "127.0.0.1:0"]);
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = ready["ready"].as_str().unwrap();
    assert!(ready["admin"].as_str().unwrap().starts_with("127.0.0.1:"), "{ready}");
    assert_eq!(Tool(address.parse().unwrap()).json(&["topic", "list"]), serde_json::json!([]));
    drop(broker);
    let (code, out, _) = said(ringmain().args(["serve", "--list-config", "--json"]));
    let keys: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(code, Some(0));
    assert!(keys.iter().any(|key| key["key"] == "num.partitions" && key["documentation"].is_string()));
}

#[test]
fn a_log_that_nobody_takes_stops_nothing() {
    let full = || Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for log in [full(), gone()] {
        let dir = tempfile::tempdir().unwrap();
        let (mut broker, line) = Process::start_logging_to(log, dir.path(), &[]);
        broker.ready(&line);
        let tool = Tool(broker.address());
        // Each of them is logged.
        tool.run(&["topic", "create", "orders"], "");
        tool.run(&["topic", "delete", "orders"], "");
        tool.run(&["topic", "create", "kept"], "");
        let mut produce = ringmain();
        produce.args(["produce", "kept", "--broker", &broker.address().to_string()]);
        let status = produce.stdin(Stdio::null()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(0), "what a command says of itself may be lost, too");
    }
}
