//! An entry of the journal: what one durable write holds. All integers are big-endian.
//!
//! An entry is a header, then sections, then zeros up to the alignment. Each section says of one log
//! that bytes lie at a place of a segment, or that something was cut, moved, synced or deleted.

use crate::offset::Offset;

/// "RMJE".
const MAGIC: u32 = 0x524d_4a45;
/// Magic, checksum, epoch, sequence, proven sequence, payload bytes, sections, 8 reserved bytes.
pub(crate) const ENTRY_HEADER_BYTES: usize = 48;
/// Kind, 3 reserved bytes, payload bytes, log, offset, end, segment, position.
pub(crate) const SECTION_HEADER_BYTES: usize = 48;
/// What the checksum covers begins after it.
const CHECKED_FROM: usize = 8;

/// What an entry says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    /// Raised by every recovery: what an earlier life of the store left in a file is not of this one.
    pub(crate) epoch: u64,
    /// One more than that of the entry before.
    pub(crate) sequence: u64,
    /// All entries before this one were durable when this one was written.
    pub(crate) proven: u64,
    pub(crate) payload_bytes: u32,
    pub(crate) sections: u32,
}

/// What a section says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The bytes of batches from `offset` to `end`, which lie at `position` of `segment`.
    Data = 1,
    /// The log is about to be cut at `offset`: what earlier entries hold beyond it is void.
    Truncate = 2,
    /// The log was cut at `offset`, durably; what it holds beyond is newer.
    Truncated = 3,
    /// The log starts at `offset`, and its first segment is `segment`.
    Start = 4,
    /// The segments were synced up to `end`.
    Synced = 5,
    /// The log is deleted.
    Delete = 6,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let all = [Self::Data, Self::Truncate, Self::Truncated, Self::Start, Self::Synced, Self::Delete];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) kind: Kind,
    /// The log's number, which no other log of the store ever has.
    pub(crate) log: u64,
    pub(crate) offset: Offset,
    pub(crate) end: Offset,
    pub(crate) segment: Offset,
    pub(crate) position: u64,
    pub(crate) payload_bytes: u32,
}

impl Section {
    /// One without bytes.
    pub(crate) fn note(kind: Kind, log: u64, offset: Offset, end: Offset, segment: Offset) -> Self {
        Self { kind, log, offset, end, segment, position: 0, payload_bytes: 0 }
    }

