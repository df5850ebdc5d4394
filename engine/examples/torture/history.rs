//! The history: one line for each thing that was tried, and for each that was confirmed.
//!
//! A line begins with a word and a position. The position tells how many entries the write log had:
//! for what is tried, before it was; for what is confirmed, after it was. So what is confirmed at
//! position X holds in every state of the medium from X on, and what is tried at X is in none before.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the superblock of a write log counts its entries: little-endian, 8 bytes.
const ENTRIES_AT: u64 = 16;

/// What a line says. Ids of logs are written as the engine shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A process begins to write.
    Run {
        seed: u64,
    },
    /// After opening, this log was there.
    Found {
        name: String,
        id: String,
    },
    /// After opening, there was no such log.
    Absent {
        name: String,
    },
    Creating {
        name: String,
        id: String,
    },
    Created {
        name: String,
        id: String,
    },
    Deleting {
        name: String,
        id: String,
    },
    Deleted {
        name: String,
        id: String,
    },
    /// A batch is about to be appended.
    Try {
        id: String,
        tag: u64,
        count: usize,
        size: usize,
    },
    /// It was not, and nothing of it may ever be found.
    Refused {
        id: String,
        tag: u64,
    },
    /// It was, as durably as was asked for.
    Ack {
        id: String,
        base: i64,
        end: i64,
        tag: u64,
        durable: bool,
    },
    /// A check found these contents up to `end`. They were recovered, so they are durable.
    Seen {
        id: String,
        end: i64,
        digest: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { seed } => write!(f, "{seed}"),
            Self::Absent { name } => write!(f, "{name}"),
            Self::Found { name, id }
            | Self::Creating { name, id }
            | Self::Created { name, id }
            | Self::Deleting { name, id }
            | Self::Deleted { name, id } => write!(f, "{name} {id}"),
            Self::Try { id, tag, count, size } => write!(f, "{id} {tag} {count} {size}"),
            Self::Refused { id, tag } => write!(f, "{id} {tag}"),
            Self::Ack { id, base, end, tag, durable } => {
                write!(f, "{id} {base} {end} {tag} {}", if *durable { 'D' } else { 'W' })
            }
            Self::Seen { id, end, digest } => write!(f, "{id} {end} {digest}"),
        }
    }
}

impl Event {
    fn word(&self) -> &'static str {
        match self {
            Self::Run { .. } => "run",
            Self::Found { .. } => "found",
            Self::Absent { .. } => "absent",
            Self::Creating { .. } => "creating",
            Self::Created { .. } => "created",
            Self::Deleting { .. } => "deleting",
            Self::Deleted { .. } => "deleted",
            Self::Try { .. } => "try",
            Self::Refused { .. } => "refused",
            Self::Ack { .. } => "ack",
            Self::Seen { .. } => "seen",
        }
    }

    /// Position and event of a line.
    fn parse(line: &str) -> Option<(u64, Self)> {
        let fields: Vec<&str> = line.split(' ').collect();
        let (word, position) = (fields.first()?, fields.get(1)?.parse().ok()?);
        let event = match (*word, fields.get(2..)?) {
            ("run", [seed]) => Self::Run { seed: seed.parse().ok()? },
            ("absent", [name]) => Self::Absent { name: (*name).into() },
            ("found", [name, id]) => Self::Found { name: (*name).into(), id: (*id).into() },
            ("creating", [name, id]) => Self::Creating { name: (*name).into(), id: (*id).into() },
            ("created", [name, id]) => Self::Created { name: (*name).into(), id: (*id).into() },
            ("deleting", [name, id]) => Self::Deleting { name: (*name).into(), id: (*id).into() },
            ("deleted", [name, id]) => Self::Deleted { name: (*name).into(), id: (*id).into() },
            ("try", [id, tag, count, size]) => Self::Try {
                id: (*id).into(),
                tag: tag.parse().ok()?,
                count: count.parse().ok()?,
                size: size.parse().ok()?,
            },
            ("refused", [id, tag]) => Self::Refused { id: (*id).into(), tag: tag.parse().ok()? },
            ("ack", [id, base, end, tag, durability @ ("D" | "W")]) => Self::Ack {
                id: (*id).into(),
                base: base.parse().ok()?,
                end: end.parse().ok()?,
                tag: tag.parse().ok()?,
                durable: *durability == "D",
            },
            ("seen", [id, end, digest]) => {
                Self::Seen { id: (*id).into(), end: end.parse().ok()?, digest: digest.parse().ok()? }
            }
            _ => return None,
        };
        Some((position, event))
    }
}

/// The history as a file, and where positions come from.
pub(crate) struct Notes {
    file: File,
    write_log: Option<File>,
}

impl Notes {
    pub(crate) fn open(acks: &Path, write_log: Option<&Path>) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(acks)?;
        Ok(Self { file, write_log: write_log.map(File::open).transpose()? })
    }

    /// One write for each line: threads do not mix theirs, and no line is lost with the process.
    pub(crate) fn note(&self, event: &Event) -> Result<(), String> {
        let mut count = [0; 8];
        if let Some(log) = &self.write_log {
            log.read_exact_at(&mut count, ENTRIES_AT)
                .map_err(|err| format!("reading the write log: {err}"))?;
        }
        let line = format!("{} {} {event}\n", event.word(), u64::from_le_bytes(count));
        (&self.file).write_all(line.as_bytes()).map_err(|err| format!("writing the history: {err}"))
    }
}

/// The events of a history, up to position `at`.
pub(crate) fn read(acks: &Path, at: Option<u64>) -> Result<Vec<Event>, String> {
    let text = std::fs::read_to_string(acks).map_err(|err| format!("{}: {err}", acks.display()))?;
    let mut events = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (position, event) =
            Event::parse(line).ok_or_else(|| format!("line {} of the history is {line:?}", number + 1))?;
        if at.is_none_or(|at| position <= at) {
            events.push(event);
        }
    }
    Ok(events)
}
