//! Requests made of arbitrary bytes: the codec is given a buffer to read from that answers each read with a value
//! that the bytes choose, most of them such as requests have. So every API and version can be made, and no
//! field is left out.

use crate::wire::codec::buf::{ByteBuf, NotEnoughBytesError};
use arbitrary::Unstructured;
use bytes::{Buf, Bytes, TryGetError};
use ringmain_client::wire::batch::BatchBuilder;
use ringmain_client::wire::compression::Compression;
use std::ops::Range;
use std::sync::LazyLock;

/// Elements of one array at most.
const ELEMENTS_MAX: usize = 64;
/// The longest text or bytes.
const BYTES_MAX: usize = 300;
/// Fields of one request at most.
const FIELDS_MAX: usize = 4000;
/// Texts that mean something to the broker, and some that none may have. They are found by their length.
const TEXTS: &[&str] = &[
    "t0",
    "t1",
    "t2",
    "g0",
    "g1",
    "m0",
    "..",
    "a.b",
    "a_b",
    "a/b",
    "zstd",
    "gzip",
    "range",
    "delete",
    "compact",
    "1048576",
    "consumer",
    "86400000",
    "client-id",
    "durability",
    "page-cache",
    "segment.bytes",
    "retention.ms",
    "cleanup.policy",
    "compression.type",
    "max.message.bytes",
    "producer_byte_rate",
    "consumer_byte_rate",
    "request_percentage",
    "message.timestamp.type",
    "LogAppendTime",
    "__consumer_offsets",
];
/// Where the first byte of a batch's CRC is, and what it covers.
const CRC_AT: usize = 17;
const CRC_COVERS_FROM: usize = 21;

/// What earlier answers told, for later requests.
#[derive(Debug, Default)]
pub(super) struct Learned {
    pub(super) texts: Vec<Vec<u8>>,
    pub(super) numbers: Vec<i64>,
    pub(super) ids: Vec<[u8; 16]>,
}

/// The buffer.
pub(super) struct Drawn<'s, 'a> {
    source: &'s mut Unstructured<'a>,
    learned: &'s Learned,
    fields_left: usize,
}

impl<'s, 'a> Drawn<'s, 'a> {
    pub(super) fn new(source: &'s mut Unstructured<'a>, learned: &'s Learned) -> Self {
        Self { source, learned, fields_left: FIELDS_MAX }
    }

    /// Zero when there are no bytes any more.
    fn byte(&mut self) -> u8 {
        self.source.arbitrary().unwrap_or(0)
    }

    fn spend(&mut self) -> Result<(), TryGetError> {
        self.fields_left =
            self.fields_left.checked_sub(1).ok_or(TryGetError { requested: 1, available: 0 })?;
        Ok(())
    }

    /// A count, an index, a length, a code, or the length of a text or batch that is known.
    fn number(&mut self) -> Result<i64, TryGetError> {
        self.spend()?;
        let length_of = |all: &[Vec<u8>], at: u8| all.get(usize::from(at) % all.len().max(1)).map(Vec::len);
        Ok(match self.byte() {
            small @ 0..=127 => i64::from(small) % 5,
            length @ 128..=175 => i64::from(length - 128),
            176..=183 => -1,
            184 => i64::MAX,
            185 => -2,
            186..=199 => {
                let at = self.byte();
                self.learned
                    .numbers
                    .get(usize::from(at) % self.learned.numbers.len().max(1))
                    .copied()
                    .unwrap_or(1)
            }
            200..=207 => {
                let at = self.byte();
                length_of(&self.learned.texts, at).unwrap_or(2) as i64
            }
            208..=239 => {
                let at = self.byte();
                length_of(&BATCHES, at).unwrap_or(0) as i64
            }
            240.. => self.source.arbitrary().unwrap_or(0),
        })
    }

