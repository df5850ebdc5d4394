//! Produce (0), versions 0 to 13.
//!
//! Appends one batch to each partition, where it lies in the receive buffer. acks=0 is not answered,
//! acks=1 when the batch is in the page cache, acks=all when it is durable (or written, for topics
//! with `durability=page-cache`). Versions before 3 bring message formats that are not stored; they
//! get UNSUPPORTED_FOR_MESSAGE_FORMAT. From 13 on topics are told by id. What a topic's configuration asks for
//! (timestamps, codec) is done by `records.rs`; where single records are at fault, they are named (KIP-467).
//! Omitted: transactions.

use super::errors;
use crate::api::{Answer, Outcome, malformed};
use crate::broker::Broker;
use crate::clock;
use crate::metadata::{Durability as Policy, Topic};
use crate::quotas::Use;
use crate::records::{self, Prepared, Refusal};
use crate::wire::produce::{ProduceRequest, ProduceResult, TopicRef, response};
use crate::wire::{ErrorCode, NONE, Request};
use ringmain_client::wire::compression::Compression;
use ringmain_engine::{BatchHeader, Completion, Durability};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first version whose clients know zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// A partition's result, and what it still waits for.
type Pending = (ProduceResult, Option<Completion>);

/// Appends what a request brings. Batches that are to be decompressed or compressed leave the shard for that, one after
/// the other; nothing else of the connection is received meanwhile.
pub(crate) async fn begin(broker: &Arc<Broker>, peer: SocketAddr, request: Request<'_>) -> Outcome {
    let Request { header, body } = request;
    let produce = match ProduceRequest::parse(body, header.version, broker.config.places_max()) {
        Ok(produce) => produce,
        Err(err) => return Outcome::Close(malformed(&header, &err)),
    };
    let refusal = match produce.acks {
        _ if produce.transactional => Some(ErrorCode::UnsupportedVersion),
        -1..=1 => None,
        _ => Some(ErrorCode::InvalidRequiredAcks),
    };
    let mut topics: Vec<(TopicRef, Vec<Pending>)> = Vec::with_capacity(produce.topics.len());
    let mut began = broker.began();
    let mut bytes = 0;
    // Where the last append is that is waited for.
    let mut last: Option<(usize, usize)> = None;
    let how = How {
        acks: produce.acks,
        version: header.version,
        now_ms: clock::now_ms(),
        bytes_max: broker.config.recompress_bytes_max,
    };
    for one in produce.topics {
        let (topic, unknown) = match &one.topic {
            TopicRef::Name(name) => (broker.catalog.topic(name), ErrorCode::UnknownTopicOrPartition),
            TopicRef::Id(id) => (broker.catalog.topic_by_id(*id), ErrorCode::UnknownTopicId),
        };
        let mut results: Vec<Pending> = Vec::with_capacity(one.partitions.len());
        for partition in &one.partitions {
            let records = &mut body[partition.records.clone()];
            bytes += records.len() as u64;
            results.push(match (refusal, &topic) {
                (Some(code), _) => (refused(partition.index, code, None), None),
                (None, None) => (refused(partition.index, unknown, None), None),
                (None, Some(topic)) => match begin_one(topic, partition.index, &how, records) {
                    Ok(done) => done,
                    Err(costly) => {
                        // Nobody asks for what was appended before all is: this may take long, and hides what others append.
                        if let Some((topic, result)) = last.take() {
                            let before = topics.get(topic).map_or(&results, |(_, results)| results);
                            let _ = before[result].1.as_ref().map(Completion::outcome);
                        }
                        let waits_since = Instant::now();
                        let (done, worked) = costly.append(broker, topic, &how, records).await;
                        // Quotas are for the time that a thread was at work.
                        began = began.map(|began| began + waits_since.elapsed().saturating_sub(worked));
                        done
                    }
                },
            });
            if results.last().is_some_and(|(_, waits)| waits.is_some()) {
                last = Some((topics.len(), results.len() - 1));
            }
        }
        topics.push((one.topic, results));
    }
    let throttle_ms = broker.throttle_ms(&header.client_id, Use::Produce, bytes, began);
    let results =
        || topics.iter().flat_map(|(name, results)| results.iter().map(move |(result, _)| (name, result)));
    let failed = results().filter(|(_, result)| result.error_code != NONE).count();
    // One line for a request, however many partitions it names.
    if let Some((name, result)) = results().find(|(_, result)| result.error_code != NONE)
        && let Some(left_out) = broker.refusals.take(clock::monotonic_ms())
    {
        let reason = result.error_message.as_deref().unwrap_or("unknown topic or partition");
        tracing::info!(%peer, topic = %name, partition = result.index, code = result.error_code, failed, left_out,
            "a produce request was refused: {reason}");
    }
    if produce.acks == 0 {
        // Nobody waits for an answer: closing is the only way to tell.
        return match failed {
            0 => Outcome::Silent { throttle_ms },
            _ => Outcome::Close("a batch sent with acks=0 was refused".into()),
        };
    }
    if topics.iter().flat_map(|(_, results)| results).all(|(_, waits)| waits.is_none()) {
        let done: Vec<_> = topics.into_iter().map(|(name, results)| (name, settled(results))).collect();
        return Outcome::Answer(Answer::Now(response(&header, &done, throttle_ms)));
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
        Ok(response(&header, &done, throttle_ms))
    })))
}

fn settled(results: Vec<Pending>) -> Vec<ProduceResult> {
    results.into_iter().map(|(result, _)| result).collect()
}

