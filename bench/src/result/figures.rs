//! The head of what `engine`, `floors` and `load` without a workload leave behind: format
//! `ringmain-bench/figures/1`. The rest is written by [`crate::figures`] and [`crate::report`] and read by
//! [`crate::page`].

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// The first thing in the file.
pub(crate) const FIGURES_FORMAT: &str = "ringmain-bench/figures/1";

/// What measured, and when.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Head {
    /// [`FIGURES_FORMAT`].
    pub(crate) format: &'static str,
    /// Name of the tool.
    pub(crate) tool: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// Which command of it.
    pub(crate) command: &'static str,
    /// Program and arguments.
    pub(crate) command_line: Vec<String>,
    /// When it ended, in seconds since 1970.
    pub(crate) unix_time_s: u64,
}

impl Head {
    /// Of a command that ends now.
    pub(crate) fn of(command: &'static str) -> Self {
        Self {
            format: FIGURES_FORMAT,
            tool: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            command,
            command_line: std::env::args().collect(),
            unix_time_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }
}
