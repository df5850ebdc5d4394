//! After the timed spans: everything is read once more, and compared with what was sent.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::admin::{Admin, FETCH};
use crate::batch::CRC_COVERS_FROM;
use crate::fetch_frame::{FetchFrame, FetchedBatch};
use crate::fetcher::{FetchLane, Stretch};
use crate::generator::payload::check_records;
use crate::generator::topics::Topics;
use crate::peer::Peer;
use crate::producer::register;
use crate::result::run::Verified;
use crate::stop::Stop;
use crate::verify::VerifyError;

/// How long a broker may take until all that it took can be read.
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);
const POLL_PAUSE: Duration = Duration::from_millis(20);
/// What is asked for at once, unless a batch is larger.
const FETCH_BYTES: usize = 4 << 20;

/// Batches that were sent, by slot and stream.
pub(crate) type Sent = HashMap<(usize, u32), u64>;

/// Reads all slots from the start.
pub(crate) fn read_back(
    admin: &mut Admin,
    topics: &Topics,
    sent: &Sent,
    records: u32,
    batch_bytes: usize,
    stop: &Stop,
    timeout: Duration,
) -> Result<Verified, VerifyError> {
    let ends = await_ends(admin, topics, sent, records)?;
    let mut verified = Verified { batches: Some(0), checksums: true, order: true, ..Verified::default() };
    let mut peer: Option<Peer> = None;
    let mut seen: Sent = HashMap::new();
    let mut buffer = Vec::new();
    for (place, (slot, end)) in topics.slots.iter().zip(ends).enumerate() {
        let open = match peer.take() {
            Some(open) if open.name() == slot.address => open,
            _ => {
                let open = Peer::connect(&slot.address, timeout)?;
                register(stop, &open)?;
                open
            }
        };
        let topic = &topics.names[slot.topic];
        let fault = |what: String| VerifyError::Content {
            partition: slot.partition,
            what: format!("of topic {topic}: {what}"),
        };
        let bytes = FETCH_BYTES.max(batch_bytes) as i32;
        let frame = FetchFrame::new(admin.version(FETCH)?, topic, bytes);
        let mut lane = FetchLane::new(open, frame, Vec::new());
        let mut left = Stretch { partition: slot.partition, start: 0, end };
        while left.start < left.end {
            let mut wrong = None;
            left.start = lane.next(left, |batch| {
                verified.records += batch.records as u64;
                verified.batches = verified.batches.map(|batches| batches + 1);
                verified.bytes += batch.bytes.len() as u64;
                if wrong.is_none() {
                    wrong = check(batch, place, records, &mut seen, &mut buffer).err();
                }
            })?;
            if let Some(what) = wrong {
                return Err(fault(what));
            }
        }
        peer = Some(lane.into_peer());
    }
    stop.release_sockets();
    for ((place, stream), batches) in sent {
        let found = seen.get(&(*place, *stream)).copied().unwrap_or(0);
        if found != *batches {
            let slot = &topics.slots[*place];
            let what = format!(
                "of topic {}: connection {stream} sent {batches} batches there, {found} were read back",
                topics.names[slot.topic]
            );
            return Err(VerifyError::Content { partition: slot.partition, what });
        }
    }
    Ok(verified)
}

/// Waits until each slot ends where what was sent there ends.
fn await_ends(
    admin: &mut Admin,
    topics: &Topics,
    sent: &Sent,
    records: u32,
) -> Result<Vec<i64>, VerifyError> {
    let mut due = vec![0_i64; topics.slots.len()];
    for ((place, _), batches) in sent {
        due[*place] += (*batches * u64::from(records)) as i64;
    }
    let deadline = Instant::now() + VISIBLE_WITHIN;
    loop {
        let ends = topics.ends(admin)?;
        if ends == due {
            return Ok(ends);
        }
        if Instant::now() > deadline {
            let sum = |offsets: &[i64]| offsets.iter().map(|offset| offset.unsigned_abs()).sum();
            return Err(VerifyError::Count { sent: sum(&due), held: sum(&ends) });
        }
        std::thread::sleep(POLL_PAUSE);
    }
}

fn check(
    batch: FetchedBatch<'_>,
    place: usize,
    records: u32,
    seen: &mut Sent,
    buffer: &mut Vec<u8>,
) -> Result<(), String> {
    let offset = batch.base_offset;
    let stored = &batch.bytes[CRC_COVERS_FROM - 4..CRC_COVERS_FROM];
    if stored != crc32c::crc32c(&batch.bytes[CRC_COVERS_FROM..]).to_be_bytes() {
        return Err(format!("the checksum of the batch at offset {offset} is wrong"));
    }
    if batch.records != records as i32 || i64::from(batch.records) != batch.next_offset - offset {
        return Err(format!("the batch at offset {offset} holds {} records", batch.records));
    }
    let stamp = check_records(batch, buffer)
        .map_err(|cause| format!("the batch at offset {offset} is not one that was sent: {cause}"))?;
    let due = seen.entry((place, stamp.stream)).or_insert(0);
    if stamp.number != *due {
        return Err(format!(
            "offset {offset} holds batch {} of connection {}, {due} was due",
            stamp.number, stamp.stream
        ));
    }
    *due += 1;
    Ok(())
}
