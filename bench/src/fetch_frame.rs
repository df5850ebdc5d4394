//! A Fetch request for one partition, encoded once, and what its answer holds.

use crate::admin::FETCH;
use crate::batch::HEADER_BYTES;
use crate::wire::{CORRELATION_AT, Malformed, Reader, Writer};

/// How long a broker may hold back an answer for want of data.
const WAIT_MS_MAX: i32 = 100;

/// A request frame: per request only correlation id, partition and offset change.
#[derive(Debug, Clone)]
pub(crate) struct FetchFrame {
    bytes: Vec<u8>,
    version: i16,
    partition_at: usize,
    offset_at: usize,
}

impl FetchFrame {
    /// Encodes a request without a fetch session, for `fetch_bytes` of one partition.
    pub(crate) fn new(version: i16, topic: &str, fetch_bytes: i32) -> Self {
        let mut request = Writer::request(FETCH.key, version, 0);
        request.i32(-1).i32(WAIT_MS_MAX).i32(1).i32(fetch_bytes).i8(0);
        if version >= 7 {
            request.i32(0).i32(-1); // no session
        }
        request.i32(1).string(topic).i32(1);
        let partition_at = request.len();
        request.i32(0);
        if version >= 9 {
            request.i32(-1); // leader epoch unknown
        }
        let offset_at = request.len();
        request.i64(0);
        if version >= 5 {
            request.i64(-1); // log start: only followers send it
        }
        request.i32(fetch_bytes);
        if version >= 7 {
            request.i32(0); // nothing to forget
        }
        if version >= 11 {
            request.string(""); // rack
        }
        Self { bytes: request.finish(), version, partition_at, offset_at }
    }

    /// Makes this the request for that offset and returns it.
    pub(crate) fn prepare(&mut self, correlation_id: i32, partition: i32, offset: i64) -> &[u8] {
        self.bytes[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        self.bytes[self.partition_at..self.partition_at + 4].copy_from_slice(&partition.to_be_bytes());
        self.bytes[self.offset_at..self.offset_at + 8].copy_from_slice(&offset.to_be_bytes());
        &self.bytes
    }

    /// Reads an answer to this request.
    pub(crate) fn read<'a>(&self, frame: &'a [u8]) -> Result<FetchAnswer<'a>, Malformed> {
        let mut answer = Reader::new(frame);
        let correlation_id = answer.i32("correlation id")?;
        answer.i32("throttle time")?;
        if self.version >= 7 {
            let code = answer.i16("error code")?;
            answer.i32("session id")?;
            if code != 0 {
                return Ok(FetchAnswer { correlation_id, partition: -1, code, batches: &[] });
            }
        }
        if answer.count("topics")? != 1 {
            return Err(Malformed { field: "the list of topics" });
        }
        answer.string("topic")?;
        if answer.count("partitions")? != 1 {
            return Err(Malformed { field: "the list of partitions" });
        }
        let (partition, code, batches) = read_partition(&mut answer, self.version)?;
        Ok(FetchAnswer { correlation_id, partition, code, batches })
    }

    /// Encodes what precedes the batches in an answer of version 11: the floor's answer.
    pub(crate) fn encode_answer_head(topic: &str, batches_len: usize) -> Vec<u8> {
        let mut answer = Writer::default();
        // Size, correlation id, throttle time, no error, no session.
        answer.i32(0).i32(0).i32(0).i16(0).i32(0);
        answer.i32(1).string(topic).i32(1).i32(0).i16(0);
        answer.i64(0).i64(0).i64(0).i32(-1).i32(-1).i32(batches_len as i32);
        let size = (answer.len() - 4 + batches_len) as i32;
        let mut bytes = answer.finish();
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        bytes
    }
}

/// Reads what an answer of `version` says of one partition: its index, the error code, and the record batches.
pub(crate) fn read_partition<'a>(
    answer: &mut Reader<'a>,
    version: i16,
) -> Result<(i32, i16, &'a [u8]), Malformed> {
    let partition = answer.i32("partition")?;
    let code = answer.i16("error code")?;
    answer.i64("high watermark")?;
    answer.i64("last stable offset")?;
    if version >= 5 {
        answer.i64("log start offset")?;
    }
    for _ in 0..answer.count("aborted transactions")? {
        answer.i64("producer id")?;
        answer.i64("first offset")?;
    }
    if version >= 11 {
        answer.i32("preferred replica")?;
    }
    Ok((partition, code, answer.bytes("records")?))
}

/// An answer for one partition.
#[derive(Debug)]
pub(crate) struct FetchAnswer<'a> {
    /// Of the request.
    pub(crate) correlation_id: i32,
    /// Partition, or -1 if the whole request was refused.
    pub(crate) partition: i32,
    /// 0: fine.
    pub(crate) code: i16,
    /// Record batches; the last one may be cut off.
    pub(crate) batches: &'a [u8],
}

