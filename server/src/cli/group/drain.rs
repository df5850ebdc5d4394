//! How soon a group will have caught up, from two looks at what it has committed.

use indicatif::HumanDuration;
use serde::Serialize;
use std::time::Duration;

/// A partition as a look finds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    pub(super) committed: i64,
    pub(super) latest: i64,
}

/// How fast a partition moves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Speed {
    /// Records that the group commits in a second.
    pub(super) consumed_per_second: f64,
    /// Records that come in a second.
    pub(super) produced_per_second: f64,
}

impl Speed {
    /// Between two looks, `apart` from one another.
    pub(super) fn between(first: Look, second: Look, apart: Duration) -> Self {
        let per_second = |from: i64, to: i64| {
            // An offset that was set back in between says nothing of a speed.
            let moved = to.saturating_sub(from).max(0) as f64;
            moved / apart.as_secs_f64().max(0.001)
        };
        Self {
            consumed_per_second: per_second(first.committed, second.committed),
            produced_per_second: per_second(first.latest, second.latest),
        }
    }

    /// In how many seconds a group that is `lag` records behind has caught up if both speeds stay; `None` if it never does.
    pub(super) fn drain_seconds(&self, lag: i64) -> Option<f64> {
        let gain = self.consumed_per_second - self.produced_per_second;
        match lag {
            ..=0 => Some(0.0),
            _ if gain > 0.0 => Some(lag as f64 / gain),
            _ => None,
        }
    }
}

/// That for people.
pub(super) fn drain_text(seconds: Option<f64>) -> String {
    match seconds.map(Duration::try_from_secs_f64) {
        None => "never".to_owned(),
        Some(Ok(time)) if time.is_zero() => "0s".to_owned(),
        Some(Ok(time)) if time < Duration::from_secs(1) => "<1s".to_owned(),
        Some(Ok(time)) => format!("{:#}", HumanDuration(time)),
        Some(Err(_)) => "ages".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(committed: [i64; 2], latest: [i64; 2], seconds: u64) -> Speed {
        let look = |at: usize| Look { committed: committed[at], latest: latest[at] };
        Speed::between(look(0), look(1), Duration::from_secs(seconds))
    }

    #[test]
    fn the_lag_goes_by_what_is_consumed_beyond_what_is_produced() {
        let draining = speed([100, 200], [1000, 1050], 5);
        assert_eq!(draining, Speed { consumed_per_second: 20.0, produced_per_second: 10.0 });
        assert_eq!(draining.drain_seconds(850), Some(85.0));
        assert_eq!(draining.drain_seconds(0), Some(0.0));
    }

    #[test]
    fn a_group_that_gains_nothing_never_catches_up() {
        assert_eq!(speed([100, 100], [1000, 1000], 5).drain_seconds(900), None);
        assert_eq!(speed([100, 110], [1000, 1010], 5).drain_seconds(900), None);
        assert_eq!(speed([100, 100], [1000, 1010], 5).drain_seconds(910), None);
        assert_eq!(speed([0, 0], [0, 0], 5).drain_seconds(0), Some(0.0));
    }

    #[test]
    fn what_was_set_back_has_no_speed() {
        let back = speed([100, 50], [1000, 1000], 5);
        assert_eq!((back.consumed_per_second, back.drain_seconds(950)), (0.0, None));
    }

    #[test]
    fn times_are_short() {
        assert_eq!(drain_text(Some(0.0)), "0s");
        assert_eq!(drain_text(Some(0.3)), "<1s");
        assert_eq!(drain_text(Some(85.0)), "85s");
        assert_eq!(drain_text(Some(7200.0)), "2h");
        assert_eq!(drain_text(Some(1e30)), "ages");
        assert_eq!(drain_text(None), "never");
    }
}
