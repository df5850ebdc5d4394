//! Which workloads are run against whom, and when there is no more time. Pure.

use std::time::Duration;

use crate::workload::{Acks, Durability, Time, Workload, WorkloadError};

/// The workloads of a comparison, in the order in which a turn runs them.
const WORKLOADS: [(&str, &str); 7] = [
    ("throughput", include_str!("../../workloads/compare/throughput.toml")),
    ("throughput-unbatched", include_str!("../../workloads/compare/throughput-unbatched.toml")),
    ("one-record-64", include_str!("../../workloads/compare/one-record-64.toml")),
    ("end-to-end", include_str!("../../workloads/compare/end-to-end.toml")),
    ("durable-1", include_str!("../../workloads/compare/durable-1.toml")),
    ("durable-128", include_str!("../../workloads/compare/durable-128.toml")),
    ("durable-paced", include_str!("../../workloads/compare/durable-paced.toml")),
];
/// Fills a broker before it is killed.
const RECOVERY: &str = include_str!("../../workloads/compare/recovery.toml");
/// Before the first workload of a turn: compilers that work while a broker runs get their work.
const WARMUP: &str = include_str!("../../workloads/compare/warmup.toml");
/// What `--short` changes.
const SHORT: [&str; 2] = ["duration=6s", "warmup=2s"];
const SHORT_FILL: &str = "fill.bytes=1GiB";
/// Where each request is synced, more time would not mean much more work.
const WARMUP_SYNCED: Time = Time::seconds(4);
/// A turn that begins must have a chance to end.
const TURN_SHORT: Duration = Duration::from_secs(75);
const TURN_LONG: Duration = Duration::from_secs(240);

/// All workloads of a comparison.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Those that are measured.
    pub(crate) workloads: Vec<Workload>,
    /// Before a kill.
    pub(crate) recovery: Workload,
    warmup: Workload,
    turn: Duration,
}

/// A workload of a name that there is none of.
#[derive(Debug, thiserror::Error)]
#[error("there is no workload {name}; choose from {}", names().join(", "))]
pub(crate) struct NoSuchWorkload {
    name: String,
}

/// The names of all workloads.
pub(crate) fn names() -> Vec<&'static str> {
    WORKLOADS.iter().map(|(name, _)| *name).collect()
}

/// Whether the names are those of workloads.
pub(crate) fn check_names(chosen: &[String]) -> Result<(), NoSuchWorkload> {
    match chosen.iter().find(|name| !names().contains(&name.as_str())) {
        Some(name) => Err(NoSuchWorkload { name: name.clone() }),
        None => Ok(()),
    }
}

impl Plan {
    /// The chosen workloads, or all; with further overrides `KEY=VALUE` for each.
    pub(crate) fn new(short: bool, chosen: Option<&[String]>) -> Result<Self, WorkloadError> {
        let read = |text: &str| -> Result<Workload, WorkloadError> {
            let plain = Workload::parse_with(text, &[])?;
            let mut overrides = Vec::new();
            if short {
                let has_steady = !plain.duration.0.is_zero();
                overrides.extend(SHORT.iter().filter(|_| has_steady).map(|text| (*text).to_string()));
                overrides.extend(plain.fill.map(|_| SHORT_FILL.to_string()));
            }
            Workload::parse_with(text, &overrides)
        };
        let is_chosen = |name: &str| chosen.is_none_or(|chosen| chosen.iter().any(|one| one == name));
        let workloads = WORKLOADS.iter().filter(|(name, _)| is_chosen(name)).map(|(_, text)| read(text));
        Ok(Self {
            workloads: workloads.collect::<Result<_, _>>()?,
            recovery: read(RECOVERY)?,
            warmup: Workload::parse_with(WARMUP, &[])?,
            turn: if short { TURN_SHORT } else { TURN_LONG },
        })
    }

    /// What is run before the first workload of a turn.
    pub(crate) fn warmup(&self, durability: Durability) -> Workload {
        let mut warmup = self.warmup.clone();
        if durability == Durability::Synced {
            warmup.durability = durability;
            warmup.producers.acks = Acks::All;
            warmup.duration = WARMUP_SYNCED;
        }
        warmup
    }

    /// The workloads of a class for a peer that has batches, or has none. Where there are none, both sides do
    /// without.
    pub(crate) fn of(&self, durability: Durability, has_batches: bool) -> Vec<&Workload> {
        let fits = |workload: &&Workload| {
            let is_batched = workload.producers.batch_records > 1;
            let is_instead = workload.name == "throughput-unbatched";
            workload.durability == durability && if has_batches { !is_instead } else { !is_batched }
        };
        self.workloads.iter().filter(fits).collect()
    }

    /// Whether a turn that begins after `elapsed` would end before `limit`.
    pub(crate) fn has_time(&self, elapsed: Duration, limit: Option<Duration>) -> bool {
        limit.is_none_or(|limit| elapsed + self.turn <= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workloads_can_be_read_and_are_called_as_they_say() {
        for short in [false, true] {
            let plan = Plan::new(short, None).unwrap();
            let read: Vec<&str> = plan.workloads.iter().map(|workload| workload.name.as_str()).collect();
            assert_eq!(read, names());
            for workload in plan.workloads.iter().chain([&plan.recovery]) {
                let is_synced = workload.durability == Durability::Synced;
                assert_eq!(workload.producers.acks == Acks::All, is_synced, "{}", workload.name);
            }
        }
    }

    #[test]
    fn peers_without_batches_are_compared_without_batches() {
        let plan = Plan::new(true, None).unwrap();
        let without = plan.of(Durability::PageCache, false);
        assert!(without.iter().all(|workload| workload.producers.batch_records == 1));
        let with = plan.of(Durability::PageCache, true);
        assert!(with.iter().any(|workload| workload.producers.batch_records > 1));
        assert_eq!(with.len(), without.len());
        assert!(
            plan.of(Durability::Synced, true)
                .iter()
                .all(|workload| workload.durability == Durability::Synced)
        );
    }

    #[test]
    fn names_are_checked_and_time_is_bounded() {
        assert!(check_names(&["end-to-end".to_string()]).is_ok());
        assert!(check_names(&["end".to_string()]).unwrap_err().to_string().contains("throughput"));
        let plan = Plan::new(true, Some(&["end-to-end".to_string()])).unwrap();
        assert_eq!(plan.workloads.len(), 1);
        assert!(plan.has_time(Duration::ZERO, None) && plan.has_time(Duration::ZERO, Some(TURN_SHORT)));
        assert!(!plan.has_time(Duration::from_secs(1), Some(TURN_SHORT)));
    }
}
