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

    /// The latest epoch that is not after `asked`, and where it ends, in a log that is in the epoch `current`
    /// and ends at `end`; `None` if `asked` is after that, or no epoch. (KIP-101.)
    pub(crate) fn end_of(
        &self,
        asked: LeaderEpoch,
        current: LeaderEpoch,
        end: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        if asked.0 < 0 || asked > current {
            return None;
        }
        let later = self.0.partition_point(|(epoch, _)| *epoch <= asked);
        let ends = self.0.get(later).map_or(end, |(_, base)| *base);
        // Before all that is left of the log: it ended where that begins.
        let epoch = later.checked_sub(1).map_or(asked, |at| self.0[at].0);
        Some((epoch, ends))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = Epochs(vec![(LeaderEpoch(2), Offset(10)), (LeaderEpoch(5), Offset(20))]);
        let end_of = |asked| {
            let found = epochs.end_of(LeaderEpoch(asked), LeaderEpoch(7), Offset(30));
            found.map(|(epoch, end)| (epoch.0, end.0))
        };
        assert_eq!(end_of(-1), None);
        assert_eq!(end_of(1), Some((1, 10)), "gone from the log");
        assert_eq!(end_of(2), Some((2, 20)));
        assert_eq!(end_of(4), Some((2, 20)), "an epoch without a batch");
        assert_eq!(end_of(5), Some((5, 30)));
        assert_eq!(end_of(6), Some((5, 30)));
        assert_eq!(end_of(8), None, "not yet");
        assert_eq!(
            Epochs::default().end_of(LeaderEpoch(3), LeaderEpoch(7), Offset(0)),
            Some((LeaderEpoch(3), Offset(0)))
        );
    }
}
