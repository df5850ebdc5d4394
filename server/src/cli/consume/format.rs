//! `ringmain consume --format`: the template language of kcat's `-f`.

use super::super::escape::unescaped;
use ringmain_client::consumer::Record;
use std::io::Write as _;
use std::str::FromStr;

/// What `--help` says of it.
pub(super) const HELP: &str = "Fields of --format, as in kcat:\n  \
    %t topic       %p partition   %o offset   %T timestamp, in milliseconds since 1970\n  \
    %k key         %K its bytes   %s value    %S its bytes (-1 if there is none)\n  \
    %R bytes of the value as four bytes, most significant first\n  \
    %h headers, as NAME=VALUE,NAME=VALUE; a header without a value is its NAME alone\n  \
    %% a percent sign;  \\n \\r \\t \\0 \\\\ \\xHH are bytes. No newline is added.";

/// A form for records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeySize,
    Value,
    ValueSize,
    ValueSizeBinary,
    Headers,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            pieces.push(Piece::Bytes(unescaped(&rest[..at])?));
            let name = rest[at + 1..].chars().next();
            pieces.push(match name {
                Some('t') => Piece::Topic,
                Some('p') => Piece::Partition,
                Some('o') => Piece::Offset,
                Some('T') => Piece::Timestamp,
                Some('k') => Piece::Key,
                Some('K') => Piece::KeySize,
                Some('s') => Piece::Value,
                Some('S') => Piece::ValueSize,
                Some('R') => Piece::ValueSizeBinary,
                Some('h') => Piece::Headers,
                Some('%') => Piece::Bytes(b"%".to_vec()),
                Some(other) => return Err(format!("there is no field %{other}; there are %t %p %o %T %k %K %s %S %R %h, and %% for a percent sign")),
                None => return Err("it ends with a single %; write %% for a percent sign".to_owned()),
            });
            // Names are of one byte: others were refused.
            rest = &rest[at + 2..];
        }
        pieces.push(Piece::Bytes(unescaped(rest)?));
        pieces.retain(|piece| *piece != Piece::Bytes(Vec::new()));
        Ok(Self(pieces))
    }
}

impl Template {
    /// Headers and key, if wanted, and the value, separated by tabs, on a line.
    pub(super) fn line(headers: bool, key: bool) -> Self {
        let mut pieces = Vec::new();
        for (wanted, piece) in [(headers, Piece::Headers), (key, Piece::Key)] {
            if wanted {
                pieces.extend([piece, Piece::Bytes(b"\t".to_vec())]);
            }
        }
        pieces.extend([Piece::Value, Piece::Bytes(b"\n".to_vec())]);
        Self(pieces)
    }

    /// Adds a record to what is written.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &Record) {
        let size =
            |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        for piece in &self.0 {
            // Writing to a vector cannot fail.
            let _ = match piece {
                Piece::Bytes(bytes) => out.write_all(bytes),
                Piece::Topic => out.write_all(record.topic.as_bytes()),
                Piece::Partition => write!(out, "{}", record.partition),
                Piece::Offset => write!(out, "{}", record.offset),
                Piece::Timestamp => write!(out, "{}", record.timestamp),
                Piece::Key => out.write_all(record.key.as_deref().unwrap_or_default()),
                Piece::KeySize => write!(out, "{}", size(record.key.as_deref())),
                Piece::Value => out.write_all(record.value.as_deref().unwrap_or_default()),
                Piece::ValueSize => write!(out, "{}", size(record.value.as_deref())),
                Piece::ValueSizeBinary => {
                    let size = i32::try_from(size(record.value.as_deref())).unwrap_or(i32::MAX);
                    out.write_all(&size.to_be_bytes())
                }
                Piece::Headers => {
                    write_headers(out, record);
                    Ok(())
                }
            };
        }
    }
}

fn write_headers(out: &mut Vec<u8>, record: &Record) {
    for (number, header) in record.headers.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&header.key);
        if let Some(value) = &header.value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use ringmain_client::wire::batch::Header;

    fn record(key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> Record {
        let header = |key: &'static [u8], value: Option<&'static [u8]>| Header {
            key: Bytes::from_static(key),
            value: value.map(Bytes::from_static),
        };
        Record {
            topic: "orders".into(),
            partition: 1,
            offset: 2,
            timestamp: 3,
            key: key.map(Bytes::from_static),
            value: value.map(Bytes::from_static),
            headers: vec![header(b"a", Some(b"1")), header(b"b", Some(b"")), header(b"c", None)],
        }
    }

    fn written(template: &str, record: &Record) -> Vec<u8> {
        let mut out = Vec::new();
        template.parse::<Template>().unwrap().write(&mut out, record);
        out
    }

    #[test]
    fn every_field_is_written() {
        let whole = record(Some(b"k\xff"), Some(b"v"));
        assert_eq!(
            written(r"%t/%p@%o %T\t%k %K %s %S %h 100%%\n", &whole),
            b"orders/1@2 3\tk\xff 2 v 1 a=1,b=,c 100%\n"
        );
        assert_eq!(written("%R%s", &whole), b"\0\0\0\x01v");
        assert_eq!(written("plain", &whole), b"plain");
    }

    #[test]
    fn what_is_not_there_has_no_size() {
        let empty = record(None, None);
        assert_eq!(written("%k|%K|%s|%S|%R", &empty), b"|-1||-1|\xff\xff\xff\xff");
        assert_eq!(written("%K", &record(Some(b""), None)), b"0");
    }

    #[test]
    fn the_usual_lines_are_templates() {
        let lines = [(false, false, r"%s\n"), (false, true, r"%k\t%s\n"), (true, true, r"%h\t%k\t%s\n")];
        for (headers, key, text) in lines {
            assert_eq!(Template::line(headers, key), text.parse().unwrap());
        }
    }

    #[test]
    fn unknown_fields_are_refused_by_name() {
        assert!("%x".parse::<Template>().unwrap_err().contains("%x"));
        assert!("%é".parse::<Template>().unwrap_err().contains("%é"));
        for wrong in ["%", "a%", r"\q%s"] {
            assert!(wrong.parse::<Template>().is_err(), "{wrong}");
        }
    }
}
