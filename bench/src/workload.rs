//! A workload: what producers and consumers do, read from TOML. Unknown keys and values beyond the limits
//! are refused. Those that come with the tool are in `bench/workloads` and [`catalog`].

pub(crate) mod catalog;
mod check;
mod units;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub(crate) use self::check::{BATCH_BYTES_MAX, Impossible};
pub(crate) use self::units::{Bytes, Time};

/// What an acknowledgement stands for. Only results of the same class may be compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Durability {
    /// Written to the page cache: survives the end of the process, not the loss of power.
    #[default]
    PageCache,
    /// On the medium before it is acknowledged.
    Synced,
}

/// All that happens in a run. One round is: make the topics, `fill`, then producers and consumers side by
/// side for `warmup` and `duration`, until consumers have read all; then everything is read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {
    /// Short name, as the file is called.
    pub(crate) name: String,
    /// What it stands for, in a sentence.
    #[serde(default)]
    pub(crate) description: String,
    /// The class of durability that the target must be set up for.
    #[serde(default)]
    pub(crate) durability: Durability,
    /// Topics.
    #[serde(default = "one")]
    pub(crate) topics: u32,
    /// Partitions of each topic.
    #[serde(default = "one")]
    pub(crate) partitions: u32,
    /// Replicas of each partition.
    #[serde(default = "one")]
    pub(crate) replication_factor: u32,
    /// Before the timed part, at the same rate (of bursts: the base rate): verified, does not count.
    #[serde(default = "default_warmup")]
    pub(crate) warmup: Time,
    /// How long producers send.
    #[serde(default = "default_duration")]
    pub(crate) duration: Time,
    /// How long consumers may go on after the producers before the run fails.
    #[serde(default = "default_drain_max")]
    pub(crate) drain_max: Time,
    /// Producers of a round end early when they have sent so many bytes of batches, fill included.
    #[serde(default = "default_bytes_max")]
    pub(crate) bytes_max: Bytes,
    /// Seed of payload, keys and their order.
    #[serde(default = "one_u64")]
    pub(crate) seed: u64,
    /// Rounds, each with topics of its own.
    #[serde(default = "one")]
    pub(crate) rounds: u32,
    /// Records that are there before consumers begin, sent as fast as possible: a span of its own.
    #[serde(default)]
    pub(crate) fill: Option<Fill>,
    /// Who sends. Without a rate of more than nothing, or with `duration = 0`, only the fill is sent.
    pub(crate) producers: Producers,
    /// Sets of consumers; each set reads every record.
    #[serde(default)]
    pub(crate) consumers: Vec<Consumers>,
}

/// Records that are there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fill {
    /// Bytes of batches, over all topics.
    pub(crate) bytes: Bytes,
}

/// Who sends, and what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Producers {
    /// Connections.
    pub(crate) connections: u32,
    /// When a batch counts as taken.
    pub(crate) acks: Acks,
    /// Requests in flight on each connection.
    pub(crate) in_flight: u32,
    /// Bytes of key and value of each record.
    pub(crate) record_bytes: Bytes,
    /// Records in each batch, and so in each request.
    pub(crate) batch_records: u32,
    /// How batches are compressed.
    pub(crate) compression: Codec,
    /// Share of each value that is one repeated byte; the rest is random.
    pub(crate) repeated: f64,
    /// Keys.
    pub(crate) keys: Keys,
    /// When requests are due.
    pub(crate) rate: Rate,
}

impl Default for Producers {
    fn default() -> Self {
        Self {
            connections: 1,
            acks: Acks::One,
            in_flight: 5,
            record_bytes: Bytes(1024),
            batch_records: 1,
            compression: Codec::None,
            repeated: 0.0,
            keys: Keys::None,
            rate: Rate::Max,
        }
    }
}

/// When a batch counts as taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Acks {
    /// Never answered.
    #[serde(rename = "0")]
    None,
    /// Answered by the leader.
    #[serde(rename = "1")]
    One,
    /// Answered when all in-sync replicas have it.
    All,
}

