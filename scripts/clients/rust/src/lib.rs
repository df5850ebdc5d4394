//! What the programs of the client matrix share: features and how they went, comparisons, bounded waits.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How a feature went, or a part of it.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A record as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: Option<String>,
}

impl Row {
    /// The records numbered `from..to`, to the partitions of a new topic in turn.
    pub fn numbered(topic: &str, partitions: i32, from: i32, to: i32) -> Vec<Row> {
        let row = |i: i32| Row {
            topic: topic.to_owned(),
            partition: i % partitions,
            offset: i64::from(i / partitions),
            key: Some(format!("key {}", i % 7)),
            value: Some(format!("value {i} {}", "text ".repeat(20))),
        };
        (from..to).map(row).collect()
    }
}

/// By topic and partition, the order within a partition as it came.
pub fn by_partition(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    rows
}

/// Tells how a feature went.
pub fn report(feature: &str, outcome: Outcome) {
    match outcome {
        Ok(()) => println!("ok {feature}"),
        Err(problem) => {
            let problem = problem.to_string();
            println!("FAILED {feature}: {}", problem.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
}

/// Tells that a client has no such thing.
pub fn none(feature: &str, lacks: &str) {
    println!("none {feature}: the client has no {lacks}");
}

/// A name that a second run against one broker has not used.
pub fn fresh(name: &str) -> String {
    static RUN: std::sync::OnceLock<u128> = std::sync::OnceLock::new();
    let run =
        RUN.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis()));
    format!("{name}-{run:x}")
}

/// Fails unless both are equal.
pub fn same<T: PartialEq<U> + Debug, U: Debug>(what: &str, expected: T, seen: U) -> Outcome {
    if expected == seen {
        return Ok(());
    }
    Err(format!("{what} is {}, expected {}", cut(&seen), cut(&expected)).into())
}

/// Fails unless both lists are equal; tells where they are not.
pub fn same_list<T: PartialEq + Debug>(what: &str, expected: &[T], seen: &[T]) -> Outcome {
    for (i, (expected, seen)) in expected.iter().zip(seen).enumerate() {
        same(&format!("{what} [{i}]"), expected, seen)?;
    }
    same(&format!("the length of {what}"), expected.len(), seen.len())
}

fn cut(value: &impl Debug) -> String {
    format!("{value:?}").chars().take(300).collect()
}

/// Tries until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let deadline = Deadline::new(what);
    while !holds() {
        deadline.check()?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// When a wait is over, and what for.
pub struct Deadline {
    end: Instant,
    what: String,
}

impl Deadline {
    pub fn new(what: &str) -> Self {
        Self { end: Instant::now() + PATIENCE, what: what.to_owned() }
    }

    /// Fails once it is over.
    pub fn check(&self) -> Outcome {
        if Instant::now() < self.end {
            return Ok(());
        }
        Err(format!("not within {} s: {}", PATIENCE.as_secs(), self.what).into())
    }
}
