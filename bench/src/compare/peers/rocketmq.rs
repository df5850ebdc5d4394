//! Apache RocketMQ: a name server and a broker from Maven's packages, loaded by its own tool.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Peer, Running, Seat, typed};
use crate::compare::own_tool::{Reported, rocketmq_reports};
use crate::compare::process::Process;
use crate::compare::shop::{Shop, need};
use crate::result::compare::{Client, OwnFigure};
use crate::workload::Durability;

const VERSION: &str = "5.5.0";
const TOPIC: &str = "RingmainBench";
const RECORD_BYTES: &str = "1024";
/// Topic and broker are known by then.
const TOPIC_LIMIT: Duration = Duration::from_secs(60);
/// The tool reports nothing in its first seconds, and is ended by us: it runs until it is.
const TOOL_SLACK_S: u64 = 15;
/// What its own start scripts open.
const OPENS: [&str; 5] = [
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
];
/// The replication port has no option for an address and binds all of them. One broker needs none.
const NO_REPLICATION: &str = "package peers; public class NoReplication extends \
    org.apache.rocketmq.store.ha.DefaultHAService { public void start() {} public void shutdown() {} }\n";
const LOGBACK: &str = "<configuration><appender name=\"O\" \
    class=\"org.apache.rocketmq.logging.ch.qos.logback.core.ConsoleAppender\"><target>System.err</target>\
    <encoder><pattern>%d %-5level %logger - %msg%n</pattern></encoder></appender>\
    <root level=\"WARN\"><appender-ref ref=\"O\"/></root></configuration>\n";

#[derive(Debug, Default)]
pub(crate) struct RocketMq {
    dir: PathBuf,
}

impl RocketMq {
    fn java(&self, seat: &Seat<'_>, options: &[&str]) -> Result<Command, String> {
        let conf = seat.desk.join("home/conf");
        std::fs::create_dir_all(&conf).map_err(|error| format!("{}: {error}", conf.display()))?;
        std::fs::write(conf.join("rmq.logback.xml"), LOGBACK).map_err(|error| error.to_string())?;
        let mut command = Command::new("java");
        command.env("ROCKETMQ_HOME", seat.desk.join("home"));
        command.args(OPENS).args(options).arg("-Djava.net.preferIPv4Stack=true");
        command.arg(format!("-Duser.home={}", seat.desk.display()));
        command.arg("-cp").arg(format!("{}:{}/lib/*", conf.display(), self.dir.display()));
        Ok(command)
    }

    fn name_server(address: &str) -> Result<String, String> {
        let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).ok_or("no port")?;
        Ok(format!("127.0.0.1:{}", port + 1))
    }
}

fn quiet_listener(dir: &Path, shop: &Shop) -> Result<(), String> {
    let fail = |error: std::io::Error| error.to_string();
    let classes = dir.join("quiet");
    let service = classes.join("META-INF/service");
    std::fs::create_dir_all(&service).map_err(fail)?;
    std::fs::write(service.join("org.apache.rocketmq.store.ha.HAService"), "peers.NoReplication\n")
        .map_err(fail)?;
    let source = dir.join("NoReplication.java");
    std::fs::write(&source, NO_REPLICATION).map_err(fail)?;
    let mut compile = Command::new("javac");
    compile.arg("-cp").arg(format!("{}/lib/*", dir.display())).arg("-d").arg(&classes).arg(&source);
    shop.run("rocketmq", &mut compile)?;
    let mut pack = Command::new("jar");
    pack.arg("cf").arg(dir.join("lib/no-replication.jar")).arg("-C").arg(&classes).arg(".");
    shop.run("rocketmq", &mut pack)
}

impl Peer for RocketMq {
    fn name(&self) -> &str {
        "rocketmq"
    }

    fn version(&self) -> String {
        VERSION.to_string()
    }

