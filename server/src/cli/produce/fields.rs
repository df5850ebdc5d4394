//! A record from a line of the input.

use super::super::record_json::Input;
use bytes::Bytes;
use ringmain_client::producer::ProducerRecord;
use ringmain_client::wire::batch::Header;

/// What a line consists of.
#[derive(Debug)]
pub(super) enum Shape {
    /// A JSON object.
    Json,
    /// Headers and a tab if `headers`, a key and the delimiter if there is one, the value.
    Fields { headers: bool, key_delimiter: Option<Vec<u8>> },
}

impl Shape {
    /// The record of a line.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub(super) fn record(&self, line: Bytes) -> Result<ProducerRecord, String> {
        let (with_headers, key_delimiter) = match self {
            Self::Json => return json(&line),
            Self::Fields { headers, key_delimiter } => (*headers, key_delimiter.as_deref()),
        };
        let (headers, rest) = match with_headers {
            false => (Vec::new(), line),
            true => match split(&line, b"\t") {
                (Some(headers), rest) => (headers_of(&headers)?, rest),
                (None, _) => return Err("has no tab that ends its headers".to_owned()),
            },
        };
        let (key, value) = match key_delimiter {
            Some(delimiter) => split(&rest, delimiter),
            None => (None, rest),
        };
        Ok(ProducerRecord { key, value: Some(value), headers, ..ProducerRecord::default() })
    }
}

fn json(line: &Bytes) -> Result<ProducerRecord, String> {
    let input: Input = serde_json::from_slice(line).map_err(|err| format!("is no record as JSON: {err}"))?;
    let timestamp = input.timestamp;
    let (key, value, headers) = input.into_content();
    Ok(ProducerRecord { key, value, headers, timestamp, ..ProducerRecord::default() })
}

/// What is before the first delimiter, if there is one, and what is behind it.
fn split(line: &Bytes, delimiter: &[u8]) -> (Option<Bytes>, Bytes) {
    match line.windows(delimiter.len()).position(|window| window == delimiter) {
        Some(at) => (Some(line.slice(..at)), line.slice(at + delimiter.len()..)),
        None => (None, line.clone()),
    }
}

/// `NAME=VALUE,NAME=VALUE`; a NAME alone is a header without a value.
fn headers_of(text: &Bytes) -> Result<Vec<Header>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(|byte| *byte == b',').map(|one| header(&text.slice_ref(one))).collect()
}

/// One header: `NAME=VALUE`, or `NAME` alone.
pub(super) fn header(text: &Bytes) -> Result<Header, String> {
    let header = match split(text, b"=") {
        (Some(key), value) => Header { key, value: Some(value) },
        (None, key) => Header { key, value: None },
    };
    if header.key.is_empty() { Err("has a header without a name".to_owned()) } else { Ok(header) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(line: &'static [u8], delimiter: &[u8]) -> (Option<Bytes>, Option<Bytes>) {
        let shape = Shape::Fields { headers: false, key_delimiter: Some(delimiter.to_vec()) };
        let record = shape.record(Bytes::from_static(line)).unwrap();
        (record.key, record.value)
    }

    #[test]
    fn the_first_delimiter_ends_the_key() {
        assert_eq!(keyed(b"a:b:c", b":"), (Some("a".into()), Some("b:c".into())));
        assert_eq!(keyed(b"a::b", b"::"), (Some("a".into()), Some("b".into())));
        assert_eq!(keyed(b":b", b":"), (Some("".into()), Some("b".into())));
        assert_eq!(keyed(b"a:", b":"), (Some("a".into()), Some("".into())));
        assert_eq!(keyed(b"ab", b":"), (None, Some("ab".into())));
        assert_eq!(keyed(b"", b":"), (None, Some("".into())));
    }

    #[test]
    fn headers_come_first() {
        let shape = Shape::Fields { headers: true, key_delimiter: Some(b"\t".to_vec()) };
        let record = |line: &'static [u8]| shape.record(Bytes::from_static(line));
        let header = |key: &'static str, value: Option<&'static str>| Header {
            key: key.into(),
            value: value.map(Bytes::from),
        };
        let found = record(b"a=1,b=,c=x=y,d\tkey\tvalue\tmore").unwrap();
        let wanted =
            [header("a", Some("1")), header("b", Some("")), header("c", Some("x=y")), header("d", None)];
        assert_eq!(found.headers, wanted);
        assert_eq!((found.key, found.value), (Some("key".into()), Some("value\tmore".into())));
        assert!(record(b"\tkey\tvalue").unwrap().headers.is_empty());
        assert!(record(b"no tab").is_err());
        assert!(record(b"a=1,\tvalue").is_err(), "a header without a name");
        assert!(record(b"=1\tvalue").is_err());
    }

    #[test]
    fn a_line_of_json_is_a_whole_record() {
        let record = |line: &'static str| Shape::Json.record(Bytes::from_static(line.as_bytes()));
        let line = r#"{"topic":"t","partition":1,"offset":2,"timestamp":3,"key":null,"value":"v","headers":[{"key":"h","value":null}]}"#;
        let found = record(line).unwrap();
        assert_eq!((found.partition, found.timestamp), (None, Some(3)));
        assert_eq!((found.key, found.value), (None, Some("v".into())));
        assert_eq!(found.headers, [Header { key: "h".into(), value: None }]);
        assert_eq!(record("{}").unwrap().value, None, "a tombstone");
        assert!(record("plain text").unwrap_err().contains("JSON"));
    }
}
