//! The requests of one connection that are not answered yet: bounded, in order.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Shared by the sending and the receiving thread of a connection.
#[derive(Debug)]
pub(crate) struct Window {
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// From when each request's latency counts; the oldest in front.
    since: VecDeque<Instant>,
    closed: bool,
}

impl Window {
    /// At most `limit` requests in flight.
    pub(crate) fn new(limit: usize) -> Self {
        assert!(limit > 0);
        let since = VecDeque::with_capacity(limit);
        Self { limit, state: Mutex::new(State { since, closed: false }), changed: Condvar::new() }
    }

    /// Waits for room and takes it. The request counts from `due`, or from now. `false`: closed.
    pub(crate) fn enter(&self, due: Option<Instant>) -> bool {
        let mut state = self.lock();
        while state.since.len() == self.limit && !state.closed {
            state = self.wait(state);
        }
        if state.closed {
            return false;
        }
        state.since.push_back(due.unwrap_or_else(Instant::now));
        self.changed.notify_one();
        true
    }

    /// Waits until a request is in flight. `None`: closed, and all were answered.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let mut state = self.lock();
        while state.since.is_empty() && !state.closed {
            state = self.wait(state);
        }
        state.since.front().copied()
    }

    /// The oldest request was answered: its room is free.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        let left = state.since.pop_front();
        assert!(left.is_some(), "only a request that entered is answered");
        self.changed.notify_one();
    }

    /// No more requests enter.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicIsize, Ordering};

    #[test]
    fn never_more_in_flight_than_the_limit() {
        let window = Window::new(3);
        let in_flight = AtomicIsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..1000 {
                    assert!(window.enter(None));
                    assert!(in_flight.fetch_add(1, Ordering::SeqCst) < 3);
                }
                window.close();
            });
            let mut answered = 0;
            while window.oldest().is_some() {
                in_flight.fetch_sub(1, Ordering::SeqCst);
                window.leave();
                answered += 1;
            }
            assert_eq!(answered, 1000);
        });
    }

    #[test]
    fn closing_wakes_a_blocked_sender() {
        let window = Window::new(1);
        assert!(window.enter(None));
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| window.enter(None));
            std::thread::sleep(std::time::Duration::from_millis(20));
            window.close();
            assert!(!sender.join().unwrap());
        });
    }
}
