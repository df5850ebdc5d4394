//! Cuts an input that comes in chunks into lines, without copying those within a chunk.

use bytes::{Buf, Bytes, BytesMut};

use super::super::output::CliError;

/// The lines of an input.
pub(super) struct Lines {
    chunk: Bytes,
    /// The start of a line whose end has not come yet.
    start: BytesMut,
    line_bytes_max: usize,
    number: u64,
}

impl Lines {
    pub(super) fn new(line_bytes_max: usize) -> Self {
        Self { chunk: Bytes::new(), start: BytesMut::new(), line_bytes_max, number: 0 }
    }

    /// Adds the next chunk, after all lines of the one before have been taken.
    pub(super) fn add(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "lines are left in the chunk before");
        self.chunk = chunk;
    }

    /// The next line that ends in this chunk, without its newline.
    pub(super) fn next_line(&mut self) -> Result<Option<Bytes>, CliError> {
        let end = self.chunk.iter().position(|byte| *byte == b'\n');
        let length = self.start.len() + end.unwrap_or(self.chunk.len());
        if length > self.line_bytes_max {
            return Err(CliError::LineTooLong { line: self.number + 1, limit: self.line_bytes_max });
        }
        let Some(end) = end else {
            self.start.extend_from_slice(&self.chunk);
            self.chunk.clear();
            return Ok(None);
        };
        let mut line = self.chunk.split_to(end);
        self.chunk.advance(1);
        if !self.start.is_empty() {
            self.start.extend_from_slice(&line);
            line = self.start.split().freeze();
        }
        self.number += 1;
        Ok(Some(line))
    }

    /// The number of the line that was given last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What follows the last newline, if anything does.
    pub(super) fn last_line(&mut self) -> Option<Bytes> {
        let line = Some(self.start.split().freeze()).filter(|line| !line.is_empty());
        self.number += u64::from(line.is_some());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(input: &[u8], chunk_bytes: usize) -> Vec<Bytes> {
        let mut lines = Lines::new(100);
        let mut found = Vec::new();
        for chunk in input.chunks(chunk_bytes) {
            lines.add(Bytes::copy_from_slice(chunk));
            while let Some(line) = lines.next_line().unwrap() {
                found.push(line);
            }
        }
        found.extend(lines.last_line());
        found
    }

    #[test]
    fn lines_are_the_same_however_the_input_is_cut() {
        let input = b"one\n\ntwo \xff\r\n\nthree";
        for chunk_bytes in 1..=input.len() {
            let lines = lines_of(input, chunk_bytes);
            assert_eq!(lines, [&b"one"[..], b"", b"two \xff\r", b"", b"three"]);
        }
    }

    #[test]
    fn a_newline_at_the_end_starts_no_line() {
        assert_eq!(lines_of(b"a\n", 1), ["a"]);
        assert_eq!(lines_of(b"\n", 1), [""]);
        assert!(lines_of(b"", 1).is_empty());
    }

    #[test]
    fn too_long_a_line_is_refused_with_its_number() {
        let mut lines = Lines::new(3);
        lines.add(Bytes::from_static(b"abc\nab"));
        assert!(lines.next_line().unwrap().is_some());
        assert!(lines.next_line().unwrap().is_none());
        lines.add(Bytes::from_static(b"cd"));
        assert!(matches!(lines.next_line(), Err(CliError::LineTooLong { line: 2, limit: 3 })));
    }
}
