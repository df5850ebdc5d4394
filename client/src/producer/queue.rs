//! Gathering records into batches, and telling what became of them.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::error::ProduceError;
use crate::wire::batch::{BatchBuilder, Header, record_bytes_max};

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The base offset; none where the broker does not tell it.
    result: OnceLock<Result<Option<i64>, ProduceError>>,
    known: Notify,
}

impl Outcome {
    fn set(&self, result: Result<Option<i64>, ProduceError>) {
        if self.result.set(result).is_ok() {
            self.known.notify_waiters();
        }
    }

    pub(crate) async fn wait(&self) -> Result<Option<i64>, ProduceError> {
        loop {
            let mut known = std::pin::pin!(self.known.notified());
            // Registered before looking, so that a result in between is not missed.
            known.as_mut().enable();
            if let Some(result) = self.result.get() {
                return result.clone();
            }
            known.await;
        }
    }
}

/// The delivery of one record.
#[derive(Debug, Clone)]
pub struct Delivery {
    outcome: Arc<Outcome>,
    partition: i32,
    index: i32,
}

impl Delivery {
    /// The partition the record goes to.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Waits until the record is acknowledged: its offset, or none where brokers do not tell it
    /// (acks 0, and a retry of what had arrived long before).
    ///
    /// # Errors
    /// When it could not be delivered.
    pub async fn wait(&self) -> Result<Option<i64>, ProduceError> {
        let base = self.outcome.wait().await?;
        Ok(base.map(|base| base + i64::from(self.index)))
    }
}

/// A batch that gathers records or waits to be sent. Dropping it undelivered says so to those
/// who wait, and gives its bytes back to the buffer either way.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) builder: BatchBuilder,
    pub(crate) since: Instant,
    pub(crate) outcome: Arc<Outcome>,
    buffer: Arc<Semaphore>,
    reserved: usize,
}

impl Gathered {
    /// Tells what became of it.
    pub(crate) fn settle(self, result: Result<Option<i64>, ProduceError>) {
        self.outcome.set(result);
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.outcome.set(Err(ProduceError::Dropped));
        self.buffer.add_permits(self.reserved);
    }
}

/// A record to be gathered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header],
}

impl Fields<'_> {
    pub(crate) fn bytes_max(&self) -> usize {
        record_bytes_max(self.key, self.value, self.headers)
    }
}

/// What a queue has to send.
#[derive(Debug)]
pub(crate) enum Next {
    /// A batch, now.
    Ready(Gathered),
    /// A batch, at this time at the latest.
    At(Instant),
    /// Nothing.
    Nothing,
}

/// The batches of one partition, oldest first; the last may still be gathering.
#[derive(Debug)]
pub(crate) struct Queue {
    partition: i32,
    batch_bytes_max: usize,
    linger: Duration,
    buffer: Arc<Semaphore>,
    full: VecDeque<Gathered>,
    open: Option<Gathered>,
    newest: Option<Arc<Outcome>>,
}

/// What pushing a record has led to.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub(crate) delivery: Delivery,
    /// A batch has been started: its time begins to run.
    pub(crate) started: bool,
    /// A batch is full.
    pub(crate) filled: bool,
}

impl Queue {
    pub(crate) fn new(
        partition: i32,
        batch_bytes_max: usize,
        linger: Duration,
        buffer: Arc<Semaphore>,
    ) -> Self {
        Self { partition, batch_bytes_max, linger, buffer, full: VecDeque::new(), open: None, newest: None }
    }

    /// Adds a record, for which `reserved` permits of the buffer have been taken.
    pub(crate) fn push(&mut self, fields: &Fields<'_>, reserved: usize, now: Instant) -> Pushed {
        let bytes = fields.bytes_max();
        let fits = |batch: &Gathered| batch.builder.bytes() + bytes <= self.batch_bytes_max;
        let mut filled = false;
        if let Some(batch) = self.open.take_if(|batch| !fits(batch)) {
            self.full.push_back(batch);
            filled = true;
        }
        let started = self.open.is_none();
        let batch = self.open.get_or_insert_with(|| Gathered {
            builder: BatchBuilder::new(),
            since: now,
            outcome: Arc::default(),
            buffer: Arc::clone(&self.buffer),
            reserved: 0,
        });
        if started {
            self.newest = Some(Arc::clone(&batch.outcome));
        }
        let delivery = Delivery {
            outcome: Arc::clone(&batch.outcome),
            partition: self.partition,
            index: batch.builder.count(),
        };
        batch.reserved += reserved;
        batch.builder.push(fields.timestamp, fields.key, fields.value, fields.headers);
        if batch.builder.bytes() >= self.batch_bytes_max {
            self.full.extend(self.open.take());
            filled = true;
        }
        Pushed { delivery, started, filled }
    }