    pub(crate) fn encode(&self, out: &mut [u8]) {
        out[..SECTION_HEADER_BYTES].fill(0);
        out[0] = self.kind as u8;
        out[4..8].copy_from_slice(&self.payload_bytes.to_be_bytes());
        out[8..16].copy_from_slice(&self.log.to_be_bytes());
        out[16..24].copy_from_slice(&self.offset.0.to_be_bytes());
        out[24..32].copy_from_slice(&self.end.0.to_be_bytes());
        out[32..40].copy_from_slice(&self.segment.0.to_be_bytes());
        out[40..48].copy_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SECTION_HEADER_BYTES)?;
        Some(Self {
            kind: Kind::of(bytes[0])?,
            payload_bytes: u32::from_be_bytes(field(bytes, 4)),
            log: u64::from_be_bytes(field(bytes, 8)),
            offset: Offset(i64::from_be_bytes(field(bytes, 16))),
            end: Offset(i64::from_be_bytes(field(bytes, 24))),
            segment: Offset(i64::from_be_bytes(field(bytes, 32))),
            position: u64::from_be_bytes(field(bytes, 40)),
        })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl EntryHeader {
    /// Bytes of header and payload, without padding.
    pub(crate) fn len(&self) -> usize {
        ENTRY_HEADER_BYTES + self.payload_bytes as usize
    }

    /// Writes the header before the payload that is there already, and the checksum over both.
    /// `entry` is exactly header and payload.
    pub(crate) fn seal(&self, entry: &mut [u8]) {
        entry[..ENTRY_HEADER_BYTES].fill(0);
        entry[..4].copy_from_slice(&MAGIC.to_be_bytes());
        entry[8..16].copy_from_slice(&self.epoch.to_be_bytes());
        entry[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        entry[24..32].copy_from_slice(&self.proven.to_be_bytes());
        entry[32..36].copy_from_slice(&self.payload_bytes.to_be_bytes());
        entry[36..40].copy_from_slice(&self.sections.to_be_bytes());
        let checksum = crc32c::crc32c(&entry[CHECKED_FROM..]);
        entry[4..8].copy_from_slice(&checksum.to_be_bytes());
    }

    /// The header at the start of `bytes`, if there is one; the checksum is not looked at.
    pub(crate) fn peek(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..ENTRY_HEADER_BYTES)?;
        if u32::from_be_bytes(field(bytes, 0)) != MAGIC {
            return None;
        }
        Some(Self {
            epoch: u64::from_be_bytes(field(bytes, 8)),
            sequence: u64::from_be_bytes(field(bytes, 16)),
            proven: u64::from_be_bytes(field(bytes, 24)),
            payload_bytes: u32::from_be_bytes(field(bytes, 32)),
            sections: u32::from_be_bytes(field(bytes, 36)),
        })
    }

    /// The entry at the start of `bytes`: its header and payload, if it is whole and its checksum holds.
    pub(crate) fn open(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let header = Self::peek(bytes)?;
        let entry = bytes.get(..header.len())?;
        let holds = crc32c::crc32c(&entry[CHECKED_FROM..]) == u32::from_be_bytes(field(entry, 4));
        holds.then_some((header, &entry[ENTRY_HEADER_BYTES..]))
    }
}

/// The sections of a payload with their bytes. A payload whose checksum held is what was written, so
/// `None` in the middle means that a later version wrote it.
pub(crate) fn sections(mut payload: &[u8]) -> impl Iterator<Item = Option<(Section, &[u8])>> {
    std::iter::from_fn(move || {
        if payload.is_empty() {
            return None;
        }
        let found = Section::decode(payload).and_then(|section| {
            let end = SECTION_HEADER_BYTES.checked_add(section.payload_bytes as usize)?;
            let bytes = payload.get(SECTION_HEADER_BYTES..end)?;
            payload = &payload[end..];
            Some((section, bytes))
        });
        if found.is_none() {
            payload = &[];
        }
        Some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0xff; ENTRY_HEADER_BYTES];
        for (n, payload) in payloads.iter().enumerate() {
            let at = bytes.len();
            bytes.resize(at + SECTION_HEADER_BYTES, 0xee);
            let section = Section {
                payload_bytes: payload.len() as u32,
                position: 77,
                ..Section::note(Kind::Data, n as u64, Offset(5), Offset(9), Offset(2))
            };
            section.encode(&mut bytes[at..]);
            bytes.extend_from_slice(payload);
        }
        let header = EntryHeader {
            epoch: 3,
            sequence: 9,
            proven: 8,
            payload_bytes: (bytes.len() - ENTRY_HEADER_BYTES) as u32,
            sections: payloads.len() as u32,
        };
        header.seal(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_any_flipped_bit_is_noticed(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5),
            padding in 0..600usize, at in any::<prop::sample::Index>(), bit in 0..8u8,
        ) {
            let mut bytes = entry(&payloads);
            let len = bytes.len();
            bytes.resize(len + padding, 0);
            let (header, payload) = EntryHeader::open(&bytes).unwrap();
            prop_assert_eq!((header.epoch, header.sequence, header.proven), (3, 9, 8));
            let found: Vec<_> = sections(payload).map(|one| one.unwrap().1.to_vec()).collect();
            prop_assert_eq!(&found, &payloads);
            bytes[at.index(len)] ^= 1u8 << bit;
            prop_assert!(EntryHeader::open(&bytes).is_none());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = EntryHeader::open(&bytes);
            sections(&bytes).for_each(drop);
        }
    }
}
