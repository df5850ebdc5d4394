//! What is under way: entries that are being written, syncs of segments, and who is told when they are done.

use super::Note;
use super::entry::Section;
use crate::log::Log;
use crate::offset::Offset;
use std::sync::Arc;

/// What waits for an entry to be durable.
#[derive(Debug)]
pub(super) enum Waiting {
    Note(Arc<Note>),
    /// A log whose segments were synced, and the note that says so.
    Synced(Ack, Section),
}

/// A log that is durable up to `end` once something is done.
#[derive(Debug)]
pub(super) struct Ack {
    pub(super) log: Arc<Log>,
    pub(super) end: Offset,
    pub(super) generation: u64,
}

pub(super) struct InFlight {
    pub(super) sequence: u64,
    pub(super) token: u64,
    pub(super) done: bool,
    pub(super) acks: Vec<Ack>,
    pub(super) notes: Vec<Waiting>,
}

pub(super) struct SyncJob {
    pub(super) ack: Ack,
    pub(super) left: usize,
}
