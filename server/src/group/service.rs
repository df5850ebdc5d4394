//! The shell around groups: tokens become waiting requests, effects answers and records, commits records.

mod members;

use super::coordinator::{Coordinator, Limits};
use super::housekeeping::Retention;
use super::machine::memory::Memory;
use super::machine::{
    Effect, Error, Generation, Group, Held, Identity, JoinReply, JoinRequest, Millis, Now, SyncReply,
    SyncRequest,
};
use super::offset_store::{OffsetStore, WriteError};
use super::offsets::{Committed, Offsets, TopicPartition};
use super::subscription;
use crate::clock;
use crate::metadata::{Catalog, ChangeError, Controller, NewTopic, OFFSETS_TOPIC, Topic};
use members::{Members, Unsettled, Waiting};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error as ThisError;
use tokio::sync::{Notify, Semaphore, oneshot};

/// Largest batch of the internal topic: one commit request is one batch.
const OFFSETS_BATCH_BYTES_MAX: usize = 16 << 20;
/// Segments of the internal topic are small, since only whole ones are removed when it is rewritten.
const OFFSETS_SEGMENT_BYTES: usize = 8 << 20;

/// Ids that members have not come with yet take one part in so many of the memory for groups at most.
const IDS_SHARE: usize = 4;
/// Protocols that a member may offer.
const PROTOCOLS_MAX: usize = 100;
/// How often groups that nobody uses are looked for at most when there is no room for another.
const MAKE_ROOM_INTERVAL_MS: Millis = 5000;

