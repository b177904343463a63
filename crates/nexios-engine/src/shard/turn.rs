//! A turn: collect, deliver, flush.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use mio::Token;
use tracing::field::display;

use super::{Shard, ShardInner, WAKER};
use crate::connection::{Connection, Inner, Opened};
use crate::listener::FIRST_LISTENER;
use crate::mailbox::Command;
use crate::metrics::Cause;
use crate::readiness::Readiness;
use crate::run_queue::Table;
use crate::timer::coarse_now;

/// Rounds of woken tasks before the sockets get their turn.
const ROUNDS_PER_TURN: usize = 16;
/// Time for the connections that had more input than their turn takes, in one turn.
const READY_TIME_MAX: Duration = Duration::from_millis(8);
/// A handler that holds its thread for longer is named in a warning.
const BLOCKING: Duration = Duration::from_millis(100);

impl Shard {
    /// All three phases; handlers run right behind the read that wakes them.
    /// Says whether more is to be done at once.
    pub fn turn(&self, now: Instant) -> bool {
        self.0.runs_between.set(true);
        self.0.collect(now);
        self.0.runs_between.set(false);
        self.deliver();
        self.flush()
    }

    /// Phase 1: polls without waiting, reads and parses; handlers are woken, not run.
    pub fn collect(&self, now: Instant) {
        self.0.collect(now);
    }

    /// Carries out what other threads have asked for so far, which a turn does when it begins: a task that was woken by
    /// another thread after that finds done what was asked before its wake.
    pub fn take_mail(&self) {
        self.0.take_mail();
    }

    /// Phase 2: runs the handlers that were woken.
    pub fn deliver(&self) {
        for _ in 0..ROUNDS_PER_TURN {
            if !self.0.run_tasks_once() {
                return;
            }
            self.0.flush_dirty();
        }
    }

    /// Phase 3: writes what the turn has produced. Says whether more is to be done at once.
    pub fn flush(&self) -> bool {
        self.0.flush()
    }
}

impl ShardInner {
    fn collect(self: &Rc<Self>, now: Instant) {
        self.begin_turn(now);
        // Of the turns before: what is left over in this one waits for the next, behind the sockets.
        let ready = self.lists.take_ready();
        self.take_mail();
        self.poll_sockets();
        self.accept_delayed();
        self.take_injected();
        self.read_ready(ready);
        self.fire_timers();
    }

    fn begin_turn(&self, now: Instant) {
        self.notifier.turn_begins();
        self.time.begin_turn(now);
    }

    /// In the middle of collecting: runs the handlers that were woken, where the host wants that.
    pub(crate) fn run_between(self: &Rc<Self>) {
        if !self.runs_between.get() {
            return;
        }
        if !self.run_queue.is_empty() {
            self.run_tasks_once();
        }
        self.end_connections();
        self.flush_dirty();
    }

    fn poll_sockets(self: &Rc<Self>) {
        let events = self.io.poll();
        for event in &events {
            let Token(token) = event.token();
            if event.token() == WAKER {
                continue;
            }
            if token >= FIRST_LISTENER {
                self.accept_from(token);
                continue;
            }
            let readiness = Readiness {
                readable: event.is_readable(),
                writable: event.is_writable(),
                read_closed: event.is_read_closed(),
                error: event.is_error(),
            };
            self.on_readiness(token, readiness);
        }
        self.io.give_back(events);
    }

    fn on_readiness(self: &Rc<Self>, token: usize, readiness: Readiness) {
        let inner = self.connections.borrow().get(token as u32).cloned();
        let Some(inner) = inner else { return };
        inner.on_readiness(readiness);
        drop(inner);
        self.open_requests();
        self.run_between();
        self.keep_to_share();
    }

    fn take_injected(self: &Rc<Self>) {
        for (token, readiness) in self.io.injected().take() {
            self.on_readiness(token as usize, readiness);
        }
    }

    /// Goes on with those that had more than their turn takes. All of them together may hold the others up for
    /// [`READY_TIME_MAX`]; the rest comes first in the next turn.
    fn read_ready(self: &Rc<Self>, ready: Vec<Rc<Inner>>) {
        if ready.is_empty() {
            return;
        }
        let began = coarse_now();
        let mut ready = ready.into_iter();
        for inner in ready.by_ref() {
            inner.read_again();
            self.open_requests();
            self.run_between();
            self.keep_to_share();
            if coarse_now().saturating_sub(began) > READY_TIME_MAX {
                break;
            }
        }
        self.lists.put_back_ready(ready);
    }

    /// Starts handlers of complete requests.
    #[inline]
    fn open_requests(self: &Rc<Self>) {
        if !self.lists.has_opened() {
            return;
        }
        for (token, opened) in self.lists.take_opened() {
            let inner = self.connections.borrow().get(token).cloned();
            let Some(inner) = inner else { continue };
            match opened {
                Opened::Upgrade(head, early) => inner.open_upgrade(head, early),
                Opened::Http => crate::http::serve(&inner),
            }
        }
    }

    fn fire_timers(self: &Rc<Self>) {
        let now = self.tick();
        loop {
            let Some((entry, tokens)) = self.time.pop_due() else { return };
            for token in tokens {
                let inner = self.connections.borrow().get(token).cloned();
                if let Some(inner) = inner {
                    inner.on_tick(entry, now);
                }
            }
        }
    }

