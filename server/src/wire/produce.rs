//! Produce by hand: the records stay where they were received, and are stamped there.
//!
//! Source: `ProduceRequest.json` and `ProduceResponse.json` of Apache Kafka, versions 0 to 13.

use super::response::PutFields;
use super::{Cursor, Malformed, NONE, Part, RequestHeader, Response};
use bytes::BufMut;
use std::ops::Range;
use uuid::Uuid;

/// From here on strings and arrays are compact and tagged fields follow.
const FLEXIBLE_FROM: i16 = 9;
/// From here on topics are told by id.
const TOPIC_IDS_FROM: i16 = 13;

/// How a request tells a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TopicRef {
    Name(String),
    Id(Uuid),
}

impl std::fmt::Display for TopicRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// A produce request, its records as places in the body.
#[derive(Debug)]
pub(crate) struct ProduceRequest {
    pub(crate) transactional: bool,
    pub(crate) acks: i16,
    pub(crate) topics: Vec<ProduceTopic>,
}

#[derive(Debug)]
pub(crate) struct ProduceTopic {
    pub(crate) topic: TopicRef,
    pub(crate) partitions: Vec<ProducePartition>,
}

#[derive(Debug)]
pub(crate) struct ProducePartition {
    pub(crate) index: i32,
    /// Where in the body the records are.
    pub(crate) records: Range<usize>,
}

impl ProduceRequest {
    /// Reads a request that names at most `places_max` topics and partitions: a place that takes a few bytes
    /// here takes many times as many in memory and in the answer.
    pub(crate) fn parse(body: &[u8], version: i16, places_max: usize) -> Result<Self, Malformed> {
        let flexible = version >= FLEXIBLE_FROM;
        let mut cursor = Cursor::new(body);
        let transactional = version >= 3 && cursor.string(flexible)?.is_some();
        let acks = cursor.i16()?;
        cursor.i32()?; // timeout: the only one waited for is this broker
        let mut topics = Vec::new();
        let mut places = 0;
        let mut one_more = || {
            places += 1;
            match places > places_max {
                true => Err(Malformed(format!("it names more than {places_max} topics and partitions"))),
                false => Ok(()),
            }
        };
        for _ in 0..cursor.count(flexible)? {
            one_more()?;
            let topic = if version >= TOPIC_IDS_FROM {
                TopicRef::Id(cursor.uuid()?)
            } else {
                let name = cursor.string(flexible)?;
                TopicRef::Name(name.ok_or_else(|| Malformed("a topic without a name".into()))?.to_owned())
            };
            let mut partitions = Vec::new();
            for _ in 0..cursor.count(flexible)? {
                one_more()?;
                let index = cursor.i32()?;
                let length = cursor.nullable_count(flexible)?.unwrap_or(0);
                let start = cursor.position();
                cursor.take(length)?;
                partitions.push(ProducePartition { index, records: start..start + length });
                if flexible {
                    cursor.tagged_fields()?;
                }
            }
            if flexible {
                cursor.tagged_fields()?;
            }
            topics.push(ProduceTopic { topic, partitions });
        }
        if flexible {
            cursor.tagged_fields()?;
        }
        cursor.finish()?;
        Ok(Self { transactional, acks, topics })
    }
}

/// What is answered for one partition.
#[derive(Clone, Debug)]
pub(crate) struct ProduceResult {
    pub(crate) index: i32,
    pub(crate) error_code: i16,
    pub(crate) error_message: Option<String>,
    pub(crate) base_offset: i64,
    /// The broker's time that was written into the records, or -1.
    pub(crate) log_append_time_ms: i64,
    pub(crate) log_start_offset: i64,
    /// The records at fault, where the batch was refused for some of them (KIP-467).
    pub(crate) record_errors: Vec<RecordError>,
}

/// A record at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordError {
    /// Which of the batch's records it is, from 0 on.
    pub(crate) index: i32,
    pub(crate) message: String,
}

/// The answer, topic by topic in the order of the request.
pub(crate) fn response(
    header: &RequestHeader,
    topics: &[(TopicRef, Vec<ProduceResult>)],
    throttle_ms: u32,
) -> Response {
    let version = header.version;
    let flexible = version >= FLEXIBLE_FROM;
    let mut out = Response::begin(header);
    out.put_count(flexible, topics.len());
    for (topic, partitions) in topics {
        match topic {
            TopicRef::Name(name) => out.put_text(flexible, name),
            TopicRef::Id(id) => out.put_slice(id.as_bytes()),
        }
        out.put_count(flexible, partitions.len());
        for one in partitions {
            out.put_i32(one.index);
            out.put_i16(one.error_code);
            out.put_i64(one.base_offset);
            if version >= 2 {
                out.put_i64(one.log_append_time_ms);
            }
            if version >= 5 {
                out.put_i64(one.log_start_offset);
            }
            if version >= 8 {
                out.put_count(flexible, one.record_errors.len());
                for error in &one.record_errors {
                    out.put_i32(error.index);
                    out.put_nullable_text(flexible, Some(&error.message));
                    out.put_no_tags(flexible);
                }
                out.put_nullable_text(flexible, one.error_message.as_deref());
            }
            out.put_no_tags(flexible);
        }
        out.put_no_tags(flexible);
    }
    if version >= 1 {
        out.put_i32(i32::try_from(throttle_ms).unwrap_or(i32::MAX));
    }
    out.put_no_tags(flexible);
    let codes = topics.iter().flat_map(|(_, partitions)| partitions).map(|one| one.error_code);
    let errors = codes.filter(|code| *code != NONE).collect();
    Response { throttle_ms, errors, ..Response::of(vec![Part::Bytes(out.freeze())]) }
}
