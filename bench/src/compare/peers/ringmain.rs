//! Ringmain itself, from the same build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::{OURS, Peer, Running, Seat, kafka_answers, typed};
use crate::compare::process::Process;
use crate::compare::shop::{Shop, on_path};
use crate::result::compare::Client;
use crate::workload::Durability;

/// The broker of this repository.
#[derive(Debug)]
pub(crate) struct Ringmain {
    name: String,
    /// The program, if it is another one than that beside this one.
    program: Option<PathBuf>,
    version: String,
}

impl Ringmain {
    /// The side that all others are compared with.
    pub(crate) fn new(program: Option<PathBuf>) -> Self {
        Self { name: OURS.to_string(), program, version: String::new() }
    }

    /// Another build, as a peer.
    pub(crate) fn other(name: String, program: PathBuf) -> Self {
        Self { name, program: Some(program), version: String::new() }
    }

    fn program(&self) -> &Path {
        self.program.as_deref().unwrap_or(Path::new("ringmain"))
    }

    /// Builds the broker from the source that this program was built from, with the same profile, so
    /// that no older one is measured; without the source, the program beside this one is taken.
    fn build(shop: &Shop) -> Result<PathBuf, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let beside = own.with_file_name("ringmain");
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let target = own.parent().and_then(Path::parent);
        if let (true, true, Some(target)) = (manifest.is_file(), on_path("cargo"), target) {
            let mut command = Command::new("cargo");
            command.args(["build", "--quiet", "--locked", "-p", "ringmain", "--bin", "ringmain"]);
            command.arg("--manifest-path").arg(&manifest).arg("--target-dir").arg(target);
            if !cfg!(debug_assertions) {
                command.arg("--release");
            }
            shop.build("ringmain", &mut command)?;
        }
        if beside.is_file() {
            Ok(beside)
        } else {
            Err(format!("{} is missing; build it, or name it with --ringmain", beside.display()))
        }
    }
}

impl Peer for Ringmain {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn source(&self) -> &'static str {
        "this repository"
    }

    fn client(&self) -> Client {
        Client::Same
    }

    fn durabilities(&self) -> &'static [Durability] {
        &[Durability::PageCache, Durability::Synced]
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            "page-cache rows ask for acks=1, synced rows for acks=all, which the journal makes durable"
                .to_string(),
        ];
        if cfg!(debug_assertions) {
            notes.push("a debug build: these figures say nothing about a release".to_string());
        }
        notes
    }

    fn install(&mut self, shop: &Shop) -> Result<(), String> {
        if self.program.is_none() {
            self.program = Some(Self::build(shop)?);
        }
        self.version = shop.ask(Command::new(self.program()).arg("--version"))?.replace("ringmain ", "");
        Ok(())
    }

    fn start(&self, seat: &Seat<'_>) -> Result<Running, String> {
        let log = seat.log("ringmain");
        // The ready line of an earlier start must not be taken for this one's.
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new(self.program());
        command.arg("serve").arg("--data-dir").arg(seat.data).args(["--listen", "127.0.0.1:0"]);
        let configuration = typed(&command);
        let began = Instant::now();
        let process = Process::start(&mut command, &log, seat.stop).map_err(|fault| fault.to_string())?;
        Running::when_ready(
            process,
            began,
            |address| address,
            configuration,
            || {
                let printed = std::fs::read_to_string(&log).ok()?;
                let address =
                    printed.lines().find_map(|line| line.strip_prefix("ringmain ready "))?.to_string();
                kafka_answers(&address).map(|()| address)
            },
        )
    }
}
