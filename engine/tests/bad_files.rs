//! Each file of a store, damaged in each way: cut short, foreign, of a later version, full of zeros. Opening
//! refuses and names the file, or repairs it and loses nothing, or keeps what is before the damage and says
//! so: in the log, and to whoever appends. It never panics.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::{AppendError, BatchHeader, Durability, IoMode, Log, ReadBound, Store, StoreConfig};
use std::fmt::Write;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use support::backend::Backend;
use support::*;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Empty,
    Half,
    /// The last byte is gone.
    Short,
    Foreign,
    Zeros,
    /// It looks like one that a later version would write.
    Future,
    /// The file of another log or place, valid by itself.
    Other,
    Gone,
}

const DAMAGES: [Damage; 8] = [
    Damage::Empty,
    Damage::Half,
    Damage::Short,
    Damage::Foreign,
    Damage::Zeros,
    Damage::Future,
    Damage::Other,
    Damage::Gone,
];

/// A file of the store, in its directory; and another that is valid by itself.
const FILES: [(&str, &str); 9] = [
    ("ringmain-store", "t-0/partition.metadata"),
    ("checkpoint", "t-0/leader-epoch-checkpoint"),
    ("journal/0", "t-0/00000000000000000000.log"),
    ("t-0/ringmain-log", "t-1/ringmain-log"),
    ("t-0/partition.metadata", "t-0/ringmain-log"),
    ("t-0/00000000000000000000.log", "t-1/00000000000000000000.log"),
    ("t-0/00000000000000000000.index", "t-1/00000000000000000000.index"),
    ("t-0/00000000000000000000.timeindex", "t-1/00000000000000000000.timeindex"),
    ("t-0/leader-epoch-checkpoint", "t-1/leader-epoch-checkpoint"),
];

/// How the store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Clean,
    Crash,
    /// The loss of power took what was not synced of the segments, so that the journal is needed.
    Power,
}

/// What opening made of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// An error that names the file.
    Refused,
    /// All is there.
    Whole,
    /// All that is lost comes after what is there, and it was said in the log.
    CutAndSaid,
    /// What is before the damage is read, and who appends is told of it.
    Quarantined,
    /// Reading it gives an error that names the file.
    Unreadable,
    /// It is read as it is, and its CRC is wrong.
    WrongCrc,
    Bad(String),
}

fn config() -> StoreConfig {
    StoreConfig {
        io_mode: Some(IoMode::Blocking),
        log: ringmain_engine::LogConfig { segment_bytes: 4000, ..small() },
        // More than what is appended needs: no checkpoint comes in between.
        journal_file_bytes: 512 << 10,
        journal_files_max: 2,
        ..StoreConfig::default()
    }
}

/// Two logs of 60 batches, the first half of which a checkpoint knows.
fn made(stop: Stop) -> (Backend, [Vec<String>; 2]) {
    let backend = Backend::blocking();
    let store = backend.open_with_journal(config());
    for n in 0..2 {
        let log = store.create_log(&format!("t-{n}"), id(n), config().log).unwrap();
        (0..30).for_each(|tag| {
            append(&log, batch(tag * 7 + i64::from(n), 3, tag), Durability::Durable);
        });
    }
    store.close().unwrap();
    drop(store);
    let synced: Vec<_> = (0..2).map(|n| sizes(&backend.dir().join(format!("t-{n}")))).collect();
    let store = backend.open(config());
    for n in 0..2 {
        let log = store.log(&format!("t-{n}")).unwrap();
        (30..60).for_each(|tag| {
            append(&log, batch(tag * 7 + i64::from(n), 3, tag), Durability::Durable);
        });
    }
    let all = [0, 1].map(|n| values(&store.log(&format!("t-{n}")).unwrap()));
    if stop == Stop::Clean {
        store.close().unwrap();
    }
    drop(store);
    if stop == Stop::Power {
        for (n, synced) in synced.iter().enumerate() {
            for path in support::backend::files(&backend.dir().join(format!("t-{n}")), "log") {
                match synced.iter().find(|(name, _)| *name == path) {
                    Some((_, bytes)) => {
                        fs::File::options().write(true).open(path).unwrap().set_len(*bytes).unwrap()
                    }
                    None => fs::remove_file(path).unwrap(),
                }
            }
        }
    }
    (backend, all)
}