impl Acks {
    /// The number in the request.
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::One => 1,
            Self::All => -1,
        }
    }
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Keys of records; they decide which partition a record goes to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Keys {
    /// Partitions in turn; no keys.
    None,
    /// Each of `count` keys as often as any other.
    Uniform {
        /// Different keys.
        count: u64,
    },
    /// The n-th key in proportion to `1 / n^exponent`.
    Zipf {
        /// Different keys.
        count: u64,
        /// Skew: 0 is uniform, 1 the classic one.
        exponent: f64,
    },
}

/// When requests are due. Latency counts from then on, whatever the broker does (open loop).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Rate {
    /// As soon as a request may be in flight (closed loop).
    Max,
    /// At equal distances.
    Fixed {
        /// Of all producers together.
        records_per_s: f64,
    },
    /// Steps, each `factor` times the one before, `duration` long each, until a step is not kept up with
    /// or `steps_max` are done. Each is a span of its own: `ramp-1`, `ramp-2`, ...
    Ramp {
        /// The first step.
        from_records_per_s: f64,
        /// From step to step.
        factor: f64,
        /// Steps at most.
        steps_max: u32,
    },
    /// A base rate, and `peak_factor` times as much for the first `peak` of every `period`.
    Burst {
        /// Outside of peaks.
        base_records_per_s: f64,
        /// By how much more in them.
        peak_factor: f64,
        /// How long a peak is.
        peak: Time,
        /// From peak to peak.
        period: Time,
    },
}

/// Where consumers begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum From {
    /// Behind the fill: they read what is sent while they wait for it.
    End,
    /// At the first record.
    Start,
}

/// One set of consumers, which reads everything from where it begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Consumers {
    /// Label of its figures.
    pub(crate) label: String,
    /// Copies of this set (fan-out); their figures are taken together.
    pub(crate) sets: u32,
    /// Connections of each set; partitions are shared out among them.
    pub(crate) connections: u32,
    /// Where it begins.
    pub(crate) from: From,
    /// Records a second that a set asks for at most, all connections together; absent: no limit.
    pub(crate) records_per_s_max: Option<f64>,
    /// Bytes that a fetch asks for, at most.
    pub(crate) fetch_bytes: Bytes,
    /// How long a broker may hold an answer back for want of data.
    pub(crate) fetch_wait: Time,
    /// Members of a consumer group that commit, by the client library, instead of plain fetches.
    pub(crate) group: bool,
    /// Drop the broker's files from the page cache before it begins (needs --data-dir).
    pub(crate) cold: bool,
}

impl Default for Consumers {
    fn default() -> Self {
        Self {
            label: String::new(),
            sets: 1,
            connections: 1,
            from: From::End,
            records_per_s_max: None,
            fetch_bytes: Bytes(1 << 20),
            fetch_wait: Time(std::time::Duration::from_millis(500)),
            group: false,
            cold: false,
        }
    }
}

/// A workload that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkloadError {
    /// The file cannot be read.
    #[error("cannot read the workload {}: {source}; see load --list for those that are built in", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// It is no workload.
    #[error("the workload cannot be understood: {0}")]
    Content(#[from] toml::de::Error),
    /// An override is not `KEY=VALUE`, or leads nowhere.
    #[error(
        "cannot set {assignment:?}: {what}; write for example duration=5s or producers.rate.records_per_s=1000"
    )]
    Override {
        /// As given.
        assignment: String,
        /// What is wrong.
        what: String,
    },
    /// Values that do not go together, or beyond a limit.
    #[error("the workload {name} cannot be run: {source}")]
    Impossible {
        /// Of the workload.
        name: String,
        /// Why.
        source: Impossible,
    },
}

impl Workload {
    /// Reads and checks a workload.
    ///
    /// # Errors
    /// If it is no TOML, has unknown keys, or values beyond the limits.
    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Result<Self, WorkloadError> {
        Self::parse_with(text, &[])
    }

