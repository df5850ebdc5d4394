//! DescribeLogDirs (35), versions 1 to 4.
//!
//! The one directory, the sizes of the partitions that are asked for (or all), and from 4 on the size of the file
//! system and what is free of it. Partitions that are not there are left out, as in Kafka.

use crate::api::Context;
use crate::metadata::{Partition, Topic};
use crate::wire::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::wire::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use crate::wire::{ErrorCode, NONE, text};
use nix::sys::statvfs::statvfs;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) async fn handle(context: Context, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let broker = &context.broker;
    let topics = match request.topics {
        None => broker.catalog.all_topics().iter().map(|topic| describe(topic, |_| true)).collect(),
        Some(asked) => {
            let mut wanted: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
            for one in asked {
                wanted.entry(one.topic.to_string()).or_default().extend(one.partitions);
            }
            let found = wanted.iter().filter_map(|(name, indexes)| {
                Some(describe(&*broker.catalog.topic(name)?, |index| indexes.contains(&index)))
            });
            found.filter(|topic| !topic.partitions.is_empty()).collect()
        }
    };
    let dir = &broker.config.data_dir;
    let path = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
    let space = statvfs(dir).map(|space| {
        let bytes =
            |blocks: u64| i64::try_from(blocks.saturating_mul(space.fragment_size())).unwrap_or(i64::MAX);
        (bytes(space.blocks()), bytes(space.blocks_available()))
    });
    let code = if broker.store.failure().is_some() { ErrorCode::KafkaStorageError.code() } else { NONE };
    let (total_bytes, usable_bytes) = space.unwrap_or((-1, -1));
    let result = DescribeLogDirsResult::default()
        .with_error_code(code)
        .with_log_dir(text(path.display().to_string()))
        .with_topics(topics)
        .with_total_bytes(total_bytes)
        .with_usable_bytes(usable_bytes);
    DescribeLogDirsResponse::default().with_results(vec![result])
}

fn describe(topic: &Topic, wanted: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let partition = |(index, partition): (i32, &Partition)| {
        let bytes = i64::try_from(partition.log.size_bytes()).unwrap_or(i64::MAX);
        DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(bytes)
    };
    let indexed = (0..).zip(&topic.partitions).filter(|(index, _)| wanted(*index));
    DescribeLogDirsTopic::default()
        .with_name(TopicName(text(topic.name.clone())))
        .with_partitions(indexed.map(partition).collect())
}
