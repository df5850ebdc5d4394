//! Waiting between retries, up to a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::ClientConfig;

/// Waits that double from one retry to the next, until a deadline.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
    deadline: Instant,
}

impl Backoff {
    /// Retries of one operation, which may take `limit` from now on.
    pub(crate) fn new(config: &ClientConfig, limit: Duration) -> Self {
        Self::until(config, Instant::now() + limit)
    }

    /// Retries of one operation until `deadline`.
    pub(crate) fn until(config: &ClientConfig, deadline: Instant) -> Self {
        Self { next: config.backoff_first.min(config.backoff_max), max: config.backoff_max, deadline }
    }

    /// Waits for the next attempt; false, at once, when that would be after the deadline.
    pub(crate) async fn wait(&mut self) -> bool {
        if Instant::now() + self.next > self.deadline {
            return false;
        }
        sleep(self.next).await;
        // Never zero: an endless busy loop would follow.
        self.next = (self.next * 2).clamp(Duration::from_millis(1), self.max.max(Duration::from_millis(1)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn retries_end_at_the_deadline() {
        let config = ClientConfig {
            backoff_first: Duration::from_millis(1),
            backoff_max: Duration::from_millis(4),
            ..ClientConfig::default()
        };
        let mut backoff = Backoff::new(&config, Duration::from_millis(30));
        let mut retries = 0;
        while backoff.wait().await {
            retries += 1;
            assert!(retries < 1000, "no deadline");
        }
        assert!(retries >= 1);
        assert!(!backoff.wait().await);
    }
}
