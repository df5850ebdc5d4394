//! The record batch, magic 2: the one unit that is sent, stored and fetched.
//!
//! Source: Kafka's message format, <https://kafka.apache.org/documentation/#recordbatch>.
//! All integers are big-endian. The CRC (CRC-32C) covers everything from the attributes on, so the
//! base offset and the leader epoch can be written in place without computing it again.

use crate::offset::{LeaderEpoch, Offset};
use thiserror::Error;

/// Bytes before the part that the length field counts: base offset and length.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// Bytes of a batch's header; the records follow.
pub const HEADER_BYTES: usize = 61;
/// The only message format that is stored.
pub const MAGIC: i8 = 2;
/// The producer id of a batch without one.
pub const NO_PRODUCER_ID: i64 = -1;

/// The fewest bytes of a record: a byte each for its length, attributes, timestamp, offset, key
/// length, value length and number of headers.
const RECORD_BYTES_MIN: u64 = 7;
/// More records than this to a compressed byte no codec achieves, since their offsets differ. A small
/// batch that claims billions would use up a segment's offsets with each append.
const RECORDS_PER_COMPRESSED_BYTE_MAX: u64 = 1000;

pub(crate) const LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
/// Where the part that the CRC covers begins.
pub(crate) const CRC_COVERS_FROM: usize = 21;

/// Why bytes are not a record batch.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Fewer bytes than a header or than the length field promises.
    #[error("the batch is cut short: {have_bytes} bytes of {need_bytes}")]
    Incomplete {
        /// Bytes that are there.
        have_bytes: usize,
        /// Bytes that a whole batch takes.
        need_bytes: usize,
    },
    /// A length field that no batch can have.
    #[error("the batch's length field is {0}, which no batch can have")]
    Length(i32),
    /// An older (or unknown) message format.
    #[error("the batch has message format {0}; only 2 is stored")]
    Magic(i8),
    /// The checksum does not match.
    #[error("the batch's CRC is {stored:#010x}, computed {computed:#010x}")]
    Crc {
        /// As found in the header.
        stored: u32,
        /// As computed over the bytes.
        computed: u32,
    },
    /// Record count and last offset delta contradict each other, or there is no record.
    #[error("the batch claims {count} records and a last offset delta of {last_offset_delta}")]
    Count {
        /// The record count.
        count: i32,
        /// The last offset delta.
        last_offset_delta: i32,
    },
    /// A whole batch that does not follow on the one before it.
    #[error(
        "the batch has base offset {base_offset} and epoch {leader_epoch}, which do not follow; offset {expected} was expected"
    )]
    Misplaced {
        /// Its base offset.
        base_offset: Offset,
        /// The base offset that follows.
        expected: Offset,
        /// Its epoch.
        leader_epoch: LeaderEpoch,
    },
    /// A producer id without a valid epoch and sequence number.
    #[error("the batch of producer {producer_id} has epoch {epoch} and sequence {sequence}")]
    Producer {
        /// The producer.
        producer_id: i64,
        /// Its epoch.
        epoch: i16,
        /// The first sequence number.
        sequence: i32,
    },
}

