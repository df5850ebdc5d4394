//! The steps of a life: what is done to the store, and what must come of each.

use crate::history::{History, Outcome, Waiting};
use crate::model::{Batch, LogModel, Presence};
use crate::settings::{CUTS, Shape};
use ringmain_engine::sim::{self, Faults};
use ringmain_engine::{AppendError, BatchBuilder, Durability, LeaderEpoch, Log, LogId, Offset, Store};
use std::collections::BTreeSet;
use std::sync::Arc;

const NAMES: [&str; 4] = ["a-0", "b-0", "c-0", "d-1"];

/// Files of the journal that have room for the notes of cuts even where no checkpoint can be written. In
/// smaller ones a cut may wait for room on the disk for ever, and nobody else is here to make it.
const ROOMY_BYTES: u64 = 12 * 1024;

/// A batch to be appended.
struct Made {
    bytes: Vec<u8>,
    /// The offset that it has already, if it is sent again.
    retry_of: Option<(i64, i64)>,
}

impl History {
    pub(crate) fn step(&mut self, store: &Store) -> Outcome<()> {
        // Without much else several entries are under way, and syncs beside them.
        let few = match self.shape {
            Shape::Mixed => 100,
            Shape::Small => 60,
            Shape::Large => 70,
        };
        let kinds = if self.random.percent(50) { few } else { 100 };
        match self.random.below(kinds) {
            0..45 => self.append(store),
            60..70 if self.no_checkpoints => self.append(store),
            45..60 => {
                let worked = sim::step_journal(store);
                self.note(format!("journal: {worked}"));
                self.coverage.count("steps of the journal");
                Ok(())
            }
            60..70 => {
                let worked = sim::step_checkpoint(store);
                self.note(format!("checkpoint: {worked}"));
                self.coverage.count(if worked {
                    "phases of checkpoints"
                } else {
                    "checkpoints, nothing to do"
                });
                Ok(())
            }
            70..76 => self.wait(),
            76..84 => self.read(store),
            84..88 if CUTS => self.truncate(store),
            88..91 if CUTS => self.advance_start(store),
            84..94 => self.create(store),
            94..96 => self.delete(store),
            96..98 if self.config.journal_file_bytes >= ROOMY_BYTES => self.change_capacity(),
            _ => self.append(store),
        }
    }

    /// One of the logs that are there for sure.
    fn any_log(&mut self, store: &Store) -> Option<(String, Arc<Log>)> {
        let sure = self.logs.iter().filter(|(_, model)| model.presence == Presence::Sure);
        let names: Vec<String> = sure.map(|(name, _)| name.clone()).collect();
        let name = self.random.pick(&names)?.clone();
        store.log(&name).map(|log| (name, log))
    }

    fn model(&mut self, name: &str) -> Outcome<&mut LogModel> {
        self.logs.get_mut(name).ok_or_else(|| format!("log {name} is not in the model"))
    }

    /// A value that no other record has.
    fn fill(&mut self, builder: &mut BatchBuilder) {
        let bytes = self.shape.value_bytes(&mut self.random);
        self.count += 1;
        let mut value = format!("{}:", self.count).into_bytes();
        let filler = u8::try_from(self.count % 251).unwrap_or(0);
        value.resize(value.len() + usize::try_from(bytes).unwrap_or(0), filler);
        let time = i64::try_from(self.random.below(1000)).unwrap_or(0);
        builder.push(time, None, Some(&value));
    }

    fn plain_batches(&mut self) -> Made {
        let mut bytes = Vec::new();
        for _ in 0..(if self.random.percent(30) { self.random.within(2..=4) } else { 1 }) {
            let mut builder = BatchBuilder::new();
            for _ in 0..self.random.within(1..=3) {
                self.fill(&mut builder);
            }
            bytes.extend(builder.finish().unwrap_or_default());
        }
        Made { bytes, retry_of: None }
    }

