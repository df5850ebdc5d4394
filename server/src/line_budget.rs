//! How often the log tells of what clients can bring about again and again.

use std::sync::{Mutex, PoisonError};

/// Lines of one kind in a second.
const LINES_PER_SECOND: u32 = 10;

/// The lines of one kind.
#[derive(Debug, Default)]
pub(crate) struct LineBudget(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    second: u64,
    written: u32,
    left_out: u64,
}

impl LineBudget {
    /// Whether one more line may be written at a moment of [`crate::clock::monotonic_ms`], and how many were left out since the
    /// one before.
    pub(crate) fn take(&self, now_ms: u64) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.second != now_ms / 1000 {
            (state.second, state.written) = (now_ms / 1000, 0);
        }
        if state.written == LINES_PER_SECOND {
            state.left_out += 1;
            return None;
        }
        state.written += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_for_a_second_is_left_out_and_told_in_a_later_one() {
        let lines = LineBudget::default();
        let written = |now_ms, count| (0..count).filter_map(|_| lines.take(now_ms)).collect::<Vec<_>>();
        assert_eq!(written(500, 7), [0; 7]);
        assert_eq!(written(999, 7), [0; 3]);
        assert_eq!(written(1000, 2), [4, 0]);
        assert_eq!(written(60_000, 12), [0; 10]);
        assert_eq!(written(61_999, 1), [2]);
    }
}
