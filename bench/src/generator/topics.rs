//! The topics of a round: made, found, removed.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::admin::{Admin, End, NewTopic, PartitionLeader};
use crate::error::BenchError;
use crate::generator::span::Slot;
use crate::peer::PeerError;
use crate::workload::Workload;

/// Topics that this run made.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// Names, all of one length, in order.
    pub(crate) names: Vec<String>,
    /// All partitions, sorted by topic and partition.
    pub(crate) slots: Vec<Slot>,
}

impl Topics {
    /// Makes one topic after the other. What was made before a failure is in `self`, to be removed.
    pub(crate) fn create(
        &mut self,
        admin: &mut Admin,
        workload: &Workload,
        round: u32,
        settings: &[(String, String)],
        batch_bytes: usize,
    ) -> Result<(), BenchError> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let base = format!("bench-{}-{}-{round}", since_epoch.as_secs(), std::process::id());
        let new = NewTopic {
            partitions: workload.partitions as i32,
            replication_factor: workload.replication_factor as i16,
            batch_bytes,
            settings,
        };
        for number in 0..workload.topics {
            let name = format!("{base}-{number:05}");
            self.names.push(name.clone());
            let leaders = admin.create_topic(&name, new)?;
            self.slots.extend(leaders.into_iter().map(|leader| Slot {
                topic: number as usize,
                partition: leader.partition,
                address: leader.address,
            }));
        }
        Ok(())
    }

    /// Removes all of them; returns the first failure.
    pub(crate) fn remove(&self, admin: &mut Admin) -> Result<(), BenchError> {
        let mut outcome = Ok(());
        for name in &self.names {
            let removed = match admin.delete_topic(name) {
                // It was never made.
                Err(PeerError::Refused { code, .. })
                    if code == crate::refusal::UNKNOWN_TOPIC_OR_PARTITION =>
                {
                    Ok(())
                }
                other => other,
            };
            outcome = outcome.and(removed);
        }
        Ok(outcome?)
    }

    /// The offset behind the last record of each slot that may be read.
    pub(crate) fn ends(&self, admin: &mut Admin) -> Result<Vec<i64>, PeerError> {
        let mut ends = Vec::with_capacity(self.slots.len());
        for (topic, name) in self.names.iter().enumerate() {
            let leaders: Vec<PartitionLeader> =
                self.slots.iter().filter(|slot| slot.topic == topic).map(leader).collect();
            ends.extend(admin.offsets(name, &leaders, End::Latest)?);
        }
        Ok(ends)
    }

    /// All slots as leaders, with their places in the list instead of partitions.
    pub(crate) fn places(&self) -> Vec<PartitionLeader> {
        let slots = self.slots.iter().enumerate();
        slots
            .map(|(place, slot)| PartitionLeader { partition: place as i32, address: slot.address.clone() })
            .collect()
    }
}

fn leader(slot: &Slot) -> PartitionLeader {
    PartitionLeader { partition: slot.partition, address: slot.address.clone() }
}
