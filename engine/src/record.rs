//! Records inside of an uncompressed batch: a builder and an iterator.
//!
//! The engine stores batches whole and never looks inside; these serve programs that embed it and
//! the broker's own logs. Compression is the business of clients.

use crate::batch::{
    BatchError, BatchHeader, CRC_AT, CRC_COVERS_FROM, HEADER_BYTES, LENGTH_AT, LENGTH_PREFIX_BYTES, MAGIC,
    NO_PRODUCER_ID,
};
use thiserror::Error;

/// A header of a record: a name and a value that may be null.
pub type RecordHeader<'a> = (&'a [u8], Option<&'a [u8]>);

/// One record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: crate::Offset,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The record's headers, in order.
    pub headers: Vec<RecordHeader<'a>>,
}

/// Builds one uncompressed record batch.
///
/// ```
/// use ringmain_engine::{BatchBuilder, BatchHeader, records};
/// let mut builder = BatchBuilder::new();
/// builder.push(1_700_000_000_000, Some(b"key"), Some(b"value"));
/// let batch = builder.finish().unwrap();
/// let header = BatchHeader::parse_whole(&batch).unwrap();
/// assert_eq!(header.record_count, 1);
/// let record = records(&batch).unwrap().next().unwrap().unwrap();
/// assert_eq!(record.value, Some(&b"value"[..]));
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    record_count: i32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            record_count: 0,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }

    /// Marks the batch as an idempotent producer's.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Adds a record without headers.
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> &mut Self {
        if self.record_count == 0 {
            self.base_timestamp_ms = timestamp_ms;
            self.max_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        let mut body = vec![0]; // attributes
        put_varint(&mut body, timestamp_ms - self.base_timestamp_ms);
        put_varint(&mut body, i64::from(self.record_count));
        put_bytes(&mut body, key);
        put_bytes(&mut body, value);
        put_varint(&mut body, 0); // headers
        put_varint(&mut self.bytes, body.len() as i64);
        self.bytes.extend_from_slice(&body);
        self.record_count += 1;
        self
    }

    /// Bytes of the batch so far.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The finished batch with base offset 0; `None` if it has no record.
    #[must_use]
    pub fn finish(self) -> Option<Vec<u8>> {
        if self.record_count == 0 {
            return None;
        }
        let mut bytes = self.bytes;
        let length = i32::try_from(bytes.len() - LENGTH_PREFIX_BYTES).ok()?;
        bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
        bytes[12..16].copy_from_slice(&(-1i32).to_be_bytes());
        bytes[16] = MAGIC.cast_unsigned();
        bytes[23..27].copy_from_slice(&(self.record_count - 1).to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp_ms.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp_ms.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        Some(bytes)
    }
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

/// Why the records of a batch cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// It is not a batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The batch is compressed; the engine has no codecs.
    #[error("the batch is compressed with codec {0}; decompress it first")]
    Compressed(u8),
    /// A record's own lengths do not fit the batch.
    #[error("a record of the batch is malformed")]
    Malformed,
}

/// The records of the uncompressed batch at the start of `bytes`.
///
/// # Errors
/// Not a whole batch, a wrong CRC, or a compressed batch.
pub fn records(bytes: &[u8]) -> Result<Records<'_>, RecordsError> {
    let header = BatchHeader::parse_whole(bytes)?;
    if header.compression() != 0 {
        return Err(RecordsError::Compressed(header.compression()));
    }
    let body = &bytes[HEADER_BYTES..header.size_bytes];
    Ok(Records { left: header.record_count, header, body })
}

/// Iterates over the records of a batch; ends after the first malformed one.
#[derive(Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    body: &'a [u8],
    left: i32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let record = read_record(&mut self.body, &self.header).ok_or(RecordsError::Malformed);
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

fn read_record<'a>(body: &mut &'a [u8], header: &BatchHeader) -> Option<Record<'a>> {
    let length = usize::try_from(get_varint(body)?).ok()?;
    let (mut one, rest) = body.split_at_checked(length)?;
    *body = rest;
    one = one.get(1..)?; // attributes
    let timestamp_ms = header.base_timestamp_ms.checked_add(get_varint(&mut one)?)?;
    let delta = get_varint(&mut one)?;
    let key = get_bytes(&mut one)?;
    let value = get_bytes(&mut one)?;
    let header_count = usize::try_from(get_varint(&mut one)?).ok()?;
    // A header takes two bytes at least: a lying count allocates nothing.
    if header_count > one.len() {
        return None;
    }
    let mut headers = Vec::with_capacity(header_count);
    for _ in 0..header_count {
        headers.push((get_bytes(&mut one)??, get_bytes(&mut one)?));
    }
    Some(Record { offset: header.base_offset.plus(delta), timestamp_ms, key, value, headers })
}

fn get_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

/// `Some(None)` is a null; `None` means malformed.
#[expect(clippy::option_option)]
fn get_bytes<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = get_varint(bytes)?;
    if length < 0 {
        return Some(None);
    }
    let (one, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(one))
}