/// The fields of a batch's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// Bytes of the whole batch, header and length prefix included.
    pub size_bytes: usize,
    /// The leader's generation when it was appended.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Compression, timestamp type, transactional and control bits.
    pub attributes: i16,
    /// Offset of the last record less that of the first.
    pub last_offset_delta: i32,
    /// Milliseconds since 1970 of the first record; -1 if none.
    pub base_timestamp_ms: i64,
    /// The largest timestamp in the batch, in milliseconds since 1970.
    pub max_timestamp_ms: i64,
    /// The idempotent producer, or -1.
    pub producer_id: i64,
    /// The producer's generation, or -1.
    pub producer_epoch: i16,
    /// The sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// Too few bytes for a header, an impossible length, another message format, contradictory
    /// counts. The rest of the batch need not be there; the CRC is not checked.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // The magic byte is at the same place in every format, so an older one is told apart first.
        if let Some(magic) = bytes.get(MAGIC_AT).map(|byte| byte.cast_signed())
            && magic != MAGIC
        {
            return Err(BatchError::Magic(magic));
        }
        if bytes.len() < HEADER_BYTES {
            return Err(BatchError::Incomplete { have_bytes: bytes.len(), need_bytes: HEADER_BYTES });
        }
        let length = i32::from_be_bytes(field(bytes, LENGTH_AT));
        let size_bytes = usize::try_from(length)
            .ok()
            .map(|length| length + LENGTH_PREFIX_BYTES)
            .filter(|size| *size >= HEADER_BYTES)
            .ok_or(BatchError::Length(length))?;
        let header = Self {
            base_offset: Offset(i64::from_be_bytes(field(bytes, 0))),
            size_bytes,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, LEADER_EPOCH_AT))),
            crc: u32::from_be_bytes(field(bytes, CRC_AT)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp_ms: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp_ms: i64::from_be_bytes(field(bytes, 35)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        };
        if header.last_offset_delta < 0 || header.record_count < 0 {
            return Err(header.count_error());
        }
        Ok(header)
    }

    /// Reads the batch at the start of `bytes` and checks that it is whole and that its CRC holds.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`], and a batch that is cut short or has a wrong CRC.
    pub fn parse_whole(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::parse(bytes)?;
        if bytes.len() < header.size_bytes {
            return Err(BatchError::Incomplete { have_bytes: bytes.len(), need_bytes: header.size_bytes });
        }
        let computed = crc32c::crc32c(&bytes[CRC_COVERS_FROM..header.size_bytes]);
        if computed != header.crc {
            return Err(BatchError::Crc { stored: header.crc, computed });
        }
        Ok(header)
    }

    /// What a producer must have got right beyond the CRC: at least one record, and consecutive
    /// offsets. (A compacted batch may have gaps; a new one may not.)
    pub(crate) fn check_new(&self) -> Result<(), BatchError> {
        let body_bytes = (self.size_bytes - HEADER_BYTES) as u64;
        let count_max = match self.compression() {
            0 => body_bytes / RECORD_BYTES_MIN,
            _ => body_bytes.saturating_mul(RECORDS_PER_COMPRESSED_BYTE_MAX),
        };
        let count = u64::try_from(self.record_count).unwrap_or(0);
        if count < 1 || self.last_offset_delta != self.record_count - 1 || count > count_max {
            return Err(self.count_error());
        }
        let numbered = self.producer_id >= 0 && self.producer_epoch >= 0 && self.base_sequence >= 0;
        if self.is_idempotent() && !self.is_control() && !numbered {
            return Err(BatchError::Producer {
                producer_id: self.producer_id,
                epoch: self.producer_epoch,
                sequence: self.base_sequence,
            });
        }
        Ok(())
    }

    fn count_error(&self) -> BatchError {
        BatchError::Count { count: self.record_count, last_offset_delta: self.last_offset_delta }
    }

    /// The offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// The offset after the last record.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// The sequence number of the last record; sequence numbers wrap to 0 after 2^31-1.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        sequence_plus(self.base_sequence, self.last_offset_delta)
    }

    /// Whether the batch comes from an idempotent producer.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.producer_id != NO_PRODUCER_ID
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Whether the batch holds a control record (a transaction marker) and no data.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// The compression codec's number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    #[must_use]
    pub fn compression(&self) -> u8 {
        (self.attributes & 0x07) as u8
    }
}

/// A sequence number `delta` further on, wrapping from 2^31-1 to 0.
pub(crate) fn sequence_plus(sequence: i32, delta: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(delta);
    i32::try_from(sum % (i64::from(i32::MAX) + 1)).unwrap_or(i32::MAX)
}

/// Writes base offset and leader epoch into a batch; both lie outside of what the CRC covers.
pub(crate) fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    batch[..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&leader_epoch.0.to_be_bytes());
}
