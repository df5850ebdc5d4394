//! Facts about the machine, and what processes use of it.

use std::path::Path;

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

use crate::device::Medium;

/// Where the figures were taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Kernel release.
    pub(crate) kernel: String,
    /// Model of the first processor.
    pub(crate) cpu_model: String,
    /// Processors this process may use.
    pub(crate) cpus: usize,
    /// Main memory.
    pub(crate) memory_bytes: u64,
    /// Where the floors, and the engine, write.
    pub(crate) medium: Medium,
}

impl Machine {
    /// Asks the kernel; what it does not say is "unknown".
    pub(crate) fn probe(data_dir: &Path) -> Self {
        let cpu_model = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or_else(|| "unknown".to_string(), |(_, model)| model.trim().to_string());
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_string(),
            cpu_model,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib_line(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0),
            medium: Medium::of(data_dir),
        }
    }

    /// Memory that can be had now without swapping; zero if the kernel does not say.
    pub(crate) fn available_bytes() -> u64 {
        kib_line(&read("/proc/meminfo"), "MemAvailable:").unwrap_or(0)
    }
}

/// Seconds of processor time, user and system, of this process.
pub(crate) fn process_cpu_s() -> f64 {
    cpu_s(UsageWho::RUSAGE_SELF)
}

/// Seconds of processor time, user and system, of this thread.
pub(crate) fn thread_cpu_s() -> f64 {
    cpu_s(UsageWho::RUSAGE_THREAD)
}

fn cpu_s(who: UsageWho) -> f64 {
    getrusage(who).map_or(0.0, |usage| {
        [usage.user_time(), usage.system_time()]
            .iter()
            .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
            .sum()
    })
}

/// A process cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot read /proc/{pid}: {what}; give the process id of the running broker as --broker-pid")]
pub(crate) struct ProcessError {
    pid: u32,
    what: String,
}

/// What another process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessUse {
    /// Processor time, user and system.
    pub(crate) cpu_s: f64,
    /// Resident now.
    pub(crate) rss_bytes: u64,
    /// Resident at most so far.
    pub(crate) rss_max_bytes: u64,
}

impl ProcessUse {
    /// Reads `/proc/PID/stat` and `/proc/PID/status`.
    pub(crate) fn of(pid: u32) -> Result<Self, ProcessError> {
        let failed = |what: String| ProcessError { pid, what };
        let text = |file: &str| {
            std::fs::read_to_string(format!("/proc/{pid}/{file}"))
                .map_err(|source| failed(source.to_string()))
        };
        let stat = text("stat")?;
        let ticks = cpu_ticks(&stat).ok_or_else(|| failed("stat has an unknown form".into()))?;
        let ticks_per_s = match sysconf(SysconfVar::CLK_TCK) {
            Ok(Some(ticks)) if ticks > 0 => ticks as f64,
            _ => return Err(failed("the clock tick is unknown".into())),
        };
        let status = text("status")?;
        Ok(Self {
            cpu_s: ticks as f64 / ticks_per_s,
            rss_bytes: kib_line(&status, "VmRSS:").unwrap_or(0),
            rss_max_bytes: kib_line(&status, "VmHWM:").unwrap_or(0),
        })
    }
}

/// Bytes that a process caused to be written to a device; `None` where the kernel does not say or does not let us.
pub(crate) fn write_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes:"))?.trim().parse().ok()
}

/// User and system time of a stat line; the name in parentheses may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    // State is field 3, utime 14, stime 15.
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kib_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|_| "unknown".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "12 (a) b) c) S 1 1 1 0 -1 4 9 9 9 9 70 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(100));
        assert_eq!(cpu_ticks("12 (a"), None);
    }

    #[test]
    fn this_process_and_machine_can_be_read() {
        let own = ProcessUse::of(std::process::id()).unwrap();
        assert!(own.rss_bytes > 0 && own.rss_max_bytes >= own.rss_bytes);
        let machine = Machine::probe(Path::new("."));
        assert!(machine.memory_bytes > 0 && machine.cpus > 0);
        assert_ne!(machine.medium.filesystem, "unknown");
    }
}
