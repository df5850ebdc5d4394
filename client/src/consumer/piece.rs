//! From the bytes of a fetch to the records that were asked for.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::wire::batch::{BatchError, BatchRecord, Header, next_batch};

/// The control record that ends an aborted transaction has this type, behind its version.
const CONTROL_ABORT: [u8; 2] = [0, 0];

/// Records to make room for at a time: a count found in a batch does not decide an allocation.
const RESERVED_RECORDS_MAX: usize = 4096;

/// A record as it was consumed. Key, value and header values share the memory of the fetch they
/// came with: copy what is to be kept for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<Header>,
}

/// One partition's share of a fetch.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The records, in order; none when there is only news of the offsets.
    pub records: Vec<Record>,
    /// The offset to go on from.
    pub next_offset: i64,
    /// Behind the last record that a consumer may be given.
    pub end_offset: i64,
    /// The high watermark.
    pub high_watermark: i64,
}

/// A transaction that was aborted: its records from `first_offset` to its end are not given out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
}

/// The partition that bytes came from, and what is wanted of them.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) topic: &'a Arc<str>,
    pub(crate) partition: i32,
    /// The first offset wanted.
    pub(crate) from: i64,
    /// Most bytes that one batch may decompress to.
    pub(crate) batch_bytes_max: usize,
    /// Aborted transactions to leave out, by first offset.
    pub(crate) aborted: &'a [Aborted],
}

/// Decodes the batches of a fetch. Gives the records wanted and the offset to go on from.
///
/// Left out are records below the wanted offset (a batch is always fetched as a whole), control
/// records, and those of aborted transactions. The offset to go on from is behind all of them,
/// and also behind what compaction has taken from the end of a batch.
pub(crate) fn decode(source: &Source<'_>, mut bytes: Bytes) -> Result<(Vec<Record>, i64), BatchError> {
    let mut records = Vec::new();
    let mut next = source.from;
    let mut coming = source.aborted.iter().peekable();
    let mut aborting = HashSet::new();
    while let Some(batch) = next_batch(&mut bytes)? {
        let header = batch.header;
        while let Some(aborted) = coming.next_if(|next| next.first_offset <= header.last_offset) {
            aborting.insert(aborted.producer_id);
        }
        let wanted = header.last_offset >= source.from;
        next = next.max(header.last_offset + 1);
        if header.control {
            let first = batch.records(source.batch_bytes_max)?.next().transpose()?;
            if first.is_some_and(|record| is_abort(&record)) {
                aborting.remove(&header.producer_id);
            }
            continue;
        }
        if !wanted || (header.transactional && aborting.contains(&header.producer_id)) {
            continue;
        }
        records.reserve((header.count as usize).min(RESERVED_RECORDS_MAX));
        for record in batch.records(source.batch_bytes_max)? {
            let record = record?;
            if record.offset < source.from {
                continue;
            }
            records.push(Record {
                topic: Arc::clone(source.topic),
                partition: source.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key,
                value: record.value,
                headers: record.headers,
            });
        }
    }
    Ok((records, next))
}

fn is_abort(record: &BatchRecord) -> bool {
    let key = record.key.as_deref().unwrap_or_default();
    key.get(2..4) == Some(&CONTROL_ABORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::{BatchBuilder, ProducerStamp};
    use crate::wire::compression::Compression;
    use bytes::BytesMut;

    /// A batch of records whose values are their offsets.
    fn batch(base: i64, count: i64, attributes: u8, producer_id: i64) -> Bytes {
        let mut builder = BatchBuilder::new();
        for offset in base..base + count {
            let key: &[u8] = if attributes & 0x20 != 0 { &[0, 0, 0, 0] } else { b"k" };
            builder.push(0, Some(key), Some(offset.to_string().as_bytes()), &[]);
        }
        let stamp = ProducerStamp { producer_id, producer_epoch: 0, base_sequence: 0 };
        let built = builder.finish(Compression::None, Some(stamp)).unwrap();
        patched(&built, base, attributes)
    }

    fn patched(batch: &Bytes, base: i64, attributes: u8) -> Bytes {
        let mut batch = BytesMut::from(&batch[..]);
        batch[..8].copy_from_slice(&base.to_be_bytes());
        batch[22] |= attributes;
        let checksum = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&checksum.to_be_bytes());
        batch.freeze()
    }

    fn offsets(from: i64, aborted: &[Aborted], batches: &[Bytes]) -> (Vec<i64>, i64) {
        let source = Source { topic: &"t".into(), partition: 1, from, batch_bytes_max: 1 << 20, aborted };
        let (records, next) = decode(&source, Bytes::from(batches.concat())).unwrap();
        for record in &records {
            assert_eq!(record.value.as_deref().unwrap(), record.offset.to_string().as_bytes());
        }
        (records.iter().map(|record| record.offset).collect(), next)
    }

    #[test]
    fn records_below_the_wanted_offset_are_left_out() {
        let batches = [batch(10, 3, 0, -1), batch(13, 2, 0, -1)];
        assert_eq!(offsets(10, &[], &batches), (vec![10, 11, 12, 13, 14], 15));
        assert_eq!(offsets(12, &[], &batches), (vec![12, 13, 14], 15));
        assert_eq!(offsets(13, &[], &batches), (vec![13, 14], 15));
    }

    #[test]
    fn a_cut_batch_at_the_end_is_left_for_the_next_fetch() {
        let second = batch(3, 3, 0, -1);
        let batches = [batch(0, 3, 0, -1), second.slice(..second.len() - 1)];
        assert_eq!(offsets(0, &[], &batches), (vec![0, 1, 2], 3));
    }

    #[test]
    fn control_records_move_the_position_only() {
        let batches = [batch(0, 2, 0x10, 5), batch(2, 1, 0x30, 5)];
        assert_eq!(offsets(0, &[], &batches), (vec![0, 1], 3));
        assert_eq!(offsets(2, &[], &batches[1..]), (vec![], 3));
    }

    #[test]
    fn aborted_transactions_are_left_out_until_their_end() {
        let batches =
            [batch(0, 2, 0x10, 5), batch(2, 1, 0x10, 6), batch(3, 1, 0x30, 5), batch(4, 1, 0x10, 5)];
        let aborted = [Aborted { producer_id: 5, first_offset: 0 }];
        assert_eq!(offsets(0, &aborted, &batches), (vec![2, 4], 5));
    }
}
