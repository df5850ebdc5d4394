//! The store that a history runs on: everything is tiny, so that every limit is met.

use crate::random::Random;
use ringmain_engine::{LogConfig, StoreConfig};

/// Whether logs are truncated and their starts moved on. To be switched off when looking for something else.
pub(crate) const CUTS: bool = true;

/// What a history is made of, apart from chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Values of all sizes.
    Mixed,
    /// Values so small that entries of the journal take one block each: those of a new life come to lie
    /// where those of the last one ended. Lives are short, and there are more of them.
    Small,
    /// Values so large that many ranges are synced instead of being journaled.
    Large,
}

impl Shape {
    pub(crate) fn any(random: &mut Random) -> Self {
        match random.below(10) {
            0..5 => Self::Mixed,
            5..8 => Self::Small,
            _ => Self::Large,
        }
    }

    pub(crate) fn lives(self, random: &mut Random) -> u64 {
        random.within(if self == Self::Small { 4..=10 } else { 2..=5 })
    }

    pub(crate) fn steps(self, random: &mut Random) -> u64 {
        random.within(if self == Self::Small { 2..=12 } else { 5..=60 })
    }

    /// How many of a hundred lives have faults.
    pub(crate) fn faulty_percent(self) -> u64 {
        if self == Self::Large { 60 } else { 30 }
    }

    pub(crate) fn value_bytes(self, random: &mut Random) -> u64 {
        match (self, random.below(20)) {
            (Self::Small, _) => random.below(60),
            (Self::Large, 0..5) | (Self::Mixed, 0) => random.within(2000..=7000),
            (Self::Large, _) | (Self::Mixed, 1..5) => random.within(300..=2000),
            (Self::Mixed, _) => random.below(200),
        }
    }
}

/// The configuration of a store.
pub(crate) fn store_config(random: &mut Random) -> StoreConfig {
    let log = LogConfig {
        segment_bytes: random.within(1024..=4096),
        index_interval_bytes: random.below(3) * 100,
        index_memory_entries_max: random.pick(&[0, 2, 64]).copied().unwrap_or(0),
        index_bytes_max: if random.percent(20) { 64 } else { 4096 },
        ..LogConfig::default()
    };
    let files = [1, 2, 2, 2, 2, 3, 3, 3, 3, 3][usize::try_from(random.below(10)).unwrap_or(0)];
    StoreConfig {
        log,
        // A single tiny file has no room for the notes of a cut and of synced ranges together.
        journal_file_bytes: random.within(if files == 1 { 3..=6 } else { 1..=6 }) * 4096,
        journal_files_max: files,
        journal_entry_bytes_max: if random.percent(50) { 4096 } else { 8192 },
        journal_range_bytes_max: random.within(1..=6) * 1024,
        journal_writes_max: if random.percent(25) { 1 } else { 4 },
        open_files_max: if random.percent(20) {
            usize::try_from(random.within(1..=4)).unwrap_or(1)
        } else {
            usize::MAX
        },
        // As small as can be: most steps of the checkpoints have something to do.
        checkpoint_bytes: random.within(1..=16) * 1024,
        ..StoreConfig::default()
    }
}

/// What was counted, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage(std::collections::BTreeMap<&'static str, u64>);

impl Coverage {
    pub(crate) fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            self.add(what, *times);
        }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(what, times)| format!("{times:>10}  {what}"))
    }
}
