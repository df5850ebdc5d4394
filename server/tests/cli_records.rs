//! `ringmain produce` and `ringmain consume`: what goes in comes out, in every form.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringmain::Running;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Child;
use std::time::{Duration, Instant};
use support::start;
use support::tool::Tool;

fn topic(partitions: &str) -> (tempfile::TempDir, Running, Tool) {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let tool = Tool(broker.address());
    tool.run(&["topic", "create", "orders", "--partitions", partitions], "");
    (dir, broker, tool)
}

fn lines_of_json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

const ALL: [&str; 3] = ["consume", "orders", "--exit-at-end"];

#[test]
fn headers_and_keys_come_out_as_they_went_in() {
    let (_dir, _broker, tool) = topic("1");
    let input = "a=1,b=,c\tann\ttwo teapots\n\t\ta kettle\n";
    let produce = ["produce", "orders", "--headers", "--key-delimiter", r"\t", "--header", "source=test"];
    tool.run(&produce, input);
    let shown = tool.run(&[&ALL[..], &["--print-headers", "--print-key"]].concat(), "");
    assert_eq!(shown, "a=1,b=,c,source=test\tann\ttwo teapots\nsource=test\t\ta kettle\n");
    assert_eq!(tool.run(&ALL, ""), "two teapots\na kettle\n");
    let records = lines_of_json(&tool.run(&[&ALL[..], &["--json"]].concat(), ""));
    let headers = json!([
        {"key": "a", "value": "1"}, {"key": "b", "value": ""}, {"key": "c", "value": null},
        {"key": "source", "value": "test"}
    ]);
    assert_eq!(records[0]["headers"], headers);
    assert_eq!((&records[1]["key"], &records[1]["offset"]), (&json!(""), &json!(1)));
}

