//! Fetch sessions (KIP-227): what a client fetches is remembered, so that its next request names only what
//! changed, and the answer too. Bounded in sessions and in partitions; without room, or evicted, a client
//! fetches without a session, which the protocol allows at any time. Pure but for the lock: time and chance
//! are given.

use crate::wire::ErrorCode;
use crate::wire::fetch::{FetchResult, TopicKey};
use ringmain_engine::Slice;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Partitions that all sessions together remember, at some 200 bytes each.
const PARTITIONS_MAX: usize = 250_000;
/// A session that was not used for so long makes room for a new one. Kafka's value.
const EVICTED_AFTER_MS: u64 = 120_000;
/// The epoch of a request that wants a new session.
const INITIAL: i32 = 0;
/// The epoch of a request that wants none.
const FINAL: i32 = -1;

/// A partition that a client fetches.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicKey,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) bytes_max: i32,
    /// The leader epoch that the client knows, or -1.
    pub(crate) known_epoch: i32,
    /// The epoch of the last record that it has, or -1.
    pub(crate) fetched_epoch: i32,
    /// High watermark and start as its session told them last.
    told: Option<(i64, i64)>,
}

impl Wanted {
    pub(crate) fn new(topic: TopicKey, partition: i32, offset: i64, bytes_max: i32) -> Self {
        Self { topic, partition, offset, bytes_max, known_epoch: -1, fetched_epoch: -1, told: None }
    }

    pub(crate) fn with_epochs(self, known_epoch: i32, fetched_epoch: i32) -> Self {
        Self { known_epoch, fetched_epoch, ..self }
    }

    fn key(&self) -> (TopicKey, i32) {
        (self.topic.clone(), self.partition)
    }

    /// Whether the client must be told, which is noted.
    fn tell(&mut self, result: &FetchResult) -> bool {
        let now = (result.high_watermark, result.log_start_offset);
        let before = self.told.replace(now);
        let brings = result.records.as_ref().is_some_and(|records| !records.is_empty());
        brings || result.error_code != 0 || result.diverging.is_some() || before != Some(now)
    }
}

/// What a request says of its session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) session_id: i32,
    pub(crate) session_epoch: i32,
    /// Whether it names topics by id.
    pub(crate) by_id: bool,
}

/// What is fetched, in the order in which it is answered.
#[derive(Debug, Default)]
struct Partitions {
    order: BTreeMap<u64, Wanted>,
    places: HashMap<(TopicKey, i32), u64>,
    next: u64,
}

impl Partitions {
    fn set(&mut self, wanted: Wanted) {
        if let Some(at) = self.places.get(&wanted.key())
            && let Some(known) = self.order.get_mut(at)
        {
            let told = known.told;
            *known = Wanted { told, ..wanted };
            return;
        }
        self.places.insert(wanted.key(), self.next);
        self.order.insert(self.next, wanted);
        self.next += 1;
    }

    fn forget(&mut self, key: &(TopicKey, i32)) {
        if let Some(at) = self.places.remove(key) {
            self.order.remove(&at);
        }
    }

    /// Those that brought records come last next time, so that all get their turn.
    fn move_back(&mut self, places: Vec<u64>) {
        for at in places {
            if let Some(wanted) = self.order.remove(&at) {
                self.places.insert(wanted.key(), self.next);
                self.order.insert(self.next, wanted);
                self.next += 1;
            }
        }
    }
}

#[derive(Debug)]
struct Session {
    /// That of the request which is to come next.
    epoch: i32,
    used_ms: u64,
    by_id: bool,
    /// Of how many partitions it counts for.
    count: usize,
    /// With the request that is under way, if there is one.
    partitions: Option<Partitions>,
}

#[derive(Debug, Default)]
struct Cache {
    sessions: HashMap<i32, Session>,
    partition_count: usize,
}

