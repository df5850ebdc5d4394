//! A directory whose file system has a journal, for rows in which every record is synced.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::compare::process::log_end;
use crate::device::Medium;
use crate::stop::Stop;

/// Makes an image, mounts it, and undoes both when its command ends.
const SCRIPT: &str = include_str!("../../../scripts/on-journaled-fs");
/// Room for what the synced rows write and the journals that brokers allocate.
const IMAGE_SIZE: &str = "6G";
/// An image that is not mounted by then never will be.
const MOUNT_WAIT: Duration = Duration::from_secs(90);
/// How long unmounting may take.
const UNMOUNT_WAIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Where synced rows keep their data.
#[derive(Debug)]
pub(crate) struct Journaled {
    dir: PathBuf,
    mount: Option<Child>,
}

impl Journaled {
    /// `scratch`, which is in `dir`, if its file system has a journal; else an image in `dir`, which needs root.
    ///
    /// # Errors
    /// Why there is none, in words for a reader of the result.
    pub(crate) fn find_or_make(scratch: &Path, dir: &Path, stop: &Stop) -> Result<Self, String> {
        let medium = Medium::of(dir);
        if medium.journal == Some(true) {
            return Ok(Self { dir: scratch.to_path_buf(), mount: None });
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(format!(
                "the file system of {} has no journal known of ({}), and mounting one that has needs root",
                dir.display(),
                medium.filesystem
            ));
        }
        Self::mount(scratch, dir, stop)
    }

    fn mount(scratch: &Path, dir: &Path, stop: &Stop) -> Result<Self, String> {
        let failed =
            |what: &str, error: std::io::Error| format!("no file system with a journal: {what}: {error}");
        let script = scratch.join("on-journaled-fs");
        std::fs::write(&script, SCRIPT).map_err(|error| failed("the script cannot be written", error))?;
        let said = scratch.join("on-journaled-fs.out");
        let log = scratch.join("on-journaled-fs.log");
        let make = |path: &Path| std::fs::File::create(path).map_err(|error| failed("no log", error));
        let mut command = Command::new("bash");
        // The mount lasts as long as our end of its input: also if this program is killed.
        command.arg(&script).args([IMAGE_SIZE, "ext4", "sh", "-c", "echo {}; exec cat >/dev/null"]);
        command.env("TMPDIR", dir).stdin(Stdio::piped()).stdout(make(&said)?).stderr(make(&log)?);
        // Ctrl-C on a terminal goes to all of a group: not to this one, it is needed to the last.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().map_err(|error| failed("bash cannot be started", error))?;
        let mut made = Self { dir: PathBuf::new(), mount: Some(child) };
        let deadline = Instant::now() + MOUNT_WAIT;
        loop {
            let line = std::fs::read_to_string(&said).unwrap_or_default();
            if let Some(mounted) = line.strip_suffix('\n') {
                made.dir = PathBuf::from(mounted);
                return Ok(made);
            }
            let is_over = made.mount.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if is_over || stop.interrupted() || Instant::now() >= deadline {
                let log = log_end(&std::fs::read_to_string(&log).unwrap_or_default());
                return Err(format!("no file system with a journal could be mounted: {log}"));
            }
            std::thread::sleep(POLL);
        }
    }

    /// The process that holds the mount.
    pub(crate) fn holder(&self) -> Option<u32> {
        self.mount.as_ref().map(Child::id)
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Journaled {
    fn drop(&mut self) {
        let Some(mut child) = self.mount.take() else { return };
        // The end of its input ends the command, and the script cleans up behind it.
        drop(child.stdin.take());
        let deadline = Instant::now() + UNMOUNT_WAIT;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                // The script takes this as a reason to clean up, too.
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(child.id() as i32),
                    nix::sys::signal::Signal::SIGTERM,
                );
                let _ = child.wait();
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}
