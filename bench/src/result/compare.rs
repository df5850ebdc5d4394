//! The result of comparing Ringmain with others: format `ringmain-bench/compare/1`.
//!
//! One file, one JSON object; figures are as in a run ([`super::run`]). A row holds two sides that were
//! measured in turns with one and the same workload, which includes the class of durability, the size of
//! records and batches, connections and requests in flight, or it is not made. Figures
//! of tools that a peer brings are in a table of their own, since they have no other side.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::device::Medium;
use crate::machine::Machine;
use crate::result::run::{Phase, PhaseKind, Tool, Verified};
use crate::workload::{Durability, Workload};

/// The first thing in the file.
pub(crate) const COMPARE_FORMAT: &str = "ringmain-bench/compare/1";

/// A comparison: who, where, and what was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Comparison {
    /// [`COMPARE_FORMAT`].
    pub(crate) format: String,
    /// What measured.
    pub(crate) tool: Tool,
    /// When it began, in seconds since 1970.
    pub(crate) unix_time_s: u64,
    /// How long it took, without installing.
    pub(crate) elapsed_s: f64,
    /// How long installing took.
    pub(crate) install_s: f64,
    /// Whether it was a short one.
    pub(crate) short: bool,
    /// Where it ran; its medium is that of the page-cache rows.
    pub(crate) machine: Machine,
    /// Where synced rows kept their data; `null` if there are none.
    pub(crate) synced_medium: Option<Medium>,
    /// Who took part; `ringmain` is the first.
    pub(crate) peers: Vec<PeerFacts>,
    /// Workload by workload, peer by peer.
    pub(crate) rows: Vec<Row>,
    /// Starts, idling and recovery; `ringmain` is the first.
    pub(crate) lives: Vec<Life>,
    /// What tools say that peers bring: not comparable with the rows.
    pub(crate) own_tool: Vec<OwnToolRow>,
    /// What was not measured.
    pub(crate) not_run: Vec<NotRun>,
    /// What a reader must know.
    pub(crate) notes: Vec<String>,
}

/// One who took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerFacts {
    /// Name on the command line and in rows.
    pub(crate) name: String,
    /// Version.
    pub(crate) version: String,
    /// Where it comes from.
    pub(crate) source: String,
    /// How it was started, for each class of durability: command, an empty line, files.
    pub(crate) configurations: Vec<Configuration>,
    /// Who loads it.
    pub(crate) client: Client,
    /// What differs from Ringmain, and what else a reader must know.
    pub(crate) notes: Vec<String>,
    /// Whether it is measured by a tool that it brings, and so has no rows.
    pub(crate) own_tool: bool,
}

/// How a peer was set up for a class of durability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Configuration {
    /// The class.
    pub(crate) durability: Durability,
    /// Command line and files.
    pub(crate) text: String,
}

/// Who loads a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Client {
    /// The load generator that loads Ringmain, by the same protocol.
    Same,
    /// A library for the peer's protocol, under the same schedule and with the same recorder.
    Own {
        /// Name and version.
        library: String,
    },
    /// A tool that the peer brings, with a schedule of its own.
    OwnTool {
        /// Name.
        tool: String,
    },
}

/// One workload, by Ringmain and by one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// What both sides did.
    pub(crate) workload: Workload,
    /// The other side.
    pub(crate) peer: String,
    /// Who loads the other side.
    pub(crate) client: Client,
    /// Rounds of A B B A: A is Ringmain.
    pub(crate) rounds: Vec<Round>,
    /// What is compared.
    pub(crate) figures: Vec<Figure>,
    /// What differs between the sides beside the product, and what else a reader must know.
    pub(crate) notes: Vec<String>,
}

impl Row {
    /// Counts every phase in bytes of records. Who loads a side sees what its own protocol carries: with batch headers
    /// or without. Sides with different clients would otherwise stand there with different gigabytes for the same records.
    pub(crate) fn count_records_only(&mut self) {
        let record_bytes = self.workload.producers.record_bytes.0;
        let turns = self.rounds.iter_mut().flat_map(|round| &mut round.turns);
        for phase in turns.flat_map(|turn| &mut turn.phases) {
            phase.bytes = phase.records.saturating_mul(record_bytes);
            phase.mb_per_s = phase.records_per_s * record_bytes as f64 / 1e6;
        }
    }
}

