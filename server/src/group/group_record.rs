//! Records of `__consumer_offsets` that keep groups, in Kafka's format.
//!
//! Source: `GroupMetadataKey.json` (version 2) and `GroupMetadataValue.json` (versions 0 to 3) of Apache Kafka.

use super::machine::{GroupRecord, MemberRecord, Millis};
use super::offset_record::put_string;
use crate::wire::{Cursor, Malformed};
use bytes::{BufMut, Bytes};

/// The version of the key; lower ones are those of offsets.
pub(super) const KEY_VERSION: i16 = 2;
const VALUE_VERSION: i16 = 3;

pub(super) fn encode_key(group: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    out.put_i16(KEY_VERSION);
    put_string(&mut out, group);
    out
}

/// The group of a key whose version was read.
pub(super) fn decode_key(cursor: &mut Cursor<'_>) -> Result<String, Malformed> {
    Ok(cursor.nullable_string()?.unwrap_or_default().to_owned())
}

fn put_nullable(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_string(out, text),
        None => out.put_i16(-1),
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn put_millis(out: &mut Vec<u8>, millis: Millis) {
    out.put_i32(i32::try_from(millis).unwrap_or(i32::MAX));
}

pub(super) fn encode_value(record: &GroupRecord) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.put_i16(VALUE_VERSION);
    put_string(&mut out, &record.protocol_type);
    out.put_i32(record.generation);
    put_nullable(&mut out, record.protocol.as_deref());
    put_nullable(&mut out, record.leader.as_deref());
    out.put_i64(record.since_ms.and_then(|since| i64::try_from(since).ok()).unwrap_or(-1));
    out.put_u32(u32::try_from(record.members.len()).unwrap_or(u32::MAX));
    for member in &record.members {
        put_string(&mut out, &member.member_id);
        put_nullable(&mut out, member.instance_id.as_deref());
        put_string(&mut out, &member.client_id);
        put_string(&mut out, &member.client_host);
        put_millis(&mut out, member.rebalance_timeout_ms);
        put_millis(&mut out, member.session_timeout_ms);
        put_bytes(&mut out, &member.subscription);
        put_bytes(&mut out, &member.assignment);
    }
    out
}

pub(super) fn decode_value(value: &[u8]) -> Result<GroupRecord, Malformed> {
    let mut cursor = Cursor::new(value);
    let version = cursor.i16()?;
    if !(0..=VALUE_VERSION).contains(&version) {
        return Err(Malformed(format!("a group of version {version}")));
    }
    let text = |cursor: &mut Cursor<'_>| -> Result<Option<String>, Malformed> {
        Ok(cursor.nullable_string()?.map(str::to_owned))
    };
    let protocol_type = text(&mut cursor)?.unwrap_or_default();
    let generation = cursor.i32()?;
    let protocol = text(&mut cursor)?;
    let leader = text(&mut cursor)?;
    let since_ms = if version >= 2 { Millis::try_from(cursor.i64()?).ok() } else { None };
    let count = cursor.count(false)?;
    let mut members = Vec::new();
    for _ in 0..count {
        let member_id = text(&mut cursor)?.unwrap_or_default();
        let instance_id = if version >= 3 { text(&mut cursor)? } else { None };
        let client_id = text(&mut cursor)?.unwrap_or_default();
        let client_host = text(&mut cursor)?.unwrap_or_default();
        let rebalance = if version >= 1 { cursor.i32()? } else { -1 };
        let session_timeout_ms = Millis::try_from(cursor.i32()?).unwrap_or(0);
        let mut bytes = || -> Result<Bytes, Malformed> {
            let count = cursor.nullable_count(false)?.unwrap_or(0);
            Ok(Bytes::copy_from_slice(cursor.take(count)?))
        };
        members.push(MemberRecord {
            member_id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: Millis::try_from(rebalance).unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription: bytes()?,
            assignment: bytes()?,
        });
    }
    Ok(GroupRecord { protocol_type, generation, protocol, leader, since_ms, members })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> GroupRecord {
        let member = MemberRecord {
            member_id: "m".into(),
            instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout_ms: 2,
            session_timeout_ms: 3,
            subscription: Bytes::from_static(b"s"),
            assignment: Bytes::from_static(b"aa"),
        };
        GroupRecord {
            protocol_type: "consumer".into(),
            generation: 7,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            since_ms: Some(258),
            members: vec![member],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(decode_value(&encode_value(&record())).unwrap(), record());
        let empty =
            GroupRecord { protocol: None, leader: None, since_ms: None, members: Vec::new(), ..record() };
        assert_eq!(decode_value(&encode_value(&empty)).unwrap(), empty);
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        assert_eq!(encode_key("g"), [0, 2, 0, 1, b'g']);
        let mut expected = vec![0, 3, 0, 8];
        expected.extend(b"consumer");
        expected.extend([0, 0, 0, 7, 0, 5]);
        expected.extend(b"range");
        expected.extend([0, 1, b'm', 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1]);
        expected.extend([0, 1, b'm', 0, 1, b'i', 0, 1, b'c', 0, 2, b'/', b'h', 0, 0, 0, 2, 0, 0, 0, 3]);
        expected.extend([0, 0, 0, 1, b's', 0, 0, 0, 2, b'a', b'a']);
        assert_eq!(encode_value(&record()), expected);
    }

    #[test]
    fn older_versions_are_read_and_cut_or_unknown_ones_refused() {
        // Version 0: no timestamp, no rebalance timeout, no instance id.
        let mut old = vec![0, 0, 0, 1, b'c', 0, 0, 0, 1, 255, 255, 255, 255, 0, 0, 0, 1];
        old.extend([0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
        let read = decode_value(&old).unwrap();
        assert_eq!((read.since_ms, read.members[0].rebalance_timeout_ms), (None, 9));
        let whole = encode_value(&record());
        for cut in 0..whole.len() {
            assert!(decode_value(&whole[..cut]).is_err(), "{cut} bytes");
        }
        assert!(decode_value(&[0, 4]).is_err());
        // A count that the bytes cannot hold is refused before memory is taken.
        let mut many = encode_value(&GroupRecord { members: Vec::new(), ..record() });
        let at = many.len() - 4;
        many[at..].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(decode_value(&many).is_err());
    }
}
