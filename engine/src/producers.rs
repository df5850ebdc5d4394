//! What a log knows of its idempotent producers: epoch, sequence and the last five batches
//! (KIP-98). A retried batch is recognised by them, and a gap is refused.

use crate::batch::{BatchHeader, sequence_plus};
use crate::error::AppendError;
use crate::offset::Offset;
use std::collections::{HashMap, VecDeque};

/// Batches remembered of each producer: as many as a client may have in flight.
const BATCHES: usize = 5;

/// A batch that was appended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownBatch {
    pub(crate) first_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) base_offset: Offset,
    pub(crate) end_offset: Offset,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    batches: VecDeque<KnownBatch>,
    /// Order of use, for making room.
    used: u64,
}

/// What a checkpoint keeps of a producer; the one used longest ago comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProducerState {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) batches: Vec<KnownBatch>,
}

/// An idempotent producer that a log remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub id: i64,
    /// Its generation.
    pub epoch: i16,
    /// The sequence number of its last record; -1 if that was cut.
    pub last_sequence: i32,
}

/// What to do with an idempotent producer's batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    Duplicate(KnownBatch),
}

/// The producers of one log.
#[derive(Debug)]
pub(crate) struct Producers {
    known: HashMap<i64, Producer>,
    count_max: usize,
    clock: u64,
}

impl Producers {
    pub(crate) fn new(count_max: usize) -> Self {
        Self { known: HashMap::new(), count_max: count_max.max(1), clock: 0 }
    }

    /// Judges a new batch against what is known. Changes nothing.
    pub(crate) fn check(&self, batch: &BatchHeader) -> Result<Verdict, AppendError> {
        // A producer that is not known may be one whose records are gone: any sequence will do.
        let Some(known) = self.known.get(&batch.producer_id) else { return Ok(Verdict::Append) };
        if batch.producer_epoch < known.epoch {
            return Err(AppendError::ProducerFenced {
                producer_id: batch.producer_id,
                epoch: batch.producer_epoch,
                current: known.epoch,
            });
        }
        let same_epoch = batch.producer_epoch == known.epoch;
        let duplicate = known.batches.iter().find(|one| {
            same_epoch
                && one.first_sequence == batch.base_sequence
                && one.last_sequence == batch.last_sequence()
        });
        if let Some(duplicate) = duplicate {
            return Ok(Verdict::Duplicate(*duplicate));
        }
        let expected = match known.batches.back() {
            Some(last) if same_epoch => sequence_plus(last.last_sequence, 1),
            _ => 0,
        };
        if batch.base_sequence == expected {
            return Ok(Verdict::Append);
        }
        Err(AppendError::OutOfOrderSequence {
            producer_id: batch.producer_id,
            sequence: batch.base_sequence,
            expected,
        })
    }

    /// Takes note of a batch that is in the log.
    pub(crate) fn appended(&mut self, batch: &BatchHeader) {
        if !batch.is_idempotent() || batch.is_control() {
            return;
        }
        self.clock += 1;
        if !self.known.contains_key(&batch.producer_id) && self.known.len() >= self.count_max {
            self.make_room();
        }
        let producer = self.known.entry(batch.producer_id).or_insert_with(|| Producer {
            epoch: batch.producer_epoch,
            batches: VecDeque::with_capacity(BATCHES),
            used: 0,
        });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES {
            producer.batches.pop_front();
        }
        producer.batches.push_back(KnownBatch {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset,
            end_offset: batch.end_offset(),
        });
        producer.used = self.clock;
    }

    /// What is known, for a checkpoint.
    pub(crate) fn states(&self) -> Vec<ProducerState> {
        let mut known: Vec<_> = self.known.iter().collect();
        known.sort_unstable_by_key(|(_, producer)| producer.used);
        let state = |(id, producer): (&i64, &Producer)| ProducerState {
            id: *id,
            epoch: producer.epoch,
            batches: producer.batches.iter().copied().collect(),
        };
        known.into_iter().map(state).collect()
    }

    /// Who is known, in no order.
    pub(crate) fn active(&self) -> Vec<ActiveProducer> {
        let active = |(id, producer): (&i64, &Producer)| ActiveProducer {
            id: *id,
            epoch: producer.epoch,
            last_sequence: producer.batches.back().map_or(-1, |batch| batch.last_sequence),
        };
        self.known.iter().map(active).collect()
    }

