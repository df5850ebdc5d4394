//! A peer's processes: started in a group of their own, watched, and ended whatever happens.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::stop::Stop;

/// How long a process may take to end after SIGTERM before it is killed.
const STOP_WAIT: Duration = Duration::from_secs(20);
/// How long the kernel may take to end what was killed.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// Between two looks at a process.
const POLL: Duration = Duration::from_millis(5);
/// Lines of a log that a message quotes at most.
const LOG_LINES_MAX: usize = 3;
/// Characters of them at most.
const LOG_CHARS_MAX: usize = 400;

/// A program does not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessFault {
    /// It cannot be started.
    #[error("{program} cannot be started: {source}")]
    Spawn {
        /// Program.
        program: String,
        /// Cause.
        source: io::Error,
    },
    /// It ended, but should run.
    #[error("{program} ended with {status}{}", quoted(log))]
    Ended {
        /// Program.
        program: String,
        /// How.
        status: ExitStatus,
        /// Last lines of its log.
        log: String,
    },
    /// It takes too long.
    #[error("{program} took longer than {limit_s} s{}", quoted(log))]
    Slow {
        /// Program.
        program: String,
        /// The limit.
        limit_s: u64,
        /// Last lines of its log.
        log: String,
    },
    /// The user wants no more.
    #[error("interrupted")]
    Interrupted,
}

fn quoted(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; its log ends: {log}") }
}

/// A process and all that it starts. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    program: String,
    log: PathBuf,
    stop: Stop,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it without input; what it prints goes to the end of the file `log`.
    pub(crate) fn start(command: &mut Command, log: &Path, stop: &Stop) -> Result<Self, ProcessFault> {
        let program = Path::new(command.get_program())
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if stop.interrupted() {
            return Err(ProcessFault::Interrupted);
        }
        let mut spawn = || {
            let out = File::options().create(true).append(true).open(log)?;
            let errors = out.try_clone()?;
            command.stdin(Stdio::null()).stdout(out).stderr(errors).process_group(0).spawn()
        };
        let child = spawn().map_err(|source| ProcessFault::Spawn { program: program.clone(), source })?;
        stop.kill_at_exit(child.id());
        Ok(Self { child, program, log: log.to_path_buf(), stop: stop.clone(), ended: None })
    }

    /// Runs a program to its end, which must be a good one and come within `limit`.
    pub(crate) fn run(
        command: &mut Command,
        log: &Path,
        limit: Duration,
        stop: &Stop,
    ) -> Result<(), ProcessFault> {
        let mut process = Self::start(command, log, stop)?;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = process.poll() {
                return if status.success() { Ok(()) } else { Err(process.ended_with(status)) };
            }
            process.go_on(deadline, limit)?;
        }
    }

    /// Asks `ready` again and again until it gives something.
    pub(crate) fn await_ready<T>(
        &mut self,
        limit: Duration,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T, ProcessFault> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = ready() {
                return Ok(found);
            }
            if let Some(status) = self.poll() {
                return Err(self.ended_with(status));
            }
            self.go_on(deadline, limit)?;
        }
    }

    fn go_on(&self, deadline: Instant, limit: Duration) -> Result<(), ProcessFault> {
        if self.stop.interrupted() {
            return Err(ProcessFault::Interrupted);
        }
        if Instant::now() >= deadline {
            let limit_s = limit.as_secs();
            return Err(ProcessFault::Slow { program: self.program.clone(), limit_s, log: self.log_end() });
        }
        std::thread::sleep(POLL);
        Ok(())
    }

    fn ended_with(&self, status: ExitStatus) -> ProcessFault {
        ProcessFault::Ended { program: self.program.clone(), status, log: self.log_end() }
    }

    /// Its process id, which is that of its group, too.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has printed.
    pub(crate) fn printed(&self) -> String {
        std::fs::read(&self.log)
            .map_or_else(|_| String::new(), |text| String::from_utf8_lossy(&text).into_owned())
    }

    fn log_end(&self) -> String {
        log_end(&self.printed())
    }

    /// How it ended, if it did.
    pub(crate) fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = match self.child.try_wait() {
                Ok(status) => status,
                // Nobody else waits for it, so this cannot be; a process that cannot be waited for is gone.
                Err(_) => Some(ExitStatus::from_raw(0)),
            };
        }
        self.ended
    }

    /// Ends it politely, and what is left of its group by force.
    pub(crate) fn stop(mut self) {
        self.end(Some(Signal::SIGTERM));
    }

    /// As a crash: SIGKILL to all of the group at once.
    pub(crate) fn kill(mut self) {
        self.end(None);
    }

    fn end(&mut self, politely: Option<Signal>) {
        if let Some(signal) = politely
            && self.poll().is_none()
        {
            // To the first process only: it knows in which order its children end.
            let _ = kill(pid(self.id()), signal);
            let deadline = Instant::now() + STOP_WAIT;
            while self.poll().is_none() && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
        }
        let group = pid(self.id());
        let deadline = Instant::now() + KILL_WAIT;
        // Signalled until nobody is left: a process may be forking.
        while killpg(group, Signal::SIGKILL) != Err(Errno::ESRCH) && Instant::now() < deadline {
            self.poll();
            reap_adopted();
            std::thread::sleep(POLL);
        }
        self.poll();
        self.stop.forget(self.id());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(Some(Signal::SIGTERM));
    }
}

