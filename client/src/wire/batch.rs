//! Record batches (magic 2): built record by record, read record by record.
//!
//! The codec crate can do this too, but it keeps every record as a structure of some 200 bytes
//! before encoding, hides the last offset of a batch (without which the position after control
//! batches and compacted batches is unknown), and refuses header keys that are not UTF-8. What is
//! written here is tested against it.

use bytes::{BufMut, Bytes, BytesMut};

use super::compression::{self, Compression, CompressionError};
use super::varint;

/// Bytes before the records of a batch.
pub const HEADER_BYTES: usize = 61;
/// Bytes of the base offset and the length, which the length does not count.
const PREFIX_BYTES: usize = 12;
/// The checksum covers everything from here on.
const CHECKED_FROM: usize = 21;
const MAGIC: i8 = 2;
const MAGIC_AT: usize = 16;
const COMPRESSION_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
/// The fewest bytes a record takes: size, attributes, two deltas, two lengths, header count.
const RECORD_BYTES_MIN: usize = 7;

/// A header of a record: a name, and a value or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name; names may repeat. Meant to be UTF-8, which no broker checks.
    pub key: Bytes,
    /// The value.
    pub value: Option<Bytes>,
}

/// What identifies the batches of an idempotent producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer id that the broker gave out.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
}

/// Builds one batch, record by record, in its final bytes.
#[derive(Debug)]
pub struct BatchBuilder {
    buffer: BytesMut,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        let mut buffer = BytesMut::with_capacity(HEADER_BYTES * 4);
        buffer.put_bytes(0, HEADER_BYTES);
        Self { buffer, count: 0, base_timestamp: 0, max_timestamp: 0 }
    }

    /// Number of records.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Bytes so far, header included, before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Adds a record.
    pub fn push(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let offset_delta = i64::from(self.count);
        let size = 1
            + varint::length(timestamp_delta)
            + varint::length(offset_delta)
            + payload_bytes(key, value, headers);
        self.buffer.reserve(size + 10);
        varint::put(&mut self.buffer, size as i64);
        self.buffer.put_i8(0);
        varint::put(&mut self.buffer, timestamp_delta);
        varint::put(&mut self.buffer, offset_delta);
        put_optional(&mut self.buffer, key);
        put_optional(&mut self.buffer, value);
        varint::put(&mut self.buffer, headers.len() as i64);
        for header in headers {
            put_optional(&mut self.buffer, Some(&header.key));
            put_optional(&mut self.buffer, header.value.as_deref());
        }
        self.count += 1;
    }

    /// Completes the batch: compresses it, writes its header, computes its checksum.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn finish(
        self,
        compression: Compression,
        stamp: Option<ProducerStamp>,
    ) -> Result<Bytes, CompressionError> {
        let mut batch = if compression == Compression::None {
            self.buffer
        } else {
            let mut packed = Vec::with_capacity(HEADER_BYTES + self.buffer.len() / 2);
            packed.put_bytes(0, HEADER_BYTES);
            compression::compress(compression, &self.buffer[HEADER_BYTES..], &mut packed)?;
            BytesMut::from(Bytes::from(packed))
        };
        let stamp = stamp.unwrap_or(ProducerStamp { producer_id: -1, producer_epoch: -1, base_sequence: -1 });
        let length = batch.len() - PREFIX_BYTES;
        let mut header = &mut batch[..HEADER_BYTES];
        header.put_i64(0);
        // A batch is bounded far below 2 GiB by the producer's configuration.
        header.put_i32(length as i32);
        header.put_i32(-1);
        header.put_i8(MAGIC);
        header.put_u32(0);
        header.put_i16(compression.code());
        header.put_i32(self.count - 1);
        header.put_i64(self.base_timestamp);
        header.put_i64(self.max_timestamp);
        header.put_i64(stamp.producer_id);
        header.put_i16(stamp.producer_epoch);
        header.put_i32(stamp.base_sequence);
        header.put_i32(self.count);
        let checksum = crc32c::crc32c(&batch[CHECKED_FROM..]);
        batch[CHECKED_FROM - 4..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
        Ok(batch.freeze())
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// The most bytes that a record adds to a batch.
#[must_use]
pub fn record_bytes_max(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> usize {
    // Size and offset delta take 5 bytes at most, the timestamp delta 10, the attributes 1.
    21 + payload_bytes(key, value, headers)
}

fn payload_bytes(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> usize {
    let headers_bytes: usize = headers
        .iter()
        .map(|header| optional_bytes(Some(&header.key)) + optional_bytes(header.value.as_deref()))
        .sum();
    optional_bytes(key) + optional_bytes(value) + varint::length(headers.len() as i64) + headers_bytes
}

fn optional_bytes(field: Option<&[u8]>) -> usize {
    field.map_or(1, |bytes| varint::length(bytes.len() as i64) + bytes.len())
}

fn put_optional(buffer: &mut BytesMut, field: Option<&[u8]>) {
    match field {
        Some(bytes) => {
            varint::put(buffer, bytes.len() as i64);
            buffer.put_slice(bytes);
        }
        None => varint::put(buffer, -1),
    }
}

/// Why bytes are not a record batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The length of the batch cannot be one.
    #[error("the batch at offset {base_offset} says that it has {length} bytes")]
    Length {
        /// Base offset of the batch.
        base_offset: i64,
        /// The length found.
        length: i32,
    },
    /// Another message format than the one all brokers of today use.
    #[error("the batch at offset {base_offset} has message format {magic}, and only 2 is read")]
    Magic {
        /// Base offset of the batch.
        base_offset: i64,
        /// The format found.
        magic: i8,
    },
    /// The checksum does not match.
    #[error("the batch at offset {base_offset} fails its checksum")]
    Checksum {
        /// Base offset of the batch.
        base_offset: i64,
    },
    /// A field of the header cannot be.
    #[error("the batch at offset {base_offset} has an impossible {field}")]
    Field {
        /// Base offset of the batch.
        base_offset: i64,
        /// The field.
        field: &'static str,
    },
    /// The records could not be decompressed.
    #[error("the batch at offset {base_offset} cannot be read: {source}")]
    Compression {
        /// Base offset of the batch.
        base_offset: i64,
        /// Why not.
        source: CompressionError,
    },
    /// A record is cut or contradicts itself.
    #[error("a record of the batch at offset {base_offset} is malformed")]
    Record {
        /// Base offset of the batch.
        base_offset: i64,
    },
}

/// The header of a batch whose length and checksum have been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of its first record, or where that was before compaction.
    pub base_offset: i64,
    /// Offset of its last record, or where that was before compaction.
    pub last_offset: i64,
    /// Epoch of the leader that wrote it.
    pub leader_epoch: i32,
    /// Its compression.
    pub compression: Compression,
    /// The time of the append, which then is that of every record.
    pub append_time: Option<i64>,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
    /// Whether it holds control records, which are not for applications.
    pub control: bool,
    /// Timestamp that those of the records count from.
    pub base_timestamp: i64,
    /// Producer id, or -1.
    pub producer_id: i64,
    /// Number of records.
    pub count: i32,
}

/// A batch as it came, not yet decompressed.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its header.
    pub header: BatchHeader,
    body: Bytes,
}

/// A record of a batch. The fields share the memory they arrived in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds since 1970.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<Header>,
}

