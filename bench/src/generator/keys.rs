//! Which keys a connection's records have, and so which partitions they go to.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

use crate::workload::Keys;

/// Draws a batch for no partition before so many records for each record of a batch: rare partitions are left out.
const DRAWS_PER_RECORD_MAX: u64 = 64;

/// A batch that filled up: its partition's place, and the keys of its records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyedBatch {
    /// Place in the connection's list of partitions.
    pub(crate) place: usize,
    /// One for each record.
    pub(crate) keys: Vec<u64>,
}

/// A seeded source of keys.
enum Source {
    Uniform(u64),
    Zipf(Zipf<f64>),
}

/// What a producer that collects records by partition would send: batches in the order in which they fill up.
/// Empty for [`Keys::None`]. The same seed gives the same batches.
pub(crate) fn keyed_batches(
    keys: Keys,
    places: usize,
    records: u32,
    batches_max: usize,
    seed: u64,
) -> Vec<KeyedBatch> {
    let source = match keys {
        Keys::None => return Vec::new(),
        Keys::Uniform { count } => Source::Uniform(count),
        Keys::Zipf { count, exponent } => match Zipf::new(count as f64, exponent) {
            Ok(zipf) => Source::Zipf(zipf),
            // The workload's limits leave no such case.
            Err(_) => Source::Uniform(count),
        },
    };
    let mut random = StdRng::seed_from_u64(seed);
    let mut filling: Vec<Vec<u64>> = vec![Vec::new(); places];
    let mut full = Vec::with_capacity(batches_max);
    let draws_max = batches_max as u64 * u64::from(records) * DRAWS_PER_RECORD_MAX;
    for _ in 0..draws_max {
        let key = match &source {
            Source::Uniform(count) => random.random_range(0..*count),
            Source::Zipf(zipf) => zipf.sample(&mut random) as u64 - 1,
        };
        let place = (spread(key) % places as u64) as usize;
        filling[place].push(key);
        if filling[place].len() == records as usize {
            full.push(KeyedBatch { place, keys: std::mem::take(&mut filling[place]) });
            if full.len() == batches_max {
                break;
            }
        }
    }
    full
}

/// Neighbouring keys go to partitions that have nothing to do with each other.
fn spread(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(keys: Keys) -> Vec<usize> {
        let mut shares = vec![0; 8];
        let batches = keyed_batches(keys, 8, 4, 2000, 3);
        assert_eq!(batches.len(), 2000);
        for batch in &batches {
            assert_eq!(batch.keys.len(), 4);
            assert!(batch.keys.iter().all(|key| (spread(*key) % 8) as usize == batch.place));
            shares[batch.place] += 1;
        }
        shares
    }

    #[test]
    fn uniform_keys_load_partitions_alike_and_zipf_keys_do_not() {
        let uniform = shares(Keys::Uniform { count: 100_000 });
        assert!(uniform.iter().all(|share| (200..300).contains(share)), "{uniform:?}");
        let zipf = shares(Keys::Zipf { count: 100_000, exponent: 1.2 });
        assert!(*zipf.iter().max().unwrap() > 400, "{zipf:?}");
        assert!(keyed_batches(Keys::None, 8, 4, 10, 3).is_empty());
    }

    #[test]
    fn the_seed_decides() {
        let of = |seed| keyed_batches(Keys::Uniform { count: 1000 }, 3, 2, 50, seed);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
