//! Ending on Ctrl-C or SIGTERM, after what is under way.

use super::output::CliError;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Signals that come within this time are one.
const SAME_SIGNAL: Duration = Duration::from_millis(500);
/// The exit code of a process that Ctrl-C has ended, by the custom of shells.
pub(super) const INTERRUPTED: u8 = 130;

/// Turns true with SIGINT or SIGTERM; a second one ends the process at once, since writing to a
/// reader that does not read, or to a broker that is gone, may take for ever.
pub(super) fn stop_on_signal() -> Result<watch::Receiver<bool>, CliError> {
    let mut interrupts = signal(SignalKind::interrupt()).map_err(CliError::Signal)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(CliError::Signal)?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let mut first: Option<Instant> = None;
        loop {
            let heard = tokio::select! {
                heard = interrupts.recv() => heard,
                heard = terminations.recv() => heard,
            };
            if heard.is_none() {
                return;
            }
            let since = first.get_or_insert_with(Instant::now).elapsed();
            // Wrappers like timeout(1) pass a signal on that the terminal sends to all: that is
            // one wish to end, not two.
            if sender.send_replace(true) && since >= SAME_SIGNAL {
                std::process::exit(INTERRUPTED.into());
            }
        }
    });
    Ok(receiver)
}
