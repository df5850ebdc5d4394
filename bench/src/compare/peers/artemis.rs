//! Apache ActiveMQ Artemis, from Maven's packages, loaded by its own tool.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Peer, Running, Seat, typed};
use crate::compare::own_tool::{Reported, artemis_reports};
use crate::compare::process::Process;
use crate::compare::shop::{Shop, need};
use crate::result::compare::{Client, OwnFigure};
use crate::workload::Durability;

const VERSION: &str = "2.40.0";
/// Making an instance also times the disk, to set how long its journal gathers writes.
const CREATE_LIMIT: Duration = Duration::from_secs(90);
const WARMUP_S: u64 = 4;
const TOOL_SLACK_S: u64 = 40;

#[derive(Debug, Default)]
pub(crate) struct Artemis {
    home: PathBuf,
}

impl Peer for Artemis {
    fn name(&self) -> &str {
        "artemis"
    }

    fn version(&self) -> String {
        VERSION.to_string()
    }

    fn source(&self) -> &'static str {
        "Maven: org.apache.activemq:apache-artemis"
    }

    fn client(&self) -> Client {
        Client::OwnTool { tool: "artemis perf client".to_string() }
    }

    fn durabilities(&self) -> &'static [Durability] {
        &[Durability::PageCache, Durability::Synced]
    }

    fn notes(&self) -> Vec<String> {
        vec![
            "a queue, from which its consumer takes what is sent meanwhile; closed loop, so latencies leave out \
             what waits"
                .to_string(),
            "journal NIO; page-cache: created with --no-fsync, synced: without".to_string(),
        ]
    }

    fn install(&mut self, shop: &Shop) -> Result<(), String> {
        need("java", "a Java runtime, such as default-jre-headless")?;
        need("mvn", "maven")?;
        let name = format!("artemis-{VERSION}");
        let dir = shop.stock(&name, |dir| {
            let mut command = Command::new("mvn");
            // The plug-in unpacks the archive itself, and keeps the modes of files.
            command.current_dir(dir).args([
                "-B",
                "-q",
                "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack",
            ]);
            command.arg(format!("-Dartifact=org.apache.activemq:apache-artemis:{VERSION}:zip:bin"));
            command.arg(format!("-DoutputDirectory={}", dir.display()));
            shop.run("artemis", &mut command)
        })?;
        self.home = dir.join(format!("apache-{name}"));
        Ok(())
    }

    fn start(&self, seat: &Seat<'_>) -> Result<Running, String> {
        let fault = |fault: crate::compare::process::ProcessFault| fault.to_string();
        let port = seat.ports(1)?;
        let address = format!("127.0.0.1:{port}");
        let instance = seat.desk.join("instance");
        let mut create = Command::new("sh");
        create.arg(self.home.join("bin/artemis")).arg("create").arg(&instance);
        create.args(["--user", "admin", "--password", "admin", "--allow-anonymous", "--silent"]);
        create.args(["--host", "127.0.0.1", "--http-host", "127.0.0.1", "--default-port", &port.to_string()]);
        create.args(["--no-web", "--no-amqp-acceptor", "--no-hornetq-acceptor", "--no-mqtt-acceptor"]);
        create.args(["--no-stomp-acceptor", "--java-memory", "1g", "--nio", "--data"]).arg(seat.data);
        if !seat.is_synced() {
            create.arg("--no-fsync");
        }
        Process::run(&mut create, &seat.log("create"), CREATE_LIMIT, seat.stop).map_err(fault)?;
        let mut command = Command::new("sh");
        command.arg(instance.join("bin/artemis")).arg("run");
        let broker_xml = std::fs::read_to_string(instance.join("etc/broker.xml")).unwrap_or_default();
        let configuration = format!("{}\n{}\n\n{broker_xml}", typed(&create), typed(&command));
        let log = seat.log("artemis");
        let began = Instant::now();
        let process = Process::start(&mut command, &log, seat.stop).map_err(fault)?;
        Running::when_ready(
            process,
            began,
            |()| address,
            configuration,
            || std::fs::read_to_string(&log).ok()?.contains("AMQ221007").then_some(()),
        )
    }

    fn own_tool(&self, seat: &Seat<'_>, running: &Running, seconds: u64) -> Result<Vec<OwnFigure>, String> {
        let mut figures = Vec::new();
        for (what, producers, pending) in [
            ("1 producer, 1 message of 1 KiB pending, 1 consumer", 1, 1),
            ("64 producers, 1 message of 1 KiB pending each, 1 consumer", 64, 1),
            ("4 producers, 500 messages of 1 KiB pending each, 1 consumer", 4, 500),
        ] {
            let mut command = Command::new("sh");
            command.arg(self.home.join("bin/artemis")).args(["perf", "client"]);
            // Without the window, a message that is sent counts as acknowledged at once.
            command.args(["--url", &format!("tcp://{}?confirmationWindowSize=1048576", running.address)]);
            command.args(["--user", "admin", "--password", "admin", "--protocol", "CORE", "--persistent"]);
            command.args(["--producers", &producers.to_string(), "--threads", &producers.to_string()]);
            command.args(["--max-pending", &pending.to_string(), "--message-size", "1024"]);
            command.args([
                "--warmup",
                &WARMUP_S.to_string(),
                "--duration",
                &(WARMUP_S + seconds).to_string(),
            ]);
            let report = seat.desk.join(format!("perf-{producers}-{pending}.json"));
            command.arg("--show-latency").arg("--json").arg(&report);
            command.arg(format!("queue://B{producers}x{pending}"));
            let log = seat.log(&format!("tool-{producers}-{pending}"));
            let limit = Duration::from_secs(WARMUP_S + seconds + TOOL_SLACK_S);
            let reported = Reported::run_to_end(&mut command, &log, &report, limit, running, seat.stop)?;
            figures.push(reported.figure(what, &typed(&command), artemis_reports)?);
        }
        Ok(figures)
    }
}
