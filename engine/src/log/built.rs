//! For tests: what is kept beside the batches, against what they tell.

use super::Log;
use crate::epochs::Epochs;
use crate::index::IndexEntries;
use crate::producers::Producers;
use crate::scan::Scanner;
use crate::segment::{Extent, Indexer};

impl Log {
    /// Compares indexes, extents, epochs and producers with those built from the batches.
    pub(crate) fn check_built(&self) -> Result<(), String> {
        let appender = self.lock_appender();
        let config = self.config();
        let segments = self.segment_list();
        let mut epochs = Epochs::default();
        let mut producers = Producers::new(config.producers_max);
        for (at, segment) in segments.iter().enumerate() {
            let name = segment.path.display();
            let extent = segment.extent();
            let len = segment.file.len().map_err(|err| format!("{name}: {err}"))?;
            if len != extent.size_bytes {
                return Err(format!("{name} has {len} bytes, {} are known", extent.size_bytes));
            }
            let mut indexer = Indexer::new(segment.base, config.index_interval_bytes);
            let mut entries = IndexEntries::default();
            let mut built = Extent::empty(segment.base);
            let mut scan = Scanner::checked(&*segment.file, 0, extent.size_bytes);
            while let Some(step) = scan.step().map_err(|err| format!("{name}: {err}"))? {
                let (position, header) =
                    step.map_err(|damage| format!("{name} at {}: {}", damage.position, damage.reason))?;
                if header.base_offset != built.end {
                    let (offset, end) = (header.base_offset, built.end);
                    return Err(format!("{name} at {position}: offset {offset} after {end}"));
                }
                built.add(&header, position);
                let (offset, time) = indexer.batch(&header, position);
                entries.offsets.extend(offset);
                entries.times.extend(time);
                epochs.assign(header.leader_epoch, header.base_offset);
                producers.appended(&header);
            }
            built.max_timestamp = indexer.max_timestamp();
            if built != extent {
                return Err(format!("{name} is {built:?}, known is {extent:?}"));
            }
            if at + 1 < segments.len() {
                entries.times.extend(indexer.time());
            }
            if !segment.index.agrees(&entries).map_err(|err| format!("{name}: {err}"))? {
                return Err(format!("the indexes of {name} are not those of its batches"));
            }
        }
        // Of an epoch there may be no batch left.
        let known = appender.epochs.iter().filter(|(_, base)| *base < appender.next_offset);
        if !epochs.iter().eq(known) {
            return Err(format!("epochs are {:?}, the batches tell {epochs:?}", appender.epochs));
        }
        let known = appender.producers.states();
        let start = segments.first().map_or(appender.next_offset, |segment| segment.base);
        for told in producers.states() {
            let same = known.iter().find(|one| one.id == told.id).is_some_and(|one| {
                let mut batches = one.batches.iter().filter(|batch| batch.base_offset >= start);
                one.epoch == told.epoch && batches.by_ref().eq(told.batches.iter())
            });
            if !same {
                return Err(format!("of producers is known {known:?}, the batches tell {told:?}"));
            }
        }
        Ok(())
    }
}
