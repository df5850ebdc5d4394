//! A body that is read field by field, and not for longer than it may be: an element of an array that takes two
//! bytes here takes a hundred in memory, and as many again in the answer.

use bytes::{Buf, Bytes, TryGetError};
use proto_kafka::protocol::buf::{ByteBuf, NotEnoughBytesError};
use std::ops::Range;

/// Fields that one topic or partition of a request takes at most; Fetch has seven with its tagged fields.
const FIELDS_PER_PLACE: usize = 10;
/// Fields that a request may have in any case: it may ask for what is not there.
const FIELDS_MIN: usize = 100_000;

/// Fields that a request may have which names at most `places_max` topics and partitions.
pub(crate) fn fields_max(places_max: usize) -> usize {
    places_max.saturating_mul(FIELDS_PER_PLACE).max(FIELDS_MIN)
}

/// Bytes that end after so many reads.
#[derive(Debug)]
pub(crate) struct Bounded {
    bytes: Bytes,
    fields_left: usize,
}

impl Bounded {
    pub(crate) fn new(bytes: Bytes, fields_max: usize) -> Self {
        Self { bytes, fields_left: fields_max }
    }

    /// Whether more bytes are left than there may be fields.
    pub(crate) fn is_tight(&self) -> bool {
        self.fields_left < self.bytes.len()
    }
}

impl Buf for Bounded {
    /// No more than there may be fields: the codec believes a count of elements that is not larger than this, and
    /// takes memory for them.
    fn remaining(&self) -> usize {
        self.bytes.len().min(self.fields_left)
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes[..self.remaining()]
    }

    fn advance(&mut self, count: usize) {
        self.fields_left = self.fields_left.saturating_sub(1);
        self.bytes.advance(count);
    }

    fn try_copy_to_slice(&mut self, to: &mut [u8]) -> Result<(), TryGetError> {
        let available = self.remaining();
        if available < to.len() {
            return Err(TryGetError { requested: to.len(), available });
        }
        to.copy_from_slice(&self.bytes[..to.len()]);
        self.advance(to.len());
        Ok(())
    }
}

impl ByteBuf for Bounded {
    fn peek_bytes(&mut self, range: Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.fields_left = self.fields_left.saturating_sub(1);
        self.bytes.split_to(size)
    }

    /// A text or bytes may be longer than there may be fields.
    fn try_get_bytes(&mut self, size: usize) -> Result<Bytes, NotEnoughBytesError> {
        if self.fields_left == 0 || self.bytes.len() < size {
            return Err(NotEnoughBytesError);
        }
        Ok(self.get_bytes(size))
    }
}
