//! Logs against the plainest model of them: lists of batches. Random appends of every durability, reads,
//! searches by time, cuts at both ends, deletions, logs of the same name made again, clean stops, crashes
//! and the loss of power must agree, on every backend.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use ringmain_engine::{
    AppendError, Completion, CutError, Durability, Log, LogId, Offset, ReadBound, Store, StoreConfig,
    WaitError, sim,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::backend::Backend;
use support::{batch, read_all, sequenced, small};

/// How many logs there are at most; their names are used again.
const LOGS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Append { log: usize, batches: Vec<i64>, at_ms: i64, durability: Durability },
    Sequenced { log: usize, again: bool, durability: Durability },
    Wait,
    Read { log: usize, at: i64, bytes_max: u64, one_at_least: bool },
    Search { log: usize, at_ms: i64 },
    Truncate { log: usize, at: i64 },
    AdvanceStart { log: usize, to: i64 },
    Delete { log: usize },
    Journal,
    Checkpoint,
    Reopen { stop: Stop },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Clean,
    Crash,
    Power,
}

fn step() -> impl Strategy<Value = Step> {
    let log = || 0..LOGS;
    let durability =
        || prop::sample::select(vec![Durability::None, Durability::Written, Durability::Durable]);
    let stop = prop::sample::select(vec![Stop::Clean, Stop::Crash, Stop::Power]);
    prop_oneof![
        14 => (log(), prop::collection::vec(1..20i64, 1..4), 0..500i64, durability())
            .prop_map(|(log, batches, at_ms, durability)| Step::Append { log, batches, at_ms, durability }),
        3 => (log(), any::<bool>(), durability())
            .prop_map(|(log, again, durability)| Step::Sequenced { log, again, durability }),
        3 => Just(Step::Wait),
        8 => (log(), -2..600i64, 0..3000u64, any::<bool>())
            .prop_map(|(log, at, bytes_max, one_at_least)| Step::Read { log, at, bytes_max, one_at_least }),
        3 => (log(), 0..600i64).prop_map(|(log, at_ms)| Step::Search { log, at_ms }),
        2 => (log(), -2..400i64).prop_map(|(log, at)| Step::Truncate { log, at }),
        2 => (log(), -2..200i64).prop_map(|(log, to)| Step::AdvanceStart { log, to }),
        1 => log().prop_map(|log| Step::Delete { log }),
        4 => Just(Step::Journal),
        2 => Just(Step::Checkpoint),
        2 => stop.prop_map(|stop| Step::Reopen { stop }),
    ]
}

/// A batch of the model: where it begins and ends, its largest timestamp, and its bytes.
#[derive(Clone)]
struct Stored {
    base: i64,
    end: i64,
    max_ms: i64,
    bytes: Vec<u8>,
    sequence: Option<i32>,
}

/// A log, as it must be.
#[derive(Clone)]
struct Model {
    id: LogId,
    start: i64,
    batches: Vec<Stored>,
    end: i64,
    /// The end of what was promised to survive the loss of power.
    durable: i64,
    /// The next sequence number of its one producer.
    next_sequence: i32,
}

impl Model {
    fn new(id: LogId) -> Self {
        Self { id, start: 0, batches: Vec::new(), end: 0, durable: 0, next_sequence: 0 }
    }

    /// Batches that have a record that is there.
    fn there(&self) -> impl Iterator<Item = &Stored> {
        self.batches.iter().filter(|one| one.end > self.start)
    }

    fn cut(&mut self, end: i64) {
        self.batches.retain(|one| one.end <= end);
        self.end = end;
        self.durable = self.durable.min(end);
        let sequence = self.batches.iter().rev().find_map(|one| one.sequence);
        self.next_sequence = sequence.map_or(0, |sequence| sequence + 1);
    }
}

/// What a run is made of.
struct Run<'a> {
    backend: &'a Backend,
    config: StoreConfig,
    logs: BTreeMap<usize, Model>,
    waiting: Vec<(usize, LogId, i64, Durability, Completion)>,
    ids: u8,
}

