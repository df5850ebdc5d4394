//! Consumer groups: who belongs to a group is decided by a pure state machine; what groups have
//! committed is kept in the internal topic, in Kafka's record format.

mod coordinator;
mod machine;
mod offset_record;
mod offset_store;
mod offsets;
mod service;

pub(crate) use coordinator::Limits;
pub(crate) use machine::{
    Error as GroupError, Generation, GroupState, JoinRequest, Joined, Protocol, SyncRequest,
};
pub(crate) use offset_store::OffsetStore;
pub(crate) use offsets::{Committed, TopicPartition};
pub(crate) use service::{CommitError, Groups};
