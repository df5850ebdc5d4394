//! The file `checkpoint`: lines of words, with a checksum at the end. FORMAT.md describes it.

use crate::index::{IndexState, Summary};
use crate::io::{Io, read_file, replace_file};
use crate::journal::Head;
use crate::log::{LogState, SegmentState};
use crate::offset::{LeaderEpoch, Offset};
use crate::producers::{KnownBatch, ProducerState};
use crate::segment::{IndexerState, MaxTimestamp};
use crate::watermark::Position;
use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The file's name.
pub(crate) const FILE: &str = "checkpoint";
/// The largest file that is read.
const FILE_BYTES_MAX: usize = 1 << 36;
const TITLE: &str = "ringmain-checkpoint 2";
/// What it was in a store of format 2, which kept neither names of logs nor CRCs of segments.
const TITLE_BEFORE: &str = "ringmain-checkpoint 1";

/// How far everything was when the checkpoint began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Only entries of this epoch are of this life of the store.
    pub(crate) epoch: u64,
    /// The first entry of the journal that is needed.
    pub(crate) head: Head,
    /// By number.
    pub(crate) logs: HashMap<u64, Arc<LogState>>,
}

/// Where a file cannot be what was written, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) position: u64,
    pub(crate) reason: String,
}

impl Checkpoint {
    /// `None` if there is no file.
    pub(crate) fn read(io: &dyn Io, dir: &Path) -> io::Result<Option<Result<Self, Malformed>>> {
        match read_file(io, &dir.join(FILE), FILE_BYTES_MAX) {
            Ok(content) => Ok(Some(Self::decode(&content))),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Replaces the file, durably.
    pub(crate) fn write<'a>(
        io: &dyn Io,
        dir: &Path,
        epoch: u64,
        head: Head,
        logs: impl Iterator<Item = &'a LogState>,
    ) -> io::Result<()> {
        replace_file(io, &dir.join(FILE), encode(epoch, head, logs).as_bytes(), true)
    }

    pub(crate) fn decode(content: &[u8]) -> Result<Self, Malformed> {
        let malformed = |position: usize, reason: &str| Malformed {
            position: position as u64,
            reason: reason.to_owned(),
        };
        let text =
            std::str::from_utf8(content).map_err(|err| malformed(err.valid_up_to(), "it is not text"))?;
        let body = text.strip_suffix('\n').and_then(|text| text.rfind('\n')).map_or(0, |at| at + 1);
        if ![TITLE, TITLE_BEFORE].contains(&text.lines().next().unwrap_or_default()) {
            return Err(malformed(0, "it does not begin as a checkpoint of this version does"));
        }
        if text[body..] != format!("end {:08x}\n", crc32c::crc32c(&content[..body])) {
            return Err(malformed(body, "its checksum does not hold"));
        }
        let mut position = 0;
        let mut found = Self::default();
        let mut log: Option<LogState> = None;
        for line in text[..body].split_inclusive('\n') {
            found
                .line(&mut log, line.trim_end())
                .ok_or_else(|| malformed(position, "the line makes no sense"))?;
            position += line.len();
        }
        found.add(log.take());
        Ok(found)
    }

    fn add(&mut self, log: Option<LogState>) {
        self.logs.extend(log.map(|log| (log.number, Arc::new(log))));
    }

    fn line(&mut self, log: &mut Option<LogState>, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once(' ')?;
        let mut words = rest.split(' ');
        let mut next = || words.next()?.parse::<i64>().ok();
        match kind {
            "ringmain-checkpoint" => {}
            "journal" => {
                self.epoch = next()?.cast_unsigned();
                let sequence = next()?.cast_unsigned();
                let file = usize::try_from(next()?).ok()?;
                self.head = Head { sequence, file, position: next()?.cast_unsigned() };
            }
            "log" => {
                self.add(log.take());
                let mut state = LogState {
                    number: next()?.cast_unsigned(),
                    start: Offset(next()?),
                    end: Position {
                        offset: Offset(next()?),
                        segment: Offset(next()?),
                        bytes: next()?.cast_unsigned(),
                    },
                    durable: Offset(next()?),
                    cut_sequence: next()?.cast_unsigned(),
                    indexer: IndexerState {
                        since_last_entry_bytes: next()?.cast_unsigned(),
                        last_time_ms: next()?,
                    },
                    ..LogState::default()
                };
                if let Some(epoch) = next() {
                    state.leader_epoch = LeaderEpoch(i32::try_from(epoch).ok()?);
                    state.name = name(words.next().unwrap_or_default())?;
                }
                *log = Some(state);
            }
            "epoch" => {
                let (epoch, base) = (i32::try_from(next()?).ok()?, next()?);
                log.as_mut()?.epochs.assign(LeaderEpoch(epoch), Offset(base));
            }
            "segment" => {
                let (base, end, bytes) = (Offset(next()?), Offset(next()?), next()?.cast_unsigned());
                let (timestamp_ms, offset) = (next()?, Offset(next()?));
                let max_timestamp = (offset.0 >= 0).then_some(MaxTimestamp { timestamp_ms, offset });
                let mut summary = || {
                    let entries = usize::try_from(next()?).ok()?;
                    Some(Summary { entries, checksum: u32::try_from(next()?).ok()? })
                };
                let index = IndexState { offsets: summary()?, times: summary()? };
                let first_crc = next().and_then(|crc| u32::try_from(crc).ok());
                let state = SegmentState { base, end, bytes, max_timestamp, first_crc, index };
                log.as_mut()?.segments.push(state);
            }
            "producer" => {
                let (id, epoch) = (next()?, i16::try_from(next()?).ok()?);
                let count = next()?;
                let mut batch = || {
                    Some(KnownBatch {
                        first_sequence: i32::try_from(next()?).ok()?,
                        last_sequence: i32::try_from(next()?).ok()?,
                        base_offset: Offset(next()?),
                        end_offset: Offset(next()?),
                    })
                };
                let batches = (0..count.min(64)).map(|_| batch()).collect::<Option<Vec<_>>>()?;
                log.as_mut()?.producers.push(ProducerState { id, epoch, batches });
            }
            _ => return None,
        }
        Some(())
    }
}

/// A name as one word of ASCII: other bytes than letters, digits, dots, dashes and underscores are `%` and two
/// hexadecimal digits.
fn word(name: &str) -> String {
    let mut word = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => word.push(char::from(byte)),
            _ => drop(write!(word, "%{byte:02x}")),
        }
    }
    word
}

