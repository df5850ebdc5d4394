//! A line on the terminal that says what is measured, and how many turns are left.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the elapsed time moves on.
const TICK: Duration = Duration::from_millis(200);

/// Hidden by the library unless standard error is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Expects so many turns.
    pub(crate) fn new(turns: usize) -> Self {
        let bar = ProgressBar::new(turns as u64);
        if let Ok(style) = ProgressStyle::with_template("{elapsed} {bar:30} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// A turn begins; the one before it is done.
    pub(crate) fn turn(&self, what: String) {
        if !self.bar.message().is_empty() {
            self.bar.inc(1);
        }
        self.bar.set_message(what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
