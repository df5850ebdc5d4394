//! What the engine does, the same on every backend: plain system calls, a ring, and the simulated disk.
//!
//! Each behaviour is a function of a [`Backend`]; the macro makes a test of it for each of them. On the
//! simulated disk it runs with several seeds, which decide what is written back when, and in what order
//! what is under way is done.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../support/mod.rs"]
mod support;

mod append;
mod cut;
mod durability;
mod read;
mod store;

/// Seeds of the simulated disk for each behaviour.
const SEEDS: u64 = 5;

macro_rules! on_every_backend {
    ($($behaviour:ident),+ $(,)?) => {
        mod blocking {
            $(#[test] fn $behaviour() { super::$behaviour(&crate::support::backend::Backend::blocking()); })+
        }
        mod uring {
            $(#[test] fn $behaviour() {
                if let Some(backend) = crate::support::backend::Backend::uring() {
                    super::$behaviour(&backend);
                }
            })+
        }
        mod sim {
            $(#[test] fn $behaviour() {
                for seed in 0..crate::SEEDS {
                    super::$behaviour(&crate::support::backend::Backend::sim(seed));
                }
            })+
        }
    };
}
use on_every_backend;

/// Small segments, a journal of small files, and ranges of a few batches that are synced instead.
fn config() -> ringmain_engine::StoreConfig {
    ringmain_engine::StoreConfig {
        log: support::small(),
        journal_file_bytes: 64 << 10,
        journal_files_max: 3,
        journal_entry_bytes_max: 16 << 10,
        journal_range_bytes_max: 8 << 10,
        ..ringmain_engine::StoreConfig::default()
    }
}
