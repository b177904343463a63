//! The time of a shard: that of its turn, the deadlines of its connections, the sleeps of its tasks.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::notifier::Notifier;
use crate::timer::{Sleeps, Tick, Timers, coarse_now};

/// The clock of one shard, which stands still within a turn.
pub(crate) struct Time {
    timers: RefCell<Timers>,
    sleeps: Sleeps,
    now: Cell<Instant>,
    tick: Cell<Tick>,
    /// When the last poll of a task in this turn ended.
    last_poll_ended: Cell<Option<Duration>>,
}

impl Time {
    pub(super) fn new(now: Instant, notifier: Arc<Notifier>) -> Self {
        let timers = Timers::new(now);
        let tick = Cell::new(timers.tick(now));
        let timers = RefCell::new(timers);
        Time { timers, sleeps: Sleeps::new(notifier), now: Cell::new(now), tick, last_poll_ended: Cell::new(None) }
    }

    pub(super) fn begin_turn(&self, now: Instant) {
        self.now.set(now);
        self.tick.set(self.timers.borrow().tick(now));
        self.sleeps.advance(now);
        self.last_poll_ended.set(None);
    }

    #[inline]
    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    #[inline]
    pub(super) fn tick(&self) -> Tick {
        self.tick.get()
    }

    pub(super) fn sleeps(&self) -> &Sleeps {
        &self.sleeps
    }

    /// Enters a connection's deadline.
    pub(crate) fn enter(&self, at: Tick, token: u32) {
        self.timers.borrow_mut().insert(at, token);
    }

    /// Takes out the deadlines of one tick that is due.
    pub(super) fn pop_due(&self) -> Option<(Tick, Vec<u32>)> {
        self.timers.borrow_mut().pop_due(self.tick())
    }

    /// Returns the next deadline of a connection or a task.
    pub(super) fn next(&self) -> Option<Instant> {
        let timers = self.timers.borrow().next();
        [timers, self.sleeps.next()].into_iter().flatten().min()
    }

    /// Returns how long `poll` took. It begins where the last one of the turn ended: one look at the clock serves both.
    pub(super) fn measure<R>(&self, poll: impl FnOnce() -> R) -> (R, Duration) {
        let started = self.last_poll_ended.get().unwrap_or_else(coarse_now);
        let polled = poll();
        let ended = coarse_now();
        self.last_poll_ended.set(Some(ended));
        (polled, ended.saturating_sub(started))
    }
}
