//! A bounded queue from the session to the application, which says what did not fit.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Events that wait at most, and their bytes.
pub(crate) const EVENTS_MAX: usize = 1024;
const BYTES_MAX: usize = 8 << 20;

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Notify,
}

struct State<T> {
    events: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

/// The queue is full; the event comes back.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Full;

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let state = State { events: VecDeque::new(), bytes: 0, closed: false };
        Queue { state: Mutex::new(state), filled: Notify::new() }
    }
}

impl<T> Queue<T> {
    /// Puts an event of so many bytes behind the others.
    pub(crate) fn push(&self, event: T, bytes: usize) -> Result<(), Full> {
        let mut state = self.state.lock();
        // One event always has room.
        if state.events.len() >= EVENTS_MAX || (state.bytes + bytes > BYTES_MAX && !state.events.is_empty()) {
            return Err(Full);
        }
        state.bytes += bytes;
        state.events.push_back((event, bytes));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Changes the last event, or puts one there; for what is counted together.
    pub(crate) fn merge(&self, merge: impl FnOnce(Option<&mut T>) -> Option<T>) {
        let mut state = self.state.lock();
        if let Some(event) = merge(state.events.back_mut().map(|(event, _)| event)) {
            state.events.push_back((event, 0));
        }
        drop(state);
        self.filled.notify_one();
    }

    /// The oldest event, as soon as there is one; `None` once the queue is closed and empty.
    pub(crate) async fn pop(&self) -> Option<T> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some((event, bytes)) = state.events.pop_front() {
                    state.bytes -= bytes;
                    // Another may wait for the next.
                    self.filled.notify_one();
                    return Some(event);
                }
                if state.closed {
                    self.filled.notify_one();
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().events.is_empty()
    }

    /// Nothing comes any more.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_said_and_the_rest_comes_in_order() {
        let queue = Queue::default();
        (0..EVENTS_MAX).for_each(|event| queue.push(event, 1).unwrap());
        assert_eq!(queue.push(0, 1), Err(Full));
        assert_eq!(queue.pop().await, Some(0));
        queue.close();
        for event in 1..EVENTS_MAX {
            assert_eq!(queue.pop().await, Some(event));
        }
        assert_eq!(queue.pop().await, None);
    }

    #[test]
    fn bytes_count_too() {
        let queue = Queue::default();
        queue.push("long", BYTES_MAX * 2).unwrap();
        assert_eq!(queue.push("more", 1), Err(Full));
    }
}