fn config() -> StoreConfig {
    StoreConfig {
        log: small(),
        journal_file_bytes: 32 << 10,
        journal_files_max: 2,
        journal_entry_bytes_max: 8 << 10,
        journal_range_bytes_max: 4 << 10,
        ..StoreConfig::default()
    }
}

type Outcome = Result<(), TestCaseError>;

impl Run<'_> {
    /// The log, made if it is not there.
    fn log(&mut self, store: &Store, number: usize) -> Arc<Log> {
        let name = format!("t-{number}");
        if let Some(log) = store.log(&name) {
            return log;
        }
        self.ids += 1;
        self.logs.insert(number, Model::new(LogId([self.ids; 16])));
        store.create_log(&name, LogId([self.ids; 16]), small()).unwrap()
    }

    fn step(&mut self, store: &Store, step: &Step) -> Outcome {
        match step {
            Step::Append { log, batches, at_ms, durability } => {
                self.append(store, *log, batches, *at_ms, *durability)
            }
            Step::Sequenced { log, again, durability } => self.sequenced(store, *log, *again, *durability),
            Step::Wait => self.wait(),
            Step::Read { log, at, bytes_max, one_at_least } => {
                self.read(store, *log, *at, *bytes_max, *one_at_least)
            }
            Step::Search { log, at_ms } => self.search(store, *log, *at_ms),
            Step::Truncate { log, at } => self.truncate(store, *log, *at),
            Step::AdvanceStart { log, to } => self.advance_start(store, *log, *to),
            Step::Delete { log } => {
                store.delete_log(&format!("t-{log}")).unwrap();
                self.logs.remove(log);
                Ok(())
            }
            Step::Journal => {
                self.backend.drive(store);
                Ok(())
            }
            Step::Checkpoint => {
                if self.backend.disk().is_some() {
                    sim::step_checkpoint(store);
                }
                Ok(())
            }
            Step::Reopen { .. } => unreachable!("done by who owns the store"),
        }
    }

    fn append(
        &mut self,
        store: &Store,
        number: usize,
        counts: &[i64],
        at_ms: i64,
        asked: Durability,
    ) -> Outcome {
        let log = self.log(store, number);
        let mut bytes: Vec<u8> = counts.iter().flat_map(|count| batch(*count, *count, at_ms)).collect();
        let appended = log.append(&mut bytes, asked).unwrap();
        let model = self.logs.get_mut(&number).unwrap();
        prop_assert_eq!(appended.base_offset, Offset(model.end));
        // What was stamped into the bytes is what must come back.
        let mut rest = &bytes[..];
        for count in counts {
            let (one, after) = rest.split_at(batch(*count, *count, at_ms).len());
            let (base, end) = (model.end, model.end + count);
            let max_ms = at_ms + count - 1;
            model.batches.push(Stored { base, end, max_ms, bytes: one.to_vec(), sequence: None });
            model.end = end;
            rest = after;
        }
        prop_assert_eq!(appended.end_offset, Offset(model.end));
        self.waiting.push((number, model.id, model.end, asked, appended.completion));
        Ok(())
    }

    fn sequenced(&mut self, store: &Store, number: usize, again: bool, asked: Durability) -> Outcome {
        let log = self.log(store, number);
        let model = self.logs.get_mut(&number).unwrap();
        // A producer whose last batch lies before the start may be known or not.
        let last = model.there().filter_map(|one| Some((one.sequence?, one.base, one.end))).last();
        let expected = if again { last } else { None };
        let sequence = expected.map_or(model.next_sequence, |(sequence, ..)| sequence);
        let mut bytes = sequenced(7, 0, sequence);
        let appended = log.append(&mut bytes, asked).unwrap();
        prop_assert_eq!(appended.duplicate, expected.is_some());
        let (base, end) = expected.map_or((model.end, model.end + 1), |(_, base, end)| (base, end));
        prop_assert_eq!((appended.base_offset, appended.end_offset), (Offset(base), Offset(end)));
        if expected.is_none() {
            model.batches.push(Stored { base, end, max_ms: 0, bytes, sequence: Some(sequence) });
            (model.end, model.next_sequence) = (end, sequence + 1);
        }
        let gap = log.append(&mut support::sequenced(7, 0, model.next_sequence + 1), asked);
        let refused = matches!(gap, Err(AppendError::OutOfOrderSequence { .. }));
        prop_assert!(refused);
        self.waiting.push((number, model.id, end, asked, appended.completion));
        Ok(())
    }

    fn wait(&mut self) -> Outcome {
        for (number, id, end, asked, completion) in std::mem::take(&mut self.waiting) {
            let outcome = completion.wait();
            let model = self.logs.get_mut(&number).filter(|model| model.id == id);
            match (outcome, model) {
                (Ok(()), Some(model)) if asked == Durability::Durable => {
                    // It lies behind a cut otherwise, and was cut after it had become durable.
                    prop_assert!(end <= model.end);
                    model.durable = model.durable.max(end);
                }
                (Ok(()), _) => {}
                (Err(WaitError::Deleted), None) => prop_assert_eq!(asked, Durability::Durable),
                // Cut, and perhaps deleted since.
                (Err(WaitError::Truncated), _) => prop_assert_eq!(asked, Durability::Durable),
                (Err(err), _) => return Err(TestCaseError::fail(format!("waiting failed: {err}"))),
            }
        }
        Ok(())
    }

    fn read(&mut self, store: &Store, number: usize, at: i64, bytes_max: u64, one_at_least: bool) -> Outcome {
        let log = self.log(store, number);
        let model = &self.logs[&number];
        for bound in [ReadBound::Visible, ReadBound::Written] {
            let before = log.progress();
            let read = log.read(Offset(at), bytes_max, one_at_least, bound);
            if at < model.start || at > model.end {
                prop_assert!(read.is_err());
                continue;
            }
            let found = read.unwrap().map(|slice| slice.read().unwrap()).unwrap_or_default();
            let from = model.batches.iter().position(|one| one.end > at).unwrap_or(model.batches.len());
            let (mut whole, mut end) = (0, at);
            for one in &model.batches[from..] {
                if whole == found.len() {
                    break;
                }
                prop_assert!(found[whole..].starts_with(&one.bytes), "not the batches that follow");
                whole += one.bytes.len();
                end = one.end;
            }
            prop_assert_eq!(whole, found.len(), "whole batches only");
            if bound == ReadBound::Visible {
                prop_assert!(end <= log.progress().visible.0.max(at));
            }
            let first = model.batches.get(from).map_or(0, |one| one.bytes.len());
            let fits = first > 0 && (first as u64 <= bytes_max || one_at_least);
            // On threads more may become visible meanwhile.
            let shown = model.batches.get(from).is_some_and(|one| one.end <= before.visible.0);
            if bound == ReadBound::Written || shown {
                prop_assert_eq!(found.is_empty(), !fits);
            }
            prop_assert!(found.len() as u64 <= bytes_max || found.len() == first);
        }
        Ok(())
    }

    fn search(&mut self, store: &Store, number: usize, at_ms: i64) -> Outcome {
        self.wait()?;
        let log = self.log(store, number);
        let model = &self.logs[&number];
        let found = log.find_timestamp(at_ms).unwrap().map(|(header, _)| header.base_offset.0);
        let there = model.there().find(|one| one.max_ms >= at_ms).map(|one| one.base);
        prop_assert_eq!(found, there);
        Ok(())
    }

    fn truncate(&mut self, store: &Store, number: usize, at: i64) -> Outcome {
        let log = self.log(store, number);
        let model = self.logs.get_mut(&number).unwrap();
        let in_batch = model.batches.iter().find(|one| one.end > at).map(|one| one.base);
        if at >= model.start && in_batch.is_some_and(|base| base < model.start) {
            return Ok(()); // not decided yet: the batch that holds the start would go
        }
        let outcome = log.truncate(Offset(at));
        if at < model.start {
            let refused = matches!(outcome, Err(CutError::OutOfRange { .. }));
            prop_assert!(refused);
            return Ok(());
        }
        let end = in_batch.unwrap_or(model.end);
        prop_assert_eq!(outcome.unwrap(), Offset(end));
        if in_batch.is_some() {
            model.cut(end);
            model.durable = end;
            prop_assert_eq!(log.progress().durable, Offset(end));
        }
        Ok(())
    }

    fn advance_start(&mut self, store: &Store, number: usize, to: i64) -> Outcome {
        self.wait()?;
        let log = self.log(store, number);
        let model = self.logs.get_mut(&number).unwrap();
        let outcome = log.advance_start(Offset(to));
        if to > model.end {
            let refused = matches!(outcome, Err(CutError::OutOfRange { .. }));
            prop_assert!(refused);
            return Ok(());
        }
        model.start = model.start.max(to);
        prop_assert_eq!(outcome.unwrap(), Offset(model.start));
        model.durable = model.durable.max(model.start);
        Ok(())
    }

    /// What must hold after each step.
    fn check(&mut self, store: &Store) -> Outcome {
        prop_assert!(store.failure().is_none());
        prop_assert_eq!(store.logs().len(), self.logs.len());
        for (number, model) in &mut self.logs {
            let log = store.log(&format!("t-{number}")).unwrap();
            let progress = log.progress();
            prop_assert_eq!(log.id(), model.id);
            prop_assert_eq!((progress.start.0, progress.written.0), (model.start, model.end));
            prop_assert!(model.durable <= progress.durable.0 && progress.durable <= progress.written);
            prop_assert!(progress.visible >= progress.durable.min(progress.written));
            model.durable = progress.durable.0;
            if self.backend.disk().is_some() {
                prop_assert_eq!(sim::check_log(&log), Ok(()));
            }
        }
        Ok(())
    }

    /// Takes over what a start found, if that may be.
    fn recovered(&mut self, store: &Store, may_lose: bool) -> Outcome {
        for (number, model) in &mut self.logs {
            let log = store.log(&format!("t-{number}")).unwrap();
            let end = log.progress().written.0;
            prop_assert!(end >= if may_lose { model.durable } else { model.end }, "{end} of {}", model.end);
            prop_assert!(end == model.start || model.batches.iter().any(|one| one.end == end));
            model.cut(end);
            model.durable = end;
            let found: Vec<_> = read_all(&log, Offset(model.start)).into_iter().map(|one| one.1).collect();
            prop_assert!(model.there().map(|one| &one.bytes).eq(found.iter()));
            prop_assert_eq!(sim::check_log(&log), Ok(()));
        }
        self.check(store)
    }
}

