//! The floor of producing: receive and write to a file, and nothing else; or with a checksum of what
//! was received, which a broker cannot do without.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;

use crate::floor::{PARTITION, TOPIC};
use crate::machine::thread_cpu_s;
use crate::produce_frame::ProduceAnswer;

/// What is read, and written, at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Size, key, version and correlation id.
const FRAME_HEAD_BYTES: usize = 12;
/// Where the correlation id stands in an answer.
const ANSWER_CORRELATION_AT: usize = 4;

/// One connection and its file.
#[derive(Debug)]
pub(super) struct Relay {
    stream: TcpStream,
    file: File,
    checked: bool,
    frames: Option<Frames>,
}

/// What a relay does beside receiving and writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    /// Nothing.
    Nothing,
    /// A checksum of all bytes.
    Checksum,
    /// An answer to each request.
    Answers,
}

impl Relay {
    pub(super) fn new(stream: TcpStream, file: File, extra: Extra) -> Self {
        let frames = (extra == Extra::Answers).then(Frames::new);
        Self { stream, file, checked: extra == Extra::Checksum, frames }
    }

    /// Until the client closes; returns the processor seconds it took.
    pub(super) fn serve(mut self) -> io::Result<f64> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut position = 0;
        loop {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(thread_cpu_s()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if self.checked {
                std::hint::black_box(crc32c::crc32c(&buffer[..count]));
            }
            self.file.write_all_at(&buffer[..count], position)?;
            position += count as u64;
            if let Some(frames) = &mut self.frames {
                frames.answer(&buffer[..count], &mut self.stream)?;
            }
        }
    }
}

/// Finds the ends of frames in a stream, to answer each.
#[derive(Debug)]
struct Frames {
    head: [u8; FRAME_HEAD_BYTES],
    head_len: usize,
    body_left: usize,
    answer: Vec<u8>,
}

impl Frames {
    fn new() -> Self {
        let answer = ProduceAnswer::encode(0, PARTITION, TOPIC);
        Self { head: [0; FRAME_HEAD_BYTES], head_len: 0, body_left: 0, answer }
    }

    /// Answers each frame that ends in `bytes`.
    fn answer(&mut self, mut bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.head_len < FRAME_HEAD_BYTES {
                let count = bytes.len().min(FRAME_HEAD_BYTES - self.head_len);
                self.head[self.head_len..self.head_len + count].copy_from_slice(&bytes[..count]);
                self.head_len += count;
                bytes = &bytes[count..];
                if self.head_len == FRAME_HEAD_BYTES {
                    let [a, b, c, d, ..] = self.head;
                    let size = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.body_left = size.saturating_sub(FRAME_HEAD_BYTES - 4);
                }
            }
            let count = bytes.len().min(self.body_left);
            self.body_left -= count;
            bytes = &bytes[count..];
            if self.head_len == FRAME_HEAD_BYTES && self.body_left == 0 {
                self.answer[ANSWER_CORRELATION_AT..ANSWER_CORRELATION_AT + 4]
                    .copy_from_slice(&self.head[8..]);
                out.write_all(&self.answer)?;
                self.head_len = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_is_answered_however_it_is_cut() {
        let mut stream = Vec::new();
        for id in 0..5_u32 {
            let body = vec![9; 20 + id as usize];
            stream.extend_from_slice(&(8 + body.len() as u32).to_be_bytes());
            stream.extend_from_slice(&[0; 4]);
            stream.extend_from_slice(&id.to_be_bytes());
            stream.extend_from_slice(&body);
        }
        for step in 1..=stream.len() {
            let mut frames = Frames::new();
            let mut out = Vec::new();
            for piece in stream.chunks(step) {
                frames.answer(piece, &mut out).unwrap();
            }
            let answers: Vec<_> = out
                .chunks(frames.answer.len())
                .map(|answer| ProduceAnswer::read(&answer[4..]).unwrap().correlation_id)
                .collect();
            assert_eq!(answers, [0, 1, 2, 3, 4], "cut every {step} bytes");
        }
    }
}
