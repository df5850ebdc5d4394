//! A process that fills a store. It is another one than that which opens it, so that it can be killed.

use std::io::{Read, Write};
use std::sync::Arc;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use ringmain_engine::{Durability, Log, LogConfig, Store, StoreConfig};

use crate::cli::{FillArgs, OpenDurability};
use crate::engine::{EngineError, batch_of_bytes, create_log};
use crate::error::BenchError;
use crate::scratch::raise_open_files;
use crate::stop::Stop;

const BATCH_BYTES: usize = 64 << 10;
/// How the name of a line begins that says how many bytes are in the store.
pub(super) const READY: &str = "ready ";

/// The hidden command `fill`. Prints that it is ready, then waits until standard input ends.
pub(crate) fn fill(args: &FillArgs, stop: &Stop) -> Result<(), BenchError> {
    // Nothing shall go on when the process that measures is gone.
    let _ = set_pdeathsig(Signal::SIGKILL);
    raise_open_files();
    let store = Store::open(&args.store, StoreConfig::default()).map_err(EngineError::from)?;
    let bytes = fill_logs(&store, args, stop)?;
    if args.clean {
        store.close().map_err(EngineError::Close)?;
    }
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{READY}{bytes}").and_then(|()| stdout.flush()).map_err(BenchError::Print)?;
    drop(stdout);
    // Whatever comes, it is the end.
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}

/// Appends to each log in turn; returns the bytes in all of them.
fn fill_logs(store: &Store, args: &FillArgs, stop: &Stop) -> Result<u64, EngineError> {
    let new = |n: u32| create_log(store, &format!("log-{n}"), u64::from(n), LogConfig::default());
    let logs: Vec<Arc<Log>> = (0..args.logs).map(new).collect::<Result<_, _>>()?;
    let mut batch = batch_of_bytes(BATCH_BYTES.min(args.bytes_per_log as usize));
    let durability = match args.durability {
        OpenDurability::Written => Durability::Written,
        OpenDurability::Durable => Durability::Durable,
    };
    for _ in 0..args.bytes_per_log.div_ceil(batch.len() as u64) {
        if stop.interrupted() {
            return Err(EngineError::Interrupted);
        }
        let mut pending = Vec::with_capacity(logs.len());
        for log in &logs {
            pending.push(log.append(&mut batch, durability)?.completion);
        }
        for completion in pending {
            completion.wait()?;
        }
    }
    Ok(logs.iter().map(|log| log.size_bytes()).sum())
}
