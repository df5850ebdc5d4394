//! RabbitMQ streams, from Debian's package, as the calling user, with every port on loopback.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{LoadPlace, Loaded, Peer, Running, Seat, own_load, typed};
use crate::compare::client;
use crate::compare::client::rabbitmq::answers;
use crate::compare::process::Process;
use crate::compare::shop::{Shop, on_path};
use crate::result::compare::Client;
use crate::stop::Stop;
use crate::workload::{Durability, Workload};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// Erlang's port mapper is up by then, or the node waits for it itself.
const MAPPER_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct RabbitMq {
    version: String,
}

impl Peer for RabbitMq {
    fn name(&self) -> &str {
        "rabbitmq"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn source(&self) -> &'static str {
        "Debian package rabbitmq-server, plugin rabbitmq_stream"
    }

    fn client(&self) -> Client {
        Client::Own { library: "rabbitmq-stream-client 0.4".to_string() }
    }

    fn durabilities(&self) -> &'static [Durability] {
        &[Durability::PageCache]
    }

    fn notes(&self) -> Vec<String> {
        vec![
            "3.10 is what Debian has: an old version, to which only older versions of the library can connect".to_string(),
            "a partition is a stream; streams are never synced before they are confirmed, so there are no synced rows"
                .to_string(),
            "the library has a connection for each producer and stream: a connection of the workload is one for each \
             of its streams here"
                .to_string(),
        ]
    }

    fn install(&mut self, shop: &Shop) -> Result<(), String> {
        shop.debian(SERVER, "rabbitmq-server")?;
        if !on_path("epmd") {
            return Err("epmd is missing; install erlang-base".to_string());
        }
        let mut query = Command::new("dpkg-query");
        let version = shop.ask(query.args(["-W", "-f", "${Version}", "rabbitmq-server"]));
        self.version = version.unwrap_or_else(|_| "unknown".to_string());
        Ok(())
    }

    fn start(&self, seat: &Seat<'_>) -> Result<Running, String> {
        let first = seat.ports(5)?;
        let [stream, amqp, mapper, distribution, control] =
            [first, first + 1, first + 2, first + 3, first + 4];
        let text = format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\nstream.listeners.tcp.1 = 127.0.0.1:{stream}\n\
             stream.advertised_host = 127.0.0.1\nstream.advertised_port = {stream}\n\
             disk_free_limit.absolute = 1GB\nvm_memory_high_watermark.absolute = 4GB\nlog.file.level = warning\n"
        );
        seat.write("rabbitmq.conf", &text)?;
        let plugins = seat.write("enabled_plugins", "[rabbitmq_stream].\n")?;
        let environment = seat.write("rabbitmq-env.conf", "")?;
        let surroundings = |command: &mut Command| {
            command
                .env("HOME", seat.desk)
                .env("ERL_EPMD_ADDRESS", "127.0.0.1")
                .env("ERL_EPMD_PORT", mapper.to_string())
                // The node's data is found again by its name.
                .env("RABBITMQ_NODENAME", "bench@localhost")
                .env("RABBITMQ_CONF_ENV_FILE", &environment)
                .env("RABBITMQ_CONFIG_FILE", seat.desk.join("rabbitmq"))
                .env("RABBITMQ_ENABLED_PLUGINS_FILE", &plugins)
                .env("RABBITMQ_MNESIA_BASE", seat.data)
                .env("RABBITMQ_LOG_BASE", seat.desk.join("log"))
                .env("RABBITMQ_PID_FILE", seat.desk.join("rabbit.pid"))
                .env("RABBITMQ_DIST_PORT", distribution.to_string())
                .env("RABBITMQ_CTL_DIST_PORT_MIN", control.to_string())
                .env("RABBITMQ_CTL_DIST_PORT_MAX", control.to_string())
                .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
        };
        // The node would start one as a daemon that stays.
        let mut map = Command::new("epmd");
        surroundings(map.args(["-port", &mapper.to_string()]));
        let mut helper =
            Process::start(&mut map, &seat.log("epmd"), seat.stop).map_err(|fault| fault.to_string())?;
        helper
            .await_ready(MAPPER_WAIT, || std::net::TcpStream::connect(("127.0.0.1", mapper)).ok())
            .map_err(|fault| fault.to_string())?;
        let mut command = Command::new(Path::new(SERVER));
        surroundings(&mut command);
        let configuration = format!("{}\n\n{text}", typed(&command));
        let began = Instant::now();
        let process = Process::start(&mut command, &seat.log("rabbitmq"), seat.stop)
            .map_err(|fault| fault.to_string())?;
        let address = format!("127.0.0.1:{stream}");
        let probed = address.clone();
        let mut running =
            Running::when_ready(process, began, |()| address, configuration, || answers(&probed))?;
        running.helpers.push(helper);
        Ok(running)
    }

    fn load(&self, workload: &Workload, place: &LoadPlace<'_>) -> Result<Loaded, String> {
        own_load::<client::rabbitmq::RabbitMq>(workload, place)
    }

    fn serves(&self, _running: &Running, _data: &Path, _stop: &Stop) -> Result<(), String> {
        // It answers no probe before.
        Ok(())
    }

    fn count(&self, workload: &Workload, running: &Running, _data: &Path) -> Result<u64, String> {
        client::run::count::<client::rabbitmq::RabbitMq>(workload, &running.address)
            .map_err(|error| error.to_string())
    }
}
