//! Queues whose operations are under way for a while, and are done in any order.

use super::Disk;
use super::directory::InodeId;
use super::state::{State, off};
use crate::io::{Block, CommitQueue, DirectFile, Done, Io, IoFile, SyncQueue, Wake};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Syncs that begin when they are waited for, in any order.
pub(super) struct SimSyncs {
    pub(super) disk: Disk,
    pub(super) submitted: Vec<(usize, Submitted)>,
}

pub(super) enum Submitted {
    File(Arc<dyn IoFile>),
    Dir(PathBuf),
}

impl SyncQueue for SimSyncs {
    fn submit(&mut self, token: usize, file: Arc<dyn IoFile>) {
        self.submitted.push((token, Submitted::File(file)));
    }

    fn submit_dir(&mut self, token: usize, dir: &Path) {
        self.submitted.push((token, Submitted::Dir(dir.to_owned())));
    }

    fn wait_all(&mut self) -> Vec<(usize, io::Result<()>)> {
        self.disk.state().random.shuffle(&mut self.submitted);
        std::mem::take(&mut self.submitted)
            .into_iter()
            .map(|(token, what)| match what {
                Submitted::File(file) => (token, file.sync_data()),
                Submitted::Dir(dir) => (token, self.disk.sync_dir(&dir)),
            })
            .collect()
    }
}

/// An operation under way.
#[derive(Debug)]
struct Pending {
    queue: u64,
    token: u64,
    file: InodeId,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Write {
        position: u64,
        block: Block,
    },
    Sync,
    /// A sync that has covered what there was when it began, and is not told yet.
    Synced(io::Result<()>),
}

/// What all queues have under way, and what is done and not told yet.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    queues: u64,
    pending: Vec<Pending>,
    done: Vec<(u64, Done)>,
}

impl Kind {
    fn block(self) -> Option<Block> {
        match self {
            Self::Write { block, .. } => Some(block),
            Self::Sync | Self::Synced(_) => None,
        }
    }
}

impl State {
    pub(super) fn new_queue(&mut self) -> u64 {
        self.in_flight.queues += 1;
        self.in_flight.queues
    }

    fn submit(&mut self, generation: u64, mut one: Pending) {
        if let Err(err) = self.check(generation) {
            return self.tell(one, Err(err));
        }
        // A sync covers what was written before it began; of what comes later it may or may not.
        if matches!(one.kind, Kind::Sync) && self.random.coin() {
            one.kind = Kind::Synced(self.sync(one.file));
        }
        self.in_flight.pending.push(one);
    }

    fn tell(&mut self, one: Pending, outcome: io::Result<()>) {
        let done = Done { token: one.token, outcome, block: one.kind.block() };
        self.in_flight.done.push((one.queue, done));
    }

    fn perform(&mut self, mut one: Pending) {
        let outcome = match &mut one.kind {
            Kind::Write { position, block } => self.write_direct(one.file, block.bytes(), *position),
            Kind::Sync => self.sync(one.file),
            Kind::Synced(outcome) => std::mem::replace(outcome, Ok(())),
        };
        self.tell(one, outcome);
    }

    /// Performs some of what a queue has under way, in any order; one at least if `one`.
    fn work(&mut self, queue: u64, one: bool) {
        let all = std::mem::take(&mut self.in_flight.pending);
        let (mut mine, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|pending| pending.queue == queue);
        self.in_flight.pending = rest;
        self.random.shuffle(&mut mine);
        let least = usize::from(one && !mine.is_empty());
        let count = if self.random.coin() { least } else { self.random.index(mine.len() + 1).max(least) };
        let mut left = mine.split_off(count);
        let mut mine = mine.into_iter();
        while !self.off
            && let Some(next) = mine.next()
        {
            self.perform(next);
        }
        left.extend(mine);
        if self.off {
            // What is under way now may still reach the medium; nobody will hear of it.
            for pending in left {
                self.land(&pending);
                self.tell(pending, Err(off()));
            }
        } else {
            self.in_flight.pending.extend(left);
        }
    }

    /// A crash comes while the operation is under way.
    fn land(&mut self, pending: &Pending) {
        match &pending.kind {
            Kind::Write { position, block } => {
                self.write_direct_in_part(pending.file, block.bytes(), *position);
            }
            Kind::Sync => {
                if self.random.coin()
                    && let Ok(file) = self.file(pending.file)
                {
                    // Nobody is there to be told of an error.
                    let _ = file.sync();
                }
            }
            Kind::Synced(_) => {}
        }
    }

    /// A crash comes while operations are under way: each may or may not have happened, and a write
    /// in part. Their queues get the blocks back.
    pub(super) fn land_in_flight(&mut self) {
        let mut all = std::mem::take(&mut self.in_flight.pending);
        self.random.shuffle(&mut all);
        for pending in all {
            self.land(&pending);
            self.tell(pending, Err(off()));
        }
    }
}

/// The journal's operations.
pub(super) struct SimCommits {
    pub(super) disk: Disk,
    pub(super) generation: u64,
    pub(super) queue: u64,
    /// Set by a wait: the next poll gets something done.
    pub(super) waited: bool,
}

impl SimCommits {
    fn submit(&mut self, token: u64, kind: Kind) {
        let mut state = self.disk.state();
        let file = state.touched;
        state.submit(self.generation, Pending { queue: self.queue, token, file, kind });
    }
}

impl CommitQueue for SimCommits {
    fn write(&mut self, token: u64, file: &Arc<dyn DirectFile>, position: u64, block: Block) {
        // To read nothing tells the disk which file is meant; on an error nothing is written to it.
        let _ = file.read_at(&mut Block::zeroed(0), 0);
        self.submit(token, Kind::Write { position, block });
    }

    fn sync(&mut self, token: u64, file: &Arc<dyn IoFile>) {
        let _ = file.read_at(&mut [], 0);
        self.submit(token, Kind::Sync);
    }

    fn poll(&mut self) -> Vec<Done> {
        let mut state = self.disk.state();
        let one = std::mem::take(&mut self.waited);
        state.work(self.queue, one);
        let all = std::mem::take(&mut state.in_flight.done);
        let (mine, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(queue, _)| *queue == self.queue);
        state.in_flight.done = rest;
        mine.into_iter().map(|(_, done)| done).collect()
    }

    fn wait(&mut self) {
        self.waited = true;
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(Silent)
    }
}

impl Drop for SimCommits {
    fn drop(&mut self) {
        // The kernel completes what is under way, whoever has gone.
        let mut state = self.disk.state();
        if state.check(self.generation).is_ok() {
            let mut all = std::mem::take(&mut state.in_flight.pending);
            state.random.shuffle(&mut all);
            for pending in all {
                if pending.queue != self.queue {
                    state.in_flight.pending.push(pending);
                } else if !state.off {
                    state.perform(pending);
                } else {
                    state.land(&pending);
                }
            }
        }
        state.in_flight.done.retain(|(queue, _)| *queue != self.queue);
    }
}

/// Nobody sleeps here.
#[derive(Debug)]
struct Silent;

impl Wake for Silent {
    fn wake(&self) {}
}
