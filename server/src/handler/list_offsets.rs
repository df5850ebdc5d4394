//! ListOffsets (2), versions 1 to 10.
//!
//! The first offset (-2, and -4: all of it is local), the end (-1), that of the largest timestamp
//! (-3), or the first record of a time or later, looked for inside of its batch, compressed or not.
//! Nothing is tiered, so -5 finds nothing.

use super::errors;
use super::fetch::epoch_error;
use crate::api::Context;
use crate::metadata::Partition;
use crate::wire::messages::list_offsets_request::ListOffsetsPartition;
use crate::wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use crate::wire::messages::{ListOffsetsRequest, ListOffsetsResponse};
use crate::wire::{ErrorCode, NONE};
use bytes::Bytes;
use ringmain_client::wire::batch::{Outlines, next_batch};
use ringmain_engine::{BatchHeader, Log, Offset, Slice};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

/// Before this version an answer has no epoch.
const LEADER_EPOCH_FROM: i16 = 4;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// A record that was found: its timestamp, its offset and the epoch it was written in.
type Found = (i64, i64, i32);
/// Nothing found, which is no error.
const NOTHING: Found = (-1, -1, -1);
/// Batches that a search looks into. More than one are only where headers claim times that no record has.
const SEARCHED_BATCHES_MAX: usize = 16;