    /// Whether a batch is still taking records.
    pub(crate) fn gathers(&self) -> bool {
        self.open.is_some()
    }

    /// The next batch to send.
    pub(crate) fn next(&mut self, now: Instant) -> Next {
        if let Some(batch) = self.full.pop_front() {
            return Next::Ready(batch);
        }
        let due = self.open.as_ref().map(|batch| batch.since + self.linger);
        match due {
            None => Next::Nothing,
            Some(due) if due > now => Next::At(due),
            Some(_) => self.open.take().map_or(Next::Nothing, Next::Ready),
        }
    }

    /// Makes everything ready to be sent; the outcome of the newest batch comes last.
    pub(crate) fn seal(&mut self) -> Option<Arc<Outcome>> {
        self.full.extend(self.open.take());
        self.newest.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(5);

    fn queue(buffer: &Arc<Semaphore>) -> Queue {
        Queue::new(3, 200, LINGER, Arc::clone(buffer))
    }

    fn record(value: &[u8]) -> Fields<'_> {
        Fields { timestamp: 0, key: None, value: Some(value), headers: &[] }
    }

    fn ready(queue: &mut Queue, now: Instant) -> Gathered {
        match queue.next(now) {
            Next::Ready(batch) => batch,
            other => panic!("not ready: {other:?}"),
        }
    }

    #[test]
    fn a_batch_lingers_until_its_time() {
        let mut queue = queue(&Arc::new(Semaphore::new(0)));
        let start = Instant::now();
        assert!(matches!(queue.next(start), Next::Nothing));
        let first = queue.push(&record(b"a"), 0, start);
        let second = queue.push(&record(b"b"), 0, start + LINGER / 2);
        assert!(first.started && !second.started && !second.filled);
        assert!(matches!(queue.next(start), Next::At(due) if due == start + LINGER));
        let batch = ready(&mut queue, start + LINGER);
        assert_eq!(batch.builder.count(), 2);
        assert!(matches!(queue.next(start + LINGER), Next::Nothing));
    }

    #[test]
    fn a_record_that_does_not_fit_starts_a_batch_and_order_is_kept() {
        let mut queue = queue(&Arc::new(Semaphore::new(0)));
        let now = Instant::now();
        queue.push(&record(&[0; 80]), 0, now);
        let pushed = queue.push(&record(&[0; 90]), 0, now);
        assert!(pushed.filled && pushed.started);
        // Larger than a batch on its own: still a batch, and full at once.
        let pushed = queue.push(&record(&[0; 500]), 0, now);
        assert!(pushed.filled && pushed.started);
        let sizes: Vec<_> = (0..3).map(|_| ready(&mut queue, now).builder.bytes()).collect();
        assert!(sizes[0] < sizes[1] && sizes[1] < sizes[2], "{sizes:?}");
        assert!(matches!(queue.next(now), Next::Nothing));
    }

    #[tokio::test]
    async fn deliveries_learn_their_offsets() {
        let mut queue = queue(&Arc::new(Semaphore::new(0)));
        let now = Instant::now();
        let first = queue.push(&record(b"a"), 0, now).delivery;
        let second = queue.push(&record(b"b"), 0, now).delivery;
        queue.seal();
        ready(&mut queue, now).settle(Ok(Some(40)));
        assert_eq!(first.wait().await.unwrap(), Some(40));
        assert_eq!(second.wait().await.unwrap(), Some(41));
        assert_eq!(second.partition(), 3);
    }

    #[tokio::test]
    async fn a_dropped_batch_says_so_and_gives_its_bytes_back() {
        let buffer = Arc::new(Semaphore::new(0));
        let mut queue = queue(&buffer);
        let delivery = queue.push(&record(b"a"), 30, Instant::now()).delivery;
        let newest = queue.seal().unwrap();
        assert_eq!(buffer.available_permits(), 0);
        drop(queue);
        assert!(matches!(delivery.wait().await, Err(ProduceError::Dropped)));
        assert!(newest.wait().await.is_err());
        assert_eq!(buffer.available_permits(), 30);
    }
}
