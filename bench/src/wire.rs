//! The primitive types of the Kafka protocol's non-flexible versions.

/// Appends primitives to a request.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts a request frame: four bytes for the size, then the header (version 1).
    pub(crate) fn request(api_key: i16, version: i16, correlation_id: i32) -> Self {
        let mut writer = Self { bytes: vec![0; 4] };
        writer.i16(api_key).i16(version).i32(correlation_id).string(CLIENT_ID);
        writer
    }

    pub(crate) fn i8(&mut self, value: i8) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn i16(&mut self, value: i16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn i32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// A string; every string sent here (topic, host, key of a setting) is far below 32 KiB.
    pub(crate) fn string(&mut self, value: &str) -> &mut Self {
        debug_assert!(value.len() <= i16::MAX as usize);
        self.i16(value.len() as i16).raw(value.as_bytes())
    }

    pub(crate) fn null_string(&mut self) -> &mut Self {
        self.i16(-1)
    }

    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Ends the frame: writes its size into the first four bytes.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut bytes = self.bytes;
        let size = (bytes.len() - 4) as i32;
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        bytes
    }
}

/// The client id that every request carries.
pub(crate) const CLIENT_ID: &str = "ringmain-bench";

/// Where the correlation id stands in a request frame (after size, key and version).
pub(crate) const CORRELATION_AT: usize = 8;

/// The answer ended too early or held an impossible length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} is cut off or has an impossible length")]
pub(crate) struct Malformed {
    /// What was being read.
    pub(crate) field: &'static str,
}

/// Reads primitives from an answer.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed { field })?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed { field })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn i8(&mut self, field: &'static str) -> Result<i8, Malformed> {
        self.array(field).map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self, field: &'static str) -> Result<i16, Malformed> {
        self.array(field).map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, Malformed> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, Malformed> {
        self.array(field).map(i64::from_be_bytes)
    }

    /// A nullable string; null reads as empty.
    pub(crate) fn string(&mut self, field: &'static str) -> Result<&'a str, Malformed> {
        let len = self.i16(field)?.max(0) as usize;
        std::str::from_utf8(self.take(len, field)?).map_err(|_| Malformed { field })
    }

    /// Nullable bytes; null reads as empty.
    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let len = self.i32(field)?.max(0) as usize;
        self.take(len, field)
    }

    /// The length of an array, at most one element for each byte that is left.
    pub(crate) fn count(&mut self, field: &'static str) -> Result<usize, Malformed> {
        let count = self.i32(field)?.max(0) as usize;
        if count > self.rest.len() {
            return Err(Malformed { field });
        }
        Ok(count)
    }

    /// A zigzag variable-length integer, as records use it.
    pub(crate) fn varint(&mut self, field: &'static str) -> Result<i64, Malformed> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.array::<1>(field)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Malformed { field })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Appends a zigzag variable-length integer.
pub(crate) fn push_varint(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        bytes.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back() {
        for value in [0, 1, -1, 63, 64, -65, 1 << 20, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint("value"), Ok(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn lengths_beyond_the_input_are_refused() {
        let mut huge = 1_000_000_i32.to_be_bytes().to_vec();
        huge.push(0);
        assert!(Reader::new(&huge).count("array").is_err());
        assert!(Reader::new(&huge).bytes("bytes").is_err());
        assert!(Reader::new(&[0xff; 10]).varint("varint").is_err());
    }
}
