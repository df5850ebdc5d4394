//! What the broker's tests share: a broker in this process, and sockets to talk to it.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

pub(crate) mod protocol;
pub(crate) mod tool;

use ringmain::{Config, Running};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A configuration on a free port of the loopback interface.
pub(crate) fn config(dir: &Path) -> Config {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Config { data_dir: dir.join("data"), listen, ..Config::default() }
}

pub(crate) fn start(dir: &Path) -> Running {
    Running::start(config(dir)).unwrap()
}

/// Starts again on the port that it had, as clients expect of a restart.
pub(crate) fn start_at(dir: &Path, address: SocketAddr) -> Running {
    Running::start(Config { listen: address, ..config(dir) }).unwrap()
}

/// A broker in a process of its own, killed when dropped.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// With further arguments of `ringmain serve`.
    pub(crate) fn start_with(dir: &Path, args: &[&str]) -> Self {
        let (mut process, line) = Self::start_saying(dir, args);
        process.ready(&line);
        process
    }

    /// Takes the address from the ready line.
    pub(crate) fn ready(&mut self, line: &str) {
        self.address = line.strip_prefix("ringmain ready ").unwrap().trim().parse().unwrap();
    }

    /// With its ready line, which is not looked into.
    pub(crate) fn start_saying(dir: &Path, args: &[&str]) -> (Self, String) {
        std::fs::create_dir_all(dir).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        Self::start_logging_to(log, dir, args)
    }

    /// With its log somewhere else.
    pub(crate) fn start_logging_to(log: impl Into<Stdio>, dir: &Path, args: &[&str]) -> (Self, String) {
        let mut child = ringmain()
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir.join("data"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        (Self { child, address: SocketAddr::from(([0, 0, 0, 0], 0)) }, line)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&self) -> bool {
        // Not waited for, it stays as a zombie.
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        !status.lines().any(|line| line.starts_with("State:\tZ"))
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most that it was.
    pub(crate) fn resident_max_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that these tests were built with.
pub(crate) fn ringmain() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ringmain"))
}

/// Header version 1: key, version, correlation id, client id; then the body.
pub(crate) fn request(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(correlation.to_be_bytes());
    frame.extend(string("test"));
    frame.extend(body);
    framed(&frame)
}

/// With its length before it.
pub(crate) fn framed(frame: &[u8]) -> Vec<u8> {
    let mut out = i32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
    out.extend(frame);
    out
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    let mut out = i16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    out.extend(text.as_bytes());
    out
}

/// The next frame without its length; `None` if the broker has closed the connection.
pub(crate) fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    let mut have = 0;
    while have < 4 {
        match stream.read(&mut length[have..]) {
            Ok(0) if have == 0 => return None,
            Ok(0) => panic!("closed within a frame"),
            Ok(count) => have += count,
            Err(err) if err.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) => panic!("no answer: {err}"),
        }
    }
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut frame).unwrap();
    Some(frame)
}

pub(crate) fn call(stream: &mut TcpStream, request: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(request).unwrap();
    receive(stream)
}

/// The body of a Produce request of version 3 to 8 for one partition.
pub(crate) fn produce_body(topic: &str, partition: i32, acks: i16, records: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((-1i16).to_be_bytes()); // transactional id
    body.extend(acks.to_be_bytes());
    body.extend(1000i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(string(topic));
    body.extend(1i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(i32::try_from(records.len()).unwrap().to_be_bytes());
    body.extend(records);
    body
}

/// Creates a topic by asking for its metadata.
pub(crate) fn create(stream: &mut TcpStream, topic: &str) {
    let mut body = 1i32.to_be_bytes().to_vec();
    body.extend(string(topic));
    let answer = call(stream, &request(3, 1, 1, &body)).unwrap();
    assert!(answer.windows(topic.len()).any(|window| window == topic.as_bytes()));
}
