//! Fetch (1), versions 4 to 18.
//!
//! Gives whole batches from the page cache by `sendfile`, at least one where there is one, however
//! large. Waits until `min_bytes` are there or `max_wait_ms` is over. From 13 on topics are told by
//! id. Sessions (KIP-227) are kept by `fetch_sessions.rs`. Who tells the epoch of its last record learns where the
//! logs part (KIP-595). Omitted: reading from followers, and transactions (both isolation levels read the same).

use super::errors;
use crate::api::{Answer, Outcome, malformed};
use crate::broker::Broker;
use crate::clock;
use crate::fetch_sessions::{Asked, Wanted};
use crate::metadata::{Catalog, Topic};
use crate::quotas::Use;
use crate::traffic::Traffic;
use crate::wire::fetch::{FetchResult, TopicKey, Whole, response};
use crate::wire::messages::FetchRequest;
use crate::wire::{ErrorCode, NONE, Request};
use futures_util::future::select_all;
use ringmain_engine::{LeaderEpoch, Log, Offset, ReadBound, Slice};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

/// The version from which topics are told by id.
const TOPIC_IDS_FROM: i16 = 13;
/// Partitions that are planned before other connections have their turn.
const PLANNED_AT_ONCE_MAX: usize = 256;
/// Plans that wait for nothing, before one that does: what was warmed may leave the page cache before it is used,
/// and a fetch must end.
const COLD_TRIES: u32 = 4;

/// How often a fetch looks whether its connection has memory that others wait for.
const SHORT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn begin(broker: &Arc<Broker>, held_bytes: &Rc<Cell<usize>>, request: Request<'_>) -> Outcome {
    let header = request.header.clone();
    let mut fetch: FetchRequest = match request.decode(broker.config.places_max()) {
        Ok(fetch) => fetch,
        Err(err) => return Outcome::Close(malformed(&header, &err)),
    };
    let by_id = header.version >= TOPIC_IDS_FROM;
    let asked = Asked { session_id: fetch.session_id, session_epoch: fetch.session_epoch, by_id };
    let wanted = wanted(&mut fetch, by_id);
    let forgotten = std::mem::take(&mut fetch.forgotten_topics_data).into_iter().flat_map(|forgotten| {
        let topic = if by_id { TopicKey::Id(forgotten.topic_id) } else { TopicKey::Name(forgotten.topic.0) };
        forgotten.partitions.into_iter().map(move |partition| (topic.clone(), partition))
    });
    let begun = broker.fetch_sessions.begin(asked, wanted, forgotten, clock::monotonic_ms(), clock::chance);
    let work = match begun {
        Ok(work) => work,
        Err(code) => {
            let whole = Whole { error_code: code.code(), ..Whole::default() };
            return Outcome::Answer(Answer::Now(response(&header, whole, Vec::new())));
        }
    };
    let (broker, held_bytes) = (Arc::clone(broker), Rc::clone(held_bytes));
    Outcome::Answer(Answer::Later(Box::pin(async move {
        let wait_ms = u64::try_from(fetch.max_wait_ms).unwrap_or(0).min(broker.config.fetch_wait_max_ms);
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        let bytes_max = u64::try_from(fetch.max_bytes).unwrap_or(0).min(broker.config.fetch_bytes_max as u64);
        // More than it may get is not waited for.
        let bytes_min = u64::try_from(fetch.min_bytes).unwrap_or(0).min(bytes_max);
        let (mut tries, mut hurried) = (0, false);
        loop {
            let began = broker.began();
            let mut plan = Plan::default();
            {
                let mut wanted = work.wanted();
                let limits = Limits {
                    bytes_max,
                    cached_only: tries < COLD_TRIES,
                    rest_may_wait: work.rest_may_wait(),
                };
                let mut planned =
                    || plan.add(&broker.catalog, wanted.by_ref().take(PLANNED_AT_ONCE_MAX), limits);
                while planned() == PLANNED_AT_ONCE_MAX {
                    yield_now().await;
                }
            }
            if !plan.cold.is_empty() {
                tries += 1;
                let cold = std::mem::take(&mut plan.cold);
                let warmed = broker.cold_reads.run(move || cold.iter().for_each(Cold::warm)).await;
                warmed.map_err(|err| format!("its records could not be read: {err}"))?;
                continue;
            }
            // A fetch of nothing has nothing to wait for.
            let idle = plan.waits.is_empty();
            let over = hurried || Instant::now() >= deadline;
            if plan.bytes >= bytes_min || plan.full || plan.urgent || idle || over {
                let throttle_ms = broker.throttle_ms(&header.client_id, Use::Fetch, plan.bytes, began);
                plan.sent.iter().for_each(|(topic, bytes)| topic.fetched(*bytes));
                let whole = Whole { session_id: work.session_id(), throttle_ms, ..Whole::default() };
                return Ok(response(&header, whole, work.finish(plan.results)));
            }
            let waits = plan.waits.iter().map(|(log, seen)| Box::pin(log.visible_beyond(*seen)));
            // If time is over first, or others want the memory, whatever is there then goes out.
            tokio::select! {
                _ = timeout_at(deadline, select_all(waits)) => {}
                () = must_give_up(&broker, &held_bytes) => hurried = true,
            }
        }
    })))
}

