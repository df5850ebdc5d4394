//! The time, of day and since the start, and chance.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds that never go back, since some moment of this process.
pub(crate) fn monotonic_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Any number.
pub(crate) fn chance() -> u32 {
    Uuid::new_v4().as_fields().0
}
