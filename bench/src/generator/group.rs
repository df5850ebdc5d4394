//! Consumers as members of a consumer group, by the client library: they join, fetch and commit.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ringmain_client::config::{ClientConfig, ConsumerConfig, GroupConfig, OutOfRange};
use ringmain_client::group::{GroupConsumer, GroupError, GroupEvent};
use ringmain_client::{Client, consumer::Fetched};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::generator::payload::Stamp;
use crate::generator::span::{Clock, Figures, Plan, Shared};
use crate::peer::PeerError;

/// How long a member waits for records before it looks whether the span is over.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// How often a member commits what it has read.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Polls of all members until each partition has a member, at most.
const JOIN_POLLS_MAX: usize = 1000;

/// One group: a copy of a set of consumers.
#[derive(Debug, Clone)]
pub(crate) struct GroupMembers {
    /// Its set.
    pub(crate) set: usize,
    /// Name of the group.
    pub(crate) group: String,
    /// How many members.
    pub(crate) members: u32,
    /// Broker to connect to first.
    pub(crate) broker: String,
    /// Bytes that a fetch asks for.
    pub(crate) fetch_bytes: u64,
    /// How long a broker may hold an answer back.
    pub(crate) fetch_wait: Duration,
}

/// What the tasks of members need of the plan: it outlives no task.
#[derive(Debug, Clone, Copy)]
struct Span {
    clock: Clock,
    began: Duration,
    warmup: Duration,
    records: u32,
}

/// Joins all groups, waits for the start, and reads until the span is over. `None`: the failure is in `shared`.
pub(crate) fn join_members(
    groups: Vec<GroupMembers>,
    plan: &Plan<'_>,
    shared: &Shared,
    figures: Figures,
) -> Option<Figures> {
    let broker = groups.first().map(|group| group.broker.clone()).unwrap_or_default();
    let failed = |what: String| shared.fail(PeerError::Group { peer: broker.clone(), what });
    let prepared = prepare(groups, plan);
    let began = shared.wait();
    let (runtime, members) = prepared.map_err(failed).ok()?;
    let span = Span { clock: plan.clock, began, warmup: plan.schedule.warmup(), records: plan.records };
    let read = runtime.block_on(read_all(members, span, plan, shared, figures));
    read.map_err(|error| failed(error.to_string())).ok()
}

/// A member, its set, and what it fetched while others still joined.
type Member = (usize, GroupConsumer, Vec<Fetched>);

fn prepare(groups: Vec<GroupMembers>, plan: &Plan<'_>) -> Result<(Runtime, Vec<Member>), String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for group in groups {
        let members = runtime.block_on(join(&group, plan)).map_err(|error| error.to_string())?;
        all.extend(members.into_iter().map(|(member, early)| (group.set, member, early)));
    }
    Ok((runtime, all))
}

/// Polls members until all partitions are given out.
async fn join(
    group: &GroupMembers,
    plan: &Plan<'_>,
) -> Result<Vec<(GroupConsumer, Vec<Fetched>)>, GroupError> {
    let fetch_bytes = i32::try_from(group.fetch_bytes).unwrap_or(i32::MAX);
    let config = GroupConfig {
        consumer: ConsumerConfig {
            out_of_range: OutOfRange::Earliest,
            fetch_bytes_max: fetch_bytes,
            partition_bytes_max: fetch_bytes,
            fetch_wait_max: group.fetch_wait,
            ..ConsumerConfig::default()
        },
        ..GroupConfig::default()
    };
    let mut joining = JoinSet::new();
    let (assigned, _) = tokio::sync::watch::channel(vec![0_usize; group.members as usize]);
    for index in 0..group.members as usize {
        let client = Client::connect(std::slice::from_ref(&group.broker), ClientConfig::default()).await?;
        let mut member = GroupConsumer::new(client, &group.group, plan.topics, config.clone());
        let (assigned, partitions) = (assigned.clone(), plan.slots.len());
        joining.spawn(async move {
            let mut early = Vec::new();
            for _ in 0..JOIN_POLLS_MAX {
                match member.poll(POLL_WAIT).await? {
                    GroupEvent::Assigned(own) => {
                        assigned.send_modify(|counts| counts[index] = own.len());
                    }
                    GroupEvent::Revoking => assigned.send_modify(|counts| counts[index] = 0),
                    // Of what a fill left. It counts from the start of the span on.
                    GroupEvent::Fetched(fetched) => early.push(fetched),
                    GroupEvent::Idle => {}
                }
                if assigned.borrow().iter().sum::<usize>() == partitions {
                    break;
                }
            }
            Ok::<_, GroupError>((member, early))
        });
    }
    let mut members = Vec::new();
    while let Some(joined) = joining.join_next().await {
        match joined {
            Ok(member) => members.push(member?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    Ok(members)
}

async fn read_all(
    members: Vec<Member>,
    span: Span,
    plan: &Plan<'_>,
    shared: &Shared,
    mut figures: Figures,
) -> Result<Figures, GroupError> {
    let mut tasks = JoinSet::new();
    let (over, is_over) = tokio::sync::watch::channel(false);
    let (news, mut arrivals) = tokio::sync::mpsc::channel::<(usize, Duration, Fetched)>(64);
    for (set, mut member, early) in members {
        for fetched in &early {
            count(fetched, set, span.clock.now(), span, shared, &mut figures);
        }
        let (news, is_over) = (news.clone(), is_over.clone());
        tasks.spawn(async move {
            let mut committed = span.clock.now();
            while !*is_over.borrow() {
                if let GroupEvent::Fetched(fetched) = member.poll(POLL_WAIT).await? {
                    let now = span.clock.now();
                    if news.send((set, now, fetched)).await.is_err() {
                        break;
                    }
                    if now > committed + COMMIT_EVERY {
                        member.commit_polled().await?;
                        committed = now;
                    }
                }
            }
            member.commit_polled().await?;
            member.leave().await
        });
    }
    drop(news);
    loop {
        if shared.over() || plan.stop.interrupted() {
            let _ = over.send(true);
            arrivals.close();
        }
        match tokio::time::timeout(POLL_WAIT, arrivals.recv()).await {
            Ok(Some((set, now, fetched))) => count(&fetched, set, now, span, shared, &mut figures),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(outcome) => outcome?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    Ok(figures)
}

fn count(fetched: &Fetched, set: usize, now: Duration, span: Span, shared: &Shared, figures: &mut Figures) {
    let at = now.saturating_sub(span.began);
    let mut bytes = 0;
    for record in &fetched.records {
        let value = record.value.as_deref().unwrap_or_default();
        bytes += (value.len() + record.key.as_ref().map_or(0, |key| key.len())) as u64;
        // Records that are not ours are found when everything is read back.
        if let Ok(stamp) = Stamp::decode(value)
            && stamp.index == 0
            && stamp.due >= span.began
        {
            let latency = now.saturating_sub(stamp.due);
            let records = u64::from(span.records);
            let len = records * value.len() as u64;
            figures.sets[set].1.record(span.warmup, stamp.due - span.began, at, Some(latency), records, len);
        }
    }
    let records = fetched.records.len() as u64;
    figures.sets[set].0.record(span.warmup, at, at, None, records, bytes);
    shared.consumed[set].fetch_add(records, Ordering::AcqRel);
}
