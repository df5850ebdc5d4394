//! What a record carries so that it is known when it is read, and the list of those that were.

/// Bytes at the head of each record: number and time.
pub(crate) const HEAD_BYTES: usize = 16;

/// Writes a record's head: its number, and when it was due, in nanoseconds of the run.
pub(crate) fn stamp(record: &mut [u8], number: u64, due_ns: u64) {
    record[..8].copy_from_slice(&number.to_be_bytes());
    record[8..HEAD_BYTES].copy_from_slice(&due_ns.to_be_bytes());
}

/// Reads it back; `None` if there is none.
pub(crate) fn stamped(record: &[u8]) -> Option<(u64, u64)> {
    let (number, rest) = record.split_first_chunk::<8>()?;
    let (due_ns, _) = rest.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), u64::from_be_bytes(*due_ns)))
}

/// A record that was not sent, or came twice.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Odd {
    /// Its head or its length is not ours.
    #[error("a record that was not sent")]
    Foreign,
    /// It was read before.
    #[error("record {0} a second time")]
    Again(u64),
}

/// Which records were read: one bit for each.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    seen: Vec<u64>,
    count: u64,
}

impl Tally {
    /// Strikes a record off. Numbers must be below `sent`.
    pub(crate) fn strike(&mut self, number: u64, sent: u64) -> Result<(), Odd> {
        if number >= sent {
            return Err(Odd::Foreign);
        }
        let (word, bit) = ((number / 64) as usize, 1_u64 << (number % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            return Err(Odd::Again(number));
        }
        self.seen[word] |= bit;
        self.count += 1;
        Ok(())
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_counts_once() {
        let mut tally = Tally::default();
        assert_eq!(tally.strike(70, 71), Ok(()));
        assert_eq!(tally.strike(0, 71), Ok(()));
        assert_eq!(tally.strike(70, 71), Err(Odd::Again(70)));
        assert_eq!(tally.strike(71, 71), Err(Odd::Foreign));
        assert_eq!(tally.count(), 2);
    }

    #[test]
    fn a_head_is_read_back() {
        let mut record = [7; 20];
        stamp(&mut record, 5, u64::MAX);
        assert_eq!(stamped(&record), Some((5, u64::MAX)));
        assert_eq!(record[16..], [7; 4]);
        assert_eq!(stamped(&record[..15]), None);
    }
}
