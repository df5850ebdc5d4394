//! Apache Kafka: one node, KRaft, from Maven's packages, with the JVM options of its own start script.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Peer, Running, Seat, kafka_answers, typed};
use crate::compare::process::Process;
use crate::compare::shop::{Shop, need};
use crate::result::compare::Client;
use crate::workload::Durability;

const VERSION: &str = "4.3.1";
const SLF4J_VERSION: &str = "1.7.36";
/// What `kafka-server-start.sh` and `kafka-run-class.sh` set.
const JVM: [&str; 7] = [
    "-Xms1g",
    "-Xmx1g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];
/// Any id will do for a cluster of one.
const CLUSTER_ID: &str = "cmluZ21haW4tYmVuY2gtMA";
const FORMAT_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Kafka {
    dir: PathBuf,
}

impl Kafka {
    fn java(&self, level: &str) -> Command {
        let mut command = Command::new("java");
        command.arg(format!("-Dorg.slf4j.simpleLogger.defaultLogLevel={level}"));
        command.arg("-cp").arg(self.dir.join("lib/*"));
        command
    }
}

impl Peer for Kafka {
    fn name(&self) -> &str {
        "kafka"
    }

    fn version(&self) -> String {
        VERSION.to_string()
    }

    fn source(&self) -> &'static str {
        "Maven: org.apache.kafka:kafka_2.13"
    }

    fn client(&self) -> Client {
        Client::Same
    }

    fn durabilities(&self) -> &'static [Durability] {
        &[Durability::PageCache, Durability::Synced]
    }

    fn notes(&self) -> Vec<String> {
        vec![
            "heap of 1 GiB and collector as its start script sets them; logs warnings only".to_string(),
            "synced rows set log.flush.interval.messages=1: each append is synced before it is acknowledged"
                .to_string(),
            "formatting the empty directory is not part of the start-up time".to_string(),
        ]
    }

    fn install(&mut self, shop: &Shop) -> Result<(), String> {
        need("java", "a Java runtime, such as default-jre-headless")?;
        let artifacts =
            [("org.apache.kafka", "kafka_2.13", VERSION), ("org.slf4j", "slf4j-simple", SLF4J_VERSION)];
        self.dir = shop.maven(&format!("kafka-{VERSION}"), &artifacts, |_| Ok(()))?;
        Ok(())
    }

    fn start(&self, seat: &Seat<'_>) -> Result<Running, String> {
        let port = seat.ports(2)?;
        let address = format!("127.0.0.1:{port}");
        let mut text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://{address}\ncontroller.listener.names=CONTROLLER\n\
             log.dirs={data}\noffsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n",
            controller = port + 1,
            data = seat.data.display(),
        );
        if seat.is_synced() {
            text += "log.flush.interval.messages=1\n";
        }
        let properties = seat.write("server.properties", &text)?;
        let log = seat.log("kafka");
        if !seat.data.join("meta.properties").exists() {
            let mut format = self.java("error");
            format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(&properties);
            Process::run(&mut format, &log, FORMAT_LIMIT, seat.stop).map_err(|fault| fault.to_string())?;
        }
        let mut command = Command::new("java");
        command.args(JVM).args(self.java("warn").get_args()).arg("kafka.Kafka").arg(&properties);
        let configuration = format!("{}\n\n{text}", typed(&command));
        let began = Instant::now();
        let process = Process::start(&mut command, &log, seat.stop).map_err(|fault| fault.to_string())?;
        let probed = address.clone();
        Running::when_ready(process, began, |()| address, configuration, || kafka_answers(&probed))
    }
}