fn refused(index: i32, code: ErrorCode, error_message: Option<String>) -> ProduceResult {
    ProduceResult {
        index,
        error_code: code.code(),
        error_message,
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        record_errors: Vec::new(),
    }
}

/// What holds for all batches of a request.
struct How {
    acks: i16,
    version: i16,
    now_ms: i64,
    /// Of a decompressed batch.
    bytes_max: usize,
}

/// A batch that is to be decompressed or compressed before it is appended.
struct Costly {
    index: i32,
    header: BatchHeader,
}

impl Costly {
    /// Has another thread prepare it, and appends it. Gives for how long that thread was at it, too.
    async fn append(
        self,
        broker: &Broker,
        topic: &Arc<Topic>,
        how: &How,
        records: &[u8],
    ) -> (Pending, Duration) {
        let Self { index, header } = self;
        let count = header.record_count;
        let Ok(_slot) = broker.recompressions.acquire().await else {
            return ((refused(index, ErrorCode::UnknownServerError, None), None), Duration::ZERO);
        };
        // What waited for the slot is appended after what came meanwhile, and so has a later time.
        let (mut batch, of, now_ms, bytes_max) =
            (records.to_vec(), Arc::clone(topic), clock::now_ms(), how.bytes_max);
        let prepared = broker.blocking.run(move || {
            let began = Instant::now();
            let fit = records::prepare(&of.config, &header, &mut batch, now_ms, bytes_max);
            (fit, batch, began.elapsed())
        });
        match prepared.await {
            Ok((fit, mut batch, worked)) => (append_one(topic, index, how, count, fit, &mut batch), worked),
            Err(err) => {
                let reason = Some(err.to_string());
                ((refused(index, ErrorCode::UnknownServerError, reason), None), Duration::ZERO)
            }
        }
    }
}

fn begin_one(topic: &Topic, index: i32, how: &How, records: &mut [u8]) -> Result<Pending, Costly> {
    // Bytes that are no batch are the engine's to refuse.
    let header = BatchHeader::parse(records).ok();
    let count = header.as_ref().map_or(0, |header| header.record_count);
    let served = topic.partition(index).is_some() && !topic.internal;
    let fit = match header.filter(|_| served) {
        None => Ok(Prepared::default()),
        Some(header) => match not_for_clients(&header, records.len(), how.version) {
            Err(refusal) => Err(refusal),
            Ok(()) if records::is_costly(&topic.config, &header, how.now_ms) => {
                return Err(Costly { index, header });
            }
            Ok(()) => records::prepare(&topic.config, &header, records, how.now_ms, how.bytes_max),
        },
    };
    Ok(append_one(topic, index, how, count, fit, records))
}

fn append_one(
    topic: &Topic,
    index: i32,
    how: &How,
    count: i32,
    fit: Result<Prepared, Refusal>,
    records: &mut [u8],
) -> Pending {
    let Some(partition) = topic.partition(index) else {
        return (refused(index, ErrorCode::UnknownTopicOrPartition, None), None);
    };
    if topic.internal {
        return (
            refused(index, ErrorCode::InvalidTopicException, Some("the topic is the broker's own".into())),
            None,
        );
    }
    let mut prepared = match fit {
        Ok(prepared) => prepared,
        Err(Refusal { code, reason, record_errors }) => {
            return (ProduceResult { record_errors, ..refused(index, code, Some(reason)) }, None);
        }
    };
    let batch = prepared.rebuilt.as_deref_mut().unwrap_or(records);
    let durability = match (how.acks, topic.config.durability) {
        (-1, Policy::Fsync) => Durability::Durable,
        _ => Durability::Written,
    };
    match partition.log.append(batch, durability) {
        Err(err) => (refused(index, errors::append(&err), Some(err.to_string())), None),
        Ok(appended) => {
            if !appended.duplicate {
                topic.traffic.produced(u64::try_from(count).unwrap_or(0), batch.len() as u64);
            }
            let result = ProduceResult {
                index,
                error_code: NONE,
                error_message: None,
                base_offset: appended.base_offset.0,
                // That of the original is not known any more.
                log_append_time_ms: if appended.duplicate { -1 } else { prepared.append_time_ms },
                log_start_offset: partition.log.progress().start.0,
                record_errors: Vec::new(),
            };
            // Not asked yet: nothing is begun before the appends to all partitions are made.
            let waits = durability == Durability::Durable;
            (result, waits.then_some(appended.completion))
        }
    }
}

/// What the engine takes and a producer may not send.
fn not_for_clients(header: &BatchHeader, bytes: usize, version: i16) -> Result<(), Refusal> {
    let refuse = |code, reason: &str| Err(Refusal { code, reason: reason.into(), record_errors: Vec::new() });
    if header.is_control() {
        return refuse(ErrorCode::InvalidRecord, "control batches are the broker's own");
    }
    if header.is_transactional() {
        return refuse(ErrorCode::InvalidRecord, "transactions are not served");
    }
    if header.size_bytes < bytes {
        return refuse(ErrorCode::InvalidRecord, "a request has one batch for each partition");
    }
    match Compression::from_code(header.compression().into()) {
        None => refuse(ErrorCode::InvalidRecord, "the batch is compressed with a codec that nobody knows"),
        Some(Compression::Zstd) if version < ZSTD_FROM => refuse(
            ErrorCode::UnsupportedCompressionType,
            "zstd needs version 7 of produce requests: its consumers may not know it",
        ),
        _ => Ok(()),
    }
}
