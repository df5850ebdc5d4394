//! The group consumer: shares the partitions of topics with the other members of a group.
//!
//! It speaks the classic group protocol with the range assignor. A task sends heartbeats; joining
//! happens inside [`GroupConsumer::poll`], so an application that keeps polling keeps its place.
//! Left out: static membership, cooperative rebalancing, and noticing new partitions of a topic
//! before the next rebalance.

pub mod assignor;
mod error;
mod membership;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

pub use self::error::GroupError;
pub use self::membership::PartitionOffset;

use self::membership::{Member, coordinator, coordinator_is_gone};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::config::{GroupConfig, OutOfRange};
use crate::connection::Connection;
use crate::consumer::{Assigned, Consumer, Fetched, Start};
use crate::offsets::OffsetSpec;

/// Most attempts to join that the coordinator answers with "join again", in one poll.
const JOIN_ATTEMPTS_MAX: usize = 100;

/// What a poll has come to.
#[derive(Debug, Clone)]
pub enum GroupEvent {
    /// Records of one partition, or news of its offsets.
    Fetched(Fetched),
    /// These partitions are this member's now, and no others.
    Assigned(Vec<(Arc<str>, i32)>),
    /// The partitions are about to be shared anew. Commit what has been dealt with: the next poll
    /// gives up the partitions.
    Revoking,
    /// Nothing came.
    Idle,
}

/// A member of a consumer group.
#[derive(Debug)]
pub struct GroupConsumer {
    client: Client,
    config: GroupConfig,
    topics: Vec<String>,
    member: Member,
    consumer: Consumer,
    connection: Option<Connection>,
    heartbeat: Option<Heartbeat>,
    /// What was committed last, by partition.
    committed: HashMap<(Arc<str>, i32), i64>,
}

