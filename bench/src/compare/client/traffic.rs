//! What senders and readers of one workload share: numbers, the list of what was read, and the clock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::tally::{HEAD_BYTES, Odd, Tally, stamp, stamped};
use super::{ClientError, Sender};
use crate::generator::recorder::Recorder;

/// What senders and readers have in common.
pub(crate) struct Traffic {
    /// All times count from here.
    epoch: Instant,
    template: Vec<u8>,
    batch_records: u64,
    /// The next batch's number; record numbers follow from it.
    next_batch: AtomicU64,
    acknowledged: AtomicU64,
    senders_are_done: AtomicBool,
    tally: Mutex<Tally>,
}

/// What one side of a span recorded.
pub(crate) type Recorded = Arc<Mutex<Recorder>>;

/// A lock that a panic elsewhere does not spoil.
pub(crate) fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Traffic {
    pub(crate) fn new(record_bytes: u64, batch_records: u32, seed: u64) -> Self {
        let mut template = vec![0; (record_bytes as usize).max(HEAD_BYTES)];
        // Any bytes that no codec or device makes smaller.
        let mut state = seed | 1;
        for byte in &mut template {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        Self {
            epoch: Instant::now(),
            template,
            batch_records: u64::from(batch_records),
            next_batch: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            senders_are_done: AtomicBool::new(false),
            tally: Mutex::default(),
        }
    }

    /// No more is sent: readers end when they have it all.
    pub(crate) fn senders_end(&self) {
        self.senders_are_done.store(true, Ordering::Release);
    }

    /// Records that were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Records that were read so far.
    pub(crate) fn count(&self) -> u64 {
        lock(&self.tally).count()
    }

    /// Bytes of each record.
    pub(crate) fn record_bytes(&self) -> u64 {
        self.template.len() as u64
    }

    /// Time of the run.
    pub(crate) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn batch(&self, number: u64, due: Duration) -> Vec<Bytes> {
        let first = number * self.batch_records;
        (first..first + self.batch_records)
            .map(|record| {
                let mut bytes = self.template.clone();
                stamp(&mut bytes, record, due.as_nanos() as u64);
                Bytes::from(bytes)
            })
            .collect()
    }

    /// Bytes of the records of a batch.
    pub(crate) fn batch_bytes(&self) -> u64 {
        self.batch_records * self.template.len() as u64
    }

    /// Sends one batch and records how long it took, if it counts.
    pub(crate) async fn send<S: Sender>(
        &self,
        sender: &S,
        stream: u32,
        due: Duration,
        count_from: Duration,
        recorded: &Recorded,
    ) -> Result<(), ClientError> {
        let number = self.next_batch.fetch_add(1, Ordering::Relaxed);
        sender.send(stream, self.batch(number, due)).await?;
        let at = self.now();
        self.acknowledged.fetch_add(self.batch_records, Ordering::Relaxed);
        if due >= count_from {
            let latency = Some(at.saturating_sub(due));
            lock(recorded).record(at - count_from, latency, self.batch_records, self.batch_bytes());
        }
        Ok(())
    }

    /// Takes one record that was read. `Ok(true)`: there may be more.
    pub(crate) fn take(&self, record: Option<&[u8]>, reader: &mut Reader) -> bool {
        let at = self.now();
        if let Some(record) = record
            && let Err(odd) = self.strike(record, at, reader)
        {
            reader.odd = Some(odd);
            return false;
        }
        let is_all = self.senders_are_done.load(Ordering::Acquire)
            && lock(&self.tally).count() >= self.acknowledged.load(Ordering::Acquire);
        !is_all && at < reader.end
    }

    fn strike(&self, record: &[u8], at: Duration, reader: &mut Reader) -> Result<(), Odd> {
        if record.len() != self.template.len() || record[HEAD_BYTES..] != self.template[HEAD_BYTES..] {
            return Err(Odd::Foreign);
        }
        let (number, due_ns) = stamped(record).ok_or(Odd::Foreign)?;
        let sent = self.next_batch.load(Ordering::Relaxed) * self.batch_records;
        lock(&self.tally).strike(number, sent)?;
        let bytes = record.len() as u64;
        let due = Duration::from_nanos(due_ns);
        if at >= reader.count_from {
            lock(&reader.consumed).record(at - reader.count_from, None, 1, bytes);
        }
        // Only what was due in the part that counts, one latency for each batch.
        if due >= reader.count_from && number % self.batch_records == 0 {
            let at_phase = at.saturating_sub(reader.count_from);
            let latency = Some(at.saturating_sub(due));
            lock(&reader.end_to_end).record(at_phase, latency, self.batch_records, self.batch_bytes());
        }
        Ok(())
    }
}

/// What one reading connection needs.
pub(crate) struct Reader {
    count_from: Duration,
    /// Reading ends here in any case.
    end: Duration,
    consumed: Recorded,
    end_to_end: Recorded,
    odd: Option<Odd>,
}

impl Reader {
    pub(crate) fn new(count_from: Duration, end: Duration, consumed: Recorded, end_to_end: Recorded) -> Self {
        Self { count_from, end, consumed, end_to_end, odd: None }
    }

    /// Whether all that it read was what was sent.
    pub(crate) fn finish(self) -> Result<(), Odd> {
        self.odd.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(count_from: Duration) -> Reader {
        let recorder = || Arc::new(Mutex::new(Recorder::new(Duration::from_secs(1))));
        Reader::new(count_from, Duration::from_secs(1000), recorder(), recorder())
    }

    #[test]
    fn what_is_read_must_have_been_sent_once() {
        let traffic = Traffic::new(100, 2, 1);
        let sent = traffic.batch(0, Duration::ZERO);
        traffic.next_batch.store(1, Ordering::Relaxed);
        let mut good = reader(Duration::ZERO);
        assert!(traffic.take(Some(&sent[0]), &mut good) && traffic.take(None, &mut good));
        assert_eq!(good.finish(), Ok(()));
        let mut again = reader(Duration::ZERO);
        assert!(!traffic.take(Some(&sent[0]), &mut again));
        assert_eq!(again.finish(), Err(Odd::Again(0)));
        let mut damaged = sent[1].to_vec();
        damaged[50] ^= 1;
        for foreign in [&damaged[..], &sent[1][..99], &traffic.batch(1, Duration::ZERO)[0]] {
            let mut reader = reader(Duration::ZERO);
            assert!(!traffic.take(Some(foreign), &mut reader));
            assert_eq!(reader.finish(), Err(Odd::Foreign));
        }
    }

    #[test]
    fn readers_end_when_all_that_was_acknowledged_is_there() {
        let traffic = Traffic::new(100, 1, 1);
        let mut reader = reader(Duration::ZERO);
        let sent = traffic.batch(0, Duration::ZERO);
        traffic.next_batch.store(1, Ordering::Relaxed);
        traffic.acknowledged.store(1, Ordering::Relaxed);
        assert!(traffic.take(None, &mut reader));
        traffic.senders_end();
        assert!(traffic.take(None, &mut reader), "one is missing");
        assert!(!traffic.take(Some(&sent[0]), &mut reader));
        assert_eq!(traffic.count(), 1);
    }

    #[test]
    fn the_warm_up_does_not_count() {
        let traffic = Traffic::new(100, 1, 1);
        std::thread::sleep(Duration::from_millis(2));
        traffic.next_batch.store(2, Ordering::Relaxed);
        let mut reader = reader(Duration::from_millis(1));
        let early = traffic.batch(0, Duration::ZERO).remove(0);
        let late = traffic.batch(1, Duration::from_millis(1)).remove(0);
        assert!(traffic.take(Some(&early), &mut reader) && traffic.take(Some(&late), &mut reader));
        assert_eq!(lock(&reader.end_to_end).records, 1);
        let summary = lock(&reader.end_to_end).summary().unwrap();
        assert!(summary.min_us >= 1_000, "from when it was due: {summary:?}");
    }
}
