//! The shell around groups: tokens become waiting requests, effects answers, commits records.

use super::coordinator::{Coordinator, Limits};
use super::machine::{
    Effect, Error, Generation, Group, JoinReply, JoinRequest, Millis, SyncReply, SyncRequest, Token,
};
use super::offset_store::{OffsetStore, WriteError};
use super::offsets::{Committed, Offsets, TopicPartition};
use crate::metadata::{Catalog, ChangeError, Controller, NewTopic, OFFSETS_TOPIC, Topic};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error as ThisError;
use tokio::sync::{Notify, oneshot};

/// Largest batch of the internal topic: one commit request is one batch.
const OFFSETS_BATCH_BYTES_MAX: usize = 16 << 20;
/// Segments of the internal topic are small, as in Kafka.
const OFFSETS_SEGMENT_BYTES: usize = 100 << 20;

/// Why offsets were not committed.
#[derive(Debug, ThisError)]
pub(crate) enum CommitError {
    #[error(transparent)]
    Group(#[from] Error),
    #[error("{OFFSETS_TOPIC} cannot be made: {0}")]
    Topic(#[from] ChangeError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

#[derive(Debug)]
enum Waiting {
    Join(oneshot::Sender<JoinReply>),
    Sync(oneshot::Sender<SyncReply>),
}

#[derive(Debug)]
struct Members {
    coordinator: Coordinator,
    /// At most two for each member of a group.
    waiting: HashMap<Token, Waiting>,
    next_token: Token,
}

/// All groups of the broker.
#[derive(Debug)]
pub(crate) struct Groups {
    members: Mutex<Members>,
    offsets: Arc<OffsetStore>,
    catalog: Arc<Catalog>,
    controller: Controller,
    offsets_partitions: i32,
    started: Instant,
    /// When the timer looks again; it is woken for anything earlier.
    timer_due: AtomicU64,
    timer: Notify,
}

impl Groups {
    /// No group has members at first.
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        controller: Controller,
        offsets: Arc<OffsetStore>,
        limits: Limits,
        offsets_partitions: i32,
    ) -> Self {
        let members =
            Members { coordinator: Coordinator::new(limits), waiting: HashMap::new(), next_token: 0 };
        Self {
            members: Mutex::new(members),
            offsets,
            catalog,
            controller,
            offsets_partitions,
            started: Instant::now(),
            timer_due: AtomicU64::new(Millis::MAX),
            timer: Notify::new(),
        }
    }

    fn now(&self) -> Millis {
        Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the coordinator once and carries out what it decides.
    fn step<T>(&self, group: &str, work: impl FnOnce(&mut Members, Millis, &mut Vec<Effect>) -> T) -> T {
        let mut out = Vec::new();
        let mut members = self.lock();
        let done = work(&mut members, self.now(), &mut out);
        members.carry_out(out);
        let due = members.coordinator.group(group).and_then(Group::next_deadline);
        drop(members);
        if due.is_some_and(|due| due < self.timer_due.load(Ordering::Acquire)) {
            self.timer.notify_one();
        }
        done
    }

    pub(crate) async fn join(&self, group: &str, request: JoinRequest) -> JoinReply {
        let (sender, answer) = oneshot::channel();
        let member_id = request.member_id.clone();
        self.step(group, |members, now, out| {
            let token = members.token(Waiting::Join(sender));
            members.coordinator.join(group, request, token, now, out);
        });
        answer.await.unwrap_or(Err((Error::UnknownMember, member_id)))
    }

    pub(crate) async fn sync(&self, group: &str, request: SyncRequest) -> SyncReply {
        let (sender, answer) = oneshot::channel();
        self.step(group, |members, now, out| {
            let token = members.token(Waiting::Sync(sender));
            members.coordinator.sync(group, request, token, now, out);
        });
        answer.await.unwrap_or(Err(Error::UnknownMember))
    }

    pub(crate) fn heartbeat(&self, group: &str, generation: &Generation) -> Result<(), Error> {
        self.step(group, |members, now, _| members.coordinator.heartbeat(group, generation, now))
    }

    pub(crate) fn leave(&self, group: &str, member_id: &str) -> Result<(), Error> {
        self.step(group, |members, now, out| members.coordinator.leave(group, member_id, now, out))
    }

    /// Commits offsets, durably: when this returns they survive the loss of power.
    pub(crate) async fn commit(
        &self,
        group: &str,
        generation: &Generation,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<(), CommitError> {
        self.step(group, |members, now, _| members.coordinator.may_commit(group, generation, now))?;
        if offsets.is_empty() {
            return Ok(());
        }
        self.offsets_topic().await?;
        let commit = self.offsets.begin(group, offsets)?;
        let durable = match &commit.completion {
            Some(completion) => completion.done().await,
            None => Ok(()),
        };
        self.offsets.end(commit, durable.is_ok());
        Ok(durable.map_err(WriteError::from)?)
    }

    /// The internal topic, made at its first use.
    pub(crate) async fn offsets_topic(&self) -> Result<Arc<Topic>, ChangeError> {
        if let Some(topic) = self.catalog.topic(OFFSETS_TOPIC) {
            return Ok(topic);
        }
        let config = BTreeMap::from([
            ("max.message.bytes".to_owned(), OFFSETS_BATCH_BYTES_MAX.to_string()),
            ("segment.bytes".to_owned(), OFFSETS_SEGMENT_BYTES.to_string()),
        ]);
        let name = OFFSETS_TOPIC.to_owned();
        let new = NewTopic { name, partitions: self.offsets_partitions, config, validate_only: false };
        match self.controller.create(new).await {
            Ok(Some(topic)) => Ok(topic),
            // Somebody else was faster.
            Ok(None) | Err(ChangeError::Exists(_)) => {
                self.catalog.topic(OFFSETS_TOPIC).ok_or(ChangeError::Unknown)
            }
            Err(err) => Err(err),
        }
    }

    /// Looks at what was committed.
    pub(crate) fn with_offsets<T>(&self, look: impl FnOnce(&Offsets) -> T) -> T {
        self.offsets.with_offsets(look)
    }

    /// Looks at one group; `None` if it has no members.
    pub(crate) fn with_group<T>(&self, group: &str, look: impl FnOnce(Option<&Group>) -> T) -> T {
        look(self.lock().coordinator.group(group))
    }

    /// All groups with members or commits: id, protocol type and state.
    pub(crate) fn list(&self) -> BTreeMap<String, (String, super::GroupState)> {
        let empty = |id: &str| (id.to_owned(), (String::new(), super::GroupState::Empty));
        let mut groups: BTreeMap<_, _> = self.with_offsets(|offsets| offsets.groups().map(empty).collect());
        for (id, group) in self.lock().coordinator.groups() {
            groups.insert(id.clone(), (group.protocol_type.clone(), group.state));
        }
        groups
    }

    /// Removes silent members and ends overdue rebalances; never returns.
    pub(crate) async fn run_timer(&self) {
        loop {
            let due = {
                let members = self.lock();
                let due = members.coordinator.next_deadline();
                // Under the lock: a step that comes next compares with what was decided here.
                self.timer_due.store(due.unwrap_or(Millis::MAX), Ordering::Release);
                due
            };
            let wait = due.map(|due| Duration::from_millis(due.saturating_sub(self.now())));
            match wait {
                Some(wait) => {
                    // Woken early or not, the deadlines are looked at again.
                    let _ = tokio::time::timeout(wait, self.timer.notified()).await;
                }
                None => self.timer.notified().await,
            }
            let mut out = Vec::new();
            let mut members = self.lock();
            members.coordinator.tick(self.now(), &mut out);
            members.carry_out(out);
        }
    }
}

impl Members {
    fn token(&mut self, waiting: Waiting) -> Token {
        self.next_token += 1;
        self.waiting.insert(self.next_token, waiting);
        self.next_token
    }

    /// Whoever waited may be gone; the group has moved on all the same.
    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Joined(token, reply) => {
                    if let Some(Waiting::Join(sender)) = self.waiting.remove(&token) {
                        let _ = sender.send(reply);
                    }
                }
                Effect::Synced(token, reply) => {
                    if let Some(Waiting::Sync(sender)) = self.waiting.remove(&token) {
                        let _ = sender.send(reply);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
