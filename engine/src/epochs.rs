//! Where each leader epoch of a log begins (KIP-101), kept in Kafka's `leader-epoch-checkpoint`.
//!
//! The batches carry the truth; the file is rebuilt from them at opening.

use crate::io::{Io, replace_file};
use crate::offset::{LeaderEpoch, Offset};
use std::fmt::Write;
use std::io;
use std::path::Path;

/// The file's name.
pub(crate) const FILE: &str = "leader-epoch-checkpoint";

/// Epochs with the offset of their first record; both rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs(Vec<(LeaderEpoch, Offset)>);

impl Epochs {
    /// Notes that a batch of `epoch` begins at `base`. `true` if that is the epoch's first.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, base: Offset) -> bool {
        let new = self.latest().is_none_or(|latest| epoch > latest);
        if new {
            // An epoch of which no batch is left.
            self.0.retain(|(_, earlier)| *earlier < base);
            self.0.push((epoch, base));
        }
        new
    }

    pub(crate) fn latest(&self) -> Option<LeaderEpoch> {
        self.0.last().map(|(epoch, _)| *epoch)
    }

    /// Forgets what begins at `end` or after it.
    pub(crate) fn cut(&mut self, end: Offset) {
        self.0.retain(|(_, base)| *base < end);
    }

    /// Forgets what ended before `start`; the epoch that holds it begins there now.
    pub(crate) fn start_at(&mut self, start: Offset) {
        let gone = self.0.partition_point(|(_, base)| *base <= start).saturating_sub(1);
        self.0.drain(..gone);
        if let Some((_, base)) = self.0.first_mut() {
            *base = start.max(*base);
        }
    }

    /// Epochs with the offset of their first record.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaderEpoch, Offset)> {
        self.0.iter().copied()
    }

    /// Version 0, number of lines, a line each.
    pub(crate) fn encode(&self) -> String {
        let mut text = format!("0\n{}\n", self.0.len());
        for (epoch, base) in &self.0 {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{epoch} {base}");
        }
        text
    }

    pub(crate) fn save(&self, io: &dyn Io, dir: &Path) -> io::Result<()> {
        replace_file(io, &dir.join(FILE), self.encode().as_bytes(), false)
    }
}