/// Takes the first batch off the front of `bytes`. `None` when what is left is not a whole one:
/// a broker may cut the last batch of a response short.
///
/// # Errors
/// When the bytes are not a batch or its checksum fails. What is left is then unreadable.
pub fn next_batch(bytes: &mut Bytes) -> Result<Option<Batch>, BatchError> {
    let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let base_offset = i64_at(prefix, 0);
    let length = i32_at(prefix, 8);
    let total = usize::try_from(length).map_or(0, |length| length.saturating_add(PREFIX_BYTES));
    if total < MAGIC_AT + 1 || base_offset < 0 {
        return Err(BatchError::Length { base_offset, length });
    }
    if bytes.len() > MAGIC_AT && bytes[MAGIC_AT].cast_signed() != MAGIC {
        let magic = bytes[MAGIC_AT].cast_signed();
        return Err(BatchError::Magic { base_offset, magic });
    }
    if total < HEADER_BYTES {
        return Err(BatchError::Length { base_offset, length });
    }
    if bytes.len() < total {
        return Ok(None);
    }
    let batch = bytes.split_to(total);
    if crc32c::crc32c(&batch[CHECKED_FROM..]).to_be_bytes() != batch[CHECKED_FROM - 4..CHECKED_FROM] {
        return Err(BatchError::Checksum { base_offset });
    }
    let header = parse_header(base_offset, &batch)?;
    let body = batch.slice(HEADER_BYTES..);
    Ok(Some(Batch { header, body }))
}

