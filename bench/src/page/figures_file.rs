//! What `engine`, `floors` and `load` without a workload leave behind: format `ringmain-bench/figures/1`
//! ([`crate::result::figures`]). Files from before it had a name lack it, their time and command line. Fields
//! that are not shown are not read.

use serde::Deserialize;
use serde_json::Value;

use crate::device::Medium;

/// Such a file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct FiguresFile {
    pub(crate) version: String,
    pub(crate) command: String,
    #[serde(default)]
    pub(crate) command_line: Vec<String>,
    pub(crate) unix_time_s: Option<u64>,
    pub(crate) machine: MachineFacts,
    pub(crate) parameters: Value,
    #[serde(default)]
    pub(crate) groups: Vec<GroupFacts>,
    #[serde(default)]
    pub(crate) summaries: Vec<SummaryFacts>,
    #[serde(default)]
    pub(crate) ratios: Vec<FloorRatio>,
}

/// Where it was measured. Older files say less of the medium.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct MachineFacts {
    pub(crate) kernel: String,
    pub(crate) cpu_model: String,
    pub(crate) cpus: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) medium: Option<Medium>,
    pub(crate) floor_filesystem: Option<String>,
}

/// Series that took turns, in one unit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct GroupFacts {
    pub(crate) part: String,
    pub(crate) title: String,
    /// `MB/s`, `1/s`, `us` or `ms`.
    pub(crate) unit: String,
    pub(crate) quantile: Option<f64>,
    pub(crate) series: Vec<SeriesFacts>,
    pub(crate) ratios: Vec<RatioFacts>,
    pub(crate) notes: Vec<String>,
}

/// One thing that was measured in every round.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct SeriesFacts {
    pub(crate) name: String,
    pub(crate) rounds: Vec<f64>,
    pub(crate) spread: Option<Ends>,
    pub(crate) percentiles: Option<Percentiles>,
}

/// Of all times of all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) samples: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
}

/// One series by another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct RatioFacts {
    pub(crate) of: String,
    pub(crate) by: String,
    pub(crate) ratio: Ends,
    pub(crate) goal: Option<Goal>,
    pub(crate) goal_met: Option<bool>,
}

/// What a ratio should be.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// The middle and the ends of several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Ends {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// One kind of phase over all rounds that count.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct SummaryFacts {
    pub(crate) kind: String,
    pub(crate) rounds: usize,
    pub(crate) mb_per_s: Ends,
    pub(crate) records_per_s: Ends,
    pub(crate) p50_us: Option<Ends>,
    pub(crate) p99_us: Option<Ends>,
    pub(crate) client_cpu_s_per_gb: Option<Ends>,
    pub(crate) server_cpu_s_per_gb: Option<Ends>,
}

/// Throughput of a broker by that of a floor.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct FloorRatio {
    pub(crate) broker: String,
    pub(crate) floor: String,
    pub(crate) throughput: Ends,
    pub(crate) floor_beaten: bool,
}
