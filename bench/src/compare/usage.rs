//! What a broker and this process use between two moments.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use crate::machine::{ProcessUse, process_cpu_s};
use crate::result::run::Usage;

/// What the kernel counts in, whatever the device's blocks are.
const SECTOR_BYTES: u64 = 512;

/// Counts from when it was started.
#[derive(Debug)]
pub(crate) struct Meter {
    pids: Vec<u32>,
    data: Option<PathBuf>,
    began: Usage,
}

impl Meter {
    /// Of these processes, and of the device of this directory, which is synced first.
    pub(crate) fn start(pids: Vec<u32>, data: Option<&Path>) -> Self {
        let data = data.map(Path::to_path_buf);
        let began = now(&pids, data.as_deref(), true);
        Self { pids, data, began }
    }

    /// Begins anew in the middle of a load, so without syncing.
    pub(crate) fn restart(&mut self) {
        self.began = now(&self.pids, self.data.as_deref(), false);
    }

    /// What was used since; the device is synced once more before it is looked at.
    pub(crate) fn finish(&self) -> Usage {
        // Syncing is the broker's or the kernel's work, not the client's.
        let client_cpu_s = process_cpu_s() - self.began.client_cpu_s;
        let end = now(&self.pids, self.data.as_deref(), true);
        let since = |end: Option<u64>, began: Option<u64>| Some(end?.saturating_sub(began?));
        Usage {
            client_cpu_s,
            broker_cpu_s: end.broker_cpu_s.zip(self.began.broker_cpu_s).map(|(end, began)| end - began),
            broker_rss_bytes: end.broker_rss_bytes,
            broker_rss_max_bytes: end.broker_rss_max_bytes,
            broker_write_bytes: since(end.broker_write_bytes, self.began.broker_write_bytes),
            device_write_bytes: since(end.device_write_bytes, self.began.device_write_bytes),
        }
    }
}

fn now(pids: &[u32], data: Option<&Path>, synced: bool) -> Usage {
    let uses: Vec<ProcessUse> = pids.iter().filter_map(|pid| ProcessUse::of(*pid).ok()).collect();
    let of_all = |read: fn(&ProcessUse) -> u64| (!uses.is_empty()).then(|| uses.iter().map(read).sum());
    Usage {
        client_cpu_s: process_cpu_s(),
        broker_cpu_s: (!uses.is_empty()).then(|| uses.iter().map(|used| used.cpu_s).sum()),
        broker_rss_bytes: of_all(|used| used.rss_bytes),
        broker_rss_max_bytes: of_all(|used| used.rss_max_bytes),
        broker_write_bytes: pids.iter().filter_map(|pid| written(*pid)).reduce(|one, other| one + other),
        device_write_bytes: data.and_then(|dir| device_written(dir, synced)),
    }
}

/// Bytes that a process had written to devices.
fn written(pid: u32) -> Option<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

/// Bytes that the device of a directory was given; with `synced`, after everything was.
fn device_written(dir: &Path, synced: bool) -> Option<u64> {
    let open = File::open(dir).ok()?;
    if synced {
        nix::unistd::syncfs(&open).ok()?;
    }
    let device = open.metadata().ok()?.dev();
    let path = format!("/sys/dev/block/{}:{}/stat", major(device), minor(device));
    let stat = std::fs::read_to_string(path).ok()?;
    sectors_written(&stat).map(|sectors| sectors * SECTOR_BYTES)
}

/// The seventh field of a block device's statistics.
fn sectors_written(stat: &str) -> Option<u64> {
    stat.split_whitespace().nth(6)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_no_zero() {
        let usage = Meter::start(vec![u32::MAX], Some(Path::new("/proc"))).finish();
        assert_eq!((usage.broker_cpu_s, usage.broker_rss_bytes), (None, None));
        assert_eq!((usage.broker_write_bytes, usage.device_write_bytes), (None, None));
        let own = Meter::start(vec![std::process::id()], None).finish();
        assert!(own.broker_rss_max_bytes.unwrap() > 0 && own.broker_cpu_s.is_some());
    }

    #[test]
    fn a_block_device_counts_sectors() {
        let stat = "    1 2 3 4 5 6 789 8 9 10 11 12 13 14 15 16 17";
        assert_eq!(sectors_written(stat), Some(789));
        assert_eq!(sectors_written(""), None);
    }
}
