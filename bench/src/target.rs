//! The topic under load: created or found, and which connection takes which partitions.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::admin::{Admin, NewTopic, PartitionLeader};
use crate::cli::{LoadArgs, Mode};
use crate::error::BenchError;
use crate::report::Round;

/// A topic and whether it goes away at the end.
#[derive(Debug)]
pub(crate) struct Target {
    /// Name.
    pub(crate) topic: String,
    /// Partitions and their leaders.
    pub(crate) leaders: Vec<PartitionLeader>,
    created: bool,
}

impl Target {
    /// Finds the topic, or creates it.
    pub(crate) fn open(
        admin: &mut Admin,
        args: &LoadArgs,
        round: Round,
        rounds: u32,
        batch_bytes: usize,
    ) -> Result<Self, BenchError> {
        if let Some(topic) = &args.topic
            && let Some(leaders) = admin.leaders(topic)?
        {
            if leaders.is_empty() {
                return Err(BenchError::Options {
                    what: format!("topic {topic} has no partition with a leader"),
                    advice: "wait until it has, or name another one",
                });
            }
            return Ok(Self { topic: topic.clone(), leaders, created: false });
        }
        if args.mode == Mode::Fetch {
            return Err(BenchError::Options {
                what: "there is no such topic to fetch from".to_string(),
                advice: "name an existing one with --topic, or use --mode both",
            });
        }
        let topic = match &args.topic {
            Some(topic) if rounds > 1 => format!("{topic}-{}", round.number),
            Some(topic) => topic.clone(),
            None => unique_name(round),
        };
        let new = NewTopic {
            partitions: args.partitions,
            replication_factor: args.replication_factor,
            batch_bytes,
            settings: &[],
        };
        let leaders = admin.create_topic(&topic, new)?;
        Ok(Self { topic, leaders, created: true })
    }

    /// Deletes the topic if this run created it and nobody asked to keep it.
    pub(crate) fn close(&self, admin: &mut Admin, keep: bool) -> Result<(), BenchError> {
        if self.created && !keep {
            admin.delete_topic(&self.topic)?;
        }
        Ok(())
    }
}

fn unique_name(round: Round) -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("bench-{}-{}-{}", since_epoch.as_secs(), std::process::id(), round.number)
}

/// The partitions of one connection; all have the same leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// `HOST:PORT` of the leader.
    pub(crate) address: String,
    /// Places in the list of leaders.
    pub(crate) slots: Vec<usize>,
}

/// Spreads partitions over connections. Where connections are more than partitions, they share
/// partitions if `sharing`, or there are fewer connections.
pub(crate) fn spread(
    leaders: &[PartitionLeader],
    connections: usize,
    sharing: bool,
) -> Result<Vec<Share>, BenchError> {
    let mut addresses: Vec<&str> = leaders.iter().map(|leader| leader.address.as_str()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if connections < addresses.len() {
        return Err(BenchError::Options {
            what: format!("the partitions are led by {} brokers", addresses.len()),
            advice: "use at least as many --connections",
        });
    }
    let mut shares = Vec::with_capacity(connections);
    for (index, address) in addresses.iter().enumerate() {
        let slots: Vec<usize> =
            (0..leaders.len()).filter(|slot| leaders[*slot].address == *address).collect();
        // Connections `index`, `index + addresses`, ... belong to this leader.
        let count = (connections - index).div_ceil(addresses.len());
        let count = if sharing { count } else { count.min(slots.len()) };
        for connection in 0..count {
            let own = if count <= slots.len() {
                slots.iter().copied().skip(connection).step_by(count).collect()
            } else {
                vec![slots[connection % slots.len()]]
            };
            shares.push(Share { address: (*address).to_string(), slots: own });
        }
    }
    Ok(shares)
}

/// Splits `total` as evenly as it goes.
pub(crate) fn split(total: u64, parts: usize) -> Vec<u64> {
    let parts_count = parts as u64;
    (0..parts_count).map(|part| total / parts_count + u64::from(part < total % parts_count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaders(addresses: &[&str]) -> Vec<PartitionLeader> {
        let with_index = addresses.iter().enumerate();
        with_index
            .map(|(index, address)| PartitionLeader {
                partition: index as i32,
                address: (*address).to_string(),
            })
            .collect()
    }

    #[test]
    fn every_partition_has_a_connection_to_its_leader() {
        let leaders = leaders(&["a", "b", "a", "a", "b"]);
        for connections in 2..12 {
            let shares = spread(&leaders, connections, true).unwrap();
            assert_eq!(shares.len(), connections);
            for (slot, leader) in leaders.iter().enumerate() {
                let mut holders = shares.iter().filter(|share| share.slots.contains(&slot));
                assert!(holders.all(|share| share.address == leader.address));
                assert!(shares.iter().any(|share| share.slots.contains(&slot)));
            }
            let alone = spread(&leaders, connections, false).unwrap();
            let mut slots: Vec<_> = alone.iter().flat_map(|share| share.slots.clone()).collect();
            slots.sort_unstable();
            assert_eq!(slots, [0, 1, 2, 3, 4]);
        }
        assert!(spread(&leaders, 1, true).is_err());
    }

    #[test]
    fn nothing_is_lost_in_splitting() {
        assert_eq!(split(10, 4), [3, 3, 2, 2]);
        assert_eq!(split(1, 3), [1, 0, 0]);
    }
}