    /// The next batch of an idempotent producer, or its last one again.
    fn producers_batch(&mut self, name: &str) -> Outcome<Made> {
        let again = self.random.percent(40);
        let new = self.random.percent(20);
        let model = self.model(name)?;
        // One whose last batch may lie before the start may be known or not.
        let last = model.batches.iter().rev().find(|batch| batch.producer.is_some());
        let known = last.filter(|batch| batch.base >= model.start && !new).cloned();
        let (id, sequence) = match known {
            Some(Batch { producer: Some(_), base, end, bytes, .. }) if again => {
                return Ok(Made { bytes, retry_of: Some((base, end)) });
            }
            Some(Batch { producer: Some((id, _, next)), .. }) => (id, next),
            _ => {
                self.count += 1;
                (i64::try_from(self.count).unwrap_or(0), 0)
            }
        };
        let mut builder = BatchBuilder::new().producer(id, 0, sequence);
        for _ in 0..self.random.within(1..=2) {
            self.fill(&mut builder);
        }
        Ok(Made { bytes: builder.finish().unwrap_or_default(), retry_of: None })
    }

    fn append(&mut self, store: &Store) -> Outcome<()> {
        let Some((name, log)) = self.any_log(store) else { return self.create(store) };
        let made = if self.random.percent(25) { self.producers_batch(&name)? } else { self.plain_batches() };
        let asked = match self.random.below(10) {
            0 => Durability::None,
            1..5 => Durability::Written,
            _ => Durability::Durable,
        };
        if self.random.percent(3) {
            self.raise_epoch(&log)?;
        }
        self.append_made(store, name, &log, made, asked)
    }

    fn append_made(
        &mut self,
        store: &Store,
        name: String,
        log: &Arc<Log>,
        made: Made,
        asked: Durability,
    ) -> Outcome<()> {
        let mut bytes = made.bytes;
        let outcome = log.append(&mut bytes, asked);
        let told = match &outcome {
            Ok(done) => format!("{} to {}, duplicate {}", done.base_offset, done.end_offset, done.duplicate),
            Err(err) => err.to_string(),
        };
        self.note(format!("append to {name}, {} bytes, {asked:?}: {told}", bytes.len()));
        let (may_fail, failed) = (self.excused(), store.failure().is_some());
        let base = self.model(&name)?.end;
        let appended = match outcome {
            Ok(appended) => appended,
            Err(AppendError::DiskFull | AppendError::Segment(_)) if self.is_short() && !may_fail => {
                self.coverage.count("appends refused for want of space");
                return self.must_end_at(&name, log, base);
            }
            Err(AppendError::Unopened(_)) if self.config.open_files_max < usize::MAX && !may_fail => {
                self.coverage.count("appends refused for want of open files");
                return self.must_end_at(&name, log, base);
            }
            Err(err) if may_fail => {
                if self.disk.is_off() || failed {
                    let batches = Batch::list(&bytes, base, asked)?;
                    self.model(&name)?.appends_in_doubt.extend(batches);
                } else {
                    // Nothing was appended, it says.
                    self.must_end_at(&name, log, base)?;
                }
                self.say(|| format!("may fail: {err}"));
                return Ok(());
            }
            Err(err) => return Err(format!("log {name}: an append failed: {err}")),
        };
        if let Some(original) = made.retry_of {
            let (base, end) = (appended.base_offset.0, appended.end_offset.0);
            if !appended.duplicate || (base, end) != original {
                return Err(format!("log {name}: a batch of {original:?} sent again became {told}"));
            }
            self.coverage.count("duplicates recognised");
        } else {
            if appended.duplicate || appended.base_offset.0 != base {
                return Err(format!("log {name}: an append at {base} became {told}"));
            }
            let batches = Batch::list(&bytes, base, asked)?;
            self.coverage.add("batches appended", batches.len() as u64);
            let model = self.model(&name)?;
            model.appended(batches, appended.leader_epoch.0);
            if model.end != appended.end_offset.0 {
                return Err(format!("log {name}: an append at {base} became {told}"));
            }
        }
        let (end, completion) = (appended.end_offset.0, appended.completion);
        self.waiting.push(Waiting { log: name, end, asked, completion, was_cut: false });
        Ok(())
    }