    /// The same with overrides `KEY=VALUE`, the key as a path: `consumers.0.sets=3`.
    ///
    /// # Errors
    /// As above, and if an override leads nowhere.
    pub(crate) fn parse_with(text: &str, overrides: &[String]) -> Result<Self, WorkloadError> {
        let mut table: toml::Value = toml::from_str::<toml::Table>(text)?.into();
        for assignment in overrides {
            set(&mut table, assignment)
                .map_err(|what| WorkloadError::Override { assignment: assignment.clone(), what })?;
        }
        let workload: Self = table.try_into()?;
        workload
            .check()
            .map_err(|source| WorkloadError::Impossible { name: workload.name.clone(), source })?;
        Ok(workload)
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// As [`Self::parse_with`], and if the file cannot be read.
    pub(crate) fn read(path: &Path, overrides: &[String]) -> Result<Self, WorkloadError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| WorkloadError::File { path: path.to_path_buf(), source })?;
        Self::parse_with(&text, overrides)
    }
}

/// Sets the value at a path; tables on the way are made, elements of lists must be there.
fn set(table: &mut toml::Value, assignment: &str) -> Result<(), String> {
    let (path, value) = assignment.split_once('=').ok_or("there is no =")?;
    let value = parse_value(value.trim());
    let mut place = table;
    for part in path.trim().split('.') {
        place = match place {
            toml::Value::Table(table) => {
                table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()))
            }
            toml::Value::Array(list) => part
                .parse::<usize>()
                .ok()
                .and_then(|index| list.get_mut(index))
                .ok_or_else(|| format!("the list has no element {part}"))?,
            _ => return Err(format!("{part} is below a plain value")),
        };
    }
    *place = value;
    Ok(())
}

/// A TOML value, or else a text: `5s` need not be quoted.
fn parse_value(text: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}")).ok();
    let value = parsed.and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn one() -> u32 {
    1
}

fn one_u64() -> u64 {
    1
}

fn default_warmup() -> Time {
    Time::seconds(2)
}

fn default_duration() -> Time {
    Time::seconds(20)
}

fn default_drain_max() -> Time {
    Time::seconds(120)
}

fn default_bytes_max() -> Bytes {
    Bytes(8 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "name = \"plain\"\n[producers]\nrate = { kind = \"fixed\", records_per_s = 10 }\n";

    #[test]
    fn defaults_overrides_and_units() {
        let overrides = ["duration=5s", "producers.record_bytes=2KiB", "producers.keys.kind=uniform"];
        let mut overrides: Vec<String> = overrides.map(String::from).into();
        overrides.push("producers.keys.count=7".into());
        let workload = Workload::parse_with(PLAIN, &overrides).unwrap();
        assert_eq!(workload.duration, Time::seconds(5));
        assert_eq!(workload.producers.record_bytes, Bytes(2048));
        assert_eq!(workload.producers.keys, Keys::Uniform { count: 7 });
        assert_eq!(workload.producers.rate, Rate::Fixed { records_per_s: 10.0 });
        assert_eq!(workload.partitions, 1);
        let json = serde_json::to_string(&workload).unwrap();
        assert_eq!(serde_json::from_str::<Workload>(&json).unwrap(), workload);
    }

    #[test]
    fn mistakes_are_refused() {
        let unknown = PLAIN.replace("[producers]", "colour = 1\n[producers]");
        assert!(matches!(Workload::parse(&unknown), Err(WorkloadError::Content(_))));
        let unknown = PLAIN.replace("records_per_s", "record_per_s");
        assert!(matches!(Workload::parse(&unknown), Err(WorkloadError::Content(_))));
        for wrong in ["duration", "consumers.0.sets=1", "name.x=1"] {
            let parsed = Workload::parse_with(PLAIN, &[wrong.to_owned()]);
            assert!(parsed.is_err(), "{wrong}");
        }
        let negative = Workload::parse_with(PLAIN, &["duration=-1".into()]);
        assert!(matches!(negative, Err(WorkloadError::Content(_))));
    }
}
