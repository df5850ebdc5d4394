//! Ids for idempotent producers, from blocks that are durable before the first of them is used.

use crate::metadata::{ChangeError, Controller, Reservation};
use tokio::sync::Mutex;

#[derive(Debug)]
pub(crate) struct ProducerIds {
    block: i64,
    blocks: Mutex<Blocks>,
}

/// The block in use, and the one after it.
#[derive(Debug, Default)]
struct Blocks {
    next: i64,
    end: i64,
    /// Asked for when half of the block in use is: the controller may be busy with a large topic for long.
    coming: Option<Reservation>,
}

impl ProducerIds {
    pub(crate) fn new(block: i64) -> Self {
        Self { block, blocks: Mutex::default() }
    }

    /// An id that nobody has had.
    pub(crate) async fn next(&self, controller: &Controller) -> Result<i64, ChangeError> {
        let mut blocks = self.blocks.lock().await;
        if blocks.next == blocks.end {
            let came = match blocks.coming.take() {
                Some(coming) => coming.await.ok().and_then(Result::ok),
                None => None,
            };
            // What failed then may succeed now.
            let first = match came {
                Some(first) => first,
                None => controller.reserve_producer_ids(self.block).await?,
            };
            (blocks.next, blocks.end) = (first, first + self.block);
        }
        let id = blocks.next;
        blocks.next += 1;
        if blocks.coming.is_none() && blocks.end - blocks.next <= self.block / 2 {
            blocks.coming = controller.begin_reserving_producer_ids(self.block);
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::metadata::{Catalog, NewTopic, WhichTopic};
    use futures_util::FutureExt;
    use ringmain_engine::{Store, StoreConfig};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::{Arc, mpsc};

    #[test]
    fn ids_are_given_while_the_controller_is_busy() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), StoreConfig::default()).unwrap());
        let catalog = Arc::new(Catalog::open(store, Config::default()).unwrap());
        // A deletion tells that it is under way, and takes until it is let go on.
        let (begins, begun) = mpsc::sync_channel(1);
        let (go_on, wait) = mpsc::sync_channel::<()>(1);
        let forget = move |_: &str| {
            begins.send(()).map_err(|err| err.to_string())?;
            wait.recv().map_err(|err| err.to_string())
        };
        let (controller, thread) = Controller::start(catalog, forget, 10, 100).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ids = ProducerIds::new(4);
        let mut given = BTreeSet::new();
        for _ in 0..2 {
            assert!(given.insert(runtime.block_on(ids.next(&controller)).unwrap()));
        }
        let topic =
            NewTopic { name: "t".into(), partitions: 1, config: BTreeMap::new(), validate_only: false };
        // What was asked for before it is done when it is.
        runtime.block_on(controller.create(topic)).unwrap();
        let deleting = controller.clone();
        let deletion = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(deleting.delete(WhichTopic::Name("t".into()))).unwrap();
        });
        begun.recv().unwrap();
        for _ in 0..6 {
            assert!(given.insert(ids.next(&controller).now_or_never().unwrap().unwrap()));
        }
        assert!(ids.next(&controller).now_or_never().is_none(), "the next block comes after the deletion");
        go_on.send(()).unwrap();
        deletion.join().unwrap();
        for _ in 0..9 {
            assert!(given.insert(runtime.block_on(ids.next(&controller)).unwrap()));
        }
        drop(controller);
        thread.join().unwrap();
    }
}
