//! The result of running one workload against one broker: format `ringmain-bench/run/1`.
//!
//! One file, one JSON object. Units stand last in the names; `mb` are 10^6 bytes; a latency is in whole
//! microseconds. What could not be found out is `null`, never zero. A file exists only if everything was
//! verified: a run that lost a record has no figures.
//!
//! Phases of the same `round` and `span` ran at the same time. Processor time, memory and device writes
//! are of the span as a whole, and the same in each of its phases: they are not to be added up.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::workload::{Durability, Workload};

/// The first thing in the file.
pub(crate) const RUN_FORMAT: &str = "ringmain-bench/run/1";

/// A run: what was asked, of what, where, and what was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// [`RUN_FORMAT`].
    pub(crate) format: String,
    /// What measured.
    pub(crate) tool: Tool,
    /// When the run began, in seconds since 1970.
    pub(crate) unix_time_s: u64,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// What was measured.
    pub(crate) target: RunTarget,
    /// What it was asked to do, with all defaults and overrides in place.
    pub(crate) workload: Workload,
    /// What the generator does alone, if that was measured.
    pub(crate) self_check: Option<SelfCheck>,
    /// What was read back, over all rounds, outside of the timed phases.
    pub(crate) verified: Verified,
    /// In the order in which they began.
    pub(crate) phases: Vec<Phase>,
    /// What a reader must know: what was not done, or not as asked.
    pub(crate) notes: Vec<String>,
}

/// The program that measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tool {
    /// Name.
    pub(crate) name: String,
    /// Version.
    pub(crate) version: String,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
}

/// The broker that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunTarget {
    /// Name of the product, such as `ringmain` or `kafka`.
    pub(crate) name: String,
    /// Its version, or "unknown".
    pub(crate) version: String,
    /// What an acknowledgement stands for as it was set up.
    pub(crate) durability: Durability,
    /// The configuration that differs from the product's defaults, as text; may have several lines.
    pub(crate) configuration: String,
    /// Where it listened.
    pub(crate) address: String,
}

/// The highest rate of the generator against a server that answers at once and keeps nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct SelfCheck {
    /// Records a second, with the workload's sizes, connections and requests in flight.
    pub(crate) records_per_s: f64,
    /// The same in bytes of batches.
    pub(crate) mb_per_s: f64,
    /// Processor time of the generator for each second.
    pub(crate) client_cpu_s_per_s: f64,
    /// How long it ran.
    pub(crate) elapsed_s: f64,
}

/// What was read back and found right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verified {
    /// Records.
    pub(crate) records: u64,
    /// Batches, where the target has any.
    pub(crate) batches: Option<u64>,
    /// Bytes of them as they are stored.
    pub(crate) bytes: u64,
    /// Whether each checksum was computed again.
    pub(crate) checksums: bool,
    /// Whether the order of the records of each producer was looked at in each partition.
    pub(crate) order: bool,
}

/// What a phase measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PhaseKind {
    /// Records taken by the broker. Latency: from when a request was due until it was acknowledged.
    Produce,
    /// Records given by the broker. Latency: from when a request was sent until its answer was read;
    /// `null` where the broker sends by itself.
    Consume,
    /// Latency from when the request that carried a record was due until a consumer had read it.
    /// Records and bytes are those with a latency.
    EndToEnd,
}

/// The figures of one kind of work in one span of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Phase {
    /// What was measured.
    pub(crate) kind: PhaseKind,
    /// Which span: `fill`, `steady`, `ramp-1`, ... Phases of one round and span ran side by side.
    pub(crate) span: String,
    /// Which consumers, where a workload has several sets; else empty.
    pub(crate) label: String,
    /// Round, from 1.
    pub(crate) round: u32,
    /// Verified, but does not count in summaries.
    pub(crate) warmup: bool,
    /// When it began, in seconds from the start of the round.
    pub(crate) began_s: f64,
    /// Records moved.
    pub(crate) records: u64,
    /// Bytes of whole batches as they travelled (compressed, if they were).
    pub(crate) bytes: u64,
    /// From its start until the last answer.
    pub(crate) elapsed_s: f64,
    /// Rate that was asked for; `null`: as fast as possible. Of a burst, the mean.
    pub(crate) target_records_per_s: Option<f64>,
    /// Rate that came of it.
    pub(crate) records_per_s: f64,
    /// The same in bytes.
    pub(crate) mb_per_s: f64,
    /// `null` if nothing is answered.
    pub(crate) latency: Option<LatencySummary>,
    /// Pieces of equal length, by when the answers came; pieces in which nothing came have no latencies.
    pub(crate) over_time: Vec<Moment>,
    /// What the span used.
    pub(crate) usage: Usage,
    /// Whether the client, not the broker, may have set the limit.
    pub(crate) client_limited: bool,
    /// Why it is thought so; empty if it is not.
    pub(crate) client_limited_why: String,
}

/// Latencies of a phase, in microseconds. A value stands for all within 0.1 % of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LatencySummary {
    /// How many were taken: one for each request (end to end: for each batch that was read).
    pub(crate) count: u64,
    /// Shortest.
    pub(crate) min_us: u64,
    /// Mean.
    pub(crate) mean_us: f64,
    /// Half of them took no longer.
    pub(crate) p50_us: u64,
    /// 90 % took no longer.
    pub(crate) p90_us: u64,
    /// 99 % took no longer.
    pub(crate) p99_us: u64,
    /// 99.9 % took no longer.
    pub(crate) p99_9_us: u64,
    /// 99.99 % took no longer.
    pub(crate) p99_99_us: u64,
    /// Longest.
    pub(crate) max_us: u64,
    /// Points `[percentile from 0 to 100, us]` for a plot, both ascending; the last is `[100, max_us]`.
    pub(crate) curve: Vec<(f64, u64)>,
}