pub(crate) async fn handle(context: Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let version = context.header.version;
    let mut topics = Vec::with_capacity(request.topics.len());
    // A partition asked for twice at one time is answered once: a search by time is dear.
    let mut seen: HashMap<_, HashSet<(i32, i64)>> = HashMap::new();
    for asked in request.topics {
        let topic = context.broker.catalog.topic(&asked.name);
        let seen = seen.entry(asked.name.clone()).or_default();
        let mut partitions = Vec::new();
        for one in asked.partitions {
            if !seen.insert((one.partition_index, one.timestamp)) {
                continue;
            }
            let partition = topic.as_ref().and_then(|topic| topic.partition(one.partition_index));
            let found = match partition {
                None => Err(ErrorCode::UnknownTopicOrPartition),
                Some(partition) => find(&context, partition.clone(), &one).await,
            };
            let (code, found) = match found {
                Ok(found) => (NONE, found),
                Err(code) => (code.code(), NOTHING),
            };
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(one.partition_index)
                .with_error_code(code)
                .with_timestamp(found.0)
                .with_offset(found.1)
                .with_leader_epoch(if version >= LEADER_EPOCH_FROM { found.2 } else { -1 });
            partitions.push(answer);
        }
        topics.push(ListOffsetsTopicResponse::default().with_name(asked.name).with_partitions(partitions));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

async fn find(
    context: &Context,
    partition: Partition,
    asked: &ListOffsetsPartition,
) -> Result<Found, ErrorCode> {
    if let Some(code) = epoch_error(asked.current_leader_epoch, partition.leader_epoch) {
        return Err(code);
    }
    let progress = partition.log.progress();
    match asked.timestamp {
        LATEST => Ok((-1, progress.visible.0, partition.leader_epoch)),
        EARLIEST | EARLIEST_LOCAL => Ok((-1, progress.start.0, partition.leader_epoch)),
        LATEST_TIERED => Ok(NOTHING),
        MAX_TIMESTAMP => search(context, partition, largest).await,
        timestamp if timestamp >= 0 => {
            search(context, partition, move |partition, bytes_max| {
                let from = partition.log.progress().start;
                Ok(match by_time(partition, timestamp, from, bytes_max)? {
                    Searched::Found(found) => found,
                    Searched::Nothing => NOTHING,
                    Searched::GaveUp(batch) => {
                        (batch.max_timestamp_ms, batch.base_offset.0, batch.leader_epoch.0)
                    }
                })
            })
            .await
        }
        _ => Err(ErrorCode::InvalidRequest),
    }
}

/// On a thread for what blocks: it reads, and may decompress a whole batch. Only so many at once, since what a batch
/// decompresses to is memory.
async fn search(
    context: &Context,
    partition: Partition,
    find: impl FnOnce(&Partition, usize) -> Result<Found, ErrorCode> + Send + 'static,
) -> Result<Found, ErrorCode> {
    let bytes_max = context.broker.config.timestamp_scan_bytes_max;
    let Ok(_slot) = context.broker.timestamp_scans.acquire().await else {
        return Err(ErrorCode::UnknownServerError);
    };
    let searched = context.broker.blocking.run(move || find(&partition, bytes_max)).await;
    searched.unwrap_or(Err(ErrorCode::UnknownServerError))
}

/// Logs why a search failed.
fn failed(log: &Log, err: &dyn std::fmt::Display, code: ErrorCode) -> ErrorCode {
    tracing::error!(log = log.name(), "a search by time failed: {err}");
    code
}

/// Gives timestamp and offset of the records of a batch at `from` or later, until `wanted` says that it is enough.
fn visit_records(
    log: &Log,
    slice: &Slice,
    from: Offset,
    bytes_max: usize,
    mut wanted: impl FnMut(i64, i64) -> ControlFlow<()>,
) -> Result<(), ErrorCode> {
    let mut bytes = Bytes::from(slice.read().map_err(|err| failed(log, &err, errors::read(&err)))?);
    let batch =
        next_batch(&mut bytes).and_then(|batch| batch.map(|batch| batch.decompressed(bytes_max)).transpose());
    let batch = batch.map_err(|err| failed(log, &err, ErrorCode::CorruptMessage))?;
    let Some((header, body)) = batch else { return Ok(()) };
    for record in Outlines::new(&body, header.count.max(0) as usize) {
        let record =
            record.ok_or_else(|| failed(log, &"its records cannot be read", ErrorCode::CorruptMessage))?;
        let offset = header.base_offset.saturating_add(record.offset_delta.into());
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        if offset >= from.0 && wanted(header.append_time.unwrap_or(timestamp), offset).is_break() {
            break;
        }
    }
    Ok(())
}

/// What a search by time has come to.
enum Searched {
    Found(Found),
    Nothing,
    /// Headers claimed what no record has, too often; no record before this batch is of that time or later.
    GaveUp(BatchHeader),
}

fn by_time(
    partition: &Partition,
    timestamp: i64,
    mut from: Offset,
    bytes_max: usize,
) -> Result<Searched, ErrorCode> {
    let log = &partition.log;
    let mut searched = 0;
    // A batch whose records of that time lie before the start, or that has none, is passed over.
    loop {
        let found =
            log.find_timestamp_from(timestamp, from).map_err(|err| failed(log, &err, errors::read(&err)))?;
        let Some((header, slice)) = found else { return Ok(Searched::Nothing) };
        if searched == SEARCHED_BATCHES_MAX {
            return Ok(Searched::GaveUp(header));
        }
        searched += 1;
        let mut first = None;
        visit_records(log, &slice, from, bytes_max, |time, offset| {
            if time < timestamp {
                return ControlFlow::Continue(());
            }
            first = Some((time, offset, header.leader_epoch.0));
            ControlFlow::Break(())
        })?;
        if let Some(first) = first {
            return Ok(Searched::Found(first));
        }
        from = header.end_offset();
    }
}

/// The first record of the largest timestamp, of those that were not deleted.
fn largest(partition: &Partition, bytes_max: usize) -> Result<Found, ErrorCode> {
    let log = &partition.log;
    let unread = |err| failed(log, &err, errors::read(&err));
    let mut from = log.progress().start;
    let first = log.find_timestamp_from(i64::MIN, from).map_err(unread)?;
    let Some((header, slice)) = first else { return Ok(NOTHING) };
    let mut best = NOTHING;
    if header.base_offset < from {
        // The largest that its header tells of may be that of a deleted record.
        best = largest_in(log, &header, &slice, from, bytes_max)?;
        from = header.end_offset();
    }
    let Some(timestamp) = log.max_timestamp_ms(from).map_err(unread)?.filter(|whole| *whole > best.0) else {
        return Ok(best);
    };
    if let Searched::Found(found) = by_time(partition, timestamp, from, bytes_max)? {
        return Ok(found);
    }
    // A header claims more than its records have: the best of these is answered.
    let claims = log.find_timestamp_from(timestamp, from).map_err(unread)?;
    let Some((header, slice)) = claims else { return Ok(best) };
    let found = largest_in(log, &header, &slice, from, bytes_max)?;
    Ok(if found.0 > best.0 { found } else { best })
}

/// The first record of the largest timestamp of a batch, of those at `from` or later.
fn largest_in(
    log: &Log,
    header: &BatchHeader,
    slice: &Slice,
    from: Offset,
    bytes_max: usize,
) -> Result<Found, ErrorCode> {
    let mut best = NOTHING;
    visit_records(log, slice, from, bytes_max, |time, offset| {
        if time > best.0 {
            best = (time, offset, header.leader_epoch.0);
        }
        ControlFlow::Continue(())
    })?;
    Ok(best)
}
