//! Wakers of tasks other than the connection's own.

use std::task::{Context, Waker};

/// Keeps the waker of this poll.
pub(super) fn store(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        slot => *slot = Some(cx.waker().clone()),
    }
}

/// Keeps the waker of this poll next to others.
pub(super) fn add(waiters: &mut Vec<Waker>, cx: &Context<'_>) {
    if !waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
        waiters.push(cx.waker().clone());
    }
}

/// Wakes the task that waits, if there is one.
pub(super) fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}