    /// Other values of the same lengths: what is told apart from the old batch by its size is not told apart from this.
    fn batch_like(&mut self, old: &[u8]) -> Option<Made> {
        let mut builder = BatchBuilder::new();
        for record in ringmain_engine::records(old).ok()? {
            let record = record.ok()?;
            let len = record.value.unwrap_or_default().len();
            self.count += 1;
            let mut value = format!("{}:", self.count).into_bytes();
            if value.len() > len {
                return None;
            }
            value.resize(len, u8::try_from(self.count % 251).unwrap_or(0));
            builder.push(record.timestamp_ms, None, Some(&value));
        }
        Some(Made { bytes: builder.finish()?, retry_of: None })
    }

    /// As a new leader does.
    fn raise_epoch(&mut self, log: &Log) -> Outcome<()> {
        let epoch = LeaderEpoch(log.leader_epoch().0 + 1);
        let raised = log.raise_leader_epoch(epoch).map_err(|err| err.to_string());
        self.note(format!("raise the epoch of {} to {epoch}: {raised:?}", log.name()));
        match raised {
            Ok(()) if log.leader_epoch() == epoch => self.coverage.count("epochs raised"),
            Ok(()) => return Err(format!("the epoch is {}, it was raised to {epoch}", log.leader_epoch())),
            Err(_) if self.excused() || self.is_short() => {}
            Err(err) => return Err(format!("the epoch cannot be raised: {err}")),
        }
        Ok(())
    }

    /// Whether a limit of space was met.
    fn is_short(&self) -> bool {
        self.disk.fault_hits().full > self.hits.full
    }

    fn must_end_at(&mut self, name: &str, log: &Log, end: i64) -> Outcome<()> {
        let found = log.progress().written.0;
        if found == end {
            Ok(())
        } else {
            Err(format!("log {name}: refused, and ends at {found}, not {end}"))
        }
    }

