//! Which partition a record goes to: by its key as Java's producer does it, else sticky.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The 32-bit murmur2 hash with the seed of Kafka's Java client.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Java computes with 32-bit integers throughout, the length included.
    let mut hash = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key: the one that Java's default partitioner gives.
///
/// `partitions` is at least 1.
#[must_use]
pub fn partition_of_key(key: &[u8], partitions: usize) -> usize {
    debug_assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) as usize % partitions.max(1)
}

/// Keeps records without a key on one partition until its batch is full or sent, then moves on:
/// batches are fuller than if every record took its turn.
#[derive(Debug)]
pub(crate) struct Sticky {
    current: AtomicUsize,
    /// Whether a batch has been started on the current partition.
    begun: AtomicBool,
}

impl Sticky {
    pub(crate) fn starting_at(start: usize) -> Self {
        Self { current: AtomicUsize::new(start), begun: AtomicBool::new(false) }
    }

    pub(crate) fn current(&self, partitions: usize) -> usize {
        self.current.load(Ordering::Relaxed) % partitions.max(1)
    }

    /// The partition of the next record. `gathers` tells whether a partition has a batch that is
    /// still taking records.
    pub(crate) fn choose(&self, partitions: usize, gathers: impl Fn(usize) -> bool) -> usize {
        let current = self.current(partitions);
        if partitions > 1 && self.begun.load(Ordering::Relaxed) && !gathers(current) {
            self.move_on();
        }
        self.current(partitions)
    }

    /// A batch has been started on the current partition.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    pub(crate) fn move_on(&self) {
        self.begun.store(false, Ordering::Relaxed);
        self.current.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_gives_what_java_gives() {
        // The vectors of UtilsTest.testMurmur2 in Apache Kafka.
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
    }

    #[test]
    fn the_sign_is_masked_not_negated() {
        // As toPositive in Java: -973932308 & 0x7fffffff is 1173551340.
        assert_eq!(partition_of_key(b"21", 1_000_000), 551_340);
        assert_eq!(partition_of_key(b"anything", 1), 0);
    }

    #[test]
    fn sticky_stays_while_its_batch_gathers() {
        let sticky = Sticky::starting_at(4);
        assert_eq!(sticky.choose(3, |_| false), 1);
        sticky.begin();
        assert_eq!(sticky.choose(3, |_| true), 1);
        // Its batch has been sent.
        assert_eq!(sticky.choose(3, |_| false), 2);
        // No batch has been started there yet.
        assert_eq!(sticky.choose(3, |_| false), 2);
        sticky.move_on();
        assert_eq!(sticky.choose(3, |_| true), 0);
    }
}
