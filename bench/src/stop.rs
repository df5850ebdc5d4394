//! Ending a run early: on Ctrl-C, or because one connection failed.

use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

/// Shared by every thread of a run. Threads block in socket calls, so stopping shuts the sockets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    interrupted: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
    scratch: Mutex<Option<PathBuf>>,
    groups: Mutex<Vec<u32>>,
}

impl Stop {
    /// Waits for SIGINT and SIGTERM on a thread of its own. They are not blocked: what is started would inherit
    /// that, and could not be asked to end. The second signal ends the process at once. Files are nameless or in the scratch directory,
    /// which is removed, and processes are killed, so nothing stays behind but the topic.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        let stop = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        drop(entered);
        let waiting = stop.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            loop {
                runtime.block_on(async {
                    tokio::select! {
                        _ = interrupts.recv() => {}
                        _ = terminations.recv() => {}
                    }
                });
                if waiting.shared.interrupted.swap(true, Ordering::SeqCst) {
                    for group in waiting.groups().iter() {
                        // An error means that it is gone already.
                        let _ = killpg(Pid::from_raw(*group as i32), Signal::SIGKILL);
                    }
                    if let Some(dir) = waiting.scratch().take() {
                        // Other threads still write: what they make meanwhile needs a second try.
                        let _ = std::fs::remove_dir_all(&dir).or_else(|_| std::fs::remove_dir_all(&dir));
                    }
                    std::process::exit(1);
                }
                waiting.shut_sockets();
            }
        })?;
        Ok(stop)
    }

    /// Whether the user asked to stop.
    pub(crate) fn interrupted(&self) -> bool {
        self.shared.interrupted.load(Ordering::Relaxed)
    }

    /// The directory that goes when the process ends at once; at most one at a time.
    pub(crate) fn remove_at_exit(&self, dir: Option<PathBuf>) {
        *self.scratch() = dir;
    }

    /// The group of processes, named by its first one, that is killed when the process ends at once.
    pub(crate) fn kill_at_exit(&self, group: u32) {
        self.groups().push(group);
    }

    /// It has ended: its number may soon be another's.
    pub(crate) fn forget(&self, group: u32) {
        self.groups().retain(|known| *known != group);
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.shared.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scratch(&self) -> std::sync::MutexGuard<'_, Option<PathBuf>> {
        self.shared.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes part in the stop: the socket is shut when it comes. Released by `release_sockets`.
    pub(crate) fn register(&self, socket: &TcpStream) -> std::io::Result<()> {
        let socket = socket.try_clone()?;
        let mut sockets = self.sockets();
        if self.interrupted() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        sockets.push(socket);
        Ok(())
    }

    /// Ends every blocked read and write of the registered sockets.
    pub(crate) fn shut_sockets(&self) {
        for socket in self.sockets().iter() {
            // An error means that it is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Forgets (and so closes) the sockets of a finished phase.
    pub(crate) fn release_sockets(&self) {
        self.sockets().clear();
    }

    fn sockets(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.shared.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
