//! Loading brokers of the Kafka protocol: by the load generator.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::admin::{Admin, End};
use crate::compare::peers::{LoadPlace, Loaded, Running};
use crate::compare::process::tree;
use crate::generator::{RunOptions, run_workload};
use crate::peer::PeerError;
use crate::refusal::UNKNOWN_TOPIC_OR_PARTITION;
use crate::result::run::RunTarget;
use crate::stop::Stop;
use crate::workload::Workload;

/// An answer that takes longer is an error: a broker that syncs may take its time.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// After a start, all partitions must be led by then.
const SERVE_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// How the load generator's topics are called.
const TOPIC_PREFIX: &str = "bench-";

/// Runs a workload; what was kept is found by the directories of its topics.
pub(crate) fn kafka_load(name: &str, workload: &Workload, place: &LoadPlace<'_>) -> Result<Loaded, String> {
    let options = RunOptions {
        broker: place.running.address.clone(),
        target: RunTarget {
            name: name.to_string(),
            version: String::new(),
            durability: place.durability,
            configuration: place.running.configuration.clone(),
            address: place.running.address.clone(),
        },
        broker_pids: tree(place.running.process.id()),
        data_dir: Some(place.data.to_path_buf()),
        topic_config: Vec::new(),
        self_check: place.self_check,
        keep_topics: place.keep,
        timeout: ANSWER_LIMIT,
        command: Vec::new(),
    };
    let run = run_workload(workload, &options, place.stop).map_err(|error| error.to_string())?;
    Ok(Loaded { workload: run.workload, phases: run.phases, verified: run.verified, notes: run.notes })
}

/// Waits until every partition says where it ends: a broker answers before it leads all of them.
pub(crate) fn kafka_serves(running: &Running, data: &Path, stop: &Stop) -> Result<(), String> {
    let topics = topics(data);
    let deadline = Instant::now() + SERVE_LIMIT;
    loop {
        let failed = match count(&running.address, &topics) {
            Ok(_) => return Ok(()),
            Err(error) => error.to_string(),
        };
        if stop.interrupted() || Instant::now() >= deadline {
            return Err(format!("not all partitions came back: {failed}"));
        }
        std::thread::sleep(POLL);
    }
}

/// Records of all topics of the load generator.
pub(crate) fn kafka_count(running: &Running, data: &Path) -> Result<u64, String> {
    let topics = topics(data);
    if topics.is_empty() {
        return Err(format!("no topic of the load generator is in {}", data.display()));
    }
    count(&running.address, &topics).map_err(|error| error.to_string())
}

fn count(address: &str, topics: &BTreeSet<String>) -> Result<u64, PeerError> {
    let mut admin = Admin::connect(address, ANSWER_LIMIT)?;
    let mut records = 0;
    for topic in topics {
        let found = admin.leaders(topic)?;
        let leaders = found.ok_or_else(|| PeerError::Refused {
            peer: address.to_string(),
            during: "Metadata",
            subject: topic.clone(),
            code: UNKNOWN_TOPIC_OR_PARTITION,
        })?;
        let starts: i64 = admin.offsets(topic, &leaders, End::Earliest)?.iter().sum();
        let ends: i64 = admin.offsets(topic, &leaders, End::Latest)?.iter().sum();
        records += (ends - starts).max(0) as u64;
    }
    Ok(records)
}

/// A partition is a directory TOPIC-NUMBER, here as there.
fn topics(data: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(data).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| topic_of(&name).map(str::to_owned)).collect()
}

/// The topic of a partition's directory; those of deleted topics have another name.
fn topic_of(directory: &str) -> Option<&str> {
    let (topic, partition) = directory.rsplit_once('-')?;
    partition.parse::<u32>().ok()?;
    topic.starts_with(TOPIC_PREFIX).then_some(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_known_by_their_directories() {
        assert_eq!(topic_of("bench-17-4-1-00000-15"), Some("bench-17-4-1-00000"));
        assert_eq!(topic_of("bench-17-4-1-00000-15.0f-delete"), None);
        assert_eq!(topic_of("__consumer_offsets-3"), None);
    }
}
