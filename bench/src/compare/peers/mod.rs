//! Who takes part: how each is installed, started and known to be ready. Each listens on 127.0.0.1 only.

mod artemis;
mod kafka;
mod nats;
mod rabbitmq;
mod redis;
mod ringmain;
mod rocketmq;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::admin::Admin;
use crate::compare::client::{self, Protocol};
use crate::compare::kafka_load::{kafka_count, kafka_load, kafka_serves};
use crate::compare::process::Process;
use crate::compare::shop::Shop;
use crate::result::compare::{Client, OwnFigure};
use crate::result::run::{Phase, SelfCheck, Verified};
use crate::stop::Stop;
use crate::workload::{Durability, Workload};

pub(crate) use self::ringmain::Ringmain;

/// The name of the side that all others are compared with.
pub(crate) const OURS: &str = "ringmain";
/// From the start of the program to its first answer, recovery included.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(120);
/// A probe that is not answered by then is repeated.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// What is compared.
pub(crate) trait Peer: Debug {
    /// As it is named on the command line and in results.
    fn name(&self) -> &str;
    /// Version, once it is installed.
    fn version(&self) -> String;
    /// Where it comes from.
    fn source(&self) -> &'static str;
    /// Who loads it.
    fn client(&self) -> Client;
    /// What its acknowledgements can stand for.
    fn durabilities(&self) -> &'static [Durability];
    /// What a reader must know of it.
    fn notes(&self) -> Vec<String>;
    /// Makes it available, without starting anything that stays.
    ///
    /// # Errors
    /// Why it cannot be, for the reader of the result.
    fn install(&mut self, shop: &Shop) -> Result<(), String>;
    /// Starts it on the data in `seat`, or on an empty directory, and waits until it answers.
    ///
    /// # Errors
    /// Why it did not.
    fn start(&self, seat: &Seat<'_>) -> Result<Running, String>;
    /// Whether its protocol has batches of records.
    fn has_batches(&self) -> bool {
        true
    }
    /// Runs a workload against it.
    ///
    /// # Errors
    /// Why there are no figures.
    fn load(&self, workload: &Workload, place: &LoadPlace<'_>) -> Result<Loaded, String> {
        kafka_load(self.name(), workload, place)
    }
    /// Waits until it serves all of the data that it was started on.
    ///
    /// # Errors
    /// Why it does not.
    fn serves(&self, running: &Running, data: &Path, stop: &Stop) -> Result<(), String> {
        kafka_serves(running, data, stop)
    }
    /// How many records it holds of a workload whose data was kept.
    ///
    /// # Errors
    /// Why they cannot be counted.
    fn count(&self, _workload: &Workload, running: &Running, data: &Path) -> Result<u64, String> {
        kafka_count(running, data)
    }
    /// Runs the tool that it brings, against itself, if that is how it is measured.
    ///
    /// # Errors
    /// Why there are no figures.
    fn own_tool(
        &self,
        _seat: &Seat<'_>,
        _running: &Running,
        _seconds: u64,
    ) -> Result<Vec<OwnFigure>, String> {
        Err(format!("{} brings no tool", self.name()))
    }
}

/// Where a workload is run.
#[derive(Debug)]
pub(crate) struct LoadPlace<'a> {
    /// The broker.
    pub(crate) running: &'a Running,
    /// Its data.
    pub(crate) data: &'a Path,
    /// How it is set up.
    pub(crate) durability: Durability,
    /// What the load generator does alone with the workload, if it was measured.
    pub(crate) self_check: Option<SelfCheck>,
    /// Whether what was sent stays.
    pub(crate) keep: bool,
    /// Ends it.
    pub(crate) stop: &'a Stop,
}

/// What came of a workload.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What was run.
    pub(crate) workload: Workload,
    /// Figures.
    pub(crate) phases: Vec<Phase>,
    /// What was read back.
    pub(crate) verified: Verified,
    /// What the generator has to say.
    pub(crate) notes: Vec<String>,
}