fn parse_header(base_offset: i64, batch: &[u8]) -> Result<BatchHeader, BatchError> {
    let field = |field| BatchError::Field { base_offset, field };
    let attributes = i16::from_be_bytes([batch[21], batch[22]]);
    let last_delta = i32_at(batch, 23);
    let count = i32_at(batch, 57);
    let max_timestamp = i64_at(batch, 35);
    if last_delta < 0 {
        return Err(field("last offset"));
    }
    if count < 0 {
        return Err(field("number of records"));
    }
    Ok(BatchHeader {
        base_offset,
        last_offset: base_offset
            .checked_add(i64::from(last_delta))
            .filter(|last| *last < i64::MAX)
            .ok_or_else(|| field("last offset"))?,
        leader_epoch: i32_at(batch, 12),
        compression: Compression::from_code(attributes & COMPRESSION_MASK)
            .ok_or_else(|| field("compression"))?,
        append_time: (attributes & LOG_APPEND_TIME != 0).then_some(max_timestamp),
        transactional: attributes & TRANSACTIONAL != 0,
        control: attributes & CONTROL != 0,
        base_timestamp: i64_at(batch, 27),
        producer_id: i64_at(batch, 43),
        count,
    })
}

impl Batch {
    /// Its records, decompressed into at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When they cannot be decompressed, or there cannot be as many as the header says.
    pub fn records(self, bytes_max: usize) -> Result<Records, BatchError> {
        let (header, body) = self.decompressed(bytes_max)?;
        // Checked here so that a count found in the bytes never decides an allocation.
        let left = header.count as usize;
        if left.saturating_mul(RECORD_BYTES_MIN) > body.len() {
            return Err(BatchError::Record { base_offset: header.base_offset });
        }
        Ok(Records { header, body, at: 0, left })
    }

    /// Its header, and the bytes of its records, decompressed into at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When they cannot be decompressed.
    pub fn decompressed(self, bytes_max: usize) -> Result<(BatchHeader, Bytes), BatchError> {
        let base_offset = self.header.base_offset;
        let body = match self.header.compression {
            Compression::None => self.body,
            compression => compression::decompress(compression, &self.body, bytes_max)
                .map(Bytes::from)
                .map_err(|source| BatchError::Compression { base_offset, source })?,
        };
        Ok((self.header, body))
    }
}

/// The records of a batch, decoded one by one.
#[derive(Debug)]
pub struct Records {
    header: BatchHeader,
    body: Bytes,
    at: usize,
    left: usize,
}

impl Iterator for Records {
    type Item = Result<BatchRecord, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let record = self.decode();
        if record.is_none() {
            self.left = 0;
        }
        Some(record.ok_or(BatchError::Record { base_offset: self.header.base_offset }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl Records {
    fn decode(&mut self) -> Option<BatchRecord> {
        let size = usize::try_from(self.varint()?).ok()?;
        let end = self.at.checked_add(size).filter(|end| *end <= self.body.len())?;
        self.at += 1; // Attributes: none are defined.
        let timestamp_delta = self.varint()?;
        let offset_delta = i32::try_from(self.varint()?).ok()?;
        let key = self.optional()?;
        let value = self.optional()?;
        let count = usize::try_from(self.varint()?).ok()?;
        let mut headers = Vec::new();
        for _ in 0..count {
            headers.push(Header { key: self.optional()??, value: self.optional()? });
        }
        if self.at != end {
            return None;
        }
        Some(BatchRecord {
            offset: self.header.base_offset.checked_add(i64::from(offset_delta))?,
            timestamp: self
                .header
                .append_time
                .unwrap_or_else(|| self.header.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers,
        })
    }

    fn varint(&mut self) -> Option<i64> {
        let (value, length) = varint::get(self.body.get(self.at..)?)?;
        self.at += length;
        Some(value)
    }

    fn optional(&mut self) -> Option<Option<Bytes>> {
        let length = self.varint()?;
        if length == -1 {
            return Some(None);
        }
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        if end > self.body.len() {
            return None;
        }
        let field = self.body.slice(self.at..end);
        self.at = end;
        Some(Some(field))
    }
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    (i64::from(i32_at(bytes, at)) << 32) | i64::from(i32_at(bytes, at + 4).cast_unsigned())
}

mod outlines;
#[cfg(test)]
mod tests;

pub use outlines::{Outline, Outlines};
