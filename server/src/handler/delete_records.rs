//! DeleteRecords (21), versions 0 to 2.
//!
//! Moves a partition's start on, durably; -1 stands for the high watermark. Segments before it are removed.
//! The broker's own topics are refused.

use crate::api::Context;
use crate::broker::Broker;
use crate::metadata::Topic;
use crate::wire::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use crate::wire::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use crate::wire::{ErrorCode, NONE};
use ringmain_engine::{CutError, Offset};
use std::sync::Arc;

/// Stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

pub(crate) async fn handle(context: Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = context.broker.catalog.topic(&asked.name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for one in asked.partitions {
            let deleted = delete(&context.broker, topic.as_ref(), one.partition_index, one.offset).await;
            let (code, low_watermark) = match deleted {
                Ok(start) => (NONE, start.0),
                Err(code) => (code.code(), -1),
            };
            let result = DeleteRecordsPartitionResult::default()
                .with_partition_index(one.partition_index)
                .with_error_code(code)
                .with_low_watermark(low_watermark);
            partitions.push(result);
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(asked.name).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// On a thread for what blocks: it syncs.
async fn delete(
    broker: &Broker,
    topic: Option<&Arc<Topic>>,
    index: i32,
    offset: i64,
) -> Result<Offset, ErrorCode> {
    let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if topic.internal {
        return Err(ErrorCode::InvalidTopicException);
    }
    let log = Arc::clone(&topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?.log);
    let to = match offset {
        HIGH_WATERMARK => log.progress().visible,
        offset if offset >= 0 => Offset(offset),
        _ => return Err(ErrorCode::OffsetOutOfRange),
    };
    let Ok(_turn) = broker.record_deletions.acquire().await else {
        return Err(ErrorCode::UnknownServerError);
    };
    let deleted = broker.blocking.run(move || {
        log.advance_start(to).map_err(|err| {
            tracing::info!(log = log.name(), to = to.0, "records were not deleted: {err}");
            code(&err)
        })
    });
    deleted.await.unwrap_or(Err(ErrorCode::UnknownServerError))
}

fn code(err: &CutError) -> ErrorCode {
    match err {
        CutError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        CutError::Deleted => ErrorCode::UnknownTopicOrPartition,
        CutError::Closed => ErrorCode::NotLeaderOrFollower,
        _ => ErrorCode::KafkaStorageError,
    }
}
