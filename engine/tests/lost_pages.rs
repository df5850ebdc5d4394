//! Reads in a store that failed, of which the kernel has dropped pages whose write-back had failed.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use ringmain_engine::sim::{self, Faults};
use ringmain_engine::{Durability, LogConfig, Offset, ReadBound, ReadError, StoreConfig};
use std::os::unix::net::UnixStream;
use support::backend::Backend;
use support::*;

#[test]
fn what_the_kernel_dropped_is_refused_and_the_rest_is_read() {
    let backend = Backend::sim(7);
    let disk = backend.disk().unwrap();
    disk.set_write_back(0);
    let config =
        StoreConfig { log: LogConfig { segment_bytes: 1 << 20, ..small() }, ..StoreConfig::default() };
    let store = backend.open_with_journal(config.clone());
    let log = store.create_log("t-0", id(1), config.log).unwrap();
    (0..20).for_each(|tag| {
        append(&log, batch(tag, 3, tag), Durability::Durable);
    });
    while sim::step_checkpoint(&store) {}
    (20..40).for_each(|tag| {
        append(&log, batch(tag, 3, tag), Durability::Durable);
    });
    let all = values(&log);
    let read = |at: i64| log.read(Offset(at), 1 << 20, true, ReadBound::Visible);
    let before = read(100).unwrap().unwrap();
    disk.set_faults(Faults { sync_per_mille: 1000, ..Faults::default() });
    while sim::step_checkpoint(&store) {}
    assert!(store.failure().is_some());
    disk.drop_lost_pages();
    // What the checkpoint proved is there.
    let proven = log.read(Offset(0), 2000, true, ReadBound::Visible).unwrap().unwrap();
    assert!(!proven.is_empty() && proven.read().is_ok());
    // Of the rest, what can be read is what was appended.
    let (mut refused, mut good) = (0, 0);
    for at in 60..120 {
        match read(at) {
            Ok(slice) => good += usize::from(!slice.unwrap().read().unwrap().is_empty()),
            Err(ReadError::Lost { file, .. }) => {
                assert!(file.ends_with("t-0/00000000000000000000.log"));
                refused += 1;
            }
            Err(err) => panic!("{err}"),
        }
    }
    assert!(refused > 0, "{good} were read");
    // A slice of before the failure is neither sent nor read as it is.
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert!(before.send_to(&ours, 0).unwrap_err().to_string().contains("refuses writes"));
    assert!(before.copy_cached(&mut Vec::new()).unwrap_err().to_string().contains("refuses writes"));
    assert!(matches!(before.read(), Err(ReadError::Lost { .. })));
    drop((store, log, before, proven));
    disk.set_faults(Faults::default());
    disk.power_loss();
    let store = backend.open(config);
    assert_eq!(values(&store.log("t-0").unwrap()), all, "the journal has it");
}
