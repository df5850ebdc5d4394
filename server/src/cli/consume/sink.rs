//! Standard output behind a large buffer, and the forms in which records are written to it.

use std::io::{self, Write};

use ringmain_client::consumer::Record;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::super::output::CliError;

/// Bytes at which the buffer is written.
const FLUSH_BYTES: usize = 1 << 20;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The value and a newline.
    Value,
    /// Key, tab, value and a newline.
    KeyValue,
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
    #[serde(flatten, with = "prefix_key")]
    key: Option<&'a [u8]>,
    #[serde(flatten, with = "prefix_value")]
    value: Option<&'a [u8]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Serialize)]
struct JsonHeader<'a> {
    #[serde(flatten, with = "prefix_key")]
    key: Option<&'a [u8]>,
    #[serde(flatten, with = "prefix_value")]
    value: Option<&'a [u8]>,
}

/// Bytes under a name: as text, or if they are not text, as hexadecimal digits under the name
/// with `_hex`.
fn serialize_bytes<S: serde::Serializer>(
    names: (&'static str, &'static str),
    bytes: Option<&[u8]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = serializer.serialize_map(Some(1))?;
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => map.serialize_entry(names.0, &None::<()>)?,
        Some(Ok(text)) => map.serialize_entry(names.0, text)?,
        Some(Err(bytes)) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            map.serialize_entry(names.1, &digits)?;
        }
    }
    map.end()
}

mod prefix_key {
    // The signature is what serde asks for.
    #[allow(clippy::ref_option)]
    pub(super) fn serialize<S: serde::Serializer>(
        bytes: &Option<&[u8]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::serialize_bytes(("key", "key_hex"), *bytes, serializer)
    }
}

mod prefix_value {
    // The signature is what serde asks for.
    #[allow(clippy::ref_option)]
    pub(super) fn serialize<S: serde::Serializer>(
        bytes: &Option<&[u8]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::serialize_bytes(("value", "value_hex"), *bytes, serializer)
    }
}

impl Sink {
    pub(super) fn new(form: Form) -> Self {
        Self { buffer: Vec::with_capacity(FLUSH_BYTES), form }
    }

    /// Adds a record to the buffer.
    pub(super) fn add(&mut self, record: &Record) -> Result<(), CliError> {
        if self.form == Form::Json {
            let json = JsonRecord {
                topic: &record.topic,
                partition: record.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: record
                    .headers
                    .iter()
                    .map(|header| JsonHeader { key: Some(&header.key), value: header.value.as_deref() })
                    .collect(),
            };
            serde_json::to_writer(&mut self.buffer, &json).map_err(CliError::Json)?;
        } else {
            if self.form == Form::KeyValue {
                self.buffer.extend_from_slice(record.key.as_deref().unwrap_or_default());
                self.buffer.push(b'\t');
            }
            self.buffer.extend_from_slice(record.value.as_deref().unwrap_or_default());
        }
        self.buffer.push(b'\n');
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

    fn written(form: Form, key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> Vec<u8> {
        let mut sink = Sink::new(form);
        let record = Record {
            topic: "t".into(),
            partition: 1,
            offset: 2,
            timestamp: 3,
            key: key.map(Bytes::from_static),
            value: value.map(Bytes::from_static),
            headers: if form == Form::Json && value.is_none() {
                vec![Header { key: Bytes::from_static(b"h"), value: None }]
            } else {
                Vec::new()
            },
        };
        sink.add(&record).unwrap();
        sink.buffer
    }

    #[test]
    fn values_are_written_byte_by_byte() {
        assert_eq!(written(Form::Value, Some(b"k"), Some(b"\xff\0")), b"\xff\0\n");
        assert_eq!(written(Form::Value, None, None), b"\n");
        assert_eq!(written(Form::KeyValue, Some(b"k"), Some(b"v")), b"k\tv\n");
        assert_eq!(written(Form::KeyValue, None, Some(b"v")), b"\tv\n");
    }

    #[test]
    fn json_tells_text_from_other_bytes_and_from_none() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(
            text(written(Form::Json, Some(b"k\""), Some(b"\xff\x01"))),
            "{\"topic\":\"t\",\"partition\":1,\"offset\":2,\"timestamp\":3,\"key\":\"k\\\"\",\"value_hex\":\"ff01\"}\n"
        );
        assert_eq!(
            text(written(Form::Json, None, None)),
            "{\"topic\":\"t\",\"partition\":1,\"offset\":2,\"timestamp\":3,\"key\":null,\"value\":null,\"headers\":[{\"key\":\"h\",\"value\":null}]}\n"
        );
    }
}
