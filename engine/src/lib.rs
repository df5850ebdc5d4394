//! An append-only log engine in Kafka's on-disk format.
//!
//! A [`Store`] is a directory of [`Log`]s. A log takes whole record batches, writes them to the page
//! cache with one positioned write, and gives them back as [`Slice`]s, to be sent by `sendfile` or
//! read. How durable an append is to be, is said with each: see [`Durability`].
//!
//! The engine knows no request of the wire protocol, no socket but `sendfile`'s, and no async
//! runtime: a [`Completion`] can be waited on by a thread or awaited anywhere.
//!
//! ```
//! use ringmain_engine::{BatchBuilder, Durability, LogConfig, LogId, Offset, ReadBound, Store, StoreConfig};
//! # let dir = tempfile::tempdir()?;
//! let store = Store::open(dir.path().join("data"), StoreConfig::default())?;
//! let log = store.create_log("orders-0", LogId([1; 16]), LogConfig::default())?;
//! let mut batch = BatchBuilder::new();
//! batch.push(1_700_000_000_000, Some(b"key"), Some(b"value"));
//! let appended = log.append(&mut batch.finish().unwrap(), Durability::Durable)?;
//! appended.completion.wait()?; // now it survives the loss of power
//! let slice = log.read(Offset::ZERO, 1 << 20, true, ReadBound::Visible)?.unwrap();
//! assert_eq!(slice.len(), slice.read()?.len() as u64);
//! store.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)] // allowed in mapping.rs, uring.rs and write_back.rs of io, nowhere else

mod batch;
mod checkpoint;
mod epochs;
mod error;
mod fate;
#[cfg(any(test, feature = "sim"))]
pub mod fuzzing;
#[cfg(any(test, feature = "bench"))]
pub mod hot_paths;
mod housekeeping;
mod index;
pub mod inspect;
mod io;
mod journal;
mod log;
mod log_number;
mod offset;
mod partition_metadata;
mod producers;
mod record;
mod scan;
mod segment;
#[cfg(all(test, shuttle))]
mod shuttled;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod store;
mod sync;
mod watermark;

/// The examples of the README are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub use batch::{BatchError, BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, NO_PRODUCER_ID};
pub use error::{
    AppendError, CreateError, CutError, DeleteError, OpenError, RaiseEpochError, ReadError, StoreFailed,
};
pub use io::IoMode;
pub use journal::JournalStats;
pub use log::{Appended, Completion, Log, LogConfig, LogId, ReadBound, Slice, WaitError};
pub use offset::{LeaderEpoch, Offset};
pub use producers::ActiveProducer;
pub use record::{BatchBuilder, Record, RecordHeader, Records, RecordsError, records};
pub use store::{Store, StoreConfig};
pub use watermark::{Durability, Progress};
