//! The examples in the help of every command are run, each against a broker that has what they name.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use support::tool::Tool;
use support::{Process, ringmain};

/// Every command, by its words, with its help. Commands of commands are found in the help, too.
fn helps(words: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let output = ringmain().args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "{words:?}");
    let help = String::from_utf8(output.stdout).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands =
        commands.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let commands: Vec<String> = commands.filter(|name| *name != "help").map(str::to_owned).collect();
    for command in &commands {
        helps(&[words, std::slice::from_ref(command)].concat(), found);
    }
    if commands.is_empty() {
        found.push((words.to_vec(), help));
    }
}

fn examples(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| !line.starts_with("Example")).skip(1);
    lines.take_while(|line| !line.is_empty()).map(|line| line.trim().to_owned()).collect()
}

/// What the examples name.
fn prepare(dir: &Path, example: &str) -> Process {
    // As `ringmain serve` would have it in this directory.
    let broker = Process::start(dir);
    let tool = Tool(broker.address());
    symlink(dir.join("data"), dir.join("ringmain-data")).unwrap();
    fs::write(dir.join("orders.txt"), "ann:a cup\n").unwrap();
    fs::write(dir.join("ringmain.toml"), "num.partitions = 2\n").unwrap();
    fs::create_dir_all(dir.join(".local/share/bash-completion/completions")).unwrap();
    if !example.starts_with("ringmain topic create") {
        tool.run(&["topic", "create", "orders", "--partitions", "3"], "");
        tool.run(&["topic", "create", "payments"], "");
        // Many batches where it is about an index, which has no file before.
        for _ in 0..if example.contains("index") { 70 } else { 3 } {
            tool.run(&["produce", "orders", "--partition", "0"], "twenty bytes of text\n".repeat(1000));
        }
        tool.run(&["group", "reset", "billing", "--topic", "orders", "--to-offset", "20", "--execute"], "");
    }
    broker
}

/// Exit code and output. What would run for ever is interrupted once it has written something.
fn run(dir: &Path, broker: SocketAddr, example: &str) -> (Option<i32>, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_ringmain")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let endless = example.starts_with("ringmain consume") && !example.contains("--exit-at-end");
    let script = match (example.starts_with("ringmain serve"), endless) {
        // Ports and data of its own are not for a test to take: what it would run with is looked at.
        (true, _) => format!("{example} --list-config"),
        (_, true) => format!("timeout --signal=INT --preserve-status 3 {example}"),
        _ => example.to_owned(),
    };
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &script]).current_dir(dir).stdin(Stdio::null());
    command.env("PATH", path).env("HOME", dir).env("RINGMAIN_BROKER", broker.to_string());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn every_command_has_an_example_and_every_example_works() {
    let mut found = Vec::new();
    helps(&[], &mut found);
    assert!(found.len() >= 17, "{} commands", found.len());
    let (mut count, mut failed) = (0, Vec::new());
    for (words, help) in found {
        let examples = examples(&help);
        assert!(!examples.is_empty(), "{words:?} has no example:\n{help}");
        for example in examples {
            assert!(example.contains(&format!("ringmain {}", words.join(" "))), "{words:?}: {example}");
            let dir = tempfile::tempdir().unwrap();
            let broker = prepare(dir.path(), &example);
            let (code, text) = run(dir.path(), broker.address(), &example);
            if code != Some(0) {
                failed.push(format!("{example}: {text}"));
            }
            count += 1;
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(count >= 30, "{count} examples");
}