    fn source(&self) -> &'static str {
        "Maven: org.apache.rocketmq:rocketmq-broker"
    }

    fn client(&self) -> Client {
        Client::OwnTool { tool: "org.apache.rocketmq.example.benchmark".to_string() }
    }

    fn durabilities(&self) -> &'static [Durability] {
        &[Durability::PageCache, Durability::Synced]
    }

    fn notes(&self) -> Vec<String> {
        vec![
            "closed loop, one message a request for each thread: latencies leave out what waits".to_string(),
            "page-cache: flushDiskType=ASYNC_FLUSH, synced: SYNC_FLUSH".to_string(),
            "its replication listener, which binds every address, is switched off by a class of ours"
                .to_string(),
        ]
    }

    fn install(&mut self, shop: &Shop) -> Result<(), String> {
        need("javac", "a Java development kit, such as default-jdk-headless")?;
        let artifacts = ["rocketmq-namesrv", "rocketmq-broker", "rocketmq-tools", "rocketmq-example"]
            .map(|artifact| ("org.apache.rocketmq", artifact, VERSION));
        self.dir = shop.maven(&format!("rocketmq-{VERSION}"), &artifacts, |dir| quiet_listener(dir, shop))?;
        Ok(())
    }

    fn start(&self, seat: &Seat<'_>) -> Result<Running, String> {
        let fault = |fault: crate::compare::process::ProcessFault| fault.to_string();
        // The broker takes the ports two below and one above its own, too.
        let first = seat.ports(6)?;
        let port = first + 3;
        let address = format!("127.0.0.1:{port}");
        // One above is for replication, which is off.
        let names = Self::name_server(&address)?;
        let names_port = port + 1;
        let names_file =
            seat.write("names.conf", &format!("listenPort={names_port}\nbindAddress=127.0.0.1\n"))?;
        let flush = if seat.is_synced() { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
        let text = format!(
            "brokerClusterName=DefaultCluster\nbrokerName=bench\nbrokerId=0\nbrokerRole=ASYNC_MASTER\n\
             brokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\nbindAddress=127.0.0.1\nlistenPort={port}\n\
             haListenPort={ha}\nnamesrvAddr={names}\nautoCreateTopicEnable=true\nflushDiskType={flush}\n\
             storePathRootDir={data}\nstorePathCommitLog={data}/commitlog\nmappedFileSizeCommitLog=268435456\n",
            ha = port + 2,
            data = seat.data.display(),
        );
        let file = seat.write("broker.conf", &text)?;
        let mut name_server = self.java(seat, &["-Xms256m", "-Xmx256m"])?;
        name_server.args(["org.apache.rocketmq.namesrv.NamesrvStartup", "-c"]).arg(names_file);
        let mut helper = Process::start(&mut name_server, &seat.log("names"), seat.stop).map_err(fault)?;
        let listens = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        helper.await_ready(super::READY_LIMIT, || listens(names_port)).map_err(fault)?;
        let mut command =
            self.java(seat, &["-Xms1g", "-Xmx1g", "-Xmn512m", "-XX:MaxDirectMemorySize=1g", "-XX:+UseG1GC"])?;
        command.args(["org.apache.rocketmq.broker.BrokerStartup", "-n", &names, "-c"]).arg(file);
        let configuration = format!("{}\n\n{text}", typed(&command));
        let began = Instant::now();
        let process = Process::start(&mut command, &seat.log("broker"), seat.stop).map_err(fault)?;
        let mut running =
            Running::when_ready(process, began, |_| address.clone(), configuration, || listens(port))?;
        running.helpers.push(helper);
        // Made by the admin tool, which fails until the broker has told the name server of itself.
        let deadline = Instant::now() + TOPIC_LIMIT;
        loop {
            let mut make = self.java(seat, &["-Xmx256m"])?;
            make.arg("org.apache.rocketmq.tools.command.MQAdminStartup");
            make.args(["updateTopic", "-n", &names, "-b", &address, "-t", TOPIC, "-r", "8", "-w", "8"]);
            let log = seat.log("topic");
            let done = Process::run(&mut make, &log, TOPIC_LIMIT, seat.stop);
            if std::fs::read_to_string(&log).unwrap_or_default().contains("success") {
                return Ok(running);
            }
            done.map_err(fault)?;
            if Instant::now() >= deadline {
                return Err("the broker's topic could not be made".to_string());
            }
        }
    }

    fn own_tool(&self, seat: &Seat<'_>, running: &Running, seconds: u64) -> Result<Vec<OwnFigure>, String> {
        let names = Self::name_server(&running.address)?;
        let mut figures = Vec::new();
        for (what, class, extra) in [
            ("64 threads, one message of 1 KiB a request", "Producer", &["-y", "false"][..]),
            ("64 threads, 16 messages of 1 KiB a request", "BatchProducer", &["-b", "16"][..]),
        ] {
            let mut command = self.java(seat, &["-Xms256m", "-Xmx512m"])?;
            command.arg(format!("org.apache.rocketmq.example.benchmark.{class}"));
            command
                .args(["-n", &names, "-t", TOPIC, "-w", "64", "-s", RECORD_BYTES, "-ri", "1000"])
                .args(extra);
            let text = Reported::run(
                &mut command,
                &seat.log(&format!("tool-{class}")),
                Duration::from_secs(seconds + TOOL_SLACK_S),
                running,
                seat.stop,
            )?;
            figures.push(text.figure(what, &typed(&command), rocketmq_reports)?);
        }
        Ok(figures)
    }
}
