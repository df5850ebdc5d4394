//! What both sides use: processor time, memory, writes to the device.

use std::fs::File;
use std::path::PathBuf;

use crate::device::written_bytes;
use crate::error::BenchError;
use crate::machine::{ProcessUse, process_cpu_s, write_bytes};
use crate::result::run::Usage;

/// Whose use is measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    /// The broker's processes.
    pub(crate) broker_pids: Vec<u32>,
    /// A directory on the broker's device.
    pub(crate) data_dir: Option<PathBuf>,
}

/// All counters at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    client_cpu_s: f64,
    broker: Option<ProcessUse>,
    broker_write_bytes: Option<u64>,
    device_write_bytes: Option<u64>,
}

impl Watched {
    /// Reads all counters. With `synced`, what is dirty on the device's file system is written first, so that
    /// its counter is of what was asked for until now.
    pub(crate) fn read(&self, synced: bool) -> Result<Counters, BenchError> {
        // The processes first: syncing must not count for them.
        let client_cpu_s = process_cpu_s();
        let mut broker: Option<ProcessUse> = None;
        let mut written = (!self.broker_pids.is_empty()).then_some(0);
        for pid in &self.broker_pids {
            let one = ProcessUse::of(*pid)?;
            written = written.zip(write_bytes(*pid)).map(|(sum, more)| sum + more);
            broker = Some(match broker {
                None => one,
                Some(sum) => ProcessUse {
                    cpu_s: sum.cpu_s + one.cpu_s,
                    rss_bytes: sum.rss_bytes + one.rss_bytes,
                    rss_max_bytes: sum.rss_max_bytes + one.rss_max_bytes,
                },
            });
        }
        let device_write_bytes = self.data_dir.as_ref().and_then(|dir| {
            if synced {
                // Without it the counter is a little behind.
                let _ = File::open(dir).map(|dir| nix::unistd::syncfs(&dir));
            }
            written_bytes(dir)
        });
        Ok(Counters { client_cpu_s, broker, broker_write_bytes: written, device_write_bytes })
    }
}

impl Counters {
    /// What was used from `before` until now.
    pub(crate) fn since(self, before: Self) -> Usage {
        let difference = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        let broker = self.broker.zip(before.broker);
        Usage {
            client_cpu_s: self.client_cpu_s - before.client_cpu_s,
            broker_cpu_s: broker.map(|(now, then)| now.cpu_s - then.cpu_s),
            broker_rss_bytes: self.broker.map(|now| now.rss_bytes),
            broker_rss_max_bytes: self.broker.map(|now| now.rss_max_bytes),
            broker_write_bytes: difference(self.broker_write_bytes, before.broker_write_bytes),
            device_write_bytes: difference(self.device_write_bytes, before.device_write_bytes),
        }
    }
}
