//! Calls of the application that wait; dropped, they are taken back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::client::Held;
use crate::core::receive::Asked;
use crate::core::room::Settled;
use crate::error::Error;

/// A call that waits for its answer.
pub(crate) struct Answered<'a, T> {
    held: &'a Arc<Held>,
    id: u64,
    answer: oneshot::Receiver<Result<T, Error>>,
    is_over: bool,
}

impl<'a, T> Answered<'a, T> {
    pub(crate) fn new(held: &'a Arc<Held>, (id, answer): Asked<T>) -> Self {
        Answered { held, id, answer, is_over: false }
    }
}

impl<T> Future for Answered<'_, T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(context);
        self.is_over = answer.is_ready();
        answer.map(|answer| answer.unwrap_or_else(|_| Err(Error::closed())))
    }
}

impl<T> Drop for Answered<'_, T> {
    fn drop(&mut self) {
        if !self.is_over {
            self.held.shared.with(|core| core.give_up_call(self.id));
        }
    }
}

/// A `join` or `leave` that waits until the room is as wished.
pub(crate) struct Wish<'a> {
    held: &'a Arc<Held>,
    room: &'a str,
    ticket: u64,
    settled: Settled,
    is_over: bool,
}

impl<'a> Wish<'a> {
    pub(crate) fn new(held: &'a Arc<Held>, room: &'a str, (ticket, settled): (u64, Settled)) -> Self {
        Wish { held, room, ticket, settled, is_over: false }
    }
}

impl Future for Wish<'_> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let settled = Pin::new(&mut self.settled).poll(context);
        self.is_over = settled.is_ready();
        settled.map(|settled| settled.unwrap_or_else(|_| Err(Error::closed())))
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.held.shared.with(|core| core.give_up(self.room, self.ticket));
        }
    }
}