#[test]
fn templates_write_every_field() {
    let (_dir, _broker, tool) = topic("2");
    tool.run(
        &["produce", "orders", "--partition", "1", "--key-delimiter", ":", "--header", "h=x"],
        "k:val\nplain\n",
    );
    let form = [&ALL[..], &["--format", r"%t/%p@%o %k(%K) %s(%S) %h %%\n"]].concat();
    assert_eq!(tool.run(&form, ""), "orders/1@0 k(1) val(3) h=x %\norders/1@1 (-1) plain(5) h=x %\n");
    let times = tool.run(&[&ALL[..], &["--format", r"%T\n"]].concat(), "");
    assert!(times.lines().all(|time| time.parse::<u64>().unwrap() > 1_600_000_000_000), "{times}");
    assert_eq!(tool.bytes(&[&ALL[..], &["--format", "%R%s", "--count", "1"]].concat(), ""), b"\0\0\0\x03val");
    for (wrong, why) in [("%q", "no field %q"), ("%", "%%"), (r"\q", "escapes are")] {
        let output = tool.output(&[&ALL[..], &["--format", wrong]].concat(), "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn json_copies_a_topic() {
    let (_dir, _broker, tool) = topic("1");
    let input = concat!(
        r#"{"key":"k","value":"v","timestamp":1700000000000,"headers":[{"key":"h","value_hex":"00ff"}]}"#,
        "\n",
        r#"{"key_hex":"fffe","value":null}"#,
        "\n"
    );
    let summary = tool.run(&["produce", "orders", "--input-json", "--json"], input);
    assert_eq!(lines_of_json(&summary)[0]["records"], 2);
    let first = tool.run(&[&ALL[..], &["--json"]].concat(), "");
    tool.run(&["produce", "copy", "--input-json", "--partition", "0"], &first);
    let copied = tool.run(&["consume", "copy", "--exit-at-end", "--json"], "");
    assert_eq!(copied.replace("\"copy\"", "\"orders\""), first);
    let records = lines_of_json(&first);
    assert_eq!(
        (&records[0]["timestamp"], &records[1]["value"]),
        (&json!(1_700_000_000_000_u64), &Value::Null)
    );
    assert_eq!(records[1]["key_hex"], "fffe");
}

#[test]
fn a_wrong_line_is_named_and_those_before_it_are_written() {
    let (_dir, _broker, tool) = topic("1");
    let said = tool.refused_input(&["produce", "orders", "--input-json"], "{\"value\":\"good\"}\nnonsense\n");
    assert!(said.contains("line 2 is no record as JSON") && said.contains("were written"), "{said}");
    assert_eq!(tool.run(&ALL, ""), "good\n");
    let said = tool.refused_input(&["produce", "orders", "--headers"], "a=1\tone\ntwo\n");
    assert!(said.contains("line 2 has no tab"), "{said}");
    assert_eq!(tool.run(&ALL, ""), "good\none\n");
}

#[test]
fn a_rate_is_kept_to() {
    let (_dir, _broker, tool) = topic("1");
    let began = Instant::now();
    tool.run(&["produce", "orders", "--rate", "20"], "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    assert!(began.elapsed() >= Duration::from_millis(380), "nine at 20 a second");
    assert_eq!(tool.run(&ALL, "").lines().count(), 9);
    let times = tool.run(&[&ALL[..], &["--format", r"%T\n"]].concat(), "");
    let times: Vec<u64> = times.lines().map(|time| time.parse().unwrap()).collect();
    assert!(times[8] - times[0] >= 380, "{times:?}");
}

#[test]
fn every_codec_and_acks_is_taken() {
    let (_dir, _broker, tool) = topic("1");
    let mut sent = 0;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for acks in ["0", "1", "all"] {
            let text = "x".repeat(1000) + codec + acks + "\n";
            tool.run(&["produce", "orders", "--compression", codec, "--acks", acks], &text);
            sent += 1;
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file, without a newline").unwrap();
    tool.run(&["produce", "orders", "--idempotent", "--file", file.path().to_str().unwrap()], "");
    // What was sent with acks=0 may still be on its way.
    let deadline = Instant::now() + Duration::from_secs(20);
    while tool.run(&ALL, "").lines().count() <= sent && Instant::now() < deadline {}
    let read = tool.run(&ALL, "");
    assert_eq!(read.lines().count(), sent + 1);
    assert!(read.contains("gzip0\n") && read.contains("zstdall\n") && read.contains("without a newline\n"));
}

#[test]
fn the_last_records_and_then_what_comes_until_it_is_interrupted() {
    let (_dir, _broker, tool) = topic("1");
    tool.run(&["produce", "orders"], "1\n2\n3\n4\n");
    assert_eq!(tool.run(&[&ALL[..], &["--from", "-2"]].concat(), ""), "3\n4\n");
    assert_eq!(tool.run(&[&ALL[..], &["--from", "-99"]].concat(), ""), "1\n2\n3\n4\n");
    let mut follower = tool.command(&["consume", "orders", "--follow", "--from", "-1"]).spawn().unwrap();
    let mut out = BufReader::new(follower.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "4\n");
    tool.run(&["produce", "orders"], "5\n");
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "5\n");
    signal(&follower, Signal::SIGINT);
    assert_eq!(follower.wait().unwrap().code(), Some(0), "Ctrl-C is how it ends");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn to_follow_is_to_start_at_the_end() {
    let (_dir, _broker, tool) = topic("1");
    tool.run(&["produce", "orders"], "old\n");
    let mut follower = tool.command(&["consume", "orders", "--follow"]).spawn().unwrap();
    let mut out = BufReader::new(follower.stdout.take().unwrap());
    // Where the end is when it looks is not known from here: until it has looked, nothing comes.
    let (sender, lines) = std::sync::mpsc::sync_channel(1000);
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        while out.read_line(&mut line).unwrap() > 0 {
            let _ = sender.try_send(std::mem::take(&mut line));
        }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    let first = loop {
        tool.run(&["produce", "orders"], "new\n");
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => break line,
            Err(_) => assert!(Instant::now() < deadline, "nothing came"),
        }
    };
    assert_eq!(first, "new\n", "what was there before is not written");
    signal(&follower, Signal::SIGTERM);
    assert_eq!(follower.wait().unwrap().code(), Some(0));
    reader.join().unwrap();
}

#[test]
fn an_interrupted_producer_delivers_what_it_read_and_says_so() {
    let (_dir, _broker, tool) = topic("1");
    let mut producer = tool.command(&["produce", "orders"]).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    input.write_all(b"whole\nhal").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while tool.run(&ALL, "").is_empty() {
        assert!(Instant::now() < deadline, "nothing was written");
    }
    signal(&producer, Signal::SIGINT);
    let output = producer.wait_with_output().unwrap();
    drop(input);
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "ringmain: interrupted after 1 records, which were written\n"
    );
    assert_eq!(tool.run(&ALL, ""), "whole\n", "half a line is no record");
}

#[test]
fn a_consumer_that_is_interrupted_before_it_is_done_says_so() {
    let (_dir, _broker, tool) = topic("1");
    let lines: String = (0..40_000).map(|number| format!("{number:0100}\n")).collect();
    tool.run(&["produce", "orders"], &lines);
    // More than was written, and more than fits into the pipe.
    for args in [&["--count", "50000"][..], &["--exit-at-end"]] {
        let mut consumer = tool.command(&[&["consume", "orders"], args].concat()).spawn().unwrap();
        let mut out = BufReader::new(consumer.stdout.take().unwrap());
        let mut read = String::new();
        out.read_line(&mut read).unwrap();
        signal(&consumer, Signal::SIGTERM);
        out.read_to_string(&mut read).unwrap();
        let output = consumer.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let count = read.lines().count();
        let expected = format!("ringmain: interrupted after {count} records, which were written\n");
        assert_eq!((output.status.code(), said), (Some(130), expected), "{args:?}");
        assert!(lines.starts_with(&read) && count < 40_000);
    }
    assert_eq!(tool.run(&["consume", "orders", "--count", "2"], ""), lines[..202]);
}

/// Standard error of a producer whose terminal it is.
#[test]
fn a_terminal_sees_how_far_it_is() {
    let (_dir, _broker, tool) = topic("1");
    let size = Winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).unwrap();
    let mut command = tool.command(&["produce", "orders", "--rate", "10"]);
    command.stderr(terminal.slave).env("TERM", "xterm");
    let mut producer = command.spawn().unwrap();
    // Its end of the terminal must be its own alone, or the other end is never read to its end.
    drop(command);
    producer.stdin.take().unwrap().write_all(b"1\n2\n3\n4\n5\n6\n").unwrap();
    assert!(producer.wait().unwrap().success());
    let mut shown = Vec::new();
    // A terminal whose other end is closed gives an error, not an end.
    let _ = std::fs::File::from(terminal.master).read_to_end(&mut shown);
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("records/s"), "{shown:?}");
    assert!(shown.contains("6 records, 6 bytes in "), "{shown:?}");
}