    fn take_mail(self: &Rc<Self>) {
        let taken = self.mailbox.queue.take();
        // Nothing overflows that is empty.
        if taken.is_empty() && self.mail.borrow().is_empty() {
            return;
        }
        // In order, also where a command takes mail itself.
        self.mail.borrow_mut().extend(taken);
        while let Some(command) = self.next_mail() {
            self.obey(command);
        }
        if self.mailbox.queue.take_overflow()
            && let Some(service) = self.service()
        {
            service.overflowed();
        }
    }

    fn next_mail(&self) -> Option<Command> {
        self.mail.borrow_mut().pop_front()
    }

    fn obey(self: &Rc<Self>, command: Command) {
        let shard = Shard(self.clone());
        // Whoever sent it may be too late: a connection that is gone needs nothing any more.
        match command {
            Command::Publish(broadcast) => self.publish(broadcast),
            Command::Run(f) => f(&shard),
            Command::Send { to, message, compress } => {
                let connection = shard.connection(&to.id);
                let sent = connection.map(|connection| connection.send_admitted(message.as_ref(), compress));
                // Only now, so that what it is on its way to is never left out of the sum.
                to.taken(message.len());
                if !matches!(sent, Some(Ok(()))) {
                    tracing::debug!(connection = %to.id, "a message from another thread came too late");
                }
            }
            Command::Ping { to, payload } => {
                let _ = shard.connection(&to).map(|connection| connection.send_ping(&payload));
            }
            Command::Pong { to, payload } => {
                let _ = shard.connection(&to).map(|connection| connection.send_pong(&payload));
            }
            Command::Close { to, code, reason } => {
                if let Some(connection) = shard.connection(&to) {
                    connection.close(code, &reason);
                }
            }
        }
    }

    fn run_tasks_once(self: &Rc<Self>) -> bool {
        self.runner.run(|key| match key.table {
            Table::Connections => {
                if let Some(inner) = self.connection_of(key) {
                    inner.run_task();
                }
            }
            Table::Tasks => self
                .tasks
                .run(&self.runner, key, |future, cx| self.guarded(None, || future.poll(cx)).map(|_panicked| ())),
        })
    }

    /// Polls a task, of a connection or of none; ready is the end, and whether it was a panic.
    pub(crate) fn guarded(&self, owner: Option<&Inner>, poll: impl FnOnce() -> Poll<()>) -> Poll<bool> {
        let (polled, took) = self.time.measure(|| std::panic::catch_unwind(AssertUnwindSafe(poll)));
        if took > BLOCKING {
            let connection = owner.map(Inner::id).map(display);
            tracing::warn!(connection, blocked = ?took, "a handler blocked its thread: move the work to spawn_blocking");
        }
        polled.map_or_else(
            |_| {
                self.shared.metrics.closed(Cause::Panic);
                tracing::error!(
                    connection = owner.map(Inner::id).map(display),
                    "a handler panicked; only its connection ends"
                );
                Poll::Ready(true)
            },
            |polled| polled.map(|()| false),
        )
    }

    fn flush_dirty(&self) {
        self.lists.drain_dirty(|inner| inner.flush());
    }

    #[inline]
    pub(crate) fn end_connections(&self) {
        if self.lists.has_ending() {
            self.lists.take_ending().iter().for_each(Inner::end_now);
        }
    }

    pub(crate) fn flush(self: &Rc<Self>) -> bool {
        self.end_connections();
        self.flush_dirty();
        self.flush_broadcasts();
        self.flush_dirty();
        for inner in self.lists.take_leaving() {
            self.fanout.members_mut().leave_all(&inner, &self.connections.borrow());
        }
        self.tell_drops();
        self.tell_steps();
        self.reap();
        self.notifier.turn_ends();
        let more = !self.run_queue.is_empty() || !self.mailbox.queue.is_empty() || self.has_work();
        if more {
            self.notifier.turn_begins();
        }
        more
    }

    fn has_work(&self) -> bool {
        self.lists.has_work() || self.fanout.is_pending() || self.io.has_work()
    }

    fn tell_drops(&self) {
        if !self.lists.has_dropped() {
            return;
        }
        let Some(service) = self.service() else { return };
        for (connection, dropped) in self.lists.take_dropped() {
            service.clone().dropped(&connection, dropped);
        }
    }

    fn tell_steps(&self) {
        if !self.lists.has_steps() {
            return;
        }
        let Some(service) = self.service() else { return };
        for (inner, step) in self.lists.take_steps() {
            service.clone().step(&Connection(inner), step);
        }
    }

    /// Frees the places of connections that ended in this turn.
    fn reap(&self) {
        for token in self.lists.take_gone() {
            let inner = self.connections.borrow().get(token).cloned();
            let Some(inner) = inner else { continue };
            let mut state = inner.state.borrow_mut();
            state.ending.reap();
            let counted = state.peer.is_counted();
            drop(state);
            self.connections.borrow_mut().socket_is_gone();
            if counted {
                self.shared.leave(inner.take_host());
            }
            self.free_if_over(&inner);
        }
    }
}
