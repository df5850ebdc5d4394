//! What the threads of a span share: the plan, which does not change, and how far they are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::generator::payload::RequestKind;
use crate::generator::recorder::Recorder;
use crate::generator::schedule::Schedule;
use crate::latency::Latencies;
use crate::peer::PeerError;
use crate::stop::Stop;

/// The run's own clock: what stamps count from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Time since it started.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// One partition of one topic of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Place in the list of topics.
    pub(crate) topic: usize,
    /// Index in the topic.
    pub(crate) partition: i32,
    /// `HOST:PORT` of its leader.
    pub(crate) address: String,
}

/// What does not change while a span runs.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) clock: Clock,
    pub(crate) stop: &'a Stop,
    /// Names, all of one length.
    pub(crate) topics: &'a [String],
    pub(crate) slots: &'a [Slot],
    pub(crate) schedule: Schedule,
    pub(crate) request: RequestKind,
    /// Records in each request.
    pub(crate) records: u32,
    pub(crate) in_flight: usize,
    /// Lanes of all threads together.
    pub(crate) lanes: u64,
    /// Bytes of batches at most.
    pub(crate) bytes_max: u64,
    /// Time without an answer after which the run fails.
    pub(crate) timeout: Duration,
    /// Milliseconds from 1970 to the clock's origin.
    pub(crate) origin_ms: i64,
    /// Whether somebody looks at live figures.
    pub(crate) watched: bool,
}

/// How far the threads are.
#[derive(Debug)]
pub(crate) struct Shared {
    ready: Barrier,
    go: Barrier,
    began: OnceLock<Duration>,
    over: AtomicBool,
    failure: Mutex<Option<PeerError>>,
    /// Bytes of batches that were sent.
    pub(crate) sent_bytes: AtomicU64,
    /// Records that were sent.
    pub(crate) sent_records: AtomicU64,
    /// Threads whose lanes are done: everything sent and answered.
    pub(crate) senders_done: AtomicU64,
    /// Records read by each set of consumers.
    pub(crate) consumed: Vec<AtomicU64>,
    /// Latencies since somebody looked.
    pub(crate) live: Mutex<Latencies>,
}

impl Shared {
    /// For so many threads, and one more that coordinates them.
    pub(crate) fn new(threads: usize, sets: usize) -> Self {
        Self {
            ready: Barrier::new(threads + 1),
            go: Barrier::new(threads + 1),
            began: OnceLock::new(),
            over: AtomicBool::new(false),
            failure: Mutex::new(None),
            sent_bytes: AtomicU64::new(0),
            sent_records: AtomicU64::new(0),
            senders_done: AtomicU64::new(0),
            consumed: (0..sets).map(|_| AtomicU64::new(0)).collect(),
            live: Mutex::new(Latencies::new()),
        }
    }

    /// Waits until all threads are ready; returns when the span began.
    pub(crate) fn wait(&self) -> Duration {
        self.ready.wait();
        self.go.wait();
        self.began.get().copied().unwrap_or_default()
    }

    /// The coordinator's side of `wait`.
    pub(crate) fn begin(&self, clock: Clock) -> Duration {
        self.ready.wait();
        let began = *self.began.get_or_init(|| clock.now());
        self.go.wait();
        began
    }

    /// Nothing more needs to be done.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether the threads should end.
    pub(crate) fn over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// A thread failed; the first failure is kept, and all end.
    pub(crate) fn fail(&self, error: PeerError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.end();
    }

    /// The first failure.
    pub(crate) fn failure(self) -> Option<PeerError> {
        self.failure.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Live figures since the last call.
    pub(crate) fn take_live(&self) -> Latencies {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *live, Latencies::new())
    }
}

/// Figures of the warm-up and of what counts.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    /// What was due in the warm-up.
    pub(crate) warmup: Recorder,
    /// The rest.
    pub(crate) counted: Recorder,
}

impl Parts {
    pub(crate) fn new(schedule: &Schedule, planned: Duration) -> Self {
        Self { warmup: Recorder::new(schedule.warmup()), counted: Recorder::new(planned) }
    }

    /// Something that belongs to `moment` was done at `now`; both from the start of the span.
    pub(crate) fn record(
        &mut self,
        warmup: Duration,
        moment: Duration,
        now: Duration,
        latency: Option<Duration>,
        records: u64,
        bytes: u64,
    ) {
        if moment < warmup {
            self.warmup.record(now, latency, records, bytes);
        } else {
            self.counted.record(now.saturating_sub(warmup), latency, records, bytes);
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.warmup.add(&other.warmup);
        self.counted.add(&other.counted);
    }
}

/// What a thread found out; those of all threads are added up.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Sending.
    pub(crate) produce: Parts,
    /// How late requests were sent that nothing but this client held up.
    pub(crate) lag: Latencies,
    /// For each set of consumers: reading, and end to end.
    pub(crate) sets: Vec<(Parts, Parts)>,
    /// Batches sent, by slot and stream.
    pub(crate) sent: std::collections::HashMap<(usize, u32), u64>,
}

impl Figures {
    pub(crate) fn new(schedule: &Schedule, planned: Duration, sets: usize) -> Self {
        let parts = || Parts::new(schedule, planned);
        Self {
            produce: parts(),
            lag: Latencies::new(),
            sets: (0..sets).map(|_| (parts(), parts())).collect(),
            sent: std::collections::HashMap::new(),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.produce.add(&other.produce);
        self.lag.add(&other.lag);
        for ((consume, end_to_end), (more, more_end_to_end)) in self.sets.iter_mut().zip(&other.sets) {
            consume.add(more);
            end_to_end.add(more_end_to_end);
        }
        for (key, batches) in &other.sent {
            *self.sent.entry(*key).or_insert(0) += batches;
        }
    }
}
