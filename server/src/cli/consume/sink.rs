//! Standard output behind a large buffer, and the forms in which records are written to it.

use std::io::{self, Write};

use ringmain_client::consumer::Record;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::super::output::CliError;
use super::super::record_json::Content;
use super::format::Template;

/// Bytes at which the buffer is written.
const FLUSH_BYTES: usize = 1 << 20;

/// How records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Template(Template),
    /// A line of JSON.
    Json,
}

/// Whether the reader of the output is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// It is, as far as known.
    There,
    /// It closed the pipe, as `head` does.
    Gone,
}

/// Buffered standard output. It is written on a thread of its own, so that a slow reader does
/// not keep heartbeats from being sent.
#[derive(Debug)]
pub(super) struct Sink {
    buffer: Vec<u8>,
    form: Form,
}

#[derive(Serialize)]
struct JsonRecord<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    #[serde(flatten)]
    content: Content<'a>,
}

impl Sink {
    pub(super) fn new(form: Form) -> Self {
        Self { buffer: Vec::with_capacity(FLUSH_BYTES), form }
    }

    /// Adds a record to the buffer.
    pub(super) fn add(&mut self, record: &Record) -> Result<(), CliError> {
        match &self.form {
            Form::Template(template) => template.write(&mut self.buffer, record),
            Form::Json => {
                let json = JsonRecord {
                    topic: &record.topic,
                    partition: record.partition,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    content: Content::new(record.key.as_ref(), record.value.as_ref(), &record.headers),
                };
                serde_json::to_writer(&mut self.buffer, &json).map_err(CliError::Json)?;
                self.buffer.push(b'\n');
            }
        }
        Ok(())
    }

    /// Whether enough has come together to be written.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= FLUSH_BYTES
    }

    /// Writes what has been added.
    pub(super) async fn flush(&mut self) -> Result<Reader, CliError> {
        if self.buffer.is_empty() {
            return Ok(Reader::There);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            let result = stdout.write_all(&buffer).and_then(|()| stdout.flush());
            buffer.clear();
            (buffer, result)
        });
        let (buffer, result) = written.await.map_err(|_| CliError::Writer)?;
        self.buffer = buffer;
        match result {
            Ok(()) => Ok(Reader::There),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(CliError::Output(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use ringmain_client::wire::batch::Header;

    fn written(key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> String {
        let mut sink = Sink::new(Form::Json);
        let header = Header { key: Bytes::from_static(b"h"), value: None };
        let record = Record {
            topic: "t".into(),
            partition: 1,
            offset: 2,
            timestamp: 3,
            key: key.map(Bytes::from_static),
            value: value.map(Bytes::from_static),
            headers: if value.is_none() { vec![header] } else { Vec::new() },
        };
        sink.add(&record).unwrap();
        String::from_utf8(sink.buffer).unwrap()
    }

    #[test]
    fn json_tells_text_from_other_bytes_and_from_none() {
        assert_eq!(
            written(Some(b"k\""), Some(b"\xff\x01")),
            "{\"topic\":\"t\",\"partition\":1,\"offset\":2,\"timestamp\":3,\"key\":\"k\\\"\",\"value_hex\":\"ff01\"}\n"
        );
        assert_eq!(
            written(None, None),
            "{\"topic\":\"t\",\"partition\":1,\"offset\":2,\"timestamp\":3,\"key\":null,\"value\":null,\"headers\":[{\"key\":\"h\",\"value\":null}]}\n"
        );
    }
}
