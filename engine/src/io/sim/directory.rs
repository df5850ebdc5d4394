//! Directories: names to inodes, as the running system sees them and as the medium has them.

use super::random::Random;
use std::collections::BTreeMap;

/// Number of a file or directory.
pub(super) type InodeId = u64;

/// A change that is not durable before its directory is synced.
#[derive(Clone, Debug)]
enum Change {
    Link { name: String, inode: InodeId },
    Unlink { name: String, inode: InodeId },
    Rename { to: String, inode: InodeId },
}

/// The entries of a directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    entries: BTreeMap<String, InodeId>,
    durable: BTreeMap<String, InodeId>,
    pending: Vec<Change>,
}

impl Change {
    fn apply(self, entries: &mut BTreeMap<String, InodeId>) {
        match self {
            Self::Link { name, inode } => {
                entries.insert(name, inode);
            }
            Self::Unlink { name, inode } => {
                if entries.get(&name) == Some(&inode) {
                    entries.remove(&name);
                }
            }
            Self::Rename { to, inode } => {
                // Whatever it was called before: nothing here has two names.
                entries.retain(|_, named| *named != inode);
                entries.insert(to, inode);
            }
        }
    }
}

impl Directory {
    pub(super) fn get(&self, name: &str) -> Option<InodeId> {
        self.entries.get(name).copied()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    /// What the running system sees in it.
    pub(super) fn inodes(&self) -> Vec<InodeId> {
        self.entries.values().copied().collect()
    }

    /// What is in it now, or may be after the loss of power.
    pub(super) fn inodes_ever(&self) -> Vec<InodeId> {
        let changed = self.pending.iter().map(|change| match change {
            Change::Link { inode, .. } | Change::Unlink { inode, .. } | Change::Rename { inode, .. } => {
                *inode
            }
        });
        self.entries.values().chain(self.durable.values()).copied().chain(changed).collect()
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.entries);
        self.pending.push(change);
    }

    pub(super) fn link(&mut self, name: &str, inode: InodeId) {
        self.change(Change::Link { name: name.to_owned(), inode });
    }

    /// Removes the entry; the inode that it pointed to.
    pub(super) fn unlink(&mut self, name: &str) -> Option<InodeId> {
        let inode = self.get(name)?;
        self.change(Change::Unlink { name: name.to_owned(), inode });
        Some(inode)
    }

    pub(super) fn rename(&mut self, inode: InodeId, to: &str) {
        self.change(Change::Rename { to: to.to_owned(), inode });
    }

    /// The entries are durable as they are.
    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.entries);
        self.pending.clear();
    }

    /// Power is lost: each change that was not synced is kept or dropped, independently.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        for change in std::mem::take(&mut self.pending) {
            if random.coin() {
                change.apply(&mut self.durable);
            }
        }
        self.entries.clone_from(&self.durable);
    }
}
