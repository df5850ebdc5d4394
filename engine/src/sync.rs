//! Locks, atomics, threads and events, so that what threads share can be run under `shuttle`, which tries
//! the orders in which they may take turns. Without `--cfg shuttle` these are those of the standard library and
//! of `event-listener`. See `shuttled.rs` and `scripts/shuttle`.

#[cfg(not(shuttle))]
pub(crate) use event_listener::{Event, Listener};
#[cfg(not(shuttle))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
#[cfg(not(shuttle))]
pub(crate) use std::thread;

#[cfg(shuttle)]
pub(crate) use event::{Event, Listener};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
#[cfg(shuttle)]
pub(crate) use shuttle::thread;

/// What the engine uses of `event-listener`, made of a lock and a condition: a listener hears what is notified
/// after it was made, whether it waits already or not.
#[cfg(shuttle)]
mod event {
    use shuttle::sync::{Condvar, Mutex};
    use std::pin::Pin;
    use std::sync::{Arc, PoisonError};
    use std::task::{Context, Poll, Waker};

    #[derive(Debug, Default)]
    struct State {
        rung: u64,
        wakers: Vec<Waker>,
    }

    #[derive(Debug, Default)]
    struct Inner {
        state: Mutex<State>,
        changed: Condvar,
    }

    #[derive(Debug, Default)]
    pub(crate) struct Event(Arc<Inner>);

    pub(crate) struct EventListener {
        inner: Arc<Inner>,
        seen: u64,
    }

    pub(crate) trait Listener {
        fn wait(self);
    }

    impl Event {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn listen(&self) -> EventListener {
            let seen = self.0.state.lock().unwrap_or_else(PoisonError::into_inner).rung;
            EventListener { inner: Arc::clone(&self.0), seen }
        }

        /// All listeners: fewer are nowhere asked for.
        pub(crate) fn notify(&self, count: usize) -> usize {
            assert_eq!(count, usize::MAX);
            let wakers = {
                let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.rung += 1;
                std::mem::take(&mut state.wakers)
            };
            self.0.changed.notify_all();
            wakers.into_iter().for_each(Waker::wake);
            count
        }
    }

    impl Listener for EventListener {
        fn wait(self) {
            let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
            while state.rung == self.seen {
                state = self.inner.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    impl Future for EventListener {
        type Output = ();

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.rung != self.seen {
                return Poll::Ready(());
            }
            state.wakers.push(context.waker().clone());
            Poll::Pending
        }
    }
}
