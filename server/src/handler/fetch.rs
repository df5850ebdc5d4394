//! Fetch (1), versions 4 to 16.
//!
//! Gives whole batches from the page cache by `sendfile`, at least one where there is one, however
//! large. Waits until `min_bytes` are there or `max_wait_ms` is over. From 13 on topics are told by
//! id. Omitted: fetch sessions (each fetch is a full one, which the protocol allows), reading from
//! followers, transactions (both isolation levels read the same), and the diverging epoch.

use super::errors;
use crate::api::{Answer, Outcome, malformed};
use crate::broker::Broker;
use crate::metadata::{Catalog, Topic};
use crate::wire::fetch::{FetchResult, FetchedTopic, response};
use crate::wire::messages::FetchRequest;
use crate::wire::messages::fetch_request::FetchPartition;
use crate::wire::{ErrorCode, NONE, Request};
use futures_util::future::select_all;
use ringmain_engine::{Log, Offset, ReadBound};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The version from which topics are told by id.
const TOPIC_IDS_FROM: i16 = 13;

pub(crate) fn begin(broker: &Arc<Broker>, _: SocketAddr, request: Request<'_>) -> Outcome {
    let header = request.header.clone();
    let fetch: FetchRequest = match request.decode() {
        Ok(fetch) => fetch,
        Err(err) => return Outcome::Close(malformed(&header, &err)),
    };
    if fetch.session_id != 0 || fetch.session_epoch > 0 {
        let code = ErrorCode::FetchSessionIdNotFound.code();
        return Outcome::Answer(Answer::Now(response(&header, code, Vec::new())));
    }
    let broker = Arc::clone(broker);
    Outcome::Answer(Answer::Later(Box::pin(async move {
        let wait_ms = u64::try_from(fetch.max_wait_ms).unwrap_or(0).min(broker.config.fetch_wait_max_ms);
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        let bytes_min = u64::try_from(fetch.min_bytes).unwrap_or(0);
        loop {
            let plan = plan(&broker.catalog, &fetch, header.version, broker.config.fetch_bytes_max as u64);
            // A fetch of nothing has nothing to wait for.
            let idle = plan.waits.is_empty();
            if plan.bytes >= bytes_min || plan.urgent || idle || Instant::now() >= deadline {
                return Ok(response(&header, NONE, plan.topics));
            }
            let waits = plan.waits.iter().map(|(log, seen)| Box::pin(log.visible_beyond(*seen)));
            // If time is over first, whatever is there then goes out.
            let _ = timeout_at(deadline, select_all(waits)).await;
        }
    })))
}

/// An answer that could be given now.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) topics: Vec<FetchedTopic>,
    pub(crate) bytes: u64,
    /// Something that a client must know at once.
    urgent: bool,
    /// The logs that could bring more, with how far each was seen.
    waits: Vec<(Arc<Log>, Offset)>,
}

/// What can be answered now, of at most `bytes_max` if not a single batch has more.
pub(crate) fn plan(catalog: &Catalog, fetch: &FetchRequest, version: i16, bytes_max: u64) -> Plan {
    let mut plan = Plan::default();
    let bytes_max = u64::try_from(fetch.max_bytes).unwrap_or(0).min(bytes_max);
    for asked in &fetch.topics {
        let (topic, unknown) = if version >= TOPIC_IDS_FROM {
            (catalog.topic_by_id(asked.topic_id), ErrorCode::UnknownTopicId)
        } else {
            (catalog.topic(&asked.topic), ErrorCode::UnknownTopicOrPartition)
        };
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for one in &asked.partitions {
            let left = bytes_max.saturating_sub(plan.bytes);
            let result = match &topic {
                Some(topic) => read_one(topic, one, left, &mut plan),
                None => failed(one.partition, unknown),
            };
            plan.urgent |= result.error_code != NONE;
            plan.bytes += result.records.as_ref().map_or(0, ringmain_engine::Slice::len);
            partitions.push(result);
        }
        plan.topics.push(FetchedTopic { name: asked.topic.to_string(), id: asked.topic_id, partitions });
    }
    plan
}

fn failed(index: i32, code: ErrorCode) -> FetchResult {
    FetchResult { index, error_code: code.code(), high_watermark: -1, log_start_offset: -1, records: None }
}

fn read_one(topic: &Topic, asked: &FetchPartition, left: u64, plan: &mut Plan) -> FetchResult {
    let Some(partition) = topic.partition(asked.partition) else {
        return failed(asked.partition, ErrorCode::UnknownTopicOrPartition);
    };
    if let Some(code) = epoch_error(asked.current_leader_epoch, partition.leader_epoch) {
        return failed(asked.partition, code);
    }
    let log = &partition.log;
    // Before reading: what becomes visible after it wakes the wait.
    let progress = log.progress();
    plan.waits.push((Arc::clone(log), progress.visible));
    let bytes_max = u64::try_from(asked.partition_max_bytes).unwrap_or(0).min(left);
    let first = plan.bytes == 0;
    let read = log.read(Offset(asked.fetch_offset), bytes_max, first, ReadBound::Visible);
    let (error_code, records) = match read {
        Ok(records) => (NONE, records),
        Err(err) => {
            let code = errors::read(&err);
            if code == ErrorCode::KafkaStorageError {
                tracing::error!(log = log.name(), "a fetch failed: {err}");
            }
            (code.code(), None)
        }
    };
    FetchResult {
        index: asked.partition,
        error_code,
        high_watermark: progress.visible.0,
        log_start_offset: progress.start.0,
        records,
    }
}

/// Whether the epoch that a client knows is another than the partition's (KIP-320).
pub(super) fn epoch_error(known: i32, current: i32) -> Option<ErrorCode> {
    match known {
        -1 => None,
        known if known < current => Some(ErrorCode::FencedLeaderEpoch),
        known if known > current => Some(ErrorCode::UnknownLeaderEpoch),
        _ => None,
    }
}
