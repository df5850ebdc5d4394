//! Ids for idempotent producers, from blocks that are durable before the first of them is used.

use crate::metadata::{ChangeError, Controller};
use tokio::sync::Mutex;

#[derive(Debug)]
pub(crate) struct ProducerIds {
    block: i64,
    /// The next id and the end of the block.
    range: Mutex<(i64, i64)>,
}

impl ProducerIds {
    pub(crate) fn new(block: i64) -> Self {
        Self { block, range: Mutex::new((0, 0)) }
    }

    /// An id that nobody has had.
    pub(crate) async fn next(&self, controller: &Controller) -> Result<i64, ChangeError> {
        let mut range = self.range.lock().await;
        if range.0 == range.1 {
            let first = controller.reserve_producer_ids(self.block).await?;
            *range = (first, first + self.block);
        }
        let id = range.0;
        range.0 += 1;
        Ok(id)
    }
}
