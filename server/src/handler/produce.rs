//! Produce (0), versions 0 to 12.
//!
//! Appends one batch to each partition, where it lies in the receive buffer. acks=0 is not answered,
//! acks=1 when the batch is in the page cache, acks=all when it is durable (or written, for topics
//! with `durability=page-cache`). Versions before 3 bring message formats that are not stored; they
//! get UNSUPPORTED_FOR_MESSAGE_FORMAT. Omitted: transactions, topic ids (from 13 on), timestamps set
//! by the broker, throttling.

use super::errors;
use crate::api::{Answer, Outcome, malformed};
use crate::broker::Broker;
use crate::metadata::{Durability as Policy, Topic};
use crate::wire::produce::{ProducePartition, ProduceRequest, ProduceResult, response};
use crate::wire::{ErrorCode, NONE, Request};
use ringmain_engine::{BatchHeader, Completion, Durability};
use std::net::SocketAddr;
use std::sync::Arc;

/// A partition's result, and what it still waits for.
type Pending = (ProduceResult, Option<Completion>);

pub(crate) fn begin(broker: &Arc<Broker>, peer: SocketAddr, request: Request<'_>) -> Outcome {
    let Request { header, body } = request;
    let produce = match ProduceRequest::parse(body, header.version) {
        Ok(produce) => produce,
        Err(err) => return Outcome::Close(malformed(&header, &err)),
    };
    let refusal = match produce.acks {
        _ if produce.transactional => Some(ErrorCode::UnsupportedVersion),
        -1..=1 => None,
        _ => Some(ErrorCode::InvalidRequiredAcks),
    };
    let mut topics = Vec::with_capacity(produce.topics.len());
    for one in &produce.topics {
        let topic = broker.catalog.topic(&one.name);
        let append = |partition: &ProducePartition| match (refusal, &topic) {
            (Some(code), _) => (refused(partition.index, code, None), None),
            (None, None) => (refused(partition.index, ErrorCode::UnknownTopicOrPartition, None), None),
            (None, Some(topic)) => {
                append_one(topic, partition.index, produce.acks, &mut body[partition.records.clone()])
            }
        };
        let results: Vec<Pending> = one.partitions.iter().map(append).collect();
        topics.push((one.name.clone(), results));
    }
    let results =
        || topics.iter().flat_map(|(name, results)| results.iter().map(move |(result, _)| (name, result)));
    let failed = results().filter(|(_, result)| result.error_code != NONE).count();
    // One line for a request, however many partitions it names.
    if let Some((name, result)) = results().find(|(_, result)| result.error_code != NONE) {
        let reason = result.error_message.as_deref().unwrap_or("unknown topic or partition");
        tracing::info!(%peer, topic = name, partition = result.index, code = result.error_code, failed,
            "a produce request was refused: {reason}");
    }
    if produce.acks == 0 {
        // Nobody waits for an answer: closing is the only way to tell.
        return match failed {
            0 => Outcome::Silent,
            _ => Outcome::Close("a batch sent with acks=0 was refused".into()),
        };
    }
    if topics.iter().flat_map(|(_, results)| results).all(|(_, waits)| waits.is_none()) {
        let done: Vec<_> = topics.into_iter().map(|(name, results)| (name, settled(results))).collect();
        return Outcome::Answer(Answer::Now(response(&header, &done)));
    }
    Outcome::Answer(Answer::Later(Box::pin(async move {
        let mut done = Vec::with_capacity(topics.len());
        for (name, results) in topics {
            let mut finished = Vec::with_capacity(results.len());
            for (mut result, waits) in results {
                if let Some(completion) = waits
                    && let Err(err) = completion.done().await
                {
                    result = refused(result.index, errors::wait(&err), Some(err.to_string()));
                }
                finished.push(result);
            }
            done.push((name, finished));
        }
        Ok(response(&header, &done))
    })))
}

fn settled(results: Vec<Pending>) -> Vec<ProduceResult> {
    results.into_iter().map(|(result, _)| result).collect()
}

fn refused(index: i32, code: ErrorCode, error_message: Option<String>) -> ProduceResult {
    ProduceResult { index, error_code: code.code(), error_message, base_offset: -1, log_start_offset: -1 }
}

fn append_one(topic: &Topic, index: i32, acks: i16, records: &mut [u8]) -> Pending {
    let Some(partition) = topic.partition(index) else {
        return (refused(index, ErrorCode::UnknownTopicOrPartition, None), None);
    };
    if topic.internal {
        return (
            refused(index, ErrorCode::InvalidTopicException, Some("the topic is the broker's own".into())),
            None,
        );
    }
    if let Some(reason) = not_for_clients(records) {
        return (refused(index, ErrorCode::InvalidRecord, Some(reason.into())), None);
    }
    let durability = match (acks, topic.config.durability) {
        (-1, Policy::Fsync) => Durability::Durable,
        _ => Durability::Written,
    };
    match partition.log.append(records, durability) {
        Err(err) => (refused(index, errors::append(&err), Some(err.to_string())), None),
        Ok(appended) => {
            let result = ProduceResult {
                index,
                error_code: NONE,
                error_message: None,
                base_offset: appended.base_offset.0,
                log_start_offset: partition.log.progress().start.0,
            };
            // Not asked yet: nothing is begun before the appends to all partitions are made.
            let waits = durability == Durability::Durable;
            (result, waits.then_some(appended.completion))
        }
    }
}

/// What the engine takes and a producer may not send. Bytes that are no batch are the engine's to
/// refuse.
fn not_for_clients(records: &[u8]) -> Option<&'static str> {
    let header = BatchHeader::parse(records).ok()?;
    if header.is_control() {
        return Some("control batches are the broker's own");
    }
    if header.is_transactional() {
        return Some("transactions are not served");
    }
    (header.size_bytes < records.len()).then_some("a request has one batch for each partition")
}