/// Four turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Number, from 1.
    pub(crate) round: u32,
    /// In the order in which they ran: Ringmain, peer, peer, Ringmain.
    pub(crate) turns: Vec<Turn>,
}

/// One run of a workload against one side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// Who: `ringmain` or the peer.
    pub(crate) side: String,
    /// As in a run.
    pub(crate) phases: Vec<Phase>,
    /// What was read back.
    pub(crate) verified: Verified,
}

/// A figure of both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Of which kind of work.
    pub(crate) kind: PhaseKind,
    /// What, with its unit last: `records_per_s`, `mb_per_s`, `p50_us`, `p99_us`, `broker_cpu_s_per_gb`,
    /// `client_cpu_s_per_gb`, `broker_rss_max_bytes`, `device_bytes_per_byte`.
    pub(crate) what: String,
    /// Whether more is better.
    pub(crate) more_is_better: bool,
    /// Ringmain's, over all turns.
    pub(crate) ringmain: Spread,
    /// The peer's.
    pub(crate) peer: Spread,
    /// Ringmain divided by the peer: of each round the means, then the median of rounds; least and most are those of
    /// any two turns of one round. `null` if a side has nothing to divide.
    pub(crate) ratio: Option<Spread>,
}

/// Median with least and most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// Median.
    pub(crate) median: f64,
    /// Least.
    pub(crate) least: f64,
    /// Most.
    pub(crate) most: f64,
}

/// What a broker takes when it starts, does nothing, and comes back after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Life {
    /// Who.
    pub(crate) peer: String,
    /// From the start of its process to its first answer, on an empty directory; every start of the run.
    pub(crate) start_up_s: Vec<f64>,
    /// Resident memory of all its processes some seconds later, without a client.
    pub(crate) idle_rss_bytes: Vec<u64>,
    /// Processor time for each second of these.
    pub(crate) idle_cpu_s_per_s: Vec<f64>,
    /// Starts after SIGKILL.
    pub(crate) recoveries: Vec<Recovery>,
    /// What a reader must know.
    pub(crate) notes: Vec<String>,
}

/// A start after the broker was killed, with data that it had acknowledged and that had been read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recovery {
    /// How the broker was set up.
    pub(crate) durability: Durability,
    /// From the start of its process until it answers and serves every partition.
    pub(crate) recovery_after_kill9_s: f64,
    /// Records that it had acknowledged.
    pub(crate) acknowledged_records: u64,
    /// Records that it had afterwards; fewer are a loss.
    pub(crate) found_records: u64,
    /// Bytes of them.
    pub(crate) bytes: u64,
}

/// A figure of a tool that a peer brings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OwnToolRow {
    /// Who.
    pub(crate) peer: String,
    /// How it was set up.
    pub(crate) durability: Durability,
    /// What the tool said.
    pub(crate) figure: OwnFigure,
}

/// As a tool printed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OwnFigure {
    /// What was done: senders, sizes.
    pub(crate) what: String,
    /// The command.
    pub(crate) command: String,
    /// Messages a second; of several reports the median.
    pub(crate) messages_per_s: Spread,
    /// Latencies that it reports: name with unit, value.
    pub(crate) latencies: Vec<(String, f64)>,
    /// Processor time of the broker meanwhile.
    pub(crate) broker_cpu_s: Option<f64>,
    /// Resident memory of the broker at most.
    pub(crate) broker_rss_max_bytes: Option<u64>,
}

/// Something that was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotRun {
    /// Who.
    pub(crate) peer: String,
    /// Which workload; `null`: none of them.
    pub(crate) workload: Option<String>,
    /// Why.
    pub(crate) why: String,
}

/// A file that is no comparison.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareFileError {
    /// It cannot be read or written.
    #[error("cannot use {}: {source}; check the path", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{} is no result of `ringmain-bench compare`: {source}; measure again", path.display())]
    Content {
        /// File.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// It is of another version.
    #[error("{} has format {found:?}, not {COMPARE_FORMAT:?}; measure again with this version", path.display())]
    Format {
        /// File.
        path: PathBuf,
        /// What it says.
        found: String,
    },
}

