//! The command line, against a broker.

use super::ringmain;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

pub(crate) struct Tool(pub(crate) SocketAddr);

impl Tool {
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = ringmain();
        command.args(args).args(["--broker", &self.0.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn output(&self, args: &[&str], input: impl AsRef<[u8]>) -> Output {
        let mut child = self.command(args).spawn().unwrap();
        // It may refuse its arguments and read nothing.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        child.wait_with_output().unwrap()
    }

    /// The bytes that it writes; it must succeed.
    pub(crate) fn bytes(&self, args: &[&str], input: impl AsRef<[u8]>) -> Vec<u8> {
        let output = self.output(args, input);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {stderr}");
        output.stdout
    }

    /// What it prints; it must succeed.
    pub(crate) fn run(&self, args: &[&str], input: impl AsRef<[u8]>) -> String {
        String::from_utf8(self.bytes(args, input)).unwrap()
    }

    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.run(&[args, &["--json"]].concat(), "")).unwrap()
    }

    /// Why it refuses, in one line; it must, with the exit code 1.
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        self.refused_input(args, "")
    }

    /// Why it refuses this input.
    pub(crate) fn refused_input(&self, args: &[&str], input: impl AsRef<[u8]>) -> String {
        let output = self.output(args, input);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.starts_with("ringmain: ") && said.lines().count() == 1, "{args:?}: {said}");
        said
    }
}
