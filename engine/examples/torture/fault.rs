//! Writing to a disk that fails, or that is full.

use crate::Options;
use crate::check;
use crate::history::{self, Notes};
use crate::values::Random;
use crate::write::{Stop, Writer};
use ringmain_engine::{AppendError, Durability, ReadBound};
use std::io::BufRead;
use std::time::{Duration, Instant};

/// How long room may take to be noticed.
const ROOM_SECONDS: u64 = 10;

/// Waits for a line on standard input; none if it ended.
fn line_of_input() -> Option<String> {
    std::io::stdin().lock().lines().next()?.ok()
}

/// Tells whether all that may be read is right, with all that was acknowledged among it.
fn tell_reads(writer: &Writer<'_>, options: &Options) -> Result<(), String> {
    let events = history::read(&options.acks, None)?;
    match check::compare(&writer.logs(), events, ReadBound::Visible, false).line() {
        Ok(line) => println!("reads {line}"),
        Err(line) => println!("reads wrong {line}"),
    }
    Ok(())
}

/// Nothing is taken, of whatever durability; nothing is closed cleanly.
fn check_refusals(writer: &Writer<'_>) -> Result<(), String> {
    let failure = writer.store.failure().ok_or("the store does not tell its failure")?;
    for log in writer.logs() {
        for durability in [Durability::Written, Durability::Durable] {
            let mut batch = crate::values::Shape { tag: u64::MAX, count: 1, size: 12 }.batch()?;
            match log.append(&mut batch, durability) {
                Err(AppendError::Failed(again)) if again.to_string() == failure.to_string() => {}
                Err(other) => return Err(format!("an append after the failure is refused with: {other}")),
                Ok(_) => return Err("an append after the failure is accepted".into()),
            }
        }
    }
    Ok(())
}

fn writer_of<'a>(
    store: &'a ringmain_engine::Store,
    notes: &'a Notes,
    options: &Options,
) -> Result<Writer<'a>, String> {
    Writer::new(store, notes, options).map_err(|stop| format!("the logs cannot be made: {stop:?}"))
}

pub(crate) fn fail(options: &Options) -> Result<String, String> {
    let notes = options.notes()?;
    let store = options.open()?;
    let writer = writer_of(&store, &notes, options)?;
    match writer.write(options.batches) {
        Err(Stop::Failed(reason)) => println!("failed: {reason}"),
        Err(stop) => return Err(format!("the store did not fail, but: {stop:?}")),
        Ok(()) => return Err("the store did not fail".into()),
    }
    check_refusals(&writer)?;
    tell_reads(&writer, options)?;
    line_of_input().ok_or("standard input ended")?;
    check_refusals(&writer).map_err(|reason| format!("with the disk mended, {reason}"))?;
    match store.close() {
        Ok(()) => Err("the store closed as if it had not failed".into()),
        Err(_) => Ok("refused".into()),
    }
}

pub(crate) fn fill(options: &Options) -> Result<String, String> {
    let notes = options.notes()?;
    let store = options.open()?;
    let writer = writer_of(&store, &notes, options)?;
    let mut random = Random(options.seed);
    loop {
        match writer.write(options.batches) {
            Err(Stop::Full) => {}
            Err(stop) => return Err(format!("the disk did not get full, but: {stop:?}")),
            Ok(()) => return Err("the disk did not get full".into()),
        }
        if let Some(failure) = store.failure() {
            return Err(format!("a full disk made the store fail: {failure}"));
        }
        tell_reads(&writer, options)?;
        println!("full");
        if line_of_input().is_none() {
            return Ok("ended".into());
        }
        let deadline = Instant::now() + Duration::from_secs(ROOM_SECONDS);
        for log in writer.logs() {
            for durability in [Durability::Written, Durability::Durable] {
                append_again(&writer, &log, durability, &mut random, deadline)?;
            }
        }
        println!("room");
    }
}

fn append_again(
    writer: &Writer<'_>,
    log: &std::sync::Arc<ringmain_engine::Log>,
    durability: Durability,
    random: &mut Random,
    deadline: Instant,
) -> Result<(), String> {
    loop {
        let outcome = writer.append(log, durability, random);
        match outcome.and_then(|in_flight| in_flight.map_or(Ok(()), |in_flight| writer.wait(in_flight))) {
            Ok(()) => return Ok(()),
            Err(Stop::Full) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Err(stop) => return Err(format!("with room on the disk, an append ends with: {stop:?}")),
        }
    }
}
