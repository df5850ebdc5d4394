//! Batches whose every byte follows from a number, and the random choices.

use ringmain_engine::{BatchBuilder, BatchHeader, records};

/// The number and the place of the record, before the bytes that follow from them.
const HEAD_BYTES: usize = 12;

/// A small generator (splitmix64): the choices of a run follow from its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Spreads each bit over all.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// What a batch consists of. `tag` names it in the history and is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) tag: u64,
    /// Records.
    pub(crate) count: usize,
    /// Bytes of each record's value.
    pub(crate) size: usize,
}

impl Shape {
    /// Mostly small ones, some beyond the size of a segment.
    pub(crate) fn any(tag: u64, random: &mut Random) -> Self {
        let bytes = match random.below(200) {
            0..120 => 20 + random.below(300),
            120..190 => 300 + random.below(8 << 10),
            190..199 => (8 << 10) + random.below(56 << 10),
            _ => (100 << 10) + random.below(200 << 10),
        };
        let count = 1 + random.below(8);
        Self { tag, count: count as usize, size: HEAD_BYTES.max((bytes / count) as usize) }
    }

    pub(crate) fn batch(self) -> Result<Vec<u8>, String> {
        let mut builder = BatchBuilder::new();
        for number in 0..self.count {
            builder.push(1_700_000_000_000 + number as i64, None, Some(&value(self.tag, number, self.size)));
        }
        builder.finish().ok_or_else(|| "a batch cannot be built".into())
    }

    /// What the batch at the start of `bytes` consists of, with every byte checked.
    pub(crate) fn of(header: &BatchHeader, bytes: &[u8]) -> Result<Self, String> {
        let mut shape = None;
        let mut count = 0;
        for record in records(bytes).map_err(|err| err.to_string())? {
            let record = record.map_err(|err| err.to_string())?;
            let found = record.value.unwrap_or_default();
            let tag = found.first_chunk().map(|tag| u64::from_be_bytes(*tag));
            let tag = tag.filter(|_| found.len() >= HEAD_BYTES).ok_or("a value is too short")?;
            let first = *shape.get_or_insert(Self { tag, count: 0, size: found.len() });
            if (tag, found.len()) != (first.tag, first.size) || found != value(tag, count, first.size) {
                return Err(format!("record {count} of {:#x} has another value", first.tag));
            }
            if record.offset != header.base_offset.plus(count as i64) {
                return Err(format!("record {count} of {tag:#x} has offset {}", record.offset));
            }
            count += 1;
        }
        shape.map(|shape| Self { count, ..shape }).ok_or_else(|| "a batch has no record".into())
    }
}

fn value(tag: u64, number: usize, size: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(size + 8);
    value.extend_from_slice(&tag.to_be_bytes());
    value.extend_from_slice(&(number as u32).to_be_bytes());
    let mut bits = Random(mix(tag) ^ number as u64);
    while value.len() < size {
        value.extend_from_slice(&bits.next().to_le_bytes());
    }
    value.truncate(size);
    value
}
