//! The pass behind the timed ones: reads everything back and checks it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::admin::{Admin, End, PartitionLeader};
use crate::batch::{CRC_COVERS_FROM, HEADER_BYTES, RecordKey};
use crate::fetch_frame::{FetchFrame, FetchedBatch};
use crate::fetcher::{FetchLane, Stretch};
use crate::peer::{Peer, PeerError};
use crate::producer::register;
use crate::stop::Stop;
use crate::wire::{Malformed, Reader};

/// How long a broker may take until all that it took can be read.
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// What was read is not what was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    /// The broker holds another number of records.
    #[error(
        "verification failed: {sent} records were sent, but the log grew by {held}; do not use these figures"
    )]
    Count {
        /// By us.
        sent: u64,
        /// By the broker.
        held: u64,
    },
    /// A batch is missing, doubled, out of order or of another kind.
    #[error("verification failed: partition {partition}: {what}; do not use these figures")]
    Content {
        /// Index in the topic.
        partition: i32,
        /// What is wrong with it.
        what: String,
    },
    /// Reading failed.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// What was checked.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Verified {
    /// Records read back.
    pub(crate) records: u64,
    /// Batches read back.
    pub(crate) batches: u64,
    /// Bytes of these batches.
    pub(crate) batch_bytes: u64,
}

/// Batches that were sent, by partition and stream.
pub(crate) type Sent = HashMap<(i32, u32), u64>;

/// What to read back, and how.
#[derive(Debug)]
pub(crate) struct Check<'a> {
    /// Its partitions.
    pub(crate) leaders: &'a [PartitionLeader],
    /// Its stretches, in the order of `leaders`.
    pub(crate) stretches: &'a [Stretch],
    /// What was sent there; `None`: by others, so only the batches themselves are checked.
    pub(crate) sent: Option<Sent>,
    /// Records in each batch that was sent.
    pub(crate) records_per_batch: u32,
    /// The request.
    pub(crate) frame: FetchFrame,
}

/// Waits until the ends of the partitions hold `sent` records more than `starts`.
pub(crate) fn await_ends(
    admin: &mut Admin,
    topic: &str,
    leaders: &[PartitionLeader],
    starts: &[i64],
    sent: u64,
) -> Result<Vec<i64>, VerifyError> {
    let deadline = Instant::now() + VISIBLE_WITHIN;
    loop {
        let ends = admin.offsets(topic, leaders, End::Latest)?;
        let held: u64 = ends.iter().zip(starts).map(|(end, start)| end.abs_diff(*start)).sum();
        if held == sent {
            return Ok(ends);
        }
        if Instant::now() > deadline {
            return Err(VerifyError::Count { sent, held });
        }
        std::thread::sleep(POLL_PAUSE);
    }
}

/// Reads everything back on one connection for each leader.
pub(crate) fn verify(check: Check<'_>, stop: &Stop, timeout: Duration) -> Result<Verified, VerifyError> {
    let mut verified = Verified::default();
    let mut expected = check.sent.as_ref().map(|_| HashMap::new());
    for (leader, stretch) in check.leaders.iter().zip(check.stretches) {
        let peer = Peer::connect(&leader.address, timeout)?;
        register(stop, &peer)?;
        let mut lane = FetchLane::new(peer, check.frame.clone(), Vec::new());
        let mut left = *stretch;
        while left.start < left.end {
            let mut fault = None;
            left.start = lane.next(left, |batch| {
                verified.records += batch.records as u64;
                verified.batches += 1;
                verified.batch_bytes += batch.bytes.len() as u64;
                if fault.is_none() {
                    let seen = check_batch(batch, stretch.partition, &mut expected, &check);
                    fault = seen.err();
                }
            })?;
            if let Some(what) = fault {
                return Err(VerifyError::Content { partition: stretch.partition, what });
            }
        }
        stop.release_sockets();
    }
    let (Some(sent), Some(seen)) = (check.sent, expected) else {
        return Ok(verified);
    };
    for ((partition, stream), batches) in sent {
        let found = seen.get(&(partition, stream)).copied().unwrap_or(0);
        if found != batches {
            let what = format!("connection {stream} sent {batches} batches there, {found} were read back");
            return Err(VerifyError::Content { partition, what });
        }
    }
    Ok(verified)
}

fn check_batch(
    batch: FetchedBatch<'_>,
    partition: i32,
    expected: &mut Option<Sent>,
    check: &Check<'_>,
) -> Result<(), String> {
    let offset = batch.base_offset;
    let stored = &batch.bytes[CRC_COVERS_FROM - 4..CRC_COVERS_FROM];
    if stored != crc32c::crc32c(&batch.bytes[CRC_COVERS_FROM..]).to_be_bytes() {
        return Err(format!("the checksum of the batch at offset {offset} is wrong"));
    }
    let Some(expected) = expected else {
        return Ok(());
    };
    if i64::from(batch.records) != batch.next_offset - offset
        || batch.records != check.records_per_batch as i32
    {
        return Err(format!("the batch at offset {offset} holds {} records", batch.records));
    }
    let first = check_records(batch)
        .map_err(|cause| format!("the batch at offset {offset}: {cause}"))?
        .ok_or_else(|| format!("the batch at offset {offset} is not one that was sent"))?;
    let due = expected.entry((partition, first.stream)).or_insert(0);
    if first.batch != *due {
        return Err(format!(
            "offset {offset} holds batch {} of connection {}, {due} was due",
            first.batch, first.stream
        ));
    }
    *due += 1;
    Ok(())
}

/// Looks at each record's key; returns the first one's, or `None` if one is not ours.
fn check_records(batch: FetchedBatch<'_>) -> Result<Option<RecordKey>, Malformed> {
    let mut reader = Reader::new(&batch.bytes[HEADER_BYTES..]);
    let mut first: Option<RecordKey> = None;
    for index in 0..batch.records {
        let length = reader.varint("record length")?;
        let length = usize::try_from(length).map_err(|_| Malformed { field: "record length" })?;
        let mut record = Reader::new(reader.take(length, "record")?);
        record.i8("record attributes")?;
        record.varint("timestamp delta")?;
        let delta = record.varint("offset delta")?;
        let key_len = record.varint("key length")?.max(0) as usize;
        let key = RecordKey::decode(record.take(key_len, "key")?);
        let Some(key) = key.filter(|key| key.index as i32 == index && delta == i64::from(index)) else {
            return Ok(None);
        };
        if first.get_or_insert(key).stream != key.stream {
            return Ok(None);
        }
    }
    if !reader.is_empty() {
        return Err(Malformed { field: "the end of the batch" });
    }
    Ok(first)
}