/// The name that a word stands for.
fn name(word: &str) -> Option<String> {
    let mut name = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            name.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            name.push(*first);
        }
    }
    String::from_utf8(name).ok()
}

fn encode<'a>(epoch: u64, head: Head, logs: impl Iterator<Item = &'a LogState>) -> String {
    let mut text = format!("{TITLE}\njournal {epoch} {} {} {}\n", head.sequence, head.file, head.position);
    for log in logs {
        encode_log(&mut text, log);
    }
    let checksum = crc32c::crc32c(text.as_bytes());
    // Writing to a String does not fail; here and below.
    let _ = writeln!(text, "end {checksum:08x}");
    text
}

fn encode_log(text: &mut String, log: &LogState) {
    let (end, indexer) = (log.end, log.indexer);
    let _ = writeln!(
        text,
        "log {} {} {} {} {} {} {} {} {} {} {}",
        log.number,
        log.start,
        end.offset,
        end.segment,
        end.bytes,
        log.durable,
        log.cut_sequence,
        indexer.since_last_entry_bytes,
        indexer.last_time_ms,
        log.leader_epoch,
        word(&log.name)
    );
    for (epoch, base) in log.epochs.iter() {
        let _ = writeln!(text, "epoch {epoch} {base}");
    }
    for segment in &log.segments {
        let max = segment.max_timestamp.unwrap_or(MaxTimestamp { timestamp_ms: -1, offset: Offset(-1) });
        let (offsets, times) = (segment.index.offsets, segment.index.times);
        let _ = writeln!(
            text,
            "segment {} {} {} {} {} {} {} {} {} {}",
            segment.base,
            segment.end,
            segment.bytes,
            max.timestamp_ms,
            max.offset,
            offsets.entries,
            offsets.checksum,
            times.entries,
            times.checksum,
            segment.first_crc.map_or(-1, i64::from)
        );
    }
    for producer in &log.producers {
        let _ = write!(text, "producer {} {} {}", producer.id, producer.epoch, producer.batches.len());
        for batch in &producer.batches {
            let _ = write!(
                text,
                " {} {} {} {}",
                batch.first_sequence, batch.last_sequence, batch.base_offset, batch.end_offset
            );
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epochs::Epochs;

    fn log() -> LogState {
        let mut epochs = Epochs::default();
        epochs.assign(LeaderEpoch(0), Offset(0));
        epochs.assign(LeaderEpoch(3), Offset(7));
        let index = IndexState {
            offsets: Summary { entries: 3, checksum: u32::MAX },
            times: Summary { entries: 2, checksum: 5 },
        };
        let max_timestamp = Some(MaxTimestamp { timestamp_ms: 1_700_000_000_000, offset: Offset(4) });
        let batch =
            KnownBatch { first_sequence: 1, last_sequence: 2, base_offset: Offset(3), end_offset: Offset(5) };
        LogState {
            number: 9,
            name: "a log's name, 100 % ä-0".into(),
            start: Offset(1),
            end: Position { offset: Offset(9), segment: Offset(7), bytes: 200 },
            durable: Offset(9),
            leader_epoch: LeaderEpoch(5),
            cut_sequence: 4,
            epochs,
            indexer: IndexerState { since_last_entry_bytes: 77, last_time_ms: i64::MIN },
            segments: vec![
                SegmentState {
                    base: Offset(0),
                    end: Offset(7),
                    bytes: 999,
                    max_timestamp,
                    first_crc: Some(u32::MAX),
                    index,
                },
                SegmentState {
                    base: Offset(7),
                    end: Offset(9),
                    bytes: 200,
                    max_timestamp: None,
                    first_crc: None,
                    index,
                },
            ],
            producers: vec![ProducerState { id: 11, epoch: 2, batches: vec![batch; 5] }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let logs = [log(), LogState { number: 10, ..LogState::default() }];
        let head = Head { sequence: 12, file: 1, position: 4096 };
        let found = Checkpoint::decode(encode(3, head, logs.iter()).as_bytes()).unwrap();
        assert_eq!((found.epoch, found.head, found.logs.len()), (3, head, 2));
        assert!(logs.iter().all(|log| *found.logs[&log.number] == *log));
    }

    #[test]
    fn whatever_is_cut_or_flipped_is_noticed() {
        let text = encode(3, Head::default(), [log()].iter());
        for at in 0..text.len() {
            assert!(Checkpoint::decode(&text.as_bytes()[..at]).is_err(), "cut at {at}");
            let mut flipped = text.clone().into_bytes();
            flipped[at] ^= 0x04;
            assert!(Checkpoint::decode(&flipped).is_err(), "flipped at {at}");
        }
    }
}
