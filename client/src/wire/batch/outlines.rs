//! Records without their contents. One of a million empty headers is 2 MB in a batch, perhaps some hundred bytes
//! compressed, and 64 MB once each header is a structure of its own: who wants no contents makes none.

use super::varint;

/// A record as far as its batch is to be judged or searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// Its offset less that of the batch.
    pub offset_delta: i32,
    /// Its timestamp less the batch's first, in milliseconds.
    pub timestamp_delta: i64,
}

/// The outlines of a batch's records, which lie uncompressed in `body`. An item is `None` where the bytes are no record,
/// or where some are left behind the last one; it is the last item then.
#[derive(Debug)]
pub struct Outlines<'a> {
    body: &'a [u8],
    at: usize,
    left: usize,
}

impl<'a> Outlines<'a> {
    /// Of so many records.
    #[must_use]
    pub fn new(body: &'a [u8], count: usize) -> Self {
        Self { body, at: 0, left: count }
    }

    fn varint(&mut self) -> Option<i64> {
        let (value, length) = varint::get(self.body.get(self.at..)?)?;
        self.at += length;
        Some(value)
    }

    /// Passes over bytes behind their length; whether there may be none (-1) is told by `optional`.
    fn skip(&mut self, optional: bool) -> Option<()> {
        let length = self.varint()?;
        if optional && length == -1 {
            return Some(());
        }
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        self.at = (end <= self.body.len()).then_some(end)?;
        Some(())
    }

    fn decode(&mut self) -> Option<Outline> {
        let size = usize::try_from(self.varint()?).ok()?;
        let end = self.at.checked_add(size).filter(|end| *end <= self.body.len())?;
        self.at += 1; // Attributes: none are defined.
        let timestamp_delta = self.varint()?;
        let offset_delta = i32::try_from(self.varint()?).ok()?;
        self.skip(true)?;
        self.skip(true)?;
        for _ in 0..usize::try_from(self.varint()?).ok()? {
            self.skip(false)?;
            self.skip(true)?;
        }
        let ends = self.at == end && (self.left > 0 || end == self.body.len());
        ends.then_some(Outline { offset_delta, timestamp_delta })
    }
}

impl Iterator for Outlines<'_> {
    type Item = Option<Outline>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let outline = self.decode();
        if outline.is_none() {
            self.left = 0;
        }
        Some(outline)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, HEADER_BYTES, Header};
    use super::*;
    use crate::wire::compression::Compression;

    fn body() -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.push(100, Some(b"key"), None, &[]);
        builder.push(90, None, Some(b"value"), &[Header { key: "a".into(), value: None }]);
        builder.finish(Compression::None, None).unwrap()[HEADER_BYTES..].to_vec()
    }

    #[test]
    fn they_tell_where_and_when_records_are() {
        let body = body();
        let found: Vec<_> = Outlines::new(&body, 2).map(Option::unwrap).collect();
        let outline = |offset_delta, timestamp_delta| Outline { offset_delta, timestamp_delta };
        assert_eq!(found, [outline(0, 0), outline(1, -10)]);
    }

    #[test]
    fn what_is_no_record_ends_them() {
        let body = body();
        assert_eq!(Outlines::new(&body, 1).last(), Some(None), "bytes are left");
        assert_eq!(Outlines::new(&body, 3).last(), Some(None), "bytes are missing");
        for cut in 0..body.len() {
            assert_eq!(Outlines::new(&body[..cut], 2).last(), Some(None), "cut at {cut}");
        }
        let mut claims = vec![0x7e, 0, 0, 0, 1, 1];
        // As many headers as the number can say, of which none is there.
        claims.extend([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        claims.resize(64, 0xff);
        assert_eq!(Outlines::new(&claims, 1).last(), Some(None));
    }
}
