//! One thread of the generator: many connections, one epoll, one timer.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::generator::lane::{Lane, Turn};
use crate::generator::reader::Reader;
use crate::generator::schedule::Due;
use crate::generator::span::{Figures, Plan, Shared};
use crate::latency::Latencies;
use crate::peer::PeerError;

/// How often a thread looks whether it should end, in milliseconds.
const LOOK_EVERY_MS: u16 = 20;
/// How often it looks for connections that do not get on, and tells live figures.
const HOUSEKEEPING_EVERY: Duration = Duration::from_millis(200);
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;
const TIMER: u64 = u64::MAX;
const DURING: &str = "waiting for events";

/// A thread's connections.
#[derive(Debug)]
pub(crate) struct Worker {
    /// In the order of their numbers.
    pub(crate) lanes: Vec<Lane>,
    pub(crate) readers: Vec<Reader>,
}

struct Loop<'a> {
    worker: Worker,
    plan: &'a Plan<'a>,
    shared: &'a Shared,
    began: Duration,
    figures: Figures,
    live: Option<Latencies>,
    epoll: Epoll,
    timer: TimerFd,
    armed: Option<Duration>,
    /// Lanes that may have something to send, each once.
    dirty: VecDeque<usize>,
    is_dirty: Vec<bool>,
    done: Vec<bool>,
    lanes_left: usize,
    /// Counts the requests of this thread's lanes in the order in which they are due.
    cursor: u64,
    writing: Vec<bool>,
}

impl Worker {
    /// Runs until the span is over; the first failure ends all threads, and leaves no figures.
    pub(crate) fn run(self, plan: &Plan<'_>, shared: &Shared, figures: Figures) -> Option<Figures> {
        let prepared = Loop::new(self, plan, shared, figures);
        let began = shared.wait();
        let outcome = prepared.map_err(system).and_then(|mut turns| {
            turns.began = began;
            turns.turns()?;
            Ok(turns.finish())
        });
        outcome.map_err(|error| shared.fail(error)).ok()
    }
}

fn system(error: nix::Error) -> PeerError {
    PeerError::Socket { peer: "this machine".into(), during: DURING, source: error.into() }
}

impl<'a> Loop<'a> {
    fn new(worker: Worker, plan: &'a Plan<'a>, shared: &'a Shared, figures: Figures) -> nix::Result<Self> {
        let (epoll, timer) = prepare(&worker)?;
        let (lanes, readers) = (worker.lanes.len(), worker.readers.len());
        Ok(Self {
            worker,
            plan,
            shared,
            began: Duration::ZERO,
            figures,
            live: plan.watched.then(Latencies::new),
            epoll,
            timer,
            armed: None,
            dirty: (0..lanes).collect(),
            is_dirty: vec![true; lanes],
            done: vec![false; lanes],
            lanes_left: lanes,
            cursor: 0,
            writing: vec![false; lanes + readers],
        })
    }

    fn finish(mut self) -> Figures {
        for lane in &self.worker.lanes {
            self.figures.sent.extend(lane.sent());
        }
        self.figures
    }