    /// Knows what a checkpoint kept.
    pub(crate) fn restore(&mut self, states: &[ProducerState]) {
        for state in states {
            self.clock += 1;
            let batches = state.batches.iter().copied().collect();
            self.known.insert(state.id, Producer { epoch: state.epoch, batches, used: self.clock });
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }

    /// Forgets the batches from `end` on. `false` if something that was forgotten before is needed now:
    /// then all must be built again from the batches.
    pub(crate) fn cut(&mut self, end: Offset) -> bool {
        let mut whole = true;
        for producer in self.known.values_mut() {
            let before = producer.batches.len();
            producer.batches.retain(|batch| batch.base_offset < end);
            whole &= before == producer.batches.len();
        }
        whole
    }

    /// Forgets the tenth that was used longest ago, so that the search for it is rare.
    fn make_room(&mut self) {
        let mut used: Vec<u64> = self.known.values().map(|producer| producer.used).collect();
        used.sort_unstable();
        let oldest_kept = used[used.len() / 10];
        self.known.retain(|_, producer| producer.used > oldest_kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    fn batch(id: i64, epoch: i16, sequence: i32, records: i32, at: i64) -> BatchHeader {
        let mut builder = BatchBuilder::new().producer(id, epoch, sequence);
        for _ in 0..records {
            builder.push(0, None, Some(b"x"));
        }
        let mut bytes = builder.finish().unwrap();
        crate::batch::stamp(&mut bytes, Offset(at), crate::LeaderEpoch(0));
        BatchHeader::parse_whole(&bytes).unwrap()
    }

    fn append(producers: &mut Producers, one: &BatchHeader) -> Result<Verdict, AppendError> {
        let verdict = producers.check(one)?;
        if verdict == Verdict::Append {
            producers.appended(one);
        }
        Ok(verdict)
    }

    #[test]
    fn sequences_follow_one_another() {
        let mut producers = Producers::new(10);
        assert_eq!(append(&mut producers, &batch(7, 0, 0, 3, 0)).unwrap(), Verdict::Append);
        assert_eq!(append(&mut producers, &batch(7, 0, 3, 1, 3)).unwrap(), Verdict::Append);
        let gap = append(&mut producers, &batch(7, 0, 5, 1, 4)).unwrap_err();
        assert!(matches!(gap, AppendError::OutOfOrderSequence { expected: 4, sequence: 5, .. }));
    }

    #[test]
    fn a_retry_within_five_batches_is_a_duplicate_of_the_original() {
        let mut producers = Producers::new(10);
        for n in 0..6 {
            append(&mut producers, &batch(7, 0, n, 1, i64::from(n))).unwrap();
        }
        let Verdict::Duplicate(known) = append(&mut producers, &batch(7, 0, 1, 1, 99)).unwrap() else {
            panic!("not recognised");
        };
        assert_eq!(known.base_offset, Offset(1));
        let too_old = append(&mut producers, &batch(7, 0, 0, 1, 99)).unwrap_err();
        assert!(matches!(too_old, AppendError::OutOfOrderSequence { .. }));
    }

    #[test]
    fn a_new_epoch_begins_at_zero_and_fences_the_old_one() {
        let mut producers = Producers::new(10);
        append(&mut producers, &batch(7, 1, 0, 1, 0)).unwrap();
        assert!(append(&mut producers, &batch(7, 2, 4, 1, 1)).is_err());
        append(&mut producers, &batch(7, 2, 0, 1, 1)).unwrap();
        let fenced = append(&mut producers, &batch(7, 1, 1, 1, 2)).unwrap_err();
        assert!(matches!(fenced, AppendError::ProducerFenced { epoch: 1, current: 2, .. }));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut producers = Producers::new(10);
        append(&mut producers, &batch(7, 0, i32::MAX - 1, 2, 0)).unwrap();
        assert_eq!(append(&mut producers, &batch(7, 0, 0, 1, 2)).unwrap(), Verdict::Append);
    }

    #[test]
    fn a_flood_of_producers_is_bounded_and_keeps_the_latest() {
        let mut producers = Producers::new(100);
        for id in 0..10_000 {
            append(&mut producers, &batch(id, 0, 0, 1, id)).unwrap();
        }
        assert!(producers.known.len() <= 100);
        assert!(matches!(append(&mut producers, &batch(9_999, 0, 0, 1, 0)), Ok(Verdict::Duplicate(_))));
    }
}
