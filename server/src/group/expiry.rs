//! When committed offsets lapse: a pure rule, Kafka's (KIP-211).

use super::machine::{Group, GroupState, Millis};
use super::offsets::Committed;
use super::subscription;
use std::collections::BTreeSet;

/// From when on a group's offsets are kept for the time of retention.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// None of them lapses now.
    Stopped,
    /// All together, since the time of day when the last member went.
    Since(Millis),
    /// Each since it was committed, but for those of topics that are consumed.
    SinceCommit(BTreeSet<String>),
}

impl Clock {
    /// The clock of a group; `None` stands for consumers that assign partitions themselves.
    pub(super) fn of(group: Option<&Group>) -> Self {
        let Some(group) = group.filter(|group| !group.protocol_type.is_empty()) else {
            return Self::SinceCommit(BTreeSet::new());
        };
        match (group.state, subscription::subscribed(group)) {
            (GroupState::Empty, _) => Self::Since(group.since_ms),
            (GroupState::Stable, Some(topics)) => Self::SinceCommit(topics),
            _ => Self::Stopped,
        }
    }

    /// Whether an offset for this topic lapses at this time of day, by which commits are stamped.
    pub(super) fn lapses(
        &self,
        topic: &str,
        committed: &Committed,
        wall_ms: i64,
        retention_ms: Millis,
    ) -> bool {
        let over =
            |since: i64| wall_ms.saturating_sub(since) >= i64::try_from(retention_ms).unwrap_or(i64::MAX);
        match self {
            Self::Stopped => false,
            Self::SinceCommit(consumed) if consumed.contains(topic) => false,
            // The one who committed it said when.
            _ if committed.expires_at_ms.is_some() => committed.expires_at_ms.is_some_and(|at| wall_ms >= at),
            Self::Since(since) => over(i64::try_from(*since).unwrap_or(i64::MAX)),
            Self::SinceCommit(_) => over(committed.committed_at_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(at: i64, expires_at_ms: Option<i64>) -> Committed {
        Committed { offset: 1, leader_epoch: -1, metadata: String::new(), committed_at_ms: at, expires_at_ms }
    }

    #[test]
    fn offsets_lapse_by_the_clock_of_their_group() {
        let old = committed(100, None);
        assert!(!Clock::Stopped.lapses("t", &old, 10_000, 50));
        assert!(!Clock::Since(9_951).lapses("t", &old, 10_000, 50));
        assert!(Clock::Since(9_950).lapses("t", &old, 10_000, 50));
        let consumed = Clock::SinceCommit(BTreeSet::from(["t".to_owned()]));
        assert!(!consumed.lapses("t", &old, 10_000, 50));
        assert!(consumed.lapses("other", &old, 10_000, 50));
        assert!(!consumed.lapses("other", &committed(9_951, None), 10_000, 50));
        // What the client said counts more than the retention.
        assert!(!Clock::Since(0).lapses("t", &committed(100, Some(10_001)), 10_000, 50));
        assert!(Clock::Since(9_999).lapses("t", &committed(100, Some(10_000)), 10_000, 50));
        assert_eq!(Clock::of(None), Clock::SinceCommit(BTreeSet::new()));
    }
}