/// The same store once more.
fn copied(from: &Backend) -> Backend {
    let to = Backend::blocking();
    fs::create_dir(to.dir()).unwrap();
    let mut dirs = vec![from.dir()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let target = to.dir().join(path.strip_prefix(from.dir()).unwrap());
            if path.is_dir() {
                fs::create_dir(target).unwrap();
                dirs.push(path);
            } else {
                fs::copy(path, target).unwrap();
            }
        }
    }
    to
}

fn sizes(dir: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let files = support::backend::files(dir, "log");
    files.into_iter().map(|path| (path.clone(), path.metadata().unwrap().len())).collect()
}

fn damage(path: &Path, damage: Damage, other: &Path) {
    if damage == Damage::Gone {
        return fs::remove_file(path).unwrap();
    }
    let content = fs::read(path).unwrap();
    let text = String::from_utf8_lossy(&content).into_owned();
    let changed = match damage {
        Damage::Empty => Vec::new(),
        Damage::Half => content[..content.len() / 2].to_vec(),
        Damage::Short => content[..content.len() - 1].to_vec(),
        Damage::Foreign => b"Dear reader,\nthis letter is not meant for you.\n".repeat(20),
        Damage::Zeros => vec![0; content.len()],
        Damage::Other => fs::read(other).unwrap(),
        Damage::Gone => return,
        Damage::Future => match path.file_name().unwrap().to_str().unwrap() {
            "ringmain-store" => text.replace("format=3", "format=4").into_bytes(),
            "checkpoint" => text.replace("ringmain-checkpoint 2", "ringmain-checkpoint 3").into_bytes(),
            "ringmain-log" => b"version=2\nlog=0\n".to_vec(),
            "partition.metadata" => b"version: 1\ntopic_name: t\n".to_vec(),
            "leader-epoch-checkpoint" => b"9\n1\n0 0 0\n".to_vec(),
            _ => {
                // Of a binary file all that can be a version is changed.
                let mut bytes = content;
                bytes.iter_mut().step_by(16).for_each(|byte| *byte = byte.wrapping_add(1));
                bytes
            }
        },
    };
    fs::write(path, changed).unwrap();
}

/// What is read and no batch.
const WRONG_CRC: &str = "a batch is damaged";

/// What can be read: values, and the error that ended it.
fn tolerant(log: &Log) -> (Vec<String>, Option<String>) {
    let mut values = Vec::new();
    let mut next = log.progress().start;
    loop {
        let slice = match log.read(next, 1 << 20, true, ReadBound::Visible) {
            Ok(Some(slice)) => slice,
            Ok(None) => return (values, None),
            Err(err) => return (values, Some(err.to_string())),
        };
        let bytes = slice.read().unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = match BatchHeader::parse_whole(rest) {
                Ok(header) if header.base_offset <= next && next < header.end_offset() => header,
                _ => return (values, Some(WRONG_CRC.into())),
            };
            for record in ringmain_engine::records(&rest[..header.size_bytes]).unwrap() {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
            next = header.end_offset();
            rest = &rest[header.size_bytes..];
        }
    }
}

