//! The generator alone: the highest rate that it reaches against a server that answers at once.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::error::BenchError;
use crate::generator::null_broker::NullBroker;
use crate::generator::round::threads;
use crate::generator::{RunOptions, run_spans};
use crate::result::run::{PhaseKind, RunTarget, SelfCheck};
use crate::stop::Stop;
use crate::workload::{Acks, Bytes, Durability, Rate, Time, Workload};

/// What the server says first; its address follows.
const READY: &str = "listening ";
const WARMUP: Duration = Duration::from_millis(500);
const DURATION: Time = Time::seconds(2);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Measures it with the sizes, connections and requests in flight of the workload, in a few seconds.
///
/// # Errors
/// If the server cannot be started or fails, or on Ctrl-C.
pub(crate) fn self_check(workload: &Workload, stop: &Stop) -> Result<SelfCheck, BenchError> {
    let server = Server::start()?;
    let mut alone = workload.clone();
    alone.warmup = Time(WARMUP);
    alone.duration = DURATION;
    alone.bytes_max = Bytes(u64::MAX);
    alone.rounds = 1;
    alone.fill = None;
    alone.consumers.clear();
    alone.producers.rate = Rate::Max;
    // Without answers the server could be behind.
    alone.producers.acks = Acks::One;
    let options = RunOptions {
        broker: server.address.clone(),
        target: RunTarget {
            name: "null".into(),
            version: String::new(),
            durability: Durability::PageCache,
            configuration: String::new(),
            address: server.address.clone(),
        },
        broker_pids: vec![server.child.id()],
        data_dir: None,
        topic_config: Vec::new(),
        self_check: None,
        keep_topics: false,
        timeout: TIMEOUT,
        command: Vec::new(),
    };
    let phases = run_spans(&alone, &options, stop)?;
    let found = phases.iter().find(|phase| phase.kind == PhaseKind::Produce && !phase.warmup);
    let phase = found.ok_or_else(|| BenchError::SelfCheck("nothing was sent".into()))?;
    Ok(SelfCheck {
        records_per_s: phase.records_per_s,
        mb_per_s: phase.mb_per_s,
        client_cpu_s_per_s: phase.usage.client_cpu_s / phase.elapsed_s,
        elapsed_s: phase.elapsed_s,
    })
}

/// The process with the server: another one, so that processor time is told apart. Killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start() -> Result<Self, BenchError> {
        let failed = |error: std::io::Error| BenchError::SelfCheck(error.to_string());
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.arg("null-broker").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = Self { child: command.spawn().map_err(failed)?, address: String::new() };
        let mut line = String::new();
        if let Some(stdout) = server.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        let address = line.strip_prefix(READY).map(str::trim);
        let address = address.ok_or_else(|| BenchError::SelfCheck("its server did not start".into()))?;
        server.address = address.to_owned();
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command `null-broker`: serves until standard input ends, so that it never outlives its parent.
pub(crate) fn serve() -> Result<(), BenchError> {
    let failed = |error: std::io::Error| BenchError::SelfCheck(error.to_string());
    let server = NullBroker::bind().map_err(failed)?;
    println!("{READY}{}", server.address());
    std::thread::spawn(|| {
        let mut byte = [0];
        let _ = std::io::stdin().read(&mut byte);
        std::process::exit(0);
    });
    server.serve(threads(usize::MAX)).map_err(failed)
}
