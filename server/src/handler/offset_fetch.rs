//! OffsetFetch (9), versions 1 to 9.
//!
//! What a group has committed for the partitions asked for, or (from 2 on) for all. From 8 on several
//! groups at once. -1 stands for nothing committed. Only what is durable is told, so that the answer is stable
//! whether the client requires that (from 7 on) or not: nothing but transactions, which are not served, could take
//! it back. Omitted: member ids and epochs (from 9 on), which are for groups of the consumer protocol.

use crate::api::Context;
use crate::group::{Committed, TopicPartition};
use crate::wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::wire::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use crate::wire::{NONE, text};
use std::collections::{BTreeMap, HashMap, HashSet};

/// From here on groups come as a list.
const LIST_FROM: i16 = 8;

/// A topic with the partitions asked for.
type Asked = Vec<(String, Vec<i32>)>;
/// A topic with what was found for its partitions.
type Found = Vec<(String, Vec<(i32, Committed)>)>;

pub(crate) async fn handle(context: Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if context.header.version >= LIST_FROM {
        // Each group once, however often it is asked for.
        let mut seen = HashSet::new();
        let once = request.groups.into_iter().filter(|group| seen.insert(group.group_id.clone()));
        let groups = once.map(|group| {
            let asked = group.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
            });
            let topics = find(&context, &group.group_id, asked).into_iter().map(|(name, found)| {
                let partition = |(index, committed): (i32, Committed)| {
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(index)
                        .with_committed_offset(committed.offset)
                        .with_committed_leader_epoch(committed.leader_epoch)
                        .with_metadata(Some(text(committed.metadata)))
                        .with_error_code(NONE)
                };
                OffsetFetchResponseTopics::default()
                    .with_name(TopicName(text(name)))
                    .with_partitions(found.into_iter().map(partition).collect())
            });
            let topics = topics.collect();
            OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_topics(topics)
        });
        let groups = groups.collect();
        return OffsetFetchResponse::default().with_groups(groups);
    }
    let asked = request.topics.map(|topics| {
        topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
    });
    let topics = find(&context, &request.group_id, asked).into_iter().map(|(name, found)| {
        let partition = |(index, committed): (i32, Committed)| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(committed.offset)
                .with_committed_leader_epoch(committed.leader_epoch)
                .with_metadata(Some(text(committed.metadata)))
                .with_error_code(NONE)
        };
        OffsetFetchResponseTopic::default()
            .with_name(TopicName(text(name)))
            .with_partitions(found.into_iter().map(partition).collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

/// Each partition once, however often it is asked for: what is told of it is longer than its number. A name is looked
/// up once, not for each partition: there may be many partitions, and names may be long.
fn distinct(mut asked: Asked) -> Asked {
    let mut seen: HashMap<&str, HashSet<i32>> = HashMap::new();
    for (topic, indexes) in &mut asked {
        let seen = seen.entry(topic).or_default();
        indexes.retain(|index| seen.insert(*index));
    }
    asked
}

fn find(context: &Context, group: &str, asked: Option<Asked>) -> Found {
    let asked = asked.map(distinct);
    context.broker.groups.with_offsets(|offsets| {
        let Some(asked) = asked else {
            let mut topics: BTreeMap<String, Vec<(i32, Committed)>> = BTreeMap::new();
            for (partition, committed) in offsets.of_group(group) {
                topics.entry(partition.topic).or_default().push((partition.partition, committed));
            }
            return topics.into_iter().collect();
        };
        let nothing = || Committed {
            offset: -1,
            leader_epoch: -1,
            metadata: String::new(),
            committed_at_ms: -1,
            expires_at_ms: None,
        };
        let found = asked.into_iter().map(|(topic, indexes)| {
            let mut place = TopicPartition { topic, partition: 0 };
            let one = |index: i32| {
                place.partition = index;
                (index, offsets.get(group, &place).cloned().unwrap_or_else(nothing))
            };
            let partitions = indexes.into_iter().map(one).collect();
            (place.topic, partitions)
        });
        found.collect()
    })
}
