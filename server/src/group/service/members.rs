//! The coordinator with the requests that wait for it.

use crate::group::coordinator::Coordinator;
use crate::group::machine::{Effect, JoinReply, Millis, Notice, Now, StoreId, SyncReply, Token};
use crate::group::offset_store::OffsetStore;
use ringmain_engine::Completion;
use std::collections::{HashMap, VecDeque};
use tokio::sync::oneshot;

#[derive(Debug)]
pub(super) enum Waiting {
    Join(oneshot::Sender<JoinReply>),
    Sync(oneshot::Sender<SyncReply>),
}

#[derive(Debug)]
pub(in crate::group) struct Members {
    pub(in crate::group) coordinator: Coordinator,
    /// At most three for each member of a group.
    waiting: HashMap<Token, Waiting>,
    next_token: Token,
    /// When groups that nobody uses were last looked for, to make room.
    pub(super) made_room_ms: Option<Millis>,
}

/// A group that was given to be stored.
pub(super) struct Unsettled {
    pub(super) group: String,
    pub(super) store: StoreId,
    pub(super) completion: Completion,
}

impl Members {
    pub(super) fn new(coordinator: Coordinator) -> Self {
        Self { coordinator, waiting: HashMap::new(), next_token: 0, made_room_ms: None }
    }

    pub(super) fn token(&mut self, waiting: Waiting) -> Token {
        self.next_token += 1;
        self.waiting.insert(self.next_token, waiting);
        self.next_token
    }

    /// Whoever waited may be gone; the group has moved on all the same.
    pub(super) fn carry_out(
        &mut self,
        group: &str,
        effects: Vec<Effect>,
        offsets: &OffsetStore,
        now: Now,
    ) -> Vec<Unsettled> {
        let mut unsettled = Vec::new();
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
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
                Effect::Store(store, record) => match offsets.keep_group(group, &record) {
                    Ok(completion) => {
                        unsettled.push(Unsettled { group: group.to_owned(), store, completion });
                    }
                    Err(err) => {
                        tracing::warn!(group, "the group could not be stored: {err}");
                        let mut more = Vec::new();
                        self.coordinator.stored(group, store, false, now, &mut more);
                        effects.extend(more);
                    }
                },
                Effect::Notice(notice) => log(group, &notice),
            }
        }
        unsettled
    }
}

fn log(group: &str, notice: &Notice) {
    match notice {
        Notice::Rebalancing { generation, reason } => {
            tracing::info!(group, generation, reason, "rebalance begins");
        }
        Notice::Generation { id, members } => {
            tracing::info!(group, generation = id, members, "generation begins");
        }
        Notice::Replaced { instance_id, member_id } => {
            tracing::info!(group, instance_id, member_id, "static member came again");
        }
    }
}
