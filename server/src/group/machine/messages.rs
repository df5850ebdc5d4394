//! What goes into a group and what comes out of it.

use super::{GroupRecord, Held};
use bytes::Bytes;
use thiserror::Error;

/// Who waits for an answer; chosen by the shell.
pub(crate) type Token = u64;
/// Milliseconds: of timeouts, on a clock that never goes back while the broker runs, but where the time of day is
/// meant.
pub(crate) type Millis = u64;
/// Tells a group from those of the same name before it.
pub(crate) type Life = u64;

/// When something happens, by both clocks. They need not agree: the time of day is set, and goes on while the
/// machine sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// On the clock of timeouts.
    pub(crate) ms: Millis,
    /// The time of day, since 1970.
    pub(crate) wall_ms: Millis,
}

/// Names what was given to be stored. No two are the same while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoreId {
    pub(super) life: Life,
    pub(super) number: u64,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Error {
    #[error("the group does not know this member")]
    UnknownMember,
    #[error("another member came with this instance id")]
    FencedInstance,
    #[error("the generation is over")]
    IllegalGeneration,
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("the members' protocols have nothing in common")]
    InconsistentProtocol,
    #[error("join again with the member id given")]
    MemberIdRequired,
    #[error("the group is full")]
    GroupFull,
    #[error("the session timeout is out of bounds")]
    SessionTimeout,
    #[error("the group id is not valid")]
    InvalidGroup,
    #[error("the instance id is not valid")]
    InvalidInstance,
    #[error("there are too many groups")]
    TooManyGroups,
    #[error("the group has members")]
    NotEmpty,
    #[error("there is no such group")]
    NoGroup,
    #[error("the group's metadata could not be stored")]
    NotStored,
    #[error("groups take all the memory that they may")]
    NoMemory,
}

/// A way of sharing out partitions that a member offers, with what it wants to say for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: String,
    pub(crate) metadata: Bytes,
}

/// Who speaks: a static member gives its instance id, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
}

/// What a member says when it joins.
#[derive(Clone, Debug)]
pub(crate) struct JoinRequest {
    pub(crate) member: Identity,
    /// The id that a new member is given.
    pub(crate) new_member_id: String,
    /// Whether a new member must come again with its id (from version 4 on).
    pub(crate) id_required: bool,
    /// Whether a leader can be told not to assign (from version 9 on).
    pub(crate) may_skip: bool,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout_ms: Millis,
    pub(crate) rebalance_timeout_ms: Millis,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<Protocol>,
    /// Why it joins, in the client's words.
    pub(crate) reason: String,
    /// What it takes of the memory for groups, for all that it says or for the id alone if that is all it gets, beyond
    /// what is taken for it already.
    pub(crate) held: Held,
}

impl JoinRequest {
    /// Whether it is for an id only, with which the member comes again.
    pub(crate) fn asks_for_id(&self) -> bool {
        self.id_required && self.member.member_id.is_empty() && self.member.instance_id.is_none()
    }
}

/// A member as the leader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) metadata: Bytes,
}

/// A generation that a member belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member_id: String,
    /// All members with what they said; for the leader only.
    pub(crate) members: Vec<JoinedMember>,
    /// The leader need not assign: the shares stay as they are.
    pub(crate) skip_assignment: bool,
}

/// A member's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

/// The answer to a join, with the id to use from then on.
pub(crate) type JoinReply = Result<Joined, (Error, String)>;
/// The answer to a sync.
pub(crate) type SyncReply = Result<Synced, Error>;

/// A member and the generation that it takes part in.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub(crate) id: i32,
    pub(crate) member: Identity,
}

/// A request for one's share; the leader's brings everybody's.
#[derive(Clone, Debug)]
pub(crate) struct SyncRequest {
    pub(crate) generation: Generation,
    /// What the member takes the group's protocol type and protocol for, if it says so (from version 5 on).
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) assignments: Vec<(String, Bytes)>,
    /// What they take of the memory for groups, beyond what is taken for the shares before them.
    pub(crate) held: Held,
}

/// What people may want to read in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A rebalance begins, after this generation.
    Rebalancing { generation: i32, reason: String },
    /// A generation begins.
    Generation { id: i32, members: usize },
    /// A static member came again; the one before it is fenced.
    Replaced { instance_id: String, member_id: String },
}

/// What the shell has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Joined(Token, JoinReply),
    Synced(Token, SyncReply),
    /// Make this durable, then call `Group::stored`.
    Store(StoreId, GroupRecord),
    Notice(Notice),
}