fn run(steps: &[Step], backend: &Backend) -> Outcome {
    let mut run = Run { backend, config: config(), logs: BTreeMap::new(), waiting: Vec::new(), ids: 0 };
    let mut store = backend.open_with_journal(run.config.clone());
    for step in steps {
        let Step::Reopen { stop } = step else {
            run.step(&store, step)?;
            run.check(&store)?;
            continue;
        };
        run.waiting.clear();
        let may_lose = match stop {
            Stop::Clean => {
                store.close().unwrap();
                drop(store);
                false
            }
            Stop::Crash => {
                backend.crash(store);
                false
            }
            Stop::Power => backend.lose_power(store),
        };
        store = backend.open(run.config.clone());
        prop_assert_eq!(store.was_clean(), *stop == Stop::Clean);
        run.recovered(&store, may_lose)?;
    }
    run.wait()?;
    run.check(&store)
}

fn many_histories(cases: u32, backend: impl Fn(u64) -> Option<Backend>) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let steps = (any::<u64>(), prop::collection::vec(step(), 1..100));
    let outcome = TestRunner::new(config)
        .run(&steps, |(seed, steps)| backend(seed).map_or(Ok(()), |backend| run(&steps, &backend)));
    if let Err(err) = outcome {
        panic!("{err}");
    }
}

#[test]
fn logs_are_lists_of_batches_with_plain_system_calls() {
    many_histories(24, |_| Some(Backend::blocking()));
}

#[test]
fn logs_are_lists_of_batches_with_a_ring() {
    many_histories(24, |_| Backend::uring());
}

#[test]
fn logs_are_lists_of_batches_on_the_simulated_disk() {
    many_histories(96, |seed| Some(Backend::sim(seed)));
}
