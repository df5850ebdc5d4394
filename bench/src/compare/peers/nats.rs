//! NATS JetStream, built from its Go module.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::{LoadPlace, Loaded, Peer, Running, Seat, own_load, says, typed};
use crate::compare::client;
use crate::compare::process::Process;
use crate::compare::shop::{Shop, need};
use crate::result::compare::Client;
use crate::stop::Stop;
use crate::workload::{Durability, Workload};

const VERSION: &str = "2.15.2";

#[derive(Debug, Default)]
pub(crate) struct Nats {
    dir: PathBuf,
}

impl Peer for Nats {
    fn name(&self) -> &str {
        "nats"
    }

    fn version(&self) -> String {
        VERSION.to_string()
    }

    fn source(&self) -> &'static str {
        "Go module github.com/nats-io/nats-server/v2, built here"
    }

    fn client(&self) -> Client {
        Client::Own { library: "async-nats 0.50".to_string() }
    }

    fn durabilities(&self) -> &'static [Durability] {
        &[Durability::PageCache, Durability::Synced]
    }

    fn notes(&self) -> Vec<String> {
        vec![
            "a partition is a stream with file storage; there are no batches, each message is acknowledged"
                .to_string(),
            "page-cache rows: sync_interval 2m, the default; synced rows: sync_interval always".to_string(),
        ]
    }

    fn install(&mut self, shop: &Shop) -> Result<(), String> {
        need("go", "Go")?;
        self.dir = shop.stock(&format!("nats-{VERSION}"), |dir| {
            let module = format!(
                "module ringmain/peer\n\ngo 1.24\n\nrequire github.com/nats-io/nats-server/v2 v{VERSION}\n"
            );
            let uses =
                "//go:build tools\n\npackage tools\n\nimport _ \"github.com/nats-io/nats-server/v2\"\n";
            std::fs::write(dir.join("go.mod"), module).map_err(|error| error.to_string())?;
            std::fs::write(dir.join("tools.go"), uses).map_err(|error| error.to_string())?;
            let mut command = Command::new("go");
            command.current_dir(dir).env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local");
            command.args(["build", "-o", "nats-server", "github.com/nats-io/nats-server/v2"]);
            shop.run("nats", &mut command)
        })?;
        Ok(())
    }

    fn start(&self, seat: &Seat<'_>) -> Result<Running, String> {
        let port = seat.ports(1)?;
        let address = format!("127.0.0.1:{port}");
        let sync = if seat.is_synced() { "always" } else { "2m" };
        let text = format!(
            "listen: {address}\njetstream {{ store_dir: \"{}\", max_memory_store: 256MB, max_file_store: 20GB, \
             sync_interval: {sync} }}\n",
            seat.data.display()
        );
        let file = seat.write("nats.conf", &text)?;
        let mut command = Command::new(self.dir.join("nats-server"));
        command.arg("-c").arg(file);
        let configuration = format!("{}\n\n{text}", typed(&command));
        let began = Instant::now();
        let process =
            Process::start(&mut command, &seat.log("nats"), seat.stop).map_err(|fault| fault.to_string())?;
        let probed = address.clone();
        Running::when_ready(process, began, |()| address, configuration, || says(&probed, b"", "INFO"))
    }

    fn has_batches(&self) -> bool {
        false
    }

    fn load(&self, workload: &Workload, place: &LoadPlace<'_>) -> Result<Loaded, String> {
        own_load::<client::nats::Nats>(workload, place)
    }

    fn serves(&self, _running: &Running, _data: &Path, _stop: &Stop) -> Result<(), String> {
        // It answers no probe before.
        Ok(())
    }

    fn count(&self, workload: &Workload, running: &Running, _data: &Path) -> Result<u64, String> {
        client::run::count::<client::nats::Nats>(workload, &running.address)
            .map_err(|error| error.to_string())
    }
}
