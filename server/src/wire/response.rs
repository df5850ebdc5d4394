//! An answer on its way: bytes of ours, and slices of segments that never pass through this process.

use super::{ErrorCodes, RequestHeader};
use bytes::{BufMut, Bytes, BytesMut};
use proto_kafka::messages::ApiKey;
use proto_kafka::protocol::{Encodable, HeaderVersion};
use ringmain_engine::Slice;

/// A piece of an answer.
#[derive(Debug)]
pub(crate) enum Part {
    Bytes(Bytes),
    File(Slice),
}

impl Part {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(slice) => slice.len(),
        }
    }
}

/// A whole answer, its length prefix included.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) parts: Vec<Part>,
    /// For how long the client is not read from when it has this.
    pub(crate) throttle_ms: u32,
    /// Codes of the errors in it.
    pub(crate) errors: Vec<i16>,
}

impl Response {
    /// An answer of the control plane.
    pub(crate) fn message<M: Encodable + HeaderVersion + ErrorCodes>(
        header: &RequestHeader,
        message: &M,
    ) -> Result<Self, proto_kafka::error::ProtoError> {
        let mut buffer = BytesMut::with_capacity(256);
        buffer.put_i32(0);
        buffer.put_i32(header.correlation_id);
        if M::header_version(header.version) >= 1 {
            buffer.put_u8(0);
        }
        message.encode(&mut buffer, header.version)?;
        Ok(Self { errors: message.error_codes(), ..Self::of(vec![Part::Bytes(buffer.freeze())]) })
    }

    /// Sets the length prefix, the first four bytes of the first part.
    pub(crate) fn of(mut parts: Vec<Part>) -> Self {
        let total: u64 = parts.iter().map(Part::len).sum();
        let length = u32::try_from(total.saturating_sub(4)).unwrap_or(u32::MAX);
        if let Some(Part::Bytes(first)) = parts.first_mut() {
            let mut patched = BytesMut::from(std::mem::take(first));
            patched[..4].copy_from_slice(&length.to_be_bytes());
            *first = patched.freeze();
        }
        Self { parts, throttle_ms: 0, errors: Vec::new() }
    }

    /// All of it.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.parts.iter().map(Part::len).sum()
    }

    /// A buffer that begins an answer written by hand.
    pub(crate) fn begin(header: &RequestHeader) -> BytesMut {
        let mut buffer = BytesMut::with_capacity(128);
        buffer.put_i32(0);
        buffer.put_i32(header.correlation_id);
        let key = ApiKey::try_from(header.api_key);
        if key.is_ok_and(|key| key.response_header_version(header.version) >= 1) {
            buffer.put_u8(0);
        }
        buffer
    }
}

/// Writing the fields that differ between flexible versions and others.
pub(super) trait PutFields: BufMut {
    fn put_uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    fn put_count(&mut self, flexible: bool, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX - 1);
        if flexible {
            self.put_uvarint(count + 1);
        } else {
            self.put_u32(count);
        }
    }

    fn put_text(&mut self, flexible: bool, text: &str) {
        if flexible {
            self.put_count(true, text.len());
        } else {
            self.put_u16(text.len() as u16);
        }
        self.put_slice(text.as_bytes());
    }

    fn put_nullable_text(&mut self, flexible: bool, text: Option<&str>) {
        match text {
            Some(text) => self.put_text(flexible, text),
            None if flexible => self.put_u8(0),
            None => self.put_i16(-1),
        }
    }

    fn put_no_tags(&mut self, flexible: bool) {
        if flexible {
            self.put_u8(0);
        }
    }
}

impl<T: BufMut> PutFields for T {}
