//! A log inside of a program: append durably, read back, stop cleanly.
//!
//! cargo run -p ringmain-engine --example embed

use ringmain_engine::{
    BatchBuilder, Durability, LogConfig, LogId, Offset, ReadBound, Store, StoreConfig, records,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::open("embedded-data", StoreConfig::default())?;
    let log = match store.log("orders-0") {
        Some(log) => log,
        None => store.create_log("orders-0", LogId([7; 16]), LogConfig::default())?,
    };
    let mut batch = BatchBuilder::new();
    batch.push(1_700_000_000_000, Some(b"order-1"), Some(b"two teapots"));
    let appended = log.append(&mut batch.finish().unwrap_or_default(), Durability::Durable)?;
    appended.completion.wait()?; // or `.done().await`, on any runtime
    let slice = log.read(Offset::ZERO, 1 << 20, true, ReadBound::Visible)?.ok_or("nothing to read")?;
    for record in records(&slice.read()?)? {
        let record = record?;
        println!("{}: {}", record.offset, String::from_utf8_lossy(record.value.unwrap_or_default()));
    }
    Ok(store.close()?)
}