impl Comparison {
    /// Reads a file and looks at its format first.
    ///
    /// # Errors
    /// If it cannot be read, is of another format, or is not complete.
    pub(crate) fn read(path: &Path) -> Result<Self, CompareFileError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
        }
        let text = std::fs::read_to_string(path)
            .map_err(|source| CompareFileError::File { path: path.to_path_buf(), source })?;
        let content = |source| CompareFileError::Content { path: path.to_path_buf(), source };
        let head: Head = serde_json::from_str(&text).map_err(content)?;
        if head.format != COMPARE_FORMAT {
            return Err(CompareFileError::Format { path: path.to_path_buf(), found: head.format });
        }
        serde_json::from_str(&text).map_err(content)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), CompareFileError> {
        let failed = |source| CompareFileError::File { path: path.to_path_buf(), source };
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| CompareFileError::Content { path: path.to_path_buf(), source })?;
        std::fs::write(path, text + "\n").map_err(failed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A comparison with every optional part, for tests of what reads them.
    pub(crate) fn sample() -> Comparison {
        let run = crate::result::run::tests::sample();
        let spread = Spread { median: 2.0, least: 1.0, most: 3.0 };
        let turn =
            |side: &str| Turn { side: side.to_string(), phases: run.phases.clone(), verified: run.verified };
        Comparison {
            format: COMPARE_FORMAT.into(),
            tool: run.tool.clone(),
            unix_time_s: run.unix_time_s,
            elapsed_s: 100.0,
            install_s: 10.0,
            short: true,
            machine: run.machine.clone(),
            synced_medium: Some(Medium::of(Path::new("."))),
            peers: vec![PeerFacts {
                name: "kafka".into(),
                version: "4.3.1".into(),
                source: "Maven".into(),
                configurations: vec![Configuration { durability: Durability::Synced, text: "a=b\n".into() }],
                client: Client::Own { library: "some 1".into() },
                notes: vec!["one".into()],
                own_tool: false,
            }],
            rows: vec![Row {
                workload: run.workload.clone(),
                peer: "kafka".into(),
                client: Client::Same,
                rounds: vec![Round {
                    round: 1,
                    turns: ["ringmain", "kafka", "kafka", "ringmain"].map(turn).into(),
                }],
                figures: vec![Figure {
                    kind: PhaseKind::Produce,
                    what: "records_per_s".into(),
                    more_is_better: true,
                    ringmain: spread,
                    peer: spread,
                    ratio: Some(spread),
                }],
                notes: Vec::new(),
            }],
            lives: vec![Life {
                peer: "ringmain".into(),
                start_up_s: vec![0.1, 0.2],
                idle_rss_bytes: vec![1],
                idle_cpu_s_per_s: vec![0.001],
                recoveries: vec![Recovery {
                    durability: Durability::PageCache,
                    recovery_after_kill9_s: 0.3,
                    acknowledged_records: 7,
                    found_records: 7,
                    bytes: 700,
                }],
                notes: Vec::new(),
            }],
            own_tool: vec![OwnToolRow {
                peer: "rocketmq".into(),
                durability: Durability::PageCache,
                figure: OwnFigure {
                    what: "64 threads".into(),
                    command: "java ...".into(),
                    messages_per_s: spread,
                    latencies: vec![("mean_ms".into(), 2.5)],
                    broker_cpu_s: Some(1.0),
                    broker_rss_max_bytes: None,
                },
            }],
            not_run: vec![NotRun { peer: "iggy".into(), workload: None, why: "no server".into() }],
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_comparison_comes_back_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        let comparison = sample();
        comparison.write(&path).unwrap();
        assert_eq!(Comparison::read(&path).unwrap(), comparison);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"kind\": \"own\"") && text.contains("\"durability\": \"synced\""));
        std::fs::write(&path, "{\"format\": \"ringmain-bench/compare/9\"}").unwrap();
        assert!(matches!(Comparison::read(&path), Err(CompareFileError::Format { .. })));
        std::fs::write(&path, "[]").unwrap();
        assert!(matches!(Comparison::read(&path), Err(CompareFileError::Content { .. })));
    }
}