/// Loads a peer by its own protocol.
fn own_load<P: Protocol>(workload: &Workload, place: &LoadPlace<'_>) -> Result<Loaded, String> {
    let done = client::run::run::<P>(workload, place).map_err(|error| error.to_string())?;
    let (phases, verified) = (done.phases, done.verified);
    Ok(Loaded { workload: workload.clone(), phases, verified, notes: Vec::new() })
}

/// Where a peer runs for one turn.
#[derive(Debug)]
pub(crate) struct Seat<'a> {
    /// Its data.
    pub(crate) data: &'a Path,
    /// Its configuration and logs.
    pub(crate) desk: &'a Path,
    /// How it is set up.
    pub(crate) durability: Durability,
    /// Ends waiting.
    pub(crate) stop: &'a Stop,
}

impl Seat<'_> {
    /// Writes a file that the peer is given.
    fn write(&self, name: &str, text: &str) -> Result<std::path::PathBuf, String> {
        let path = self.desk.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    fn log(&self, name: &str) -> std::path::PathBuf {
        self.desk.join(format!("{name}.log"))
    }

    fn ports(&self, count: u16) -> Result<u16, String> {
        crate::compare::ports::free_ports(count).map_err(|error| error.to_string())
    }

    /// Whether every record must be on the medium before it is acknowledged.
    fn is_synced(&self) -> bool {
        self.durability == Durability::Synced
    }
}

/// A peer that answers. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running {
    /// The broker.
    pub(crate) process: Process,
    /// What it needs beside it; ended after it.
    pub(crate) helpers: Vec<Process>,
    /// Where it listens.
    pub(crate) address: String,
    /// How it was set up: files and arguments.
    pub(crate) configuration: String,
    /// From the start of the broker's process to its first answer.
    pub(crate) ready_s: f64,
}

impl Running {
    /// Waits for the first answer of a process that was just started.
    fn when_ready<T>(
        mut process: Process,
        began: Instant,
        address: impl FnOnce(T) -> String,
        configuration: String,
        ready: impl FnMut() -> Option<T>,
    ) -> Result<Self, String> {
        let found = process.await_ready(READY_LIMIT, ready).map_err(|fault| fault.to_string())?;
        let ready_s = began.elapsed().as_secs_f64();
        Ok(Self { process, helpers: Vec::new(), address: address(found), configuration, ready_s })
    }

    /// Ends it politely.
    pub(crate) fn stop(self) {
        self.process.stop();
        self.helpers.into_iter().for_each(Process::stop);
    }

    /// Ends it as a crash of its processes would.
    pub(crate) fn kill(self) {
        self.process.kill();
        self.helpers.into_iter().for_each(Process::kill);
    }
}

/// All peers that are known, by name, in the order in which they run.
pub(crate) fn known() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(kafka::Kafka::default()),
        Box::new(nats::Nats::default()),
        Box::new(rabbitmq::RabbitMq::default()),
        Box::new(self::redis::Redis::default()),
        Box::new(rocketmq::RocketMq::default()),
        Box::new(artemis::Artemis::default()),
    ]
}

/// Peers that cannot be measured here, and why.
pub(crate) fn unavailable() -> BTreeMap<&'static str, &'static str> {
    [("iggy", "no package registry has the server of Apache Iggy, only clients")].into()
}

/// Whether a broker of the Kafka protocol answers.
fn kafka_answers(address: &str) -> Option<()> {
    Admin::connect(address, PROBE_WAIT).ok()?.leaders("ringmain-bench-probe").ok().map(drop)
}

/// Whether something takes connections, says what it should after `greeting`, and so is ready.
fn says(address: &str, greeting: &[u8], expected: &str) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PROBE_WAIT)).ok()?;
    stream.write_all(greeting).ok()?;
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).ok()?;
    (answer == expected.as_bytes()).then_some(())
}

/// A command as a person would type it, for the record.
fn typed(command: &std::process::Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
