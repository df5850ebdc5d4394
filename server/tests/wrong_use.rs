//! Wrong use of `ringmain serve`: one line that says what is wrong and what to do, exit code 1, and
//! nothing touched.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::net::TcpListener;
use std::path::Path;
use support::{Process, ringmain};

/// Runs `serve` with arguments that it must refuse; gives what it says.
fn refused(dir: &Path, args: &[&str]) -> String {
    let mut command = ringmain();
    command.args(["serve", "--data-dir"]).arg(dir).args(args).env("RINGMAIN_LOG", "off");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "it was not ready");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("ringmain: "), "{said}");
    said
}

#[test]
fn a_port_that_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let said = refused(&dir.path().join("data"), &["--listen", &address]);
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn a_port_that_another_broker_of_the_same_user_has() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(&dir.path().join("one"));
    let said = refused(&dir.path().join("two"), &["--listen", &broker.address().to_string()]);
    assert!(said.contains("another process listens there"), "{said}");
}

#[test]
fn a_data_directory_that_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let _broker = Process::start(dir.path());
    let said = refused(&dir.path().join("data"), &["--listen", "127.0.0.1:0"]);
    assert!(said.contains("in use by another process"), "{said}");
}

#[test]
fn a_data_directory_of_something_else() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
    let said = refused(dir.path(), &["--listen", "127.0.0.1:0"]);
    assert!(said.contains("not a Ringmain store"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_data_directory_that_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let said = refused(&dir.path().join("file/data"), &["--listen", "127.0.0.1:0"]);
    assert!(said.contains("file/data"), "{said}");
}

#[test]
fn configuration_that_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let said = refused(&data, &["--set", "num.partition=3"]);
    assert!(said.contains("did you mean \"num.partitions\""), "{said}");
    let file = dir.path().join("ringmain.toml");
    std::fs::write(&file, "[log]\nsegment.size = 1\n").unwrap();
    let said = refused(&data, &["--config", file.to_str().unwrap()]);
    assert!(said.contains("log.segment.size"), "{said}");
    std::fs::write(&file, "log = [").unwrap();
    assert!(refused(&data, &["--config", file.to_str().unwrap()]).contains("not valid TOML"));
    assert!(refused(&data, &["--config", "/no/such/file"]).contains("/no/such/file"));
    assert!(refused(&data, &["--set", "num.partitions=many"]).contains("not a whole number"));
}

#[test]
fn every_address_without_one_to_tell_clients() {
    let dir = tempfile::tempdir().unwrap();
    let said = refused(&dir.path().join("data"), &["--listen", "0.0.0.0:0"]);
    assert!(said.contains("--advertised-listeners"), "{said}");
}