/// What opening makes of the damage, and what it logged.
fn outcome(backend: &Backend, all: &[Vec<String>; 2], file: &str) -> (Outcome, String) {
    let said = Arc::new(Mutex::new(String::new()));
    let dispatch = tracing::Dispatch::new(Warnings(Arc::clone(&said)));
    let opened = tracing::dispatcher::with_default(&dispatch, || {
        catch_unwind(AssertUnwindSafe(|| Store::open(backend.dir(), config())))
    });
    let said = said.lock().unwrap().clone();
    let name = Path::new(file).file_name().unwrap().to_str().unwrap();
    let store = match opened {
        Err(_) => return (Outcome::Bad("a panic".into()), said),
        Ok(Err(err)) => {
            let err = err.to_string();
            let named = err.contains(name) || (file.starts_with("journal") && err.contains("journal"));
            return (
                if named { Outcome::Refused } else { Outcome::Bad(format!("does not name it: {err}")) },
                said,
            );
        }
        Ok(Ok(store)) => store,
    };
    let mut found = Outcome::Whole;
    for (n, all) in all.iter().enumerate() {
        let Some(log) = store.log(&format!("t-{n}")) else {
            return (Outcome::Bad(format!("log t-{n} is gone")), said);
        };
        let (values, unreadable) = tolerant(&log);
        let is_prefix = all.starts_with(&values);
        let appended = log.append(&mut batch(0, 1, 0), Durability::Durable);
        let outcome = match (appended, unreadable) {
            _ if !is_prefix => Outcome::Bad(format!("t-{n} has what is not its own")),
            (Err(AppendError::Quarantined { file, .. }), _)
                if file.to_string_lossy().contains(&format!("t-{n}")) =>
            {
                Outcome::Quarantined
            }
            (Err(err), _) => Outcome::Bad(format!("t-{n} takes no appends: {err}")),
            (Ok(_), Some(err)) if err.contains(name) => Outcome::Unreadable,
            (Ok(_), Some(err)) if err == WRONG_CRC => Outcome::WrongCrc,
            (Ok(_), Some(err)) => Outcome::Bad(format!("t-{n}: {err}")),
            (Ok(_), None) if values == *all => match ringmain_engine::sim::check_log(&log) {
                Ok(()) => Outcome::Whole,
                Err(what) => Outcome::Bad(what),
            },
            (Ok(_), None) if said.contains(name) => Outcome::CutAndSaid,
            (Ok(_), None) => Outcome::Bad(format!("t-{n} has {} of {} records", values.len(), all.len())),
        };
        found = found.max(outcome);
    }
    (found, said)
}

/// What may become of a damaged file.
fn allowed(stop: Stop, file: &str, damage: Damage) -> &'static [Outcome] {
    let short = matches!(damage, Damage::Short);
    match file.rsplit(['/', '.']).next().unwrap() {
        // Without its last line feed a text says what it said.
        "ringmain-store" | "ringmain-log" | "metadata" if short => &[Outcome::Whole],
        "ringmain-store" | "ringmain-log" | "metadata" => &[Outcome::Refused],
        "checkpoint" if stop == Stop::Clean => &[Outcome::Whole],
        "checkpoint" => &[Outcome::Refused],
        // After a clean stop nothing in it is needed, and after a crash its own header tells.
        "0" if stop == Stop::Clean => &[Outcome::Whole],
        "0" => &[Outcome::Refused],
        // The first batch is looked at. What else a checkpoint knows is not read by a start: reading tells, or
        // the one who reads sees the CRC.
        "log" if !matches!(damage, Damage::Short | Damage::Half) => &[Outcome::Quarantined],
        "log" => &[Outcome::Whole, Outcome::Quarantined, Outcome::Unreadable, Outcome::WrongCrc],
        // These are made again from the batches.
        "index" | "timeindex" | "leader-epoch-checkpoint" => &[Outcome::Whole],
        other => panic!("{other}"),
    }
}

fn each_damage_is_refused_repaired_or_told_of(stop: Stop) {
    let (made, all) = made(stop);
    assert_eq!(outcome(&copied(&made), &all, "nothing").0, Outcome::Whole, "{stop:?}: without damage");
    let mut wrong = Vec::new();
    for (file, other) in FILES {
        for kind in DAMAGES {
            let backend = copied(&made);
            damage(&backend.dir().join(file), kind, &backend.dir().join(other));
            let (found, said) = outcome(&backend, &all, file);
            if !allowed(stop, file, kind).contains(&found) {
                wrong.push(format!("{file} {kind:?}: {found:?}"));
            }
            let repaired = file == "checkpoint" && found == Outcome::Whole && kind != Damage::Gone;
            if repaired && !said.contains("the checkpoint is damaged") {
                wrong.push(format!("{file} {kind:?}: not a word about it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{stop:?}: {wrong:#?}");
}

#[test]
fn after_a_clean_stop() {
    each_damage_is_refused_repaired_or_told_of(Stop::Clean);
}

#[test]
fn after_a_crash() {
    each_damage_is_refused_repaired_or_told_of(Stop::Crash);
}

#[test]
fn after_the_loss_of_power() {
    each_damage_is_refused_repaired_or_told_of(Stop::Power);
}

/// Keeps what is logged as a warning or an error.
struct Warnings(Arc<Mutex<String>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap();
        event.record(&mut Fields(&mut text));
        text.push('\n');
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}