/// The task that sends heartbeats, and what it has to say.
#[derive(Debug)]
struct Heartbeat {
    /// Turns to why the member has to join again.
    over: watch::Receiver<Option<GroupError>>,
    task: AbortHandle,
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GroupConsumer {
    /// Makes a member of `group` that reads `topics`. It joins with the first poll.
    #[must_use]
    pub fn new(client: Client, group: &str, topics: &[String], config: GroupConfig) -> Self {
        Self {
            consumer: Consumer::new(client.clone(), config.consumer.clone()),
            client,
            config,
            topics: topics.to_vec(),
            member: Member { group: group.to_owned(), member_id: String::new(), generation: -1 },
            connection: None,
            heartbeat: None,
            committed: HashMap::new(),
        }
    }

    /// The next event; [`GroupEvent::Idle`] when nothing comes within `wait`. Joining may take
    /// longer than that.
    ///
    /// # Errors
    /// When the group cannot be joined, or a partition cannot be read.
    pub async fn poll(&mut self, wait: Duration) -> Result<GroupEvent, GroupError> {
        let Some(heartbeat) = &mut self.heartbeat else {
            return self.rejoin().await.map(GroupEvent::Assigned);
        };
        if heartbeat.over.borrow().is_some() {
            // The application was told with the last poll, or finds out by committing.
            self.heartbeat = None;
            return self.rejoin().await.map(GroupEvent::Assigned);
        }
        tokio::select! {
            biased;
            changed = heartbeat.over.changed() => {
                if changed.is_err() {
                    self.heartbeat = None;
                }
                Ok(GroupEvent::Revoking)
            }
            fetched = self.consumer.poll(wait) => Ok(match fetched? {
                Some(fetched) => GroupEvent::Fetched(fetched),
                None => GroupEvent::Idle,
            }),
        }
    }

    /// Whether all that there was when last heard of has been polled, in every partition.
    #[must_use]
    pub fn at_end(&self) -> bool {
        self.heartbeat.is_some() && self.consumer.at_end()
    }

    /// Commits what has been polled: to be called when all of it has been dealt with.
    ///
    /// # Errors
    /// [`GroupError::Rebalanced`] when the partitions are no longer this member's; its records
    /// then come again, here or elsewhere. Others when the coordinator does not take the commit.
    pub async fn commit_polled(&mut self) -> Result<(), GroupError> {
        let polled: Vec<PartitionOffset> = self
            .consumer
            .positions()
            .iter()
            .filter_map(|position| {
                Some(PartitionOffset {
                    topic: Arc::clone(&position.topic),
                    partition: position.partition,
                    offset: position.next_offset?,
                })
            })
            .collect();
        self.commit(&polled).await
    }

    /// Commits offsets: for each partition the one to go on from.
    ///
    /// # Errors
    /// As [`commit_polled`](Self::commit_polled).
    pub async fn commit(&mut self, offsets: &[PartitionOffset]) -> Result<(), GroupError> {
        let changed: Vec<PartitionOffset> = offsets
            .iter()
            .filter(|offset| {
                let place = (Arc::clone(&offset.topic), offset.partition);
                self.committed.get(&place) != Some(&offset.offset)
            })
            .cloned()
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let config = self.client.config().clone();
        let mut backoff = Backoff::new(&config, config.operation_timeout);
        loop {
            match self.try_commit(&changed).await {
                Ok(()) => break,
                Err(error) => {
                    if coordinator_is_gone(&error) {
                        self.connection = None;
                    }
                    if let GroupError::Rebalanced { code, .. } = &error {
                        // The next poll joins again: what is read until then would come again.
                        tracing::debug!(group = self.member.group, %code, "commit refused");
                        self.heartbeat = None;
                    }
                    if !error.is_retriable() || !backoff.wait().await {
                        return Err(error);
                    }
                }
            }
        }
        for offset in changed {
            self.committed.insert((offset.topic, offset.partition), offset.offset);
        }
        Ok(())
    }

    async fn try_commit(&mut self, offsets: &[PartitionOffset]) -> Result<(), GroupError> {
        let connection = self.coordinator().await?;
        self.member.commit(&connection, offsets).await
    }

    /// Leaves the group. Commit first.
    ///
    /// # Errors
    /// When the coordinator cannot be told; it then finds out when the session times out.
    pub async fn leave(mut self) -> Result<(), GroupError> {
        self.heartbeat = None;
        if self.member.member_id.is_empty() {
            return Ok(());
        }
        let connection = self.coordinator().await?;
        self.member.leave(&connection).await
    }

    async fn coordinator(&mut self) -> Result<Connection, GroupError> {
        if let Some(open) = self.connection.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let open = coordinator(&self.client, &self.member.group).await?;
        self.connection = Some(open.clone());
        Ok(open)
    }

    /// Joins, and starts to read what this member is given.
    async fn rejoin(&mut self) -> Result<Vec<(Arc<str>, i32)>, GroupError> {
        self.consumer.assign(Vec::new());
        let config = self.client.config().clone();
        // Others may take as long as the rebalance timeout to join, every time anew.
        let limit = config.operation_timeout.max(self.config.rebalance_timeout * 2);
        let mut backoff = Backoff::new(&config, limit);
        let mut again = 0;
        loop {
            let error = match self.try_join().await {
                Ok(share) => return Ok(share),
                Err(error) => error,
            };
            tracing::debug!(group = self.member.group, %error, "joining again");
            if coordinator_is_gone(&error) {
                self.connection = None;
            }
            let at_once = matches!(error, GroupError::Rebalanced { .. });
            again += usize::from(at_once);
            if (at_once && again < JOIN_ATTEMPTS_MAX) || (error.is_retriable() && backoff.wait().await) {
                continue;
            }
            return Err(error);
        }
    }

    async fn try_join(&mut self) -> Result<Vec<(Arc<str>, i32)>, GroupError> {
        let connection = self.coordinator().await?;
        let joined = self.member.join(&connection, &self.config, &self.topics).await?;
        let plan = self.member.plan(&self.client, &joined).await?;
        let share = self.member.sync(&connection, &self.config, plan).await?;
        // From here on the coordinator expects heartbeats.
        let heartbeat = self.start_heartbeat(&connection);
        self.committed = self.member.committed(&connection, &share).await?;
        let assigned: Result<Vec<_>, _> = share.iter().map(|place| self.assigned(place)).collect();
        self.consumer.assign(assigned?);
        self.heartbeat = Some(heartbeat);
        Ok(share)
    }

    fn assigned(&self, place: &(Arc<str>, i32)) -> Result<Assigned, GroupError> {
        let start = match self.committed.get(place) {
            Some(offset) => Start::Offset(*offset),
            None => match self.config.consumer.out_of_range {
                OutOfRange::Earliest => Start::At(OffsetSpec::Earliest),
                OutOfRange::Latest => Start::At(OffsetSpec::Latest),
                OutOfRange::Fail => {
                    return Err(GroupError::NothingCommitted {
                        group: self.member.group.clone(),
                        topic: place.0.to_string(),
                        partition: place.1,
                    });
                }
            },
        };
        Ok(Assigned { topic: Arc::clone(&place.0), partition: place.1, start })
    }

    fn start_heartbeat(&self, connection: &Connection) -> Heartbeat {
        let (say, over) = watch::channel(None);
        let beat =
            beat(self.client.clone(), self.member.clone(), self.config.clone(), connection.clone(), say);
        Heartbeat { over, task: tokio::spawn(beat).abort_handle() }
    }
}

/// Sends heartbeats until the member has to join again.
async fn beat(
    client: Client,
    member: Member,
    config: GroupConfig,
    connection: Connection,
    say: watch::Sender<Option<GroupError>>,
) {
    let mut connection = Some(connection);
    let mut answered = Instant::now();
    loop {
        sleep(config.heartbeat_interval).await;
        let open = match connection.take().filter(|open| !open.is_closed()) {
            Some(open) => Ok(open),
            None => coordinator(&client, &member.group).await,
        };
        let result = match open {
            Ok(open) => {
                let result = member.heartbeat(&open).await;
                connection = Some(open);
                result
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => answered = Instant::now(),
            // The coordinator may be restarting, or be another broker now.
            Err(error) if error.is_retriable() && answered.elapsed() < config.session_timeout => {
                tracing::debug!(group = member.group, %error, "heartbeat failed");
                if coordinator_is_gone(&error) {
                    connection = None;
                }
            }
            Err(error) => {
                say.send_replace(Some(error));
                return;
            }
        }
    }
}
