//! The topics that a consumer group's members want.
//!
//! Source: `ConsumerProtocolSubscription.json` of Apache Kafka; every version begins as version 0 does.

use super::machine::{Group, GroupState};
use crate::wire::{Cursor, Malformed};
use std::collections::BTreeSet;

/// What consumers call their protocol.
pub(crate) const CONSUMER: &str = "consumer";

fn topics(metadata: &[u8]) -> Result<BTreeSet<String>, Malformed> {
    let mut cursor = Cursor::new(metadata);
    cursor.i16()?;
    let mut topics = BTreeSet::new();
    for _ in 0..cursor.count(false)? {
        topics.insert(cursor.nullable_string()?.unwrap_or_default().to_owned());
    }
    Ok(topics)
}

/// All topics that members of a group want; `None` if that cannot be told: it is no group of consumers, or they
/// say it in words of their own.
pub(super) fn subscribed(group: &Group) -> Option<BTreeSet<String>> {
    if group.protocol_type != CONSUMER || group.state == GroupState::PreparingRebalance {
        return None;
    }
    let mut all = BTreeSet::new();
    for member in group.members.values() {
        all.extend(topics(&member.metadata(&group.protocol)).ok()?);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_whatever_follows_and_cut_ones_refused() {
        let mut bytes = vec![0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c'];
        assert_eq!(topics(&bytes).unwrap(), BTreeSet::from(["a".into(), "bc".into()]));
        bytes.extend([1, 2, 3]);
        assert_eq!(topics(&bytes).unwrap().len(), 2);
        assert!(topics(&bytes[..8]).is_err());
        assert!(topics(b"words").is_err());
    }
}
