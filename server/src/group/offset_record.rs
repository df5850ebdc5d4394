//! Records of `__consumer_offsets` in Kafka's format.
//!
//! Source: `OffsetCommitKey.json` (version 1) and `OffsetCommitValue.json` (version 3) of Apache
//! Kafka. Kafka's own tools decode them.

use super::offsets::{Committed, TopicPartition};
use crate::wire::{Cursor, Malformed};
use bytes::BufMut;
use std::sync::Arc;

const KEY_VERSION: i16 = 1;
const VALUE_VERSION: i16 = 3;

/// The key of a committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OffsetKey {
    pub(super) group: Arc<str>,
    pub(super) partition: TopicPartition,
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
    out.put_slice(text.as_bytes());
}

impl OffsetKey {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.put_i16(KEY_VERSION);
        put_string(&mut out, &self.group);
        put_string(&mut out, &self.partition.topic);
        out.put_i32(self.partition.partition);
        out
    }

    /// `None` for a key of another kind (Kafka keeps group metadata in the same topic).
    pub(super) fn decode(key: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut cursor = Cursor::new(key);
        if !matches!(cursor.i16()?, 0 | 1) {
            return Ok(None);
        }
        let group = cursor.nullable_string()?.unwrap_or_default().into();
        let topic = cursor.nullable_string()?.unwrap_or_default().to_owned();
        let partition = cursor.i32()?;
        Ok(Some(Self { group, partition: TopicPartition { topic, partition } }))
    }
}

pub(super) fn encode_value(committed: &Committed) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    out.put_i16(VALUE_VERSION);
    out.put_i64(committed.offset);
    out.put_i32(committed.leader_epoch);
    put_string(&mut out, &committed.metadata);
    out.put_i64(committed.committed_at_ms);
    out
}

pub(super) fn decode_value(value: &[u8]) -> Result<Committed, Malformed> {
    let mut cursor = Cursor::new(value);
    let version = cursor.i16()?;
    if !(0..=VALUE_VERSION).contains(&version) {
        return Err(Malformed(format!("a committed offset of version {version}")));
    }
    let i64 = |cursor: &mut Cursor<'_>| -> Result<i64, Malformed> {
        let high = i64::from(cursor.i32()?) << 32;
        Ok(high | i64::from(cursor.i32()?.cast_unsigned()))
    };
    let offset = i64(&mut cursor)?;
    let leader_epoch = if version >= 3 { cursor.i32()? } else { -1 };
    let metadata = cursor.nullable_string()?.unwrap_or_default().to_owned();
    let committed_at_ms = i64(&mut cursor)?;
    Ok(Committed { offset, leader_epoch, metadata, committed_at_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let partition = TopicPartition { topic: "orders".into(), partition: 3 };
        let key = OffsetKey { group: "g".into(), partition };
        assert_eq!(OffsetKey::decode(&key.encode()).unwrap(), Some(key));
        let value = Committed { offset: -2, leader_epoch: 7, metadata: "x".into(), committed_at_ms: 1 << 40 };
        assert_eq!(decode_value(&encode_value(&value)).unwrap(), value);
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let partition = TopicPartition { topic: "t".into(), partition: 2 };
        let key = OffsetKey { group: "g".into(), partition }.encode();
        assert_eq!(key, [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 2]);
        let value = Committed { offset: 258, leader_epoch: 1, metadata: "m".into(), committed_at_ms: 3 };
        let expected = [0, 3, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 3];
        assert_eq!(encode_value(&value), expected);
    }

    #[test]
    fn other_kinds_of_keys_are_passed_over_and_cut_ones_refused() {
        assert_eq!(OffsetKey::decode(&[0, 2, 0, 1, b'g']).unwrap(), None);
        assert!(OffsetKey::decode(&[0, 1, 0, 9, b'g']).is_err());
        assert!(decode_value(&[0, 9]).is_err());
    }
}