    fn turns(&mut self) -> Result<(), PeerError> {
        if self.lanes_left == 0 {
            self.shared.senders_done.fetch_add(1, Ordering::AcqRel);
        }
        let mut events = vec![EpollEvent::empty(); EVENTS_MAX];
        let mut housekeeping = self.began + HOUSEKEEPING_EVERY;
        while !self.shared.over() && !self.plan.stop.interrupted() {
            let now = self.plan.clock.now();
            if now >= housekeeping {
                self.housekeep(now)?;
                housekeeping = now + HOUSEKEEPING_EVERY;
            }
            let next_due = self.mark_due(now);
            self.pump()?;
            let next_ask = self.ask(now)?;
            let next = [next_due, next_ask].into_iter().flatten().min();
            let timeout = if self.dirty.is_empty() && self.sleep_until(next)? {
                EpollTimeout::from(LOOK_EVERY_MS)
            } else {
                EpollTimeout::ZERO
            };
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => 0,
                Err(error) => return Err(system(error)),
            };
            for event in &events[..count] {
                self.handle(event.data(), event.events())?;
            }
        }
        Ok(())
    }

    /// Marks the lanes whose requests have become due; returns when the next one is.
    fn mark_due(&mut self, now: Duration) -> Option<Duration> {
        if self.lanes_left == 0 {
            return None;
        }
        let count = self.worker.lanes.len() as u64;
        loop {
            let index = (self.cursor % count) as usize;
            let request = (self.cursor / count) * self.plan.lanes + self.worker.lanes[index].number();
            match self.plan.schedule.due(request) {
                // Lanes send whenever they can, and have an end by the clock.
                Due::AtOnce => {
                    let end = self.began.saturating_add(self.plan.schedule.end());
                    if now < end {
                        // A fill ends by its bytes, not by the clock.
                        return (end < Duration::MAX).then_some(end);
                    }
                    (0..self.worker.lanes.len()).for_each(|lane| self.mark(lane));
                    return None;
                }
                Due::At(at) if self.began + at <= now => {
                    self.mark(index);
                    self.cursor += 1;
                }
                Due::At(at) => return Some(self.began + at),
                Due::Over => {
                    (0..self.worker.lanes.len()).for_each(|lane| self.mark(lane));
                    return None;
                }
            }
        }
    }

    fn mark(&mut self, lane: usize) {
        if !self.is_dirty[lane] && !self.done[lane] {
            self.is_dirty[lane] = true;
            self.dirty.push_back(lane);
        }
    }

    /// Gives each marked lane one turn.
    fn pump(&mut self) -> Result<(), PeerError> {
        for _ in 0..self.dirty.len() {
            let Some(index) = self.dirty.pop_front() else { break };
            self.is_dirty[index] = false;
            if self.done[index] {
                continue;
            }
            let lane = &mut self.worker.lanes[index];
            match lane.pump(self.plan, self.shared, self.began, &mut self.figures)? {
                Turn::Waits => {}
                Turn::More => self.mark(index),
                Turn::Done => {
                    self.done[index] = true;
                    self.lanes_left -= 1;
                    if self.lanes_left == 0 {
                        self.shared.senders_done.fetch_add(1, Ordering::AcqRel);
                    }
                }
            }
            self.watch(index)?;
        }
        Ok(())
    }

    /// Lets idle readers ask; returns when the next one may.
    fn ask(&mut self, now: Duration) -> Result<Option<Duration>, PeerError> {
        let mut next: Option<Duration> = None;
        for index in 0..self.worker.readers.len() {
            let reader = &mut self.worker.readers[index];
            if reader.idle(now) {
                reader.ask(now)?;
                self.watch(self.worker.lanes.len() + index)?;
            } else if reader.waits() {
                let at = reader.not_before;
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        Ok(next)
    }

    /// Arms the timer. `false`: the time has come already.
    fn sleep_until(&mut self, next: Option<Duration>) -> Result<bool, PeerError> {
        let Some(next) = next else { return Ok(true) };
        let now = self.plan.clock.now();
        if next <= now {
            return Ok(false);
        }
        if self.armed != Some(next) {
            let wait = Expiration::OneShot(TimeSpec::from_duration(next - now));
            self.timer.set(wait, TimerSetTimeFlags::empty()).map_err(system)?;
            self.armed = Some(next);
        }
        Ok(true)
    }

    fn handle(&mut self, data: u64, flags: EpollFlags) -> Result<(), PeerError> {
        if data == TIMER {
            // It was one shot; another thread's time is of no interest.
            let _ = self.timer.wait();
            self.armed = None;
            return Ok(());
        }
        let index = data as usize;
        let lanes = self.worker.lanes.len();
        let readable = flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        if let Some(lane) = self.worker.lanes.get_mut(index) {
            if readable {
                lane.receive(self.plan, self.began, &mut self.figures, &mut self.live)?;
            }
            self.mark(index);
            return Ok(());
        }
        let reader = &mut self.worker.readers[index - lanes];
        if flags.contains(EpollFlags::EPOLLOUT) {
            reader.socket.flush(DURING)?;
        }
        if readable {
            reader.receive(self.plan, self.shared, self.began, &mut self.figures)?;
        }
        self.watch(index)
    }

    /// Asks to be told of room in the socket exactly while something waits to be written.
    fn watch(&mut self, index: usize) -> Result<(), PeerError> {
        let lanes = self.worker.lanes.len();
        let socket = match self.worker.lanes.get(index) {
            Some(lane) => &lane.socket,
            None => &self.worker.readers[index - lanes].socket,
        };
        let pending = socket.pending();
        if pending != self.writing[index] {
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, pending);
            let mut event = EpollEvent::new(flags, index as u64);
            self.epoll.modify(socket.stream(), &mut event).map_err(system)?;
            self.writing[index] = pending;
        }
        Ok(())
    }

    fn housekeep(&mut self, now: Duration) -> Result<(), PeerError> {
        for lane in &self.worker.lanes {
            lane.check_progress(self.plan, now)?;
        }
        for reader in &self.worker.readers {
            reader.check_progress(self.plan, now)?;
        }
        if let Some(live) = &mut self.live {
            self.shared.live.lock().unwrap_or_else(PoisonError::into_inner).add(live);
            *live = Latencies::new();
        }
        Ok(())
    }
}

fn prepare(worker: &Worker) -> nix::Result<(Epoll, TimerFd)> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
    epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
    let lanes = worker.lanes.iter().map(|lane| &lane.socket);
    let sockets = lanes.chain(worker.readers.iter().map(|reader| &reader.socket));
    for (index, socket) in sockets.enumerate() {
        epoll.add(socket.stream(), EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
    }
    Ok((epoll, timer))
}