impl Cache {
    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partition_count -= session.count;
        }
    }

    /// Makes room for one more, if something is old enough.
    fn has_room(&mut self, slots_max: usize, partitions: usize, now_ms: u64) -> bool {
        let fits = |cache: &Self| {
            cache.sessions.len() < slots_max && cache.partition_count + partitions <= PARTITIONS_MAX
        };
        while !fits(self) {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used_ms);
            match oldest.map(|(id, session)| (*id, session.used_ms)) {
                Some((id, used_ms)) if now_ms.saturating_sub(used_ms) >= EVICTED_AFTER_MS => self.remove(id),
                _ => return false,
            }
        }
        true
    }
}

/// All sessions.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    slots_max: usize,
    cache: Mutex<Cache>,
}

/// What a request is to fetch.
#[derive(Debug)]
pub(crate) struct Work {
    session: Option<Taken>,
    once: Vec<Wanted>,
    /// Whether all is answered, and not only what changed.
    full: bool,
}

/// A session's partitions, given back when the request is over, however it ends.
#[derive(Debug)]
struct Taken {
    id: i32,
    sessions: Arc<FetchSessions>,
    partitions: Partitions,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(session) = self.sessions.lock().sessions.get_mut(&self.id) {
            session.partitions = Some(std::mem::take(&mut self.partitions));
        }
    }
}

