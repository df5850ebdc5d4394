//! `load --workload`: what is measured, and what is known of the broker.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::LoadArgs;
use crate::workload::Durability;

/// Everything that goes with `--workload` only.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct ByWorkload {
    /// Run a workload: a file, or one of those that --list names
    #[arg(
        long,
        value_name = "FILE|NAME",
        help_heading = "Workloads",
        conflicts_with_all = [
            "topic", "partitions", "replication_factor", "mode", "acks", "total_bytes", "duration", "rate", "floors",
            "rounds", "warmup_rounds", "record_bytes", "batch_bytes", "fetch_bytes", "connections", "in_flight", "seed",
        ]
    )]
    pub(crate) workload: Option<String>,
    /// Set one value of the workload, such as duration=5s or producers.rate.records_per_s=1000
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Workloads", requires = "workload")]
    pub(crate) set: Vec<String>,
    /// List the workloads that are built in
    #[arg(long, help_heading = "Workloads")]
    pub(crate) list: bool,
    /// Measure first what the generator does alone, against a server that answers at once; without --broker only that
    #[arg(long, help_heading = "Workloads", requires = "workload")]
    pub(crate) self_check: bool,
    /// Name of the product, for the result
    #[arg(long, value_name = "NAME", default_value = "ringmain", help_heading = "Workloads")]
    pub(crate) target_name: String,
    /// Its version
    #[arg(long, value_name = "VERSION", default_value = "unknown", help_heading = "Workloads")]
    pub(crate) target_version: String,
    /// What an acknowledgement stands for as the broker is set up [default: what the workload asks for]
    #[arg(long, value_enum, help_heading = "Workloads")]
    pub(crate) target_durability: Option<Durability>,
    /// How the broker is set up, where that differs from its defaults
    #[arg(long, value_name = "TEXT", default_value = "", help_heading = "Workloads")]
    pub(crate) target_config: String,
    /// Setting of the topics that are made, such as flush.messages=1
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Workloads", requires = "workload")]
    pub(crate) topic_config: Vec<(String, String)>,
    /// Directory of the broker's data: for what is written to its device, and for readers that are cold
    #[arg(long, value_name = "DIR", help_heading = "Workloads", requires = "workload")]
    pub(crate) broker_dir: Option<PathBuf>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((pair.0.trim().to_owned(), pair.1.trim().to_owned()))
}

impl LoadArgs {
    /// The broker's address; the command line requires one where it is used.
    pub(crate) fn broker(&self) -> &str {
        self.broker.as_deref().unwrap_or_default()
    }
}
