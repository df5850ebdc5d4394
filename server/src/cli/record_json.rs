//! A record as JSON: written by `consume` and `log dump`, read by `produce`. Bytes that are not text are hexadecimal
//! digits, under the name with `_hex`.

use bytes::Bytes;
use ringmain_client::wire::batch::Header;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Key, value and headers.
#[derive(Serialize)]
pub(super) struct Content<'a> {
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

impl<'a> Content<'a> {
    pub(super) fn new(key: Option<&'a Bytes>, value: Option<&'a Bytes>, headers: &'a [Header]) -> Self {
        let header =
            |header: &'a Header| JsonHeader { key: Some(&header.key), value: header.value.as_deref() };
        Self {
            key: key.map(|bytes| &**bytes),
            value: value.map(|bytes| &**bytes),
            headers: headers.iter().map(header).collect(),
        }
    }
}

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

/// What is read of a line of JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    key: Option<String>,
    key_hex: Option<Digits>,
    value: Option<String>,
    value_hex: Option<Digits>,
    #[serde(default)]
    headers: Vec<InputHeader>,
    /// Milliseconds since 1970.
    pub(super) timestamp: Option<i64>,
    // Where it was read is not where it is written to.
    #[serde(rename = "topic")]
    _topic: Option<String>,
    #[serde(rename = "partition")]
    _partition: Option<i32>,
    #[serde(rename = "offset")]
    _offset: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputHeader {
    key: Option<String>,
    key_hex: Option<Digits>,
    value: Option<String>,
    value_hex: Option<Digits>,
}

/// Bytes from hexadecimal digits.
#[derive(Debug)]
struct Digits(Vec<u8>);

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format!("{text:?} is not a row of bytes of two hexadecimal digits"));
        let pair = |pair: &[u8]| {
            let digit = |digit: &u8| char::from(*digit).to_digit(16);
            match pair {
                [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
                _ => None,
            }
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.map(Self).ok_or_else(wrong)
    }
}

fn either(text: Option<String>, digits: Option<Digits>) -> Option<Bytes> {
    text.map(Bytes::from).or_else(|| digits.map(|digits| Bytes::from(digits.0)))
}

impl Input {
    /// Key, value and headers.
    pub(super) fn into_content(self) -> (Option<Bytes>, Option<Bytes>, Vec<Header>) {
        let header = |header: InputHeader| Header {
            key: either(header.key, header.key_hex).unwrap_or_default(),
            value: either(header.value, header.value_hex),
        };
        let headers = self.headers.into_iter().map(header).collect();
        (either(self.key, self.key_hex), either(self.value, self.value_hex), headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let headers = [
            Header { key: Bytes::from_static(b"a"), value: Some(Bytes::from_static(b"\xfe")) },
            Header { key: Bytes::from_static(b""), value: None },
        ];
        for key in [
            None,
            Some(Bytes::new()),
            Some(Bytes::from_static(b"k\"\n")),
            Some(Bytes::from_static(b"\xff\0")),
        ] {
            for headers in [&headers[..], &[]] {
                let value = Some(Bytes::from_static(b"v"));
                let content = Content::new(key.as_ref(), value.as_ref(), headers);
                let text = serde_json::to_string(&content).unwrap();
                let read: Input = serde_json::from_str(&text).unwrap();
                assert_eq!(read.into_content(), (key.clone(), value, headers.to_vec()), "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        for wrong in
            ["", "1", "{\"vlaue\":\"v\"}", "{\"value_hex\":\"f\"}", "{\"value_hex\":\"zz\"}", "{\"value\":3}"]
        {
            assert!(serde_json::from_str::<Input>(wrong).is_err(), "{wrong}");
        }
    }
}