impl FetchSessions {
    pub(crate) fn new(slots_max: usize) -> Self {
        Self { slots_max, cache: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request is to fetch: what it names, or that together with what its session remembers.
    /// `chance` gives any number, for the id of a new session.
    pub(crate) fn begin(
        self: &Arc<Self>,
        asked: Asked,
        wanted: Vec<Wanted>,
        forgotten: impl Iterator<Item = (TopicKey, i32)>,
        now_ms: u64,
        chance: impl FnOnce() -> u32,
    ) -> Result<Work, ErrorCode> {
        let mut cache = self.lock();
        if matches!(asked.session_epoch, INITIAL | FINAL) {
            cache.remove(asked.session_id);
            let new = asked.session_epoch == INITIAL
                && !wanted.is_empty()
                && cache.has_room(self.slots_max, wanted.len(), now_ms);
            if !new {
                return Ok(Work { session: None, once: wanted, full: true });
            }
            let mut id = (chance() & i32::MAX.cast_unsigned()).cast_signed().max(1);
            while cache.sessions.contains_key(&id) {
                id = id.checked_add(1).unwrap_or(1);
            }
            let mut partitions = Partitions::default();
            wanted.into_iter().map(owned).for_each(|one| partitions.set(one));
            let count = partitions.order.len();
            cache.partition_count += count;
            let session = Session { epoch: 1, used_ms: now_ms, by_id: asked.by_id, count, partitions: None };
            cache.sessions.insert(id, session);
            let session = Some(Taken { id, sessions: Arc::clone(self), partitions });
            return Ok(Work { session, once: Vec::new(), full: true });
        }
        let session = cache.sessions.get_mut(&asked.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.by_id != asked.by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if session.epoch != asked.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        // The request before this one is not over.
        let mut partitions = session.partitions.take().ok_or(ErrorCode::InvalidFetchSessionEpoch)?;
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        session.used_ms = now_ms;
        forgotten.for_each(|key| partitions.forget(&key));
        wanted.into_iter().map(owned).for_each(|one| partitions.set(one));
        let (count, before) = (partitions.order.len(), session.count);
        session.count = count;
        cache.partition_count = cache.partition_count + count - before;
        if count == 0 {
            cache.remove(asked.session_id);
            return Ok(Work { session: None, once: Vec::new(), full: true });
        }
        if count > before && cache.partition_count > PARTITIONS_MAX {
            // The client goes on without it.
            cache.remove(asked.session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        let session = Some(Taken { id: asked.session_id, sessions: Arc::clone(self), partitions });
        Ok(Work { session, once: Vec::new(), full: false })
    }
}

/// With a name of its own, which keeps no request in memory.
fn owned(mut wanted: Wanted) -> Wanted {
    wanted.topic = wanted.topic.to_owned_key();
    wanted
}

impl Work {
    /// What is to be fetched, in order.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        let session = self.session.iter().flat_map(|taken| taken.partitions.order.values());
        session.chain(&self.once)
    }

    /// The session that the client is told; 0: none.
    pub(crate) fn session_id(&self) -> i32 {
        self.session.as_ref().map_or(0, |taken| taken.id)
    }

    /// Whether partitions may be left out at the end: the session looks at them first the next time, since those
    /// that bring records go to the end.
    pub(crate) fn rest_may_wait(&self) -> bool {
        !self.full
    }

    /// What the client is told of `results`, which are those of [`Work::wanted`] in that order, perhaps without the last.
    pub(crate) fn finish(mut self, results: Vec<FetchResult>) -> Vec<(TopicKey, FetchResult)> {
        let Some(taken) = &mut self.session else {
            return self.once.into_iter().map(|one| one.topic).zip(results).collect();
        };
        let mut told = Vec::new();
        let mut brought = Vec::new();
        for ((at, wanted), result) in taken.partitions.order.iter_mut().zip(results) {
            if result.records.as_ref().is_some_and(|records: &Slice| !records.is_empty()) {
                brought.push(*at);
            }
            if wanted.tell(&result) || self.full {
                told.push((wanted.topic.clone(), result));
            }
        }
        taken.partitions.move_back(brought);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn key(n: u128) -> TopicKey {
        TopicKey::Id(Uuid::from_u128(n))
    }

    fn wanted(n: u128, offset: i64) -> Wanted {
        Wanted::new(key(n), 0, offset, 1000)
    }

    fn result(high_watermark: i64) -> FetchResult {
        FetchResult { high_watermark, log_start_offset: 0, ..FetchResult::failed(0, 0) }
    }

    fn asked(session_id: i32, session_epoch: i32) -> Asked {
        Asked { session_id, session_epoch, by_id: true }
    }

    fn begin(
        sessions: &Arc<FetchSessions>,
        (id, epoch): (i32, i32),
        wanted: Vec<Wanted>,
        forgotten: &[u128],
        now_ms: u64,
    ) -> Result<Work, ErrorCode> {
        let forgotten = forgotten.iter().map(|n| (key(*n), 0));
        sessions.begin(asked(id, epoch), wanted, forgotten, now_ms, || 100 + now_ms as u32)
    }

    fn all(work: &Work) -> Vec<(TopicKey, i64)> {
        work.wanted().map(|one| (one.topic.clone(), one.offset)).collect()
    }

    fn told(work: Work, high_watermarks: &[i64]) -> Vec<TopicKey> {
        let results = high_watermarks.iter().map(|one| result(*one)).collect();
        work.finish(results).into_iter().map(|(topic, _)| topic).collect()
    }

    #[test]
    fn a_session_remembers_what_is_fetched_and_tells_what_changed() {
        let sessions = Arc::new(FetchSessions::new(10));
        let work = begin(&sessions, (0, INITIAL), vec![wanted(1, 0), wanted(2, 0)], &[], 0).unwrap();
        let id = work.session_id();
        assert_eq!(told(work, &[5, 5]), [key(1), key(2)], "all at first");
        let work = begin(&sessions, (id, 1), vec![], &[], 0).unwrap();
        assert_eq!(all(&work), [(key(1), 0), (key(2), 0)]);
        assert_eq!(told(work, &[5, 6]), [key(2)]);
        let work = begin(&sessions, (id, 2), vec![wanted(1, 3), wanted(3, 0)], &[2], 0).unwrap();
        assert_eq!(all(&work), [(key(1), 3), (key(3), 0)], "what was forgotten is never served again");
        assert_eq!(told(work, &[5, 0]), [key(3)]);
        // An error is told each time, and its end too.
        for (epoch, error_code, tells) in [(3, 1, true), (4, 1, true), (5, 0, true), (6, 0, false)] {
            let work = begin(&sessions, (id, epoch), vec![], &[3], 0).unwrap();
            let high_watermark = if error_code == 0 { 5 } else { -1 };
            let results = vec![FetchResult { error_code, ..result(high_watermark) }];
            assert_eq!(work.finish(results).len(), usize::from(tells), "epoch {epoch}");
        }
    }

    #[test]
    fn epochs_follow_one_another_and_nothing_else_is_served() {
        let sessions = Arc::new(FetchSessions::new(10));
        let id = begin(&sessions, (0, INITIAL), vec![wanted(1, 0)], &[], 0).unwrap().session_id();
        let code = |epoch| begin(&sessions, (id, epoch), vec![], &[], 0).err();
        assert_eq!(code(2), Some(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(code(1), None);
        assert_eq!(code(1), Some(ErrorCode::InvalidFetchSessionEpoch));
        let under_way = begin(&sessions, (id, 2), vec![], &[], 0).unwrap();
        assert_eq!(code(3), Some(ErrorCode::InvalidFetchSessionEpoch), "its partitions are with the other");
        drop(under_way);
        assert_eq!(code(3), None, "a request that was dropped gives them back");
        let other = Asked { by_id: false, ..asked(id, 4) };
        let refused = sessions.begin(other, vec![], std::iter::empty(), 0, || 7);
        assert_eq!(refused.err(), Some(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(begin(&sessions, (id, FINAL), vec![wanted(1, 0)], &[], 0).unwrap().session_id(), 0);
        assert_eq!(code(4), Some(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_makes_room() {
        let sessions = Arc::new(FetchSessions::new(2));
        let new =
            |now_ms| begin(&sessions, (0, INITIAL), vec![wanted(1, 0)], &[], now_ms).unwrap().session_id();
        let (first, second) = (new(0), new(1));
        assert!(first != 0 && second != 0 && first != second);
        assert_eq!(new(EVICTED_AFTER_MS - 1), 0, "nothing is old enough");
        let third = new(EVICTED_AFTER_MS);
        assert!(third != 0);
        let gone = begin(&sessions, (first, 1), vec![], &[], EVICTED_AFTER_MS);
        assert_eq!(gone.err(), Some(ErrorCode::FetchSessionIdNotFound));
        assert!(begin(&sessions, (second, 1), vec![], &[], EVICTED_AFTER_MS).is_ok());
        // Partitions are, too.
        let many = |from: usize| (from..from + PARTITIONS_MAX).map(|n| wanted(n as u128, 0)).collect();
        let sessions = Arc::new(FetchSessions::new(10));
        let id = begin(&sessions, (0, INITIAL), many(0), &[], 0).unwrap().session_id();
        assert!(id != 0);
        assert_eq!(begin(&sessions, (0, INITIAL), vec![wanted(1, 0)], &[], 0).unwrap().session_id(), 0);
        let more = begin(&sessions, (id, 1), many(PARTITIONS_MAX), &[], 0);
        assert_eq!(more.err(), Some(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(sessions.lock().partition_count, 0);
        // A session of nothing is none.
        let id = begin(&sessions, (0, INITIAL), vec![wanted(1, 0)], &[], 0).unwrap().session_id();
        assert_eq!(begin(&sessions, (id, 1), vec![], &[1], 0).unwrap().session_id(), 0);
        assert_eq!(sessions.lock().partition_count, 0);
    }

    #[test]
    fn what_brought_records_comes_last_next_time() {
        let mut partitions = Partitions::default();
        (1..=3).for_each(|n| partitions.set(wanted(n, 0)));
        partitions.move_back(vec![0]);
        partitions.set(wanted(1, 9));
        let order: Vec<_> = partitions.order.values().map(|one| (one.topic.clone(), one.offset)).collect();
        assert_eq!(order, [(key(2), 0), (key(3), 0), (key(1), 9)]);
    }
}
