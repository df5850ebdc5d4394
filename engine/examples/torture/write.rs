//! Several threads that append to the same logs, with several appends in flight each.

use crate::Options;
use crate::history::{Event, Notes};
use crate::values::{Random, Shape};
use ringmain_engine::{AppendError, Appended, Durability, Log, LogId, Store, WaitError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

const THREADS: u64 = 3;
/// Durable appends that a thread has in flight, at most.
const IN_FLIGHT_MAX: u64 = 6;
/// A log beyond this is deleted and made again, so that a run of any length fits a small disk.
const LOG_BYTES_MAX: u64 = 3 << 20;
/// Below that, one append in so many is followed by a deletion.
const APPENDS_PER_DELETION: u64 = 400;

/// Why a thread writes no more.
#[derive(Debug)]
pub(crate) enum Stop {
    Full,
    /// The store refuses writes.
    Failed(String),
    /// What should never happen.
    Wrong(String),
}

impl From<String> for Stop {
    fn from(reason: String) -> Self {
        Self::Wrong(reason)
    }
}

/// The logs of a store, while they are written.
pub(crate) struct Writer<'a> {
    pub(crate) store: &'a Store,
    pub(crate) notes: &'a Notes,
    names: Vec<String>,
    /// Held by who appends, exclusively by who deletes.
    logs: Vec<RwLock<Arc<Log>>>,
    seed: u64,
    next_tag: AtomicU64,
    next_id: AtomicU64,
    durable: AtomicU64,
    keep_logs: bool,
}

/// A durable append that is not confirmed yet.
pub(crate) struct InFlight {
    appended: Appended,
    id: String,
    tag: u64,
}

impl<'a> Writer<'a> {
    /// Notes which logs are there and makes the others.
    pub(crate) fn new(store: &'a Store, notes: &'a Notes, options: &Options) -> Result<Self, Stop> {
        notes.note(&Event::Run { seed: options.seed })?;
        let mut writer = Self {
            store,
            notes,
            names: (0..options.logs).map(|n| format!("log-{n}")).collect(),
            logs: Vec::new(),
            seed: options.seed,
            next_tag: AtomicU64::new(0),
            next_id: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            keep_logs: options.keep_logs,
        };
        for name in writer.names.clone() {
            let log = match store.log(&name) {
                Some(log) => {
                    notes.note(&Event::Found { name, id: id_of(&log) })?;
                    log
                }
                None => {
                    notes.note(&Event::Absent { name: name.clone() })?;
                    writer.create(&name)?
                }
            };
            writer.logs.push(RwLock::new(log));
        }
        Ok(writer)
    }

    pub(crate) fn logs(&self) -> Vec<Arc<Log>> {
        self.logs.iter().map(|log| Arc::clone(&log.read().unwrap_or_else(PoisonError::into_inner))).collect()
    }

    fn create(&self, name: &str) -> Result<Arc<Log>, Stop> {
        // The seed is new in every run, so no id is used twice.
        let number = u128::from(self.seed) << 64 | u128::from(self.next_id.fetch_add(1, Ordering::Relaxed));
        let id = LogId(number.to_be_bytes());
        let (name, shown) = (name.to_owned(), format!("{id:?}"));
        self.notes.note(&Event::Creating { name: name.clone(), id: shown.clone() })?;
        let config = crate::log_config();
        let log = self.store.create_log(&name, id, config).map_err(|err| self.stop(&err.to_string()))?;
        self.notes.note(&Event::Created { name, id: shown })?;
        Ok(log)
    }

    /// Deletes a log and makes another of the same name.
    fn renew(&self, at: usize) -> Result<(), Stop> {
        let mut log = self.logs[at].write().unwrap_or_else(PoisonError::into_inner);
        let (name, id) = (self.names[at].clone(), id_of(&log));
        self.notes.note(&Event::Deleting { name: name.clone(), id: id.clone() })?;
        self.store.delete_log(&name).map_err(|err| self.stop(&err.to_string()))?;
        self.notes.note(&Event::Deleted { name: name.clone(), id })?;
        *log = self.create(&name)?;
        Ok(())
    }

    /// An operation's own error, or that the store had failed before it.
    fn stop(&self, reason: &str) -> Stop {
        match self.store.failure() {
            Some(failed) => Stop::Failed(failed.to_string()),
            None => Stop::Wrong(reason.into()),
        }
    }

