//! A Produce request, encoded once: per request only the correlation id, the partition and the
//! batch's number change.

use crate::admin::PRODUCE;
use crate::batch::{BatchEditor, BatchTemplate};
use crate::wire::{CORRELATION_AT, Malformed, Reader, Writer};

/// One batch for one partition in a request frame.
#[derive(Debug)]
pub(crate) struct ProduceFrame {
    bytes: Vec<u8>,
    partition_at: usize,
    batch_at: usize,
    editor: BatchEditor,
}

impl ProduceFrame {
    /// Encodes the request around a copy of the batch.
    pub(crate) fn new(version: i16, acks: i16, timeout_ms: i32, topic: &str, batch: &BatchTemplate) -> Self {
        let mut request = Writer::request(PRODUCE.key, version, 0);
        request.null_string().i16(acks).i32(timeout_ms).i32(1).string(topic).i32(1);
        let partition_at = request.len();
        request.i32(0).i32(batch.bytes().len() as i32);
        let batch_at = request.len();
        request.raw(batch.bytes());
        Self { bytes: request.finish(), partition_at, batch_at, editor: batch.editor() }
    }

    /// Makes this the request for that batch and returns it.
    pub(crate) fn prepare(&mut self, correlation_id: i32, partition: i32, number: u64) -> &[u8] {
        self.bytes[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        self.bytes[self.partition_at..self.partition_at + 4].copy_from_slice(&partition.to_be_bytes());
        self.editor.set_number(&mut self.bytes[self.batch_at..], number);
        &self.bytes
    }

    /// Bytes of the batch: what the figures count.
    pub(crate) fn batch_bytes(&self) -> u64 {
        (self.bytes.len() - self.batch_at) as u64
    }
}

/// What a broker answers to one batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProduceAnswer {
    /// Of the request.
    pub(crate) correlation_id: i32,
    /// Of the batch.
    pub(crate) partition: i32,
    /// 0: taken.
    pub(crate) code: i16,
}

impl ProduceAnswer {
    /// Reads what matters of an answer to one batch; the rest differs between versions.
    pub(crate) fn read(frame: &[u8]) -> Result<Self, Malformed> {
        let mut answer = Reader::new(frame);
        let correlation_id = answer.i32("correlation id")?;
        if answer.count("topics")? != 1 {
            return Err(Malformed { field: "the list of topics" });
        }
        answer.string("topic")?;
        if answer.count("partitions")? != 1 {
            return Err(Malformed { field: "the list of partitions" });
        }
        let partition = answer.i32("partition")?;
        let code = answer.i16("error code")?;
        answer.i64("base offset")?;
        Ok(Self { correlation_id, partition, code })
    }

    /// Encodes the answer that a floor gives: taken.
    pub(crate) fn encode(correlation_id: i32, partition: i32, topic: &str) -> Vec<u8> {
        let mut answer = Writer::default();
        answer.i32(0).i32(correlation_id).i32(1).string(topic).i32(1);
        answer.i32(partition).i16(0).i64(0).i64(-1).i64(0).i32(0);
        answer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchShape;
    use bytes::Bytes;
    use proto_kafka::messages::{ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader};
    use proto_kafka::protocol::Decodable;
    use proto_kafka::records::RecordBatchDecoder;

    #[test]
    fn another_codec_reads_the_request() {
        for version in 3..=7_i16 {
            let shape = BatchShape::fitting(64, 4096);
            let template = BatchTemplate::new(shape, 1, 0, 9);
            let mut frame = ProduceFrame::new(version, -1, 5000, "orders", &template);
            let bytes = frame.prepare(77, 5, 12);
            let size = u32::from_be_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(size as usize, bytes.len() - 4);
            let mut rest = Bytes::copy_from_slice(&bytes[4..]);
            let header = RequestHeader::decode(&mut rest, 1).unwrap();
            assert_eq!((header.request_api_key, header.request_api_version), (0, version));
            assert_eq!(header.correlation_id, 77);
            let request = ProduceRequest::decode(&mut rest, version).unwrap();
            assert_eq!((request.acks, request.timeout_ms), (-1, 5000));
            let partition = &request.topic_data[0].partition_data[0];
            assert_eq!(partition.index, 5);
            let mut records = partition.records.clone().unwrap();
            let records = RecordBatchDecoder::decode(&mut records).unwrap().records;
            assert_eq!(records.len(), shape.records as usize);
        }
    }

    #[test]
    fn the_answer_of_a_floor_is_a_produce_answer() {
        let bytes = ProduceAnswer::encode(3, 4, "floor");
        let read = ProduceAnswer::read(&bytes[4..]).unwrap();
        assert_eq!(read, ProduceAnswer { correlation_id: 3, partition: 4, code: 0 });
        let mut rest = Bytes::copy_from_slice(&bytes[4..]);
        assert_eq!(ResponseHeader::decode(&mut rest, 0).unwrap().correlation_id, 3);
        let response = ProduceResponse::decode(&mut rest, 7).unwrap();
        assert_eq!(response.responses[0].partition_responses[0].index, 4);
        assert!(rest.is_empty());
    }
}