    fn text_or_batch(&mut self, length: usize) -> Vec<u8> {
        let at = self.byte();
        let texts = TEXTS.iter().map(|text| text.as_bytes());
        let known = texts.chain(self.learned.texts.iter().chain(BATCHES.iter()).map(Vec::as_slice));
        let known: Vec<_> = known.filter(|one| one.len() == length).collect();
        if let Some(one) = known.get(usize::from(at) % (known.len() + 1)) {
            let one = one.to_vec();
            return self.damaged(one);
        }
        let mut bytes: Vec<u8> = (0..length).map(|_| self.byte()).collect();
        if at < 250 {
            // Most bytes are no text.
            bytes.iter_mut().for_each(|byte| *byte &= 0x7f);
        }
        bytes
    }

    /// A batch is changed in a few places, most often with a checksum that holds.
    fn damaged(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.len() < CRC_COVERS_FROM {
            return bytes;
        }
        let changes = self.byte();
        for _ in 0..changes % 4 {
            let at = usize::from(self.byte()) % bytes.len();
            bytes[at] = self.byte();
        }
        if changes < 200 && bytes.len() > 60 {
            let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
            bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        }
        bytes
    }
}

/// Sound batches, one in each codec.
pub(super) static BATCHES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let batch = |codec| {
        let mut builder = BatchBuilder::new();
        builder.push(1_700_000_000_000, Some(b"key"), Some(b"value"), &[]);
        builder.finish(codec, None).ok().map(|bytes| bytes.to_vec())
    };
    codecs.into_iter().filter_map(batch).collect()
});

impl Buf for Drawn<'_, '_> {
    /// The codec believes no count of elements beyond this.
    fn remaining(&self) -> usize {
        ELEMENTS_MAX.min(self.fields_left)
    }

    /// Never asked for: each kind of read is answered by itself.
    fn chunk(&self) -> &[u8] {
        &[]
    }

    fn advance(&mut self, _: usize) {}

    /// A truth, a code, or a byte of a number of varying length: those below 128 are whole.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let number = self.number()?;
        let compact = number.saturating_add(1);
        Ok(match self.byte() {
            0..=127 => u8::try_from(compact).ok().filter(|one| *one < 128).unwrap_or(1),
            _ => number as u8,
        })
    }

    fn try_get_i8(&mut self) -> Result<i8, TryGetError> {
        self.number().map(|number| number as i8)
    }

    fn try_get_u16(&mut self) -> Result<u16, TryGetError> {
        self.number().map(|number| number as u16)
    }

    fn try_get_i16(&mut self) -> Result<i16, TryGetError> {
        self.number().map(|number| number as i16)
    }

    fn try_get_u32(&mut self) -> Result<u32, TryGetError> {
        self.number().map(|number| number as u32)
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.number().map(|number| i32::try_from(number).unwrap_or(i32::MAX))
    }

    fn try_get_i64(&mut self) -> Result<i64, TryGetError> {
        self.number()
    }

    fn try_get_f64(&mut self) -> Result<f64, TryGetError> {
        let number = self.number()?;
        Ok(if number < i64::MAX { number as f64 } else { f64::NAN })
    }

    /// An id.
    fn try_copy_to_slice(&mut self, to: &mut [u8]) -> Result<(), TryGetError> {
        self.spend()?;
        let (known, at) = (self.learned.ids.len(), usize::from(self.byte()));
        match self.learned.ids.get(at % (known + 2)) {
            Some(id) if to.len() == id.len() => to.copy_from_slice(id),
            _ if at % (known + 2) == known => to.fill(0),
            _ => to.iter_mut().for_each(|byte| *byte = self.source.arbitrary().unwrap_or(0)),
        }
        Ok(())
    }
}

impl ByteBuf for Drawn<'_, '_> {
    fn peek_bytes(&mut self, _: Range<usize>) -> Bytes {
        Bytes::new()
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.text_or_batch(size).into()
    }

    fn try_get_bytes(&mut self, size: usize) -> Result<Bytes, NotEnoughBytesError> {
        self.spend().map_err(|_| NotEnoughBytesError)?;
        // Longer ones are of no more use, and the codec takes what it is given.
        Ok(self.text_or_batch(size.min(BYTES_MAX)).into())
    }
}
