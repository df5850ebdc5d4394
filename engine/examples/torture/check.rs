//! Compares a store with the history of what was done to it.

use crate::Options;
use crate::history::{self, Event};
use crate::values::{Shape, mix};
use crate::write::id_of;
use ringmain_engine::{BatchHeader, Log, Offset, ReadBound, ReadError};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Losses that are told one by one.
const SHOWN_MAX: usize = 5;
const READ_BYTES: u64 = 1 << 20;

/// A batch as it was found.
struct Found {
    base: i64,
    end: i64,
    shape: Shape,
}

/// What must hold for the log of an id.
#[derive(Default)]
struct Expected {
    name: String,
    /// It may be there: its creation was begun, and its deletion was not finished.
    may_be: bool,
    /// It must be there: its creation was finished, and its deletion was not begun.
    must_be: bool,
    tried: HashMap<u64, (usize, usize)>,
    refused: HashSet<u64>,
    /// Base, end, tag, whether it was durable, and the run it was in.
    acks: Vec<(i64, i64, u64, bool, usize)>,
    seen: Vec<(i64, u64)>,
}

/// The logs by id.
fn expected(events: Vec<Event>) -> BTreeMap<String, Expected> {
    let mut logs: BTreeMap<String, Expected> = BTreeMap::new();
    let mut run = 0;
    for event in events {
        match event {
            Event::Run { .. } => run += 1,
            Event::Absent { name } => {
                for log in logs.values_mut().filter(|log| log.name == name) {
                    (log.may_be, log.must_be) = (false, false);
                }
            }
            Event::Creating { name, id } => {
                logs.entry(id).or_default().creating(name);
            }
            Event::Created { name, id } | Event::Found { name, id } => {
                let log = logs.entry(id).or_default();
                log.creating(name);
                log.must_be = true;
            }
            Event::Deleting { id, .. } => logs.entry(id).or_default().must_be = false,
            Event::Deleted { id, .. } => {
                let log = logs.entry(id).or_default();
                (log.may_be, log.must_be) = (false, false);
            }
            Event::Try { id, tag, count, size } => {
                logs.entry(id).or_default().tried.insert(tag, (count, size));
            }
            Event::Refused { id, tag } => {
                logs.entry(id).or_default().refused.insert(tag);
            }
            Event::Ack { id, base, end, tag, durable } => {
                logs.entry(id).or_default().acks.push((base, end, tag, durable, run));
            }
            Event::Seen { id, end, digest } => logs.entry(id).or_default().seen.push((end, digest)),
        }
    }
    logs
}

impl Expected {
    fn creating(&mut self, name: String) {
        self.name = name;
        self.may_be = true;
    }

    /// The acknowledged batches that must be there: all that were durable, and what was written
    /// before them in the same run, since what is durable is a prefix; else all.
    fn required(&self, written_too: bool) -> Vec<(i64, i64, u64, bool)> {
        let mut durable_to: HashMap<usize, i64> = HashMap::new();
        for (_, end, _, durable, run) in &self.acks {
            if *durable {
                let to = durable_to.entry(*run).or_default();
                *to = (*to).max(*end);
            }
        }
        let mut required = Vec::new();
        for (base, end, tag, durable, run) in &self.acks {
            if written_too || durable_to.get(run).is_some_and(|to| end <= to) {
                required.push((*base, *end, *tag, *durable));
            }
        }
        required
    }
}

/// Everything in a log, as far as `bound` allows; what is wrong with it goes to `losses`. And whether the rest of
/// it cannot be had before a restart, and the store says so.
fn contents(log: &Log, bound: ReadBound, losses: &mut Vec<String>) -> (Vec<Found>, bool) {
    let name = log.name();
    let mut found: Vec<Found> = Vec::new();
    let mut next = Offset::ZERO;
    loop {
        let slice = log.read(next, READ_BYTES, true, bound);
        let bytes = match slice.and_then(|slice| slice.map(|slice| slice.read()).transpose()) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return (found, false),
            Err(ReadError::Lost { .. }) => return (found, true),
            Err(err) => {
                losses.push(format!("{name}: {err}"));
                return (found, false);
            }
        };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = match BatchHeader::parse_whole(rest) {
                Ok(header) if header.base_offset == next => header,
                Ok(header) => {
                    losses.push(format!("{name}: offset {} where {next} follows", header.base_offset));
                    return (found, false);
                }
                Err(err) => {
                    losses.push(format!("{name}: at offset {next}: {err}"));
                    return (found, false);
                }
            };
            let (batch, after) = rest.split_at(header.size_bytes);
            match Shape::of(&header, batch) {
                Ok(shape) => found.push(Found { base: next.0, end: header.end_offset().0, shape }),
                Err(reason) => losses.push(format!("{name}: at offset {next}: {reason}")),
            }
            next = header.end_offset();
            rest = after;
        }
    }
}

