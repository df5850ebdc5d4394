//! The fetch response by hand: headers of ours between slices of segments.
//!
//! Source: `FetchResponse.json` of Apache Kafka, versions 4 to 18.

use super::response::PutFields;
use super::{NONE, Part, RequestHeader, Response, StrBytes};
use bytes::BufMut;
use ringmain_engine::Slice;
use uuid::Uuid;

const FLEXIBLE_FROM: i16 = 12;

/// How a request tells a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    Name(StrBytes),
    Id(Uuid),
}

impl TopicKey {
    /// One that shares no memory with the request that it came in.
    pub(crate) fn to_owned_key(&self) -> Self {
        match self {
            Self::Name(name) => Self::Name(StrBytes::from_string(name.to_string())),
            Self::Id(id) => Self::Id(*id),
        }
    }
}

/// What is answered for one partition.
#[derive(Debug)]
pub(crate) struct FetchResult {
    pub(crate) index: i32,
    pub(crate) error_code: i16,
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
    /// Where the log that the client has read and this one part: the latest epoch that both know, and its end
    /// here.
    pub(crate) diverging: Option<(i32, i64)>,
    pub(crate) records: Option<Slice>,
}

impl FetchResult {
    /// Of a partition that nothing can be told of.
    pub(crate) fn failed(index: i32, error_code: i16) -> Self {
        Self { index, error_code, high_watermark: -1, log_start_offset: -1, diverging: None, records: None }
    }
}

/// What is answered as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whole {
    pub(crate) error_code: i16,
    pub(crate) session_id: i32,
    pub(crate) throttle_ms: u32,
}

/// The answer with its records. Partitions of one topic that follow one another are told together.
pub(crate) fn response(
    header: &RequestHeader,
    whole: Whole,
    partitions: Vec<(TopicKey, FetchResult)>,
) -> Response {
    let version = header.version;
    let flexible = version >= FLEXIBLE_FROM;
    let codes = std::iter::once(whole.error_code).chain(partitions.iter().map(|(_, one)| one.error_code));
    let errors = codes.filter(|code| *code != NONE).collect();
    let mut parts = Vec::new();
    let mut out = Response::begin(header);
    out.put_i32(i32::try_from(whole.throttle_ms).unwrap_or(i32::MAX));
    if version >= 7 {
        out.put_i16(whole.error_code);
        out.put_i32(whole.session_id);
    }
    let runs = || partitions.chunk_by(|(one, _), (other, _)| one == other);
    out.put_count(flexible, runs().count());
    let mut lengths = runs().map(<[_]>::len).collect::<Vec<_>>().into_iter();
    let mut left = 0;
    for (topic, one) in partitions {
        if left == 0 {
            left = lengths.next().unwrap_or(1);
            match &topic {
                TopicKey::Id(id) => out.put_slice(id.as_bytes()),
                TopicKey::Name(name) => out.put_text(flexible, name),
            }
            out.put_count(flexible, left);
        }
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
        put_partition_tags(&mut out, flexible, one.diverging);
        left -= 1;
        if left == 0 {
            out.put_no_tags(flexible);
        }
    }
    out.put_no_tags(flexible);
    if !out.is_empty() {
        parts.push(Part::Bytes(out.freeze()));
    }
    Response { throttle_ms: whole.throttle_ms, errors, ..Response::of(parts) }
}

fn put_partition_tags(out: &mut impl BufMut, flexible: bool, diverging: Option<(i32, i64)>) {
    match diverging.filter(|_| flexible) {
        None => out.put_no_tags(flexible),
        Some((epoch, end)) => {
            out.put_slice(&[1, 0, 13]); // one field: number 0, of 13 bytes
            out.put_i32(epoch);
            out.put_i64(end);
            out.put_u8(0);
        }
    }
}