/// Returns when others want memory of which the connection has some, for this fetch or what came behind it. One that has none
/// would only come again.
async fn must_give_up(broker: &Broker, held_bytes: &Cell<usize>) {
    loop {
        broker.waiting_bytes.is_short().await;
        if held_bytes.get() > 0 {
            return;
        }
        sleep(SHORT_PAUSE).await;
    }
}

/// The partitions that a request names, which are taken out of it.
pub(crate) fn wanted(fetch: &mut FetchRequest, by_id: bool) -> Vec<Wanted> {
    let topics = std::mem::take(&mut fetch.topics);
    let mut wanted = Vec::with_capacity(topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in topics {
        let key = if by_id { TopicKey::Id(topic.topic_id) } else { TopicKey::Name(topic.topic.0) };
        wanted.extend(topic.partitions.into_iter().map(|one| {
            Wanted::new(key.clone(), one.partition, one.fetch_offset, one.partition_max_bytes)
                .with_epochs(one.current_leader_epoch, one.last_fetched_epoch)
        }));
    }
    wanted
}

/// An answer that could be given now.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// For each partition that is wanted, in that order.
    pub(crate) results: Vec<FetchResult>,
    pub(crate) bytes: u64,
    /// Whether there was something for which `bytes_max` left no room.
    full: bool,
    /// Bytes of each topic, perhaps in several parts.
    sent: Vec<(Arc<Traffic>, u64)>,
    /// Something that a client must know at once, or visible records that this answer has no more room for.
    urgent: bool,
    /// The logs that could bring more, with how far each was seen.
    waits: Vec<(Arc<Log>, Offset)>,
    /// What could not be found without waiting for the medium: the plan is to be made again when it is warm.
    cold: Vec<Cold>,
}

/// What a plan is bounded by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of all records, if not a single batch has more.
    pub(crate) bytes_max: u64,
    /// Nothing is waited for: see [`Plan::cold`].
    pub(crate) cached_only: bool,
    /// Partitions for which nothing is left need not be answered: they come first the next time.
    pub(crate) rest_may_wait: bool,
}

/// Batches whose headers are not in the page cache.
#[derive(Debug)]
struct Cold {
    log: Arc<Log>,
    offset: Offset,
    bytes_max: u64,
}

impl Cold {
    /// Reads the headers, and so brings them into the page cache. What is wrong with them the next plan tells.
    fn warm(&self) {
        let _ = self.log.read(self.offset, self.bytes_max, true, ReadBound::Visible);
    }
}

