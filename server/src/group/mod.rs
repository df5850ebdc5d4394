//! Consumer groups: who belongs to a group is decided by a pure state machine; groups and what they have
//! committed are kept in the internal topic, in Kafka's record format.

mod coordinator;
mod expiry;
mod forgetting;
mod group_record;
mod housekeeping;
mod machine;
mod offset_record;
mod offset_store;
mod offsets;
mod rewrite;
mod service;
mod subscription;

pub(crate) use coordinator::Limits;
pub(crate) use housekeeping::Retention;
pub(crate) use machine::{
    Error as GroupError, Generation, GroupState, Identity, JoinRequest, Joined, JoinedMember, Protocol,
    SyncRequest,
};
pub(crate) use offset_store::OffsetStore;
pub(crate) use offsets::{Committed, TopicPartition};
pub(crate) use service::{CommitError, Groups};
