//! Records of `__consumer_offsets` that keep committed offsets, in Kafka's format.
//!
//! Source: `OffsetCommitKey.json` (versions 0 and 1) and `OffsetCommitValue.json` (versions 0 to 3) of Apache
//! Kafka. Kafka's own tools decode them.

use super::offsets::{Committed, TopicPartition};
use crate::wire::{Cursor, Malformed};
use bytes::BufMut;
use std::sync::Arc;

const KEY_VERSION: i16 = 1;
const VALUE_VERSION: i16 = 3;
/// The version that can say when the offset lapses, and nothing of leader epochs.
const EXPIRING_VERSION: i16 = 1;

/// The key of a committed offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OffsetKey {
    pub(super) group: Arc<str>,
    pub(super) partition: TopicPartition,
}

/// Whoever puts names and texts here has bounded them.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    debug_assert!(i16::try_from(text.len()).is_ok());
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

    /// The key whose version was read.
    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let group = cursor.nullable_string()?.unwrap_or_default().into();
        let topic = cursor.nullable_string()?.unwrap_or_default().to_owned();
        let partition = cursor.i32()?;
        Ok(Self { group, partition: TopicPartition { topic, partition } })
    }
}

pub(super) fn encode_value(committed: &Committed) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    out.put_i16(if committed.expires_at_ms.is_some() { EXPIRING_VERSION } else { VALUE_VERSION });
    out.put_i64(committed.offset);
    if committed.expires_at_ms.is_none() {
        out.put_i32(committed.leader_epoch);
    }
    put_string(&mut out, &committed.metadata);
    out.put_i64(committed.committed_at_ms);
    if let Some(expires) = committed.expires_at_ms {
        out.put_i64(expires);
    }
    out
}

pub(super) fn decode_value(value: &[u8]) -> Result<Committed, Malformed> {
    let mut cursor = Cursor::new(value);
    let version = cursor.i16()?;
    if !(0..=VALUE_VERSION).contains(&version) {
        return Err(Malformed(format!("a committed offset of version {version}")));
    }
    let offset = cursor.i64()?;
    let leader_epoch = if version >= 3 { cursor.i32()? } else { -1 };
    let metadata = cursor.nullable_string()?.unwrap_or_default().to_owned();
    let committed_at_ms = cursor.i64()?;
    let expires_at_ms = if version == EXPIRING_VERSION { Some(cursor.i64()?) } else { None };
    let expires_at_ms = expires_at_ms.filter(|at| *at >= 0);
    Ok(Committed { offset, leader_epoch, metadata, committed_at_ms, expires_at_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed() -> Committed {
        Committed {
            offset: 258,
            leader_epoch: 1,
            metadata: "m".into(),
            committed_at_ms: 3,
            expires_at_ms: None,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let partition = TopicPartition { topic: "orders".into(), partition: 3 };
        let key = OffsetKey { group: "g".into(), partition };
        let bytes = key.encode();
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(cursor.i16().unwrap(), KEY_VERSION);
        assert_eq!(OffsetKey::decode(&mut cursor).unwrap(), key);
        let value = Committed { offset: -2, leader_epoch: 7, committed_at_ms: 1 << 40, ..committed() };
        assert_eq!(decode_value(&encode_value(&value)).unwrap(), value);
        // One that lapses has no epoch.
        let value = Committed { leader_epoch: -1, expires_at_ms: Some(9), ..committed() };
        assert_eq!(decode_value(&encode_value(&value)).unwrap(), value);
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let partition = TopicPartition { topic: "t".into(), partition: 2 };
        let key = OffsetKey { group: "g".into(), partition }.encode();
        assert_eq!(key, [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 2]);
        let expected = [0, 3, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 3];
        assert_eq!(encode_value(&committed()), expected);
        let lapses = Committed { leader_epoch: -1, expires_at_ms: Some(9), ..committed() };
        let expected =
            [0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(encode_value(&lapses), expected);
    }

    #[test]
    fn cut_and_unknown_ones_are_refused() {
        assert!(OffsetKey::decode(&mut Cursor::new(&[0, 9, b'g'])).is_err());
        assert!(decode_value(&[0, 9]).is_err());
        let whole = encode_value(&committed());
        assert!((0..whole.len()).all(|cut| decode_value(&whole[..cut]).is_err()));
    }
}