    fn wait(&mut self) -> Outcome<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let at = usize::try_from(self.random.below(self.waiting.len() as u64)).unwrap_or(0);
        let one = self.waiting.swap_remove(at);
        // On a full disk it may take for ever, and nobody else is here to make room.
        self.disk.set_capacity(u64::MAX);
        let outcome = one.completion.wait();
        let told = outcome.as_ref().map_or_else(ToString::to_string, |()| "done".into());
        self.note(format!("wait for {} of {}: {told}", one.end, one.log));
        self.coverage.count("waits");
        self.told(&one, outcome)
    }

    fn read(&mut self, store: &Store) -> Outcome<()> {
        let Some((name, log)) = self.any_log(store) else { return Ok(()) };
        let piece = self.random.below(3000);
        let model = self.model(&name)?;
        let compared = model.compare(&log, piece);
        let before = model.start - 1;
        if log.read(Offset(before), 1, true, ringmain_engine::ReadBound::Written).is_ok() {
            return Err(format!("log {name}: offset {before}, before the start, can be read"));
        }
        if self.disk.is_off() {
            return Ok(());
        }
        self.note(format!("read {name}"));
        self.coverage.count("reads");
        compared.map_err(|what| format!("log {name}: {what}"))
    }

    fn truncate(&mut self, store: &Store) -> Outcome<()> {
        let Some((name, log)) = self.any_log(store) else { return Ok(()) };
        let model = self.model(&name)?;
        let start = model.start;
        let candidates: Vec<(i64, i64)> =
            model.batches.iter().filter(|batch| batch.base >= start).map(|one| (one.base, one.end)).collect();
        let recent = self.random.percent(70);
        let from = if recent { candidates.len().saturating_sub(4) } else { 0 };
        let Some((base, end)) = self.random.pick(&candidates[from..]).copied() else { return Ok(()) };
        let old =
            self.model(&name)?.batches.iter().find(|batch| batch.base == base && batch.producer.is_none());
        let old = old.map(|batch| batch.bytes.clone());
        // Any offset of a batch takes the whole of it away.
        let offset =
            base + i64::try_from(self.random.below(u64::try_from(end - base).unwrap_or(1))).unwrap_or(0);
        let outcome = log.truncate(Offset(offset)).map_err(|err| err.to_string());
        self.note(format!("truncate {name} at {offset}: {outcome:?}"));
        match outcome {
            Ok(at) if at.0 == base => {
                // Whoever waits for what is gone must hear that, whatever comes in its place.
                let cut = self.waiting.iter_mut().filter(|one| one.log == name && one.end > base);
                cut.for_each(|one| one.was_cut = true);
                self.model(&name)?.cut(base);
                self.coverage.count("truncations");
                if self.random.percent(40)
                    && let Some(made) = old.and_then(|bytes| self.batch_like(&bytes))
                {
                    self.coverage.count("cut batches replaced by others of their size");
                    return self.append_made(store, name, &log, made, Durability::Durable);
                }
                Ok(())
            }
            Ok(at) => Err(format!("log {name}: truncated at {offset} it ends at {at}, not {base}")),
            Err(_) if self.disk.is_off() || store.failure().is_some() => {
                self.model(&name)?.cut_in_doubt = Some(base);
                self.coverage.count("truncations in doubt");
                Ok(())
            }
            Err(_) if self.excused() || self.is_short() => {
                let end = self.model(&name)?.end;
                self.must_end_at(&name, &log, end)
            }
            Err(err) => Err(format!("log {name}: truncation failed: {err}")),
        }
    }

    fn advance_start(&mut self, store: &Store) -> Outcome<()> {
        let Some((name, log)) = self.any_log(store) else { return Ok(()) };
        let (start, visible) = (self.model(&name)?.start, log.progress().visible.0);
        let Ok(room) = u64::try_from(visible - start) else { return Ok(()) };
        if room == 0 {
            return Ok(());
        }
        let room = if self.random.percent(70) { room.div_ceil(3) } else { room };
        let to = start + i64::try_from(self.random.within(1..=room)).unwrap_or(0);
        let outcome = log.advance_start(Offset(to)).map_err(|err| err.to_string());
        self.note(format!("move the start of {name} to {to}: {outcome:?}"));
        match outcome {
            Ok(at) if at.0 == to => {
                self.model(&name)?.start = to;
                self.coverage.count("starts moved on");
                Ok(())
            }
            Ok(at) => Err(format!("log {name}: its start was moved to {at}, not {to}")),
            Err(_) if self.disk.is_off() || store.failure().is_some() => {
                self.model(&name)?.starts_in_doubt.push(to);
                Ok(())
            }
            Err(_) if self.excused() || self.is_short() => Ok(()),
            Err(err) => Err(format!("log {name}: its start cannot be moved: {err}")),
        }
    }

    /// One log, or several together.
    fn create(&mut self, store: &Store) -> Outcome<()> {
        let mut free: Vec<&str> = NAMES.into_iter().filter(|name| !self.logs.contains_key(*name)).collect();
        let mut names = Vec::new();
        let count = if self.random.percent(50) { 1 } else { self.random.within(2..=3) };
        while (names.len() as u64) < count
            && let Some(name) = self.random.pick(&free).copied()
        {
            free.retain(|other| *other != name);
            names.push(name.to_owned());
        }
        self.count += 1;
        let id =
            LogId((u128::from(self.count) << 64 | u128::from(self.random.below(u64::MAX))).to_be_bytes());
        let outcome = match &names[..] {
            [] => return Ok(()),
            [name] => store.create_log(name, id, self.config.log).map(|log| vec![log]),
            several => store.create_logs(several, id, self.config.log),
        };
        self.note(format!("create {names:?}: {:?}", outcome.as_ref().map(Vec::len)));
        let excused = self.excused() || self.is_short();
        match outcome {
            Ok(made) if made.iter().map(|log| log.name()).eq(&names) => {}
            Ok(_) => return Err(format!("{names:?}: other logs were created")),
            Err(_) if excused => {}
            Err(err) => return Err(format!("{names:?}: creation failed: {err}")),
        }
        if names.len() > 1 {
            self.coverage.count("creations of several logs");
        }
        for name in names {
            let presence = if store.log(&name).is_some() { Presence::Sure } else { Presence::InDoubt };
            self.coverage.count("creations");
            self.logs.insert(name, LogModel::new(id, presence));
        }
        Ok(())
    }

    fn delete(&mut self, store: &Store) -> Outcome<()> {
        let Some((name, _)) = self.any_log(store) else { return Ok(()) };
        let synced_meanwhile = self.random.percent(20);
        if synced_meanwhile {
            // A checkpoint that was begun comes to its syncs in the middle of it, and one of them fails.
            sim::step_checkpoint(store);
            self.disk.set_faults(Faults { sync_dir_per_mille: 500, once: true, ..Faults::default() });
            self.coverage.count("deletions while a checkpoint syncs");
        }
        if synced_meanwhile || self.random.percent(30) {
            // In the middle of it, where there are names that are not durable yet.
            let operations = self.random.within(1..=if synced_meanwhile { 20 } else { 8 });
            self.disk.stop_after(operations);
        }
        let mut names = BTreeSet::from([name]);
        if self.random.percent(30) {
            names.extend(self.any_log(store).into_iter().chain(self.any_log(store)).map(|(name, _)| name));
        }
        let names: Vec<_> = names.into_iter().collect();
        let outcome = store.delete_logs(&names).map_err(|err| err.to_string());
        self.note(format!("delete {names:?}: {outcome:?}"));
        self.waiting.retain(|one| !names.contains(&one.log));
        self.coverage.count(if names.len() > 1 { "deletions of several logs" } else { "deletions" });
        let excused = self.excused() || self.is_short();
        for name in names {
            match &outcome {
                Ok(()) => drop(self.logs.remove(&name)),
                Err(_) if excused => self.model(&name)?.presence = Presence::InDoubt,
                Err(err) => return Err(format!("log {name}: deletion failed: {err}")),
            }
            if store.log(&name).is_some() && !self.logs.contains_key(&name) {
                return Err(format!("log {name}: deleted, and still there"));
            }
        }
        Ok(())
    }

    /// The disk becomes full, or gets room again.
    fn change_capacity(&mut self) -> Outcome<()> {
        let capacity =
            if self.random.percent(50) { self.disk.used_bytes() + self.random.below(6000) } else { u64::MAX };
        self.disk.set_capacity(capacity);
        self.note(format!("capacity {capacity}"));
        self.coverage.count("changes of the room on the disk");
        Ok(())
    }

    /// Something goes wrong from now on.
    pub(crate) fn inject(&mut self) {
        let mut faults = Faults { once: true, unwritten: self.random.percent(50), ..Faults::default() };
        let what = match self.random.below(if self.shape == Shape::Large { 12 } else { 6 }) {
            0 => (&mut faults.write_per_mille, "faults: writes"),
            1 => (&mut faults.direct_write_per_mille, "faults: writes past the cache"),
            2 => (&mut faults.sync_per_mille, "faults: syncs"),
            3 => (&mut faults.sync_dir_per_mille, "faults: syncs of directories"),
            _ => (&mut faults.write_back_per_mille, "faults: write-backs"),
        };
        *what.0 = if self.random.percent(50) { 1000 } else { 300 };
        let what = what.1;
        faults.once = self.random.percent(70);
        self.disk.set_faults(faults);
        if faults.write_back_per_mille > 0 {
            self.disk.set_write_back(300);
        }
        self.note(format!("faults {faults:?}"));
        self.coverage.count(what);
    }

    /// A store that failed takes nothing more, and can be read.
    pub(crate) fn after_failure(&mut self, store: &Store) -> Outcome<()> {
        self.coverage.count("stores that refused writes after a fault");
        let dropped = self.random.percent(50);
        if dropped {
            self.disk.drop_lost_pages();
        }
        let mut refused = 0;
        for (name, model) in self.logs.iter().filter(|(_, model)| model.presence == Presence::Sure) {
            let Some(log) = store.log(name) else { continue };
            let mut builder = BatchBuilder::new();
            builder.push(0, None, Some(b"refused"));
            let mut bytes = builder.finish().unwrap_or_default();
            match log.append(&mut bytes, Durability::Written) {
                Err(AppendError::Failed(_)) => {}
                other => return Err(format!("log {name}: the store failed, and an append is {other:?}")),
            }
            let unsure = model.cut_in_doubt.is_some()
                || !model.starts_in_doubt.is_empty()
                || !model.appends_in_doubt.is_empty();
            if !unsure && dropped {
                let wrong = |what| format!("log {name}, after pages were dropped: {what}");
                refused += model.compare_lost(&log, 2000).map_err(wrong)?;
            } else if !unsure {
                model.compare(&log, 2000).map_err(|what| format!("log {name}, after a failure: {what}"))?;
            }
        }
        self.coverage.add("batches that were lost in memory, and refused", refused);
        self.note("failed, and refuses writes");
        Ok(())
    }
}
