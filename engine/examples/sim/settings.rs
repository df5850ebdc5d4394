//! The store that a history runs on: everything is tiny, so that every limit is met.

use crate::random::Random;
use ringmain_engine::{LogConfig, StoreConfig};

/// Whether logs are truncated and their starts moved on. To be switched off when looking for something else.
pub(crate) const CUTS: bool = true;

/// The configuration of a history. It stays the same over all its lives.
pub(crate) fn store_config(random: &mut Random) -> StoreConfig {
    let log = LogConfig {
        segment_bytes: random.within(1024..=4096),
        index_interval_bytes: random.below(3) * 100,
        index_bytes_max: if random.percent(20) { 64 } else { 4096 },
        ..LogConfig::default()
    };
    StoreConfig {
        log,
        journal_file_bytes: random.within(3..=6) * 4096,
        journal_files_max: if random.percent(50) { 2 } else { 3 },
        journal_entry_bytes_max: if random.percent(50) { 4096 } else { 8192 },
        journal_range_bytes_max: random.within(1..=6) * 1024,
        journal_writes_max: if random.percent(25) { 1 } else { 4 },
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