/// The header of one batch and its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchedBatch<'a> {
    /// First offset.
    pub(crate) base_offset: i64,
    /// One behind its last offset.
    pub(crate) next_offset: i64,
    /// How many records its header promises.
    pub(crate) records: i32,
    /// The whole batch.
    pub(crate) bytes: &'a [u8],
}

/// The whole batches of an answer, in order; a cut-off one at the end is left out.
pub(crate) fn whole_batches(mut rest: &[u8]) -> impl Iterator<Item = Result<FetchedBatch<'_>, Malformed>> {
    std::iter::from_fn(move || {
        let (header, _) = rest.split_first_chunk::<HEADER_BYTES>()?;
        let batch = read_header(header).map(|(batch, len)| {
            // Cut off if there is less: the answer ended at the fetch size.
            let (bytes, behind) = rest.split_at_checked(len)?;
            rest = behind;
            Some(FetchedBatch { bytes, ..batch })
        });
        if batch.is_err() {
            rest = &[];
        }
        batch.transpose()
    })
}

fn read_header(header: &[u8; HEADER_BYTES]) -> Result<(FetchedBatch<'static>, usize), Malformed> {
    let mut reader = Reader::new(header);
    let base_offset = reader.i64("base offset")?;
    let length = reader.i32("batch length")?;
    reader.i32("leader epoch")?;
    let magic = reader.i8("magic")?;
    reader.i32("checksum")?;
    reader.i16("attributes")?;
    let last_delta = reader.i32("last offset delta")?;
    reader.take(8 + 8 + 8 + 2 + 4, "timestamps and producer")?;
    let records = reader.i32("record count")?;
    if magic != 2 || length < (HEADER_BYTES - 12) as i32 || last_delta < 0 || records < 0 {
        return Err(Malformed { field: "a batch header" });
    }
    let next_offset = base_offset + i64::from(last_delta) + 1;
    Ok((FetchedBatch { base_offset, next_offset, records, bytes: &[] }, length as usize + 12))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchShape, BatchTemplate};
    use bytes::Bytes;
    use proto_kafka::messages::{FetchRequest, FetchResponse, RequestHeader, ResponseHeader};
    use proto_kafka::protocol::Decodable;

    #[test]
    fn another_codec_reads_the_request() {
        for version in 4..=11_i16 {
            let mut frame = FetchFrame::new(version, "orders", 1 << 20);
            let mut rest = Bytes::copy_from_slice(&frame.prepare(8, 3, 99)[4..]);
            let header = RequestHeader::decode(&mut rest, 1).unwrap();
            assert_eq!((header.request_api_key, header.correlation_id), (1, 8));
            let request = FetchRequest::decode(&mut rest, version).unwrap();
            let partition = &request.topics[0].partitions[0];
            assert_eq!((partition.partition, partition.fetch_offset), (3, 99));
            assert_eq!(partition.partition_max_bytes, 1 << 20);
            assert!(rest.is_empty(), "version {version}");
        }
    }

    #[test]
    fn the_answer_of_a_floor_is_a_fetch_answer() {
        let batch = BatchTemplate::new(BatchShape::fitting(100, 1000), 0, 0, 0);
        let mut bytes = FetchFrame::encode_answer_head("floor", batch.bytes().len());
        bytes.extend_from_slice(batch.bytes());
        let frame = FetchFrame::new(11, "floor", 1000);
        let answer = frame.read(&bytes[4..]).unwrap();
        assert_eq!(answer.batches, batch.bytes());
        let mut rest = Bytes::copy_from_slice(&bytes[4..]);
        ResponseHeader::decode(&mut rest, 0).unwrap();
        let response = FetchResponse::decode(&mut rest, 11).unwrap();
        assert_eq!(response.responses[0].partitions[0].error_code, 0);
        assert!(rest.is_empty());
    }

    #[test]
    fn a_cut_off_batch_is_left_out_and_nonsense_is_refused() {
        let mut batch = BatchTemplate::new(BatchShape::fitting(100, 1000), 0, 0, 0);
        let mut bytes = batch.bytes().to_vec();
        let records = whole_batches(&bytes).next().unwrap().unwrap().next_offset;
        batch.set_base_offset(records);
        bytes.extend_from_slice(batch.bytes());
        bytes.extend_from_slice(&batch.bytes()[..100]);
        let offsets: Vec<_> = whole_batches(&bytes).map(|batch| batch.unwrap().base_offset).collect();
        assert_eq!(offsets, [0, records]);
        bytes[16] = 1;
        let found: Vec<_> = whole_batches(&bytes).collect();
        assert!(found.len() == 1 && found[0].is_err());
    }
}
