//! A member of a group, as a process of its own, and what those who start it know of it.

use crate::settings;
use matrix_clients::{Outcome, Row, same, until};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a member printed.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// What it was given last.
    pub(crate) assigned: BTreeSet<i32>,
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Member {
    child: Child,
    seen: Arc<Mutex<Seen>>,
    reader: Option<JoinHandle<()>>,
}

impl Member {
    pub(crate) fn start(broker: &str, topic: &str, group: &str) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["member", broker, topic, group])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("a member has no output")?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (shared, topic) = (Arc::clone(&seen), topic.to_owned());
        let reader = std::thread::spawn(move || read(out, &topic, &shared));
        Ok(Self { child, seen, reader: Some(reader) })
    }

    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Ends it as an operator would, and waits.
    pub(crate) fn leave(&mut self) -> Outcome {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let mut status = None;
        until("a member ends", || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        })?;
        self.join();
        same("the status of a member that leaves", Some(0), status.and_then(|status| status.code()))
    }

    /// As kill -9. What it printed before is read.
    pub(crate) fn crash(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        self.join();
        Ok(())
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It has ended already, or something went wrong.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(out: impl Read, topic: &str, seen: &Mutex<Seen>) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match words[..] {
            ["assigned", partitions] => {
                lock(seen).assigned = partitions.split(',').filter_map(|one| one.parse().ok()).collect();
            }
            [partition, offset, value] => lock(seen).rows.push(Row {
                topic: topic.to_owned(),
                partition: partition.parse().unwrap_or(-1),
                offset: offset.parse().unwrap_or(-1),
                key: None,
                value: Some(value.to_owned()),
            }),
            _ => eprintln!("a member printed {line:?}"),
        }
    }
}

struct Tells;

impl ClientContext for Tells {}

impl ConsumerContext for Tells {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(places) = rebalance {
            let partitions: BTreeSet<i32> = places.elements().iter().map(|place| place.partition()).collect();
            let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
            println!("assigned {}", partitions.join(","));
        }
    }
}

/// The program of a member.
pub(crate) fn run(broker: &str, topic: &str, group: &str) -> Outcome {
    let stop = stop_on_sigterm()?;
    let config = settings(
        broker,
        &[
            ("group.id", group),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "500"),
        ],
    );
    let consumer: BaseConsumer<Tells> = config.create_with_context(Tells)?;
    consumer.subscribe(&[topic])?;
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
        println!("{} {} {value}", message.partition(), message.offset());
        let mut next = TopicPartitionList::new();
        next.add_partition_offset(topic, message.partition(), Offset::Offset(message.offset() + 1))?;
        match consumer.commit(&next, CommitMode::Sync) {
            Ok(()) => {}
            // The partition was given to somebody else meanwhile, who gets the record again.
            Err(KafkaError::ConsumerCommit(
                late @ (RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId),
            )) => eprintln!("rdkafka member: a commit came too late: {late}"),
            Err(err) => return Err(err.into()),
        }
    }
    // To drop it is to leave.
    Ok(())
}

fn stop_on_sigterm() -> Outcome<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    drop(guard);
    let stop = Arc::new(AtomicBool::new(false));
    let stops = Arc::clone(&stop);
    std::thread::spawn(move || {
        runtime.block_on(signal.recv());
        stops.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}