/// Why a group's offsets, or the group, were not changed.
#[derive(Debug, ThisError)]
pub(crate) enum CommitError {
    #[error(transparent)]
    Group(#[from] Error),
    #[error("{OFFSETS_TOPIC} cannot be made: {0}")]
    Topic(#[from] ChangeError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// All groups of the broker.
#[derive(Debug)]
pub(crate) struct Groups {
    /// Held while records of groups and commits are appended, so that they come in the order of decisions: no
    /// commit of an old generation comes after one of a new one.
    members: Mutex<Members>,
    pub(super) offsets: Arc<OffsetStore>,
    catalog: Arc<Catalog>,
    controller: Controller,
    offsets_partitions: i32,
    pub(super) retention: Retention,
    /// When the timer looks again; it is woken for anything earlier.
    timer_due: AtomicU64,
    timer: Notify,
    /// Bytes that members and their shares may still take.
    memory: Arc<Semaphore>,
    /// Of these, those that ids may still take with which members have not come yet.
    ids_memory: Arc<Semaphore>,
}

impl Groups {
    /// Begins with the groups that were kept.
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        controller: Controller,
        offsets: Arc<OffsetStore>,
        limits: Limits,
        retention: Retention,
        offsets_partitions: i32,
    ) -> Self {
        let now = now();
        let memory_bytes = limits.memory_bytes_max.min(Semaphore::MAX_PERMITS);
        let mut coordinator = Coordinator::new(limits);
        for (id, record) in offsets.kept_groups() {
            tracing::debug!(group = id, members = record.members.len(), "group loaded");
            coordinator.load(id, record, now);
        }
        Self {
            members: Mutex::new(Members::new(coordinator)),
            offsets,
            catalog,
            controller,
            offsets_partitions,
            retention,
            timer_due: AtomicU64::new(Millis::MAX),
            timer: Notify::new(),
            memory: Arc::new(Semaphore::new(memory_bytes)),
            ids_memory: Arc::new(Semaphore::new(memory_bytes / IDS_SHARE)),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the coordinator once and carries out what it decides, but for what takes time.
    fn step<T>(
        &self,
        group: &str,
        work: impl FnOnce(&mut Members, Now, &mut Vec<Effect>) -> T,
    ) -> (T, Vec<Unsettled>) {
        let mut out = Vec::new();
        let mut members = self.lock();
        let now = now();
        let done = work(&mut members, now, &mut out);
        let unsettled = members.carry_out(group, out, &self.offsets, now);
        let due = members.coordinator.group(group).and_then(Group::next_deadline);
        drop(members);
        if due.is_some_and(|due| due < self.timer_due.load(Ordering::Acquire)) {
            self.timer.notify_one();
        }
        (done, unsettled)
    }

    /// Waits until groups are stored, and goes on with them.
    async fn settle(&self, unsettled: Vec<Unsettled>) {
        let mut queue = VecDeque::from(unsettled);
        while let Some(Unsettled { group, store, completion }) = queue.pop_front() {
            let durable = completion.done().await;
            if let Err(err) = &durable {
                tracing::warn!(group, "the group could not be stored: {err}");
            }
            let ((), more) = self.step(&group, |members, now, out| {
                members.coordinator.stored(&group, store, durable.is_ok(), now, out);
            });
            queue.extend(more);
        }
    }

    /// Takes of the memory for groups, if so much is left. Groups that were kept over a restart take none.
    fn hold(&self, group: &str, bytes: usize, for_id: bool) -> Result<Held, Error> {
        if bytes == 0 {
            return Ok(None);
        }
        let bytes = u32::try_from(bytes).map_err(|_| Error::NoMemory)?;
        let take = |memory: &Arc<Semaphore>| Arc::clone(memory).try_acquire_many_owned(bytes);
        let ids = for_id.then(|| take(&self.ids_memory)).transpose();
        ids.and_then(|ids| Ok(Memory::new(take(&self.memory)?, ids))).map_err(|_| {
            tracing::warn!(group, "refused: {bytes} bytes more than groups.memory.max.bytes leaves");
            Error::NoMemory
        })
    }

    pub(crate) async fn join(&self, group: &str, mut request: JoinRequest) -> JoinReply {
        let member_id = request.member.member_id.clone();
        if request.protocols.len() > PROTOCOLS_MAX {
            return Err((Error::InconsistentProtocol, member_id));
        }
        // Groups are kept there.
        if let Err(err) = self.offsets_topic().await {
            tracing::warn!(group, "nobody can join: {OFFSETS_TOPIC} cannot be made: {err}");
            return Err((Error::NotStored, member_id));
        }
        self.make_room(|coordinator| coordinator.is_full() && coordinator.group(group).is_none());
        let (sender, answer) = oneshot::channel();
        let (held, unsettled) = self.step(group, |members, now, out| {
            let known = members.coordinator.group(group);
            let has = known.map_or(0, |known| known.bytes_held(&request.member));
            let more = request.bytes_kept().saturating_sub(has);
            request.held = self.hold(group, more, request.asks_for_id())?;
            let token = members.token(Waiting::Join(sender));
            members.coordinator.join(group, request, token, now, out);
            Ok(())
        });
        held.map_err(|err| (err, member_id.clone()))?;
        self.settle(unsettled).await;
        answer.await.unwrap_or(Err((Error::UnknownMember, member_id)))
    }

    /// Forgets groups that nobody uses if a group would find no room else. That looks at all groups, so that those
    /// who come again and again do not have it done each time.
    fn make_room(&self, is_needed: impl Fn(&Coordinator) -> bool) {
        {
            let mut members = self.lock();
            let now = clock::monotonic_ms();
            let recent = |made: Millis| now.saturating_sub(made) < MAKE_ROOM_INTERVAL_MS;
            if members.made_room_ms.is_some_and(recent) || !is_needed(&members.coordinator) {
                return;
            }
            members.made_room_ms = Some(now);
        }
        self.forget_unused();
    }

    pub(crate) async fn sync(&self, group: &str, mut request: SyncRequest) -> SyncReply {
        let (sender, answer) = oneshot::channel();
        let (held, unsettled) = self.step(group, |members, now, out| {
            if let Some(known) = members.coordinator.group(group) {
                // Those of others are not kept.
                request.assignments.retain(|(id, _)| known.members.contains_key(id));
                request.held = self.hold(group, known.shares_bytes_more(&request), false)?;
            }
            let token = members.token(Waiting::Sync(sender));
            members.coordinator.sync(group, request, token, now.ms, out);
            Ok(())
        });
        held?;
        self.settle(unsettled).await;
        answer.await.unwrap_or(Err(Error::UnknownMember))
    }

    pub(crate) fn heartbeat(&self, group: &str, generation: &Generation) -> Result<(), Error> {
        // A heartbeat has nothing stored.
        self.step(group, |members, now, _| members.coordinator.heartbeat(group, generation, now.ms)).0
    }

    /// Members leave; for each, whether it was one.
    pub(crate) async fn leave(&self, group: &str, who: &[(Identity, String)]) -> Vec<Result<(), Error>> {
        let (left, unsettled) =
            self.step(group, |members, now, out| members.coordinator.leave(group, who, now, out));
        self.settle(unsettled).await;
        left
    }

    /// Commits offsets, durably: when this returns they survive the loss of power, but for those of the partitions
    /// returned, for which there is no memory.
    pub(crate) async fn commit(
        &self,
        group: &str,
        generation: &Generation,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<Vec<TopicPartition>, CommitError> {
        if !offsets.is_empty() {
            self.offsets_topic().await?;
        }
        let no_room = |coordinator: &Coordinator| {
            coordinator.group(group).is_none() && !self.offsets.has_room_for(group, coordinator.room())
        };
        // Whoever claims a generation of a group that is not known is refused.
        if !offsets.is_empty() && generation.id < 0 {
            self.make_room(no_room);
        }
        // In one step: the generation cannot end between the look and the append.
        let (begun, _) = self.step(group, |members, now, _| {
            members.coordinator.may_commit(group, generation, now.ms)?;
            if offsets.is_empty() {
                return Ok(None);
            }
            if no_room(&members.coordinator) {
                return Err(Error::TooManyGroups.into());
            }
            Ok::<_, CommitError>(Some(self.offsets.begin(group, offsets)?))
        });
        let Some(commit) = begun? else { return Ok(Vec::new()) };
        let durable = match &commit.completion {
            Some(completion) => completion.done().await,
            None => Ok(()),
        };
        self.offsets.end(&commit, durable.is_ok());
        durable.map_err(WriteError::from)?;
        Ok(commit.refused)
    }

    /// Deletes a group that nobody is in, with all that it has committed, durably.
    pub(crate) async fn delete(&self, group: &str) -> Result<(), CommitError> {
        let forgotten = {
            let mut members = self.lock();
            members.coordinator.may_delete(group)?;
            let known = members.coordinator.group(group).is_some();
            let forgotten = self.offsets.forget_group(group)?;
            if !known && forgotten.is_none() {
                return Err(Error::NoGroup.into());
            }
            members.coordinator.forget(group);
            forgotten
        };
        if let Some(completion) = forgotten {
            completion.done().await.map_err(WriteError::from)?;
        }
        tracing::info!(group, "group deleted");
        Ok(())
    }

    /// Deletes what a group has committed for partitions, durably. Says for each whether it was; those of topics
    /// that a member wants are kept.
    pub(crate) async fn delete_offsets(
        &self,
        group: &str,
        partitions: Vec<TopicPartition>,
    ) -> Result<Vec<(TopicPartition, bool)>, CommitError> {
        let (outcomes, forgotten) = {
            let members = self.lock();
            let known = members.coordinator.group(group);
            if known.is_none() && !self.offsets.with_offsets(|offsets| offsets.has_group(group)) {
                return Err(Error::NoGroup.into());
            }
            let (mut wanted, mut all_wanted) = (Default::default(), false);
            if let Some(busy) = known.filter(|known| known.may_delete().is_err()) {
                if busy.protocol_type != subscription::CONSUMER {
                    return Err(Error::NotEmpty.into());
                }
                match subscription::subscribed(busy) {
                    Some(topics) => wanted = topics,
                    None => all_wanted = true,
                }
            }
            let outcomes: Vec<_> = partitions
                .into_iter()
                .map(|one| {
                    let free = !all_wanted && !wanted.contains(&one.topic);
                    (one, free)
                })
                .collect();
            let free = outcomes.iter().filter(|(_, free)| *free).map(|(one, _)| one.clone());
            let forgotten = self.offsets.forget_offsets(group, &free.collect::<Vec<_>>())?;
            (outcomes, forgotten)
        };
        if let Some(completion) = forgotten {
            completion.done().await.map_err(WriteError::from)?;
        }
        Ok(outcomes)
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

    /// Group, partition and offset of what was committed, up to so many.
    pub(crate) fn committed_offsets(&self, max: usize) -> Vec<(String, TopicPartition, i64)> {
        self.with_offsets(|offsets| {
            let all = offsets.iter().take(max);
            all.map(|(group, place, one)| (group.to_string(), place.clone(), one.offset)).collect()
        })
    }

    /// Looks at one group; `None` if it never had members.
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
    pub(crate) async fn run_timer(self: Arc<Self>) {
        loop {
            let due = {
                let members = self.lock();
                let due = members.coordinator.next_deadline();
                // Under the lock: a step that comes next compares with what was decided here.
                self.timer_due.store(due.unwrap_or(Millis::MAX), Ordering::Release);
                due
            };
            let wait = due.map(|due| Duration::from_millis(due.saturating_sub(clock::monotonic_ms())));
            match wait {
                Some(wait) => {
                    // Woken early or not, the deadlines are looked at again.
                    let _ = tokio::time::timeout(wait, self.timer.notified()).await;
                }
                None => self.timer.notified().await,
            }
            let unsettled = self.tick();
            if !unsettled.is_empty() {
                let groups = Arc::clone(&self);
                // Time goes on while the disk writes.
                tokio::spawn(async move { groups.settle(unsettled).await });
            }
        }
    }

    fn tick(&self) -> Vec<Unsettled> {
        let mut out = Vec::new();
        let mut members = self.lock();
        let now = now();
        members.coordinator.tick(now, &mut out);
        let carried =
            out.into_iter().flat_map(|(id, effects)| members.carry_out(&id, effects, &self.offsets, now));
        carried.collect()
    }
}

/// What groups go by at this moment.
fn now() -> Now {
    Now { ms: clock::monotonic_ms(), wall_ms: Millis::try_from(clock::now_ms()).unwrap_or(0) }
}

#[cfg(test)]
mod tests;
