//! The fetch response by hand: headers of ours between slices of segments.
//!
//! Source: `FetchResponse.json` of Apache Kafka, versions 4 to 16.

use super::response::PutFields;
use super::{Part, RequestHeader, Response};
use bytes::BufMut;
use ringmain_engine::Slice;
use uuid::Uuid;

const FLEXIBLE_FROM: i16 = 12;
/// From here on topics are told by id.
const TOPIC_IDS_FROM: i16 = 13;

/// What is answered for one partition.
#[derive(Debug)]
pub(crate) struct FetchResult {
    pub(crate) index: i32,
    pub(crate) error_code: i16,
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
    pub(crate) records: Option<Slice>,
}

/// A topic's answers.
#[derive(Debug)]
pub(crate) struct FetchedTopic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<FetchResult>,
}

/// The answer with its records, or with `error_code` and none.
pub(crate) fn response(header: &RequestHeader, error_code: i16, topics: Vec<FetchedTopic>) -> Response {
    let version = header.version;
    let flexible = version >= FLEXIBLE_FROM;
    let mut parts = Vec::new();
    let mut out = Response::begin(header);
    out.put_i32(0); // throttle time
    if version >= 7 {
        out.put_i16(error_code);
        out.put_i32(0); // session: none is made
    }
    out.put_count(flexible, topics.len());
    for topic in topics {
        if version >= TOPIC_IDS_FROM {
            out.put_slice(topic.id.as_bytes());
        } else {
            out.put_text(flexible, &topic.name);
        }
        out.put_count(flexible, topic.partitions.len());
        for one in topic.partitions {
            out.put_i32(one.index);
            out.put_i16(one.error_code);
            out.put_i64(one.high_watermark);
            out.put_i64(one.high_watermark); // last stable offset: there are no transactions
            if version >= 5 {
                out.put_i64(one.log_start_offset);
            }
            out.put_count(flexible, 0); // aborted transactions
            if version >= 11 {
                out.put_i32(-1); // preferred read replica
            }
            // A null here breaks librdkafka: no records are zero bytes.
            let length = one.records.as_ref().map_or(0, Slice::len);
            out.put_count(flexible, usize::try_from(length).unwrap_or(0));
            if let Some(slice) = one.records {
                parts.push(Part::Bytes(out.split().freeze()));
                parts.push(Part::File(slice));
            }
            out.put_no_tags(flexible);
        }
        out.put_no_tags(flexible);
    }
    out.put_no_tags(flexible);
    if !out.is_empty() {
        parts.push(Part::Bytes(out.freeze()));
    }
    Response::of(parts)
}