    /// Appends one batch, and confirms it if that is known at once.
    pub(crate) fn append(
        &self,
        log: &Arc<Log>,
        durability: Durability,
        random: &mut Random,
    ) -> Result<Option<InFlight>, Stop> {
        let tag = self.seed << 32 | self.next_tag.fetch_add(1, Ordering::Relaxed);
        let shape = Shape::any(tag, random);
        let mut batch = shape.batch()?;
        let id = id_of(log);
        self.notes.note(&Event::Try { id: id.clone(), tag, count: shape.count, size: shape.size })?;
        let appended = match log.append(&mut batch, durability) {
            Ok(appended) => appended,
            Err(AppendError::DiskFull) => {
                self.notes.note(&Event::Refused { id, tag })?;
                return Err(Stop::Full);
            }
            // What a failed write leaves on the disk is not known.
            Err(AppendError::Failed(failed)) => return Err(Stop::Failed(failed.to_string())),
            Err(err) => return Err(self.stop(&format!("an append was refused: {err}"))),
        };
        let in_flight = InFlight { appended, id, tag };
        if durability == Durability::Durable {
            return Ok(Some(in_flight));
        }
        self.confirm(in_flight, false)?;
        Ok(None)
    }

    fn confirm(&self, done: InFlight, durable: bool) -> Result<(), Stop> {
        let InFlight { appended, id, tag } = done;
        let (base, end) = (appended.base_offset.0, appended.end_offset.0);
        Ok(self.notes.note(&Event::Ack { id, base, end, tag, durable })?)
    }

    /// Waits for a durable append.
    pub(crate) fn wait(&self, in_flight: InFlight) -> Result<(), Stop> {
        match in_flight.appended.completion.wait() {
            Ok(()) => {}
            Err(WaitError::Failed(failed)) => return Err(Stop::Failed(failed.to_string())),
            Err(WaitError::Deleted) => return Ok(()),
            Err(err) => return Err(Stop::Wrong(format!("a durable append ended with: {err}"))),
        }
        self.confirm(in_flight, true)?;
        if self.durable.fetch_add(1, Ordering::Relaxed) == 0 {
            println!("running");
        }
        Ok(())
    }

    /// What one thread does until `stop` is set or `left` is used up.
    fn thread(&self, number: u64, stop: &AtomicBool, left: &AtomicU64) -> Result<(), Stop> {
        let mut random = Random(self.seed.wrapping_mul(THREADS) + number);
        let mut in_flight = VecDeque::new();
        while !stop.load(Ordering::Relaxed) {
            let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if taken.is_err() {
                break;
            }
            let at = random.below(self.logs.len() as u64) as usize;
            let durability = if random.once_in(2) { Durability::Durable } else { Durability::Written };
            let size = {
                let log = self.logs[at].read().unwrap_or_else(PoisonError::into_inner);
                in_flight.extend(self.append(&log, durability, &mut random)?);
                log.size_bytes()
            };
            while in_flight.len() as u64 > random.below(IN_FLIGHT_MAX + 1) {
                if let Some(first) = in_flight.pop_front() {
                    self.wait(first)?;
                }
            }
            if !self.keep_logs && (size > LOG_BYTES_MAX || random.once_in(APPENDS_PER_DELETION)) {
                self.renew(at)?;
            }
            if random.once_in(8) {
                std::thread::sleep(Duration::from_micros(random.below(2000)));
            }
        }
        in_flight.into_iter().try_for_each(|last| self.wait(last))
    }

    /// Writes with all threads, until the first of them stops or `batches` are written.
    pub(crate) fn write(&self, batches: Option<u64>) -> Result<(), Stop> {
        let (stop, left) = (AtomicBool::new(false), AtomicU64::new(batches.unwrap_or(u64::MAX)));
        let mut outcomes = Vec::new();
        std::thread::scope(|scope| {
            let thread = |number| {
                let outcome = self.thread(number, &stop, &left);
                if outcome.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
                outcome
            };
            let threads: Vec<_> = (0..THREADS).map(|number| scope.spawn(move || thread(number))).collect();
            for thread in threads {
                outcomes.push(thread.join().unwrap_or_else(|_| Err(Stop::Wrong("a thread panicked".into()))));
            }
        });
        // What is wrong goes before what follows from a failure.
        outcomes.sort_by_key(|outcome| !matches!(outcome, Err(Stop::Wrong(_))));
        outcomes.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }
}

pub(crate) fn id_of(log: &Log) -> String {
    format!("{:?}", log.id())
}

pub(crate) fn run(options: &Options) -> Result<String, String> {
    let notes = options.notes()?;
    let store = options.open()?;
    let writer = Writer::new(&store, &notes, options);
    match writer.and_then(|writer| writer.write(options.batches)) {
        Ok(()) => {}
        Err(Stop::Full) => return Err("the disk is full".into()),
        Err(Stop::Failed(reason) | Stop::Wrong(reason)) => return Err(reason),
    }
    store.close().map_err(|err| format!("the store does not close: {err}"))?;
    Ok("closed".into())
}