impl Plan {
    /// Adds what can be answered now of `wanted`. Returns how many were looked at.
    pub(crate) fn add<'a>(
        &mut self,
        catalog: &Catalog,
        wanted: impl Iterator<Item = &'a Wanted>,
        limits: Limits,
    ) -> usize {
        // Partitions of one topic follow one another, nearly always.
        let mut last: Option<(&TopicKey, Option<Arc<Topic>>)> = None;
        let before = self.results.len();
        for one in wanted {
            if self.full && limits.rest_may_wait {
                break;
            }
            let known = last.take().filter(|(key, _)| **key == one.topic);
            let (key, topic) = known.unwrap_or_else(|| {
                let topic = match &one.topic {
                    TopicKey::Id(id) => catalog.topic_by_id(*id),
                    TopicKey::Name(name) => catalog.topic(name),
                };
                (&one.topic, topic)
            });
            let result = match (&topic, &one.topic) {
                (Some(topic), _) => read_one(topic, one, limits, self),
                (None, TopicKey::Id(_)) => failed(one.partition, ErrorCode::UnknownTopicId),
                (None, TopicKey::Name(_)) => failed(one.partition, ErrorCode::UnknownTopicOrPartition),
            };
            let bytes = result.records.as_ref().map_or(0, Slice::len);
            if let (Some(topic), 1..) = (&topic, bytes) {
                match self.sent.last_mut() {
                    Some((last, sum)) if Arc::ptr_eq(last, &topic.traffic) => *sum += bytes,
                    _ => self.sent.push((Arc::clone(&topic.traffic), bytes)),
                }
            }
            self.urgent |= result.error_code != NONE || result.diverging.is_some();
            self.bytes += bytes;
            self.results.push(result);
            last = Some((key, topic));
        }
        self.results.len() - before
    }
}

fn failed(index: i32, code: ErrorCode) -> FetchResult {
    FetchResult::failed(index, code.code())
}

fn read_one(topic: &Topic, asked: &Wanted, limits: Limits, plan: &mut Plan) -> FetchResult {
    let Some(partition) = topic.partition(asked.partition) else {
        return failed(asked.partition, ErrorCode::UnknownTopicOrPartition);
    };
    if let Some(code) = epoch_error(asked.known_epoch, partition.leader_epoch) {
        return failed(asked.partition, code);
    }
    let log = &partition.log;
    // Before reading: what becomes visible after it wakes the wait.
    let progress = log.progress();
    let found = |error_code, diverging, records| FetchResult {
        index: asked.partition,
        error_code,
        high_watermark: progress.visible.0,
        log_start_offset: progress.start.0,
        diverging,
        records,
    };
    if asked.fetched_epoch >= 0 {
        let ends = log.end_of_epoch(LeaderEpoch(asked.fetched_epoch));
        let (epoch, end) = ends.map_or((-1, -1), |(epoch, end)| (epoch.0, end.0));
        if epoch < asked.fetched_epoch || end < asked.offset {
            return found(NONE, Some((epoch, end)), None);
        }
    }
    plan.waits.push((Arc::clone(log), progress.visible));
    // What has no room is not looked for.
    let left = if plan.full { 0 } else { limits.bytes_max.saturating_sub(plan.bytes) };
    let asked_max = u64::try_from(asked.bytes_max).unwrap_or(0);
    let bytes_max = asked_max.min(left);
    let first = plan.bytes == 0;
    let offset = Offset(asked.offset);
    let read = match limits.cached_only {
        true => log.read_cached(offset, bytes_max, first, ReadBound::Visible),
        false => log.read(offset, bytes_max, first, ReadBound::Visible),
    };
    match read {
        Ok(records) => {
            let more = records.as_ref().map_or(!first && offset < progress.visible, Slice::is_followed);
            plan.full |= records.is_none() && more && left < asked_max;
            plan.urgent |= more;
            found(NONE, None, records)
        }
        Err(err) if err.is_cold() => {
            plan.cold.push(Cold { log: Arc::clone(log), offset, bytes_max });
            found(NONE, None, None)
        }
        Err(err) => {
            let code = errors::read(&err);
            if code == ErrorCode::KafkaStorageError {
                tracing::error!(log = log.name(), "a fetch failed: {err}");
            }
            found(code.code(), None, None)
        }
    }
}

/// Whether the epoch that a client knows is another than the partition's (KIP-320).
pub(super) fn epoch_error(known: i32, current: i32) -> Option<ErrorCode> {
    match known {
        -1 => None,
        known if known < current => Some(ErrorCode::FencedLeaderEpoch),
        known if known > current => Some(ErrorCode::UnknownLeaderEpoch),
        _ => None,
    }
}
