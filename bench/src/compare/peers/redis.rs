//! Redis Streams, from Debian's package.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::{LoadPlace, Loaded, Peer, Running, Seat, own_load, says, typed};
use crate::compare::client;
use crate::compare::process::Process;
use crate::compare::shop::Shop;
use crate::result::compare::Client;
use crate::stop::Stop;
use crate::workload::{Durability, Workload};

#[derive(Debug, Default)]
pub(crate) struct Redis {
    version: String,
}

impl Peer for Redis {
    fn name(&self) -> &str {
        "redis"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn source(&self) -> &'static str {
        "Debian package redis-server"
    }

    fn client(&self) -> Client {
        Client::Own { library: "redis 1".to_string() }
    }

    fn durabilities(&self) -> &'static [Durability] {
        &[Durability::PageCache, Durability::Synced]
    }

    fn notes(&self) -> Vec<String> {
        vec![
            "keeps everything in memory: what it holds is bounded by that".to_string(),
            "a partition is a stream; a batch is a pipeline of XADD, each of them answered".to_string(),
            "page-cache rows: appendfsync everysec, the default; synced rows: appendfsync always; no snapshots, \
             no rewriting of the file"
                .to_string(),
        ]
    }

    fn install(&mut self, shop: &Shop) -> Result<(), String> {
        shop.debian("redis-server", "redis-server")?;
        let said = shop.ask(Command::new("redis-server").arg("--version"))?;
        let version = said.split_whitespace().find_map(|word| word.strip_prefix("v="));
        self.version = version.unwrap_or("unknown").to_string();
        Ok(())
    }

    fn start(&self, seat: &Seat<'_>) -> Result<Running, String> {
        let port = seat.ports(1)?;
        let address = format!("127.0.0.1:{port}");
        let sync = if seat.is_synced() { "always" } else { "everysec" };
        let text = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\nsave \"\"\nappendonly yes\nappendfsync {sync}\n\
             auto-aof-rewrite-percentage 0\nmaxmemory 8gb\nmaxmemory-policy noeviction\n",
            seat.data.display()
        );
        let file = seat.write("redis.conf", &text)?;
        let mut command = Command::new("redis-server");
        command.arg(file);
        let configuration = format!("{}\n\n{text}", typed(&command));
        let began = Instant::now();
        let process =
            Process::start(&mut command, &seat.log("redis"), seat.stop).map_err(|fault| fault.to_string())?;
        let probed = address.clone();
        Running::when_ready(
            process,
            began,
            |()| address,
            configuration,
            || says(&probed, b"PING\r\n", "+PONG"),
        )
    }

    fn load(&self, workload: &Workload, place: &LoadPlace<'_>) -> Result<Loaded, String> {
        own_load::<client::redis::Redis>(workload, place)
    }

    fn serves(&self, _running: &Running, _data: &Path, _stop: &Stop) -> Result<(), String> {
        // It answers no probe before.
        Ok(())
    }

    fn count(&self, workload: &Workload, running: &Running, _data: &Path) -> Result<u64, String> {
        client::run::count::<client::redis::Redis>(workload, &running.address)
            .map_err(|error| error.to_string())
    }
}
