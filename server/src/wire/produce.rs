//! Produce by hand: the records stay where they were received, and are stamped there.
//!
//! Source: `ProduceRequest.json` and `ProduceResponse.json` of Apache Kafka, versions 0 to 12.

use super::response::PutFields;
use super::{Cursor, Malformed, Part, RequestHeader, Response};
use bytes::BufMut;
use std::ops::Range;

/// From here on strings and arrays are compact and tagged fields follow.
const FLEXIBLE_FROM: i16 = 9;

/// A produce request, its records as places in the body.
#[derive(Debug)]
pub(crate) struct ProduceRequest {
    pub(crate) transactional: bool,
    pub(crate) acks: i16,
    pub(crate) topics: Vec<ProduceTopic>,
}

#[derive(Debug)]
pub(crate) struct ProduceTopic {
    pub(crate) name: String,
    pub(crate) partitions: Vec<ProducePartition>,
}

#[derive(Debug)]
pub(crate) struct ProducePartition {
    pub(crate) index: i32,
    /// Where in the body the records are.
    pub(crate) records: Range<usize>,
}

impl ProduceRequest {
    pub(crate) fn parse(body: &[u8], version: i16) -> Result<Self, Malformed> {
        let flexible = version >= FLEXIBLE_FROM;
        let mut cursor = Cursor::new(body);
        let transactional = version >= 3 && cursor.string(flexible)?.is_some();
        let acks = cursor.i16()?;
        cursor.i32()?; // timeout: the only one waited for is this broker
        let mut topics = Vec::new();
        for _ in 0..cursor.count(flexible)? {
            let name = cursor
                .string(flexible)?
                .ok_or_else(|| Malformed("a topic without a name".into()))?
                .to_owned();
            let mut partitions = Vec::new();
            for _ in 0..cursor.count(flexible)? {
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
            topics.push(ProduceTopic { name, partitions });
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
    pub(crate) log_start_offset: i64,
}

/// The answer, topic by topic in the order of the request.
pub(crate) fn response(header: &RequestHeader, topics: &[(String, Vec<ProduceResult>)]) -> Response {
    let version = header.version;
    let flexible = version >= FLEXIBLE_FROM;
    let mut out = Response::begin(header);
    out.put_count(flexible, topics.len());
    for (name, partitions) in topics {
        out.put_text(flexible, name);
        out.put_count(flexible, partitions.len());
        for one in partitions {
            out.put_i32(one.index);
            out.put_i16(one.error_code);
            out.put_i64(one.base_offset);
            if version >= 2 {
                out.put_i64(-1); // log append time: records keep their producer's
            }
            if version >= 5 {
                out.put_i64(one.log_start_offset);
            }
            if version >= 8 {
                out.put_count(flexible, 0); // single records at fault: batches are judged whole
                out.put_nullable_text(flexible, one.error_message.as_deref());
            }
            out.put_no_tags(flexible);
        }
        out.put_no_tags(flexible);
    }
    if version >= 1 {
        out.put_i32(0); // throttle time
    }
    out.put_no_tags(flexible);
    Response::of(vec![Part::Bytes(out.freeze())])
}
