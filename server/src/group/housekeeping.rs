//! What lapses with time: committed offsets, groups that nobody uses, void records.

use super::expiry::Clock;
use super::machine::{GroupState, Millis};
use super::offset_store::WriteError;
use super::service::Groups;
use crate::blocking::Blocking;
use crate::clock;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often it is looked whether the logs of the internal topic are worth rewriting.
const REWRITE_INTERVAL: Duration = Duration::from_secs(30);

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) offsets_ms: Millis,
    pub(crate) check_interval_ms: Millis,
    /// Records that a log of the internal topic has at least when it is rewritten.
    pub(crate) rewrite_records_min: usize,
}

impl Groups {
    /// Does both from time to time; never returns.
    pub(crate) async fn run_housekeeping(self: Arc<Self>, blocking: Blocking) {
        let mut lapse = interval(Duration::from_millis(self.retention.check_interval_ms));
        let mut rewrite = interval(REWRITE_INTERVAL);
        for timer in [&mut lapse, &mut rewrite] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let groups = Arc::clone(&self);
            // It waits for the disk, and the groups' time must not.
            let done = tokio::select! {
                _ = lapse.tick() => blocking.run(move || groups.lapse()).await,
                _ = rewrite.tick() => blocking.run(move || groups.rewrite()).await,
            };
            if let Err(err) = done {
                tracing::error!("housekeeping of groups ended early: {err}");
            }
        }
    }

    /// Rewrites the logs of the internal topic that are worth it.
    pub(super) fn rewrite(&self) {
        match self.offsets.rewrite(self.retention.rewrite_records_min) {
            Ok(0) => {}
            Ok(logs) => tracing::debug!(logs, "logs of committed offsets were rewritten"),
            Err(err) => tracing::warn!("committed offsets were not rewritten: {err}"),
        }
    }

    /// Forgets offsets whose time is over, and groups that nobody is in and that have none.
    pub(super) fn lapse(&self) {
        self.lapse_at(clock::now_ms());
    }

    /// The same, at this time of day.
    pub(super) fn lapse_at(&self, wall_ms: i64) {
        for id in self.ids() {
            // One by one: joins and commits come in between.
            if let Err(err) = self.lapse_group(&id, wall_ms, self.retention.offsets_ms) {
                tracing::warn!(group = id, "what has lapsed was not forgotten: {err}");
            }
        }
    }

    /// Forgets groups that nobody is in and that have committed nothing, to make room.
    pub(super) fn forget_unused(&self) {
        let wall_ms = clock::now_ms();
        let empty: Vec<String> = {
            let members = self.lock();
            let empty = members.coordinator.groups().filter(|(_, group)| group.state == GroupState::Empty);
            empty.map(|(id, _)| id.clone()).collect()
        };
        for id in empty {
            if let Err(err) = self.lapse_group(&id, wall_ms, Millis::MAX) {
                tracing::warn!(group = id, "it was not forgotten: {err}");
            }
        }
    }

    fn ids(&self) -> BTreeSet<String> {
        let mut ids: BTreeSet<String> =
            self.with_offsets(|offsets| offsets.groups().map(str::to_owned).collect());
        ids.extend(self.lock().coordinator.groups().map(|(id, _)| id.clone()));
        ids
    }

    fn lapse_group(&self, id: &str, wall_ms: i64, retention_ms: Millis) -> Result<(), WriteError> {
        let mut members = self.lock();
        let group = members.coordinator.group(id);
        let since = Clock::of(group);
        let nobody = group.is_some_and(|group| group.state == GroupState::Empty && !group.is_expecting());
        // Nothing of the group is begun meanwhile, but what was may become durable.
        let forgotten = self.offsets.forget_lapsed(id, nobody, |one, committed| {
            since.lapses(&one.topic, committed, wall_ms, retention_ms)
        })?;
        if forgotten {
            members.coordinator.forget(id);
        }
        Ok(())
    }
}
