//! Which partitions a consumer reads, how far it is, and who leads them.

use std::sync::Arc;

use tokio::time::Instant;

use crate::offsets::OffsetSpec;

/// Where to start reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this offset.
    Offset(i64),
    /// At an offset to be looked up.
    At(OffsetSpec),
}

/// A partition of a topic, and where to start reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// Where to start.
    pub start: Start,
}

/// An assigned partition, as the tasks of the consumer keep it.
#[derive(Debug)]
pub(crate) struct Tracked {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) start: Start,
    pub(crate) leader: Option<i32>,
    /// Since when there is no leader or no start.
    pub(crate) lost: Option<Instant>,
    /// What the application was last told: end offset and position.
    pub(crate) told: Option<(i64, i64)>,
}

impl Tracked {
    /// The position, once it is known.
    pub(crate) fn position(&self) -> Option<i64> {
        match self.start {
            Start::Offset(offset) => Some(offset),
            Start::At(_) => None,
        }
    }

    /// Whether there is something to find out before it can be fetched.
    pub(crate) fn is_lost(&self) -> bool {
        self.leader.is_none() || self.position().is_none()
    }
}

/// All that is assigned. Every assignment has a number of its own, by which what was fetched for
/// an earlier one is told apart.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    pub(crate) number: u64,
    pub(crate) partitions: Vec<Tracked>,
}

impl Assignment {
    pub(crate) fn replace(&mut self, partitions: Vec<Assigned>) -> u64 {
        self.number += 1;
        self.partitions = partitions
            .into_iter()
            .map(|assigned| Tracked {
                topic: assigned.topic,
                partition: assigned.partition,
                start: assigned.start,
                leader: None,
                lost: None,
                told: None,
            })
            .collect();
        self.number
    }

    /// The partition, unless it has been assigned anew since.
    pub(crate) fn find(&mut self, number: u64, topic: &str, partition: i32) -> Option<&mut Tracked> {
        if number != self.number {
            return None;
        }
        self.partitions.iter_mut().find(|tracked| tracked.partition == partition && *tracked.topic == *topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_assignment_is_not_found() {
        let mut assignment = Assignment::default();
        let assigned = Assigned { topic: "t".into(), partition: 2, start: Start::At(OffsetSpec::Earliest) };
        let first = assignment.replace(vec![assigned.clone()]);
        assert!(assignment.find(first, "t", 2).is_some_and(|found| found.is_lost()));
        assert!(assignment.find(first, "t", 1).is_none());
        assignment.replace(vec![assigned]);
        assert!(assignment.find(first, "t", 2).is_none());
    }
}