/// What a comparison counted.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) durable: usize,
    pub(crate) written: usize,
    /// What a store that failed refuses to read, since the kernel dropped it.
    refused: usize,
    pub(crate) losses: Vec<String>,
    /// For each log its id, end and digest.
    seen: Vec<(String, i64, u64)>,
}

/// Compares all logs that are there with the events.
pub(crate) fn compare(
    logs: &[std::sync::Arc<Log>],
    events: Vec<Event>,
    bound: ReadBound,
    written_too: bool,
) -> Report {
    let mut report = Report::default();
    let expected = expected(events);
    for (id, log) in &expected {
        if log.must_be && !logs.iter().any(|there| id_of(there) == *id) {
            report.losses.push(format!("{} ({id}) is not there", log.name));
        }
    }
    for log in logs {
        let id = id_of(log);
        match expected.get(&id) {
            Some(known) if known.may_be && known.name == log.name() => {
                compare_log(log, known, bound, written_too, &mut report);
            }
            Some(known) if known.may_be => {
                report.losses.push(format!("{id} is called {}, not {}", log.name(), known.name));
            }
            Some(_) => report.losses.push(format!("{} ({id}) was deleted and is there", log.name())),
            None => report.losses.push(format!("{} ({id}) was never created", log.name())),
        }
    }
    report
}

fn compare_log(log: &Log, known: &Expected, bound: ReadBound, written_too: bool, report: &mut Report) {
    let (name, losses) = (log.name(), &mut report.losses);
    let (found, refused) = contents(log, bound, losses);
    let mut by_tag = HashMap::new();
    let mut digest = 0;
    let mut digests = HashMap::from([(0, 0)]);
    for Found { base, end, shape } in &found {
        let Shape { tag, count, size } = *shape;
        match known.tried.get(&tag) {
            Some(tried) if *tried == (count, size) => {}
            Some(tried) => losses.push(format!("{name}: {tag:#x} is {:?}, was {tried:?}", (count, size))),
            None => losses.push(format!("{name}: {tag:#x} at offset {base} was never appended")),
        }
        if known.refused.contains(&tag) {
            losses.push(format!("{name}: {tag:#x} at offset {base} was refused"));
        }
        if let Some((before, _)) = by_tag.insert(tag, (*base, *end)) {
            losses.push(format!("{name}: {tag:#x} is at offset {before} and at {base}"));
        }
        digest = mix(digest ^ tag);
        digests.insert(*end, digest);
    }
    let end = found.last().map_or(0, |last| last.end);
    for (base, upto, tag, durable) in known.required(written_too) {
        match by_tag.get(&tag) {
            Some(there) if *there == (base, upto) && durable => report.durable += 1,
            Some(there) if *there == (base, upto) => report.written += 1,
            None if refused && base >= end => report.refused += 1,
            Some((there, _)) => losses.push(format!("{name}: {tag:#x} is at {there}, not at {base}")),
            None => losses.push(format!(
                "{name}: {tag:#x} at {base} to {upto} was acknowledged as {} and is lost; the log ends at {end}",
                if durable { "durable" } else { "written" }
            )),
        }
    }
    for (upto, was) in &known.seen {
        if digests.get(upto) != Some(was) && !(refused && *upto > end) {
            losses.push(format!("{name}: before offset {upto} is not what was recovered before"));
        }
    }
    report.seen.push((id_of(log), end, digest));
}

impl Report {
    /// One line if all is there, else what is not.
    pub(crate) fn line(&self) -> Result<String, String> {
        if self.losses.is_empty() {
            let refused = match self.refused {
                0 => String::new(),
                count => format!(", {count} refused until the restart"),
            };
            return Ok(format!("ok {} durable, {} written{refused}", self.durable, self.written));
        }
        for loss in self.losses.iter().take(SHOWN_MAX) {
            println!("LOSS {loss}");
        }
        Err(format!(
            "{} losses, {} durable and {} written are there",
            self.losses.len(),
            self.durable,
            self.written
        ))
    }
}

pub(crate) fn run(options: &Options) -> Result<String, String> {
    let events = history::read(&options.acks, options.at)?;
    let store = options.open()?;
    let report = compare(&store.logs(), events, ReadBound::Written, options.written);
    let line = report.line()?;
    if options.note {
        let notes = options.notes()?;
        for (id, end, digest) in report.seen {
            notes.note(&Event::Seen { id, end, digest })?;
        }
    }
    if options.close {
        store.close().map_err(|err| format!("the store does not close: {err}"))?;
    }
    Ok(line)
}
