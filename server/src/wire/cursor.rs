//! Reading fields from bytes that anyone may have sent: every read is checked, none allocates.

use thiserror::Error;

/// Bytes that are not the request they claim to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("malformed: {0}")]
pub(crate) struct Malformed(pub(crate) String);

#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| {
            Malformed(format!("{count} bytes are missing at byte {} of {}", self.at, self.bytes.len()))
        })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn uuid(&mut self) -> Result<uuid::Uuid, Malformed> {
        self.array().map(uuid::Uuid::from_bytes)
    }

    pub(crate) fn uvarint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Malformed("a number has more than 32 bits".into()));
            }
        }
        Err(Malformed("a number has more than five bytes".into()))
    }

    /// A length or count that may be null: as i32 or, in flexible versions, as one more than it.
    pub(crate) fn nullable_count(&mut self, flexible: bool) -> Result<Option<usize>, Malformed> {
        if flexible {
            return Ok((self.uvarint()? as usize).checked_sub(1));
        }
        match self.i32()? {
            -1 => Ok(None),
            count => usize::try_from(count).map(Some).map_err(|_| Malformed(format!("a length of {count}"))),
        }
    }

    /// The count of an array's elements, each of which takes a byte at least.
    pub(crate) fn count(&mut self, flexible: bool) -> Result<usize, Malformed> {
        let count = self.nullable_count(flexible)?.unwrap_or(0);
        let left = self.bytes.len() - self.at;
        if count > left {
            return Err(Malformed(format!("an array of {count} elements in {left} bytes")));
        }
        Ok(count)
    }

    pub(crate) fn nullable_string(&mut self) -> Result<Option<&'a str>, Malformed> {
        match self.i16()? {
            -1 => Ok(None),
            length => {
                let length =
                    usize::try_from(length).map_err(|_| Malformed(format!("a length of {length}")))?;
                self.utf8(length).map(Some)
            }
        }
    }

    /// A string of any version, null read as `None`.
    pub(crate) fn string(&mut self, flexible: bool) -> Result<Option<&'a str>, Malformed> {
        if !flexible {
            return self.nullable_string();
        }
        match self.nullable_count(true)? {
            None => Ok(None),
            Some(length) => self.utf8(length).map(Some),
        }
    }

    fn utf8(&mut self, length: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed("a string is not UTF-8".into()))
    }

    /// Passes over tagged fields, known or not.
    pub(crate) fn tagged_fields(&mut self) -> Result<(), Malformed> {
        // Each takes two bytes at least, so a lying count ends with the bytes.
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let length = self.uvarint()? as usize;
            self.take(length)?;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(), Malformed> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            left => Err(Malformed(format!("{left} bytes follow after the end"))),
        }
    }
}