/// Makes this process the parent of all processes whose own parent ends, so that none gets away.
pub(crate) fn adopt_orphans() {
    // Where the kernel refuses, groups are still ended as a whole.
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Takes leave of ended processes that were adopted. Those started here are waited for by their owners:
/// they are the leaders of their groups.
fn reap_adopted() {
    for id in children_of(std::process::id()) {
        let is_ended = stat_fields(id).is_some_and(|fields| fields.first().is_some_and(|state| state == "Z"));
        let is_leader = stat_fields(id).is_some_and(|fields| fields.get(2) == Some(&id.to_string()));
        if is_ended && !is_leader {
            let _ = nix::sys::wait::waitpid(pid(id), Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        }
    }
}

/// Ends every process that was adopted and is still there: a daemon that left its group. One is spared.
pub(crate) fn end_adopted(spared: Option<u32>) {
    let deadline = Instant::now() + KILL_WAIT;
    loop {
        let left = children_of(std::process::id());
        let left: Vec<u32> = left.into_iter().filter(|id| Some(*id) != spared).flat_map(tree).collect();
        if left.is_empty() || Instant::now() >= deadline {
            return;
        }
        for id in left {
            let _ = kill(pid(id), Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(pid(id), Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        }
        std::thread::sleep(POLL);
    }
}

/// A process and its descendants, as far as they are there.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> =
        all_processes().filter_map(|id| Some((id, stat_fields(id)?.get(1)?.parse().ok()?))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, above)| *above == parent).map(|(id, _)| *id));
        next += 1;
    }
    found
}

fn children_of(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    all_processes()
        .filter(|id| stat_fields(*id).is_some_and(|fields| fields.get(1) == Some(&parent)))
        .collect()
}

fn all_processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What follows the name in `/proc/PID/stat`: state, parent, group, ...
fn stat_fields(id: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, behind_name) = stat.rsplit_once(')')?;
    Some(behind_name.split_whitespace().map(str::to_owned).collect())
}

pub(crate) fn pid(id: u32) -> Pid {
    Pid::from_raw(id as i32)
}

/// The last lines that say something, in one line.
pub(crate) fn log_end(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join(" / ");
    let skip = last.chars().count().saturating_sub(LOG_CHARS_MAX);
    last.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        command
    }

    fn is_there(id: u32) -> bool {
        kill(pid(id), None).is_ok() && stat_fields(id).is_some_and(|fields| fields[0] != "Z")
    }

    #[test]
    fn nothing_of_a_group_is_left_even_if_it_ignores_to_be_asked() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let stop = Stop::default();
        // A child that outlives its parent, and a parent that does not listen to SIGTERM.
        let mut command =
            shell("trap '' TERM; sleep 100 & echo $!; (sleep 100 & echo $!); while :; do sleep 1; done");
        let mut process = Process::start(&mut command, &log, &stop).unwrap();
        let text = process
            .await_ready(Duration::from_secs(10), || {
                let text = std::fs::read_to_string(&log).ok()?;
                (text.lines().count() == 2).then_some(text)
            })
            .unwrap();
        let ids: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert!(ids.iter().all(|id| is_there(*id)));
        let root = process.id();
        assert!(tree(root).contains(&ids[0]));
        process.kill();
        assert!(!is_there(root) && ids.iter().all(|id| !is_there(*id)));
    }

    #[test]
    fn a_program_that_fails_or_hangs_is_told_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let stop = Stop::default();
        let run = |text: &str| Process::run(&mut shell(text), &log, Duration::from_millis(300), &stop);
        assert!(run("true").is_ok());
        let failed = run("echo no such disk; exit 3").unwrap_err().to_string();
        assert!(failed.contains("no such disk") && failed.contains('3'), "{failed}");
        assert!(matches!(run("exec sleep 100"), Err(ProcessFault::Slow { .. })));
        let missing = Process::run(&mut Command::new("/nowhere/at-all"), &log, POLL, &stop);
        assert!(matches!(missing, Err(ProcessFault::Spawn { .. })));
    }

    #[test]
    fn a_log_is_quoted_by_its_end() {
        assert_eq!(log_end("a\n\nb\n c \nd\n"), "b / c / d");
        assert_eq!(log_end(&"x".repeat(2 * LOG_CHARS_MAX)).len(), LOG_CHARS_MAX);
    }
}