/// A piece of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// Where the piece ends, in seconds from the start of the phase.
    pub(crate) t_s: f64,
    /// Rate in the piece.
    pub(crate) records_per_s: f64,
    /// Median latency.
    pub(crate) p50_us: Option<u64>,
    /// 99th percentile.
    pub(crate) p99_us: Option<u64>,
    /// Longest.
    pub(crate) max_us: Option<u64>,
}

/// What a span cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Processor time of the client, user and system.
    pub(crate) client_cpu_s: f64,
    /// The same of the broker's processes; `null` if they are not known.
    pub(crate) broker_cpu_s: Option<f64>,
    /// Resident memory of the broker at the end.
    pub(crate) broker_rss_bytes: Option<u64>,
    /// Resident memory of the broker at most, since it started.
    pub(crate) broker_rss_max_bytes: Option<u64>,
    /// Bytes that the broker's processes caused to be written to a device (`write_bytes` of
    /// `/proc/PID/io`; page cache counts when a page is made dirty, so later deletion is not taken off).
    pub(crate) broker_write_bytes: Option<u64>,
    /// Bytes that all of the machine wrote to the device of the data directory, synced before and after;
    /// `null` without a directory or where it is no block device.
    pub(crate) device_write_bytes: Option<u64>,
}

/// A file that is no run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunFileError {
    /// It cannot be read or written.
    #[error("cannot use {}: {source}; check the path", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{} is no result of `ringmain-bench load`: {source}; measure again", path.display())]
    Content {
        /// File.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// It is of another version.
    #[error("{} has format {found:?}, not {RUN_FORMAT:?}; measure again with this version", path.display())]
    Format {
        /// File.
        path: PathBuf,
        /// What it says.
        found: String,
    },
}

impl Run {
    /// Reads a file and looks at its format first.
    ///
    /// # Errors
    /// If it cannot be read, is of another format, or is not complete.
    pub(crate) fn read(path: &Path) -> Result<Self, RunFileError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
        }
        let text = std::fs::read_to_string(path)
            .map_err(|source| RunFileError::File { path: path.to_path_buf(), source })?;
        let content = |source| RunFileError::Content { path: path.to_path_buf(), source };
        let head: Head = serde_json::from_str(&text).map_err(content)?;
        if head.format != RUN_FORMAT {
            return Err(RunFileError::Format { path: path.to_path_buf(), found: head.format });
        }
        serde_json::from_str(&text).map_err(content)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), RunFileError> {
        let failed = |source| RunFileError::File { path: path.to_path_buf(), source };
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| RunFileError::Content { path: path.to_path_buf(), source })?;
        std::fs::write(path, text + "\n").map_err(failed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run with every optional part, for tests of what reads runs.
    pub(crate) fn sample() -> Run {
        Run {
            format: RUN_FORMAT.into(),
            tool: Tool { name: "ringmain-bench".into(), version: "0".into(), command: vec!["load".into()] },
            unix_time_s: 1_700_000_000,
            machine: Machine::probe(Path::new(".")),
            target: RunTarget {
                name: "ringmain".into(),
                version: "0".into(),
                durability: Durability::PageCache,
                configuration: String::new(),
                address: "127.0.0.1:9092".into(),
            },
            workload: Workload::parse("name = \"sample\"\n[producers]\n").unwrap(),
            self_check: Some(SelfCheck {
                records_per_s: 1e6,
                mb_per_s: 1e3,
                client_cpu_s_per_s: 1.0,
                elapsed_s: 2.0,
            }),
            verified: Verified { records: 3, batches: Some(1), bytes: 99, checksums: true, order: true },
            phases: vec![Phase {
                kind: PhaseKind::EndToEnd,
                span: "steady".into(),
                label: String::new(),
                round: 1,
                warmup: false,
                began_s: 0.0,
                records: 3,
                bytes: 99,
                elapsed_s: 1.5,
                target_records_per_s: Some(2.0),
                records_per_s: 2.0,
                mb_per_s: 0.000_066,
                latency: Some(LatencySummary {
                    count: 1,
                    min_us: 5,
                    mean_us: 5.0,
                    p50_us: 5,
                    p90_us: 5,
                    p99_us: 5,
                    p99_9_us: 5,
                    p99_99_us: 5,
                    max_us: 5,
                    curve: vec![(0.0, 5), (100.0, 5)],
                }),
                over_time: vec![Moment {
                    t_s: 1.0,
                    records_per_s: 3.0,
                    p50_us: Some(5),
                    p99_us: None,
                    max_us: None,
                }],
                usage: Usage { client_cpu_s: 0.1, broker_cpu_s: Some(0.2), ..Usage::default() },
                client_limited: false,
                client_limited_why: String::new(),
            }],
            notes: vec!["one".into()],
        }
    }

    #[test]
    fn a_run_comes_back_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        let run = sample();
        run.write(&path).unwrap();
        assert_eq!(Run::read(&path).unwrap(), run);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"kind\": \"end_to_end\"") && text.contains("\"durability\": \"page-cache\""));
    }

    #[test]
    fn another_format_is_told_apart_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        std::fs::write(&path, "{\"format\": \"ringmain-bench/run/9\"}").unwrap();
        assert!(matches!(Run::read(&path), Err(RunFileError::Format { .. })));
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(Run::read(&path), Err(RunFileError::Content { .. })));
        assert!(matches!(Run::read(&dir.path().join("none")), Err(RunFileError::File { .. })));
    }
}
