//! The sockets of a shard: its poller, its listeners, and the news that come by neither.

use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Registry};

use crate::listener::{Listener, Listeners};
use crate::notifier::Notifier;
use crate::readiness::Injected;

/// Events taken from the poller at once.
const EVENTS_PER_POLL: usize = 1024;

/// The poller of a shard and what it watches.
pub(crate) struct Io {
    poll: RefCell<mio::Poll>,
    events: RefCell<Events>,
    registry: Registry,
    listeners: RefCell<Listeners>,
    /// Readiness of in-memory connections.
    injected: Rc<Injected>,
    /// The poller or a listener has more than one turn takes.
    again: Cell<bool>,
}

impl Io {
    /// Wraps a poller. The notifier is the shard's.
    pub(super) fn new(poll: mio::Poll, registry: Registry, notifier: Arc<Notifier>) -> Self {
        Io {
            poll: RefCell::new(poll),
            events: RefCell::new(Events::with_capacity(EVENTS_PER_POLL)),
            registry,
            listeners: RefCell::default(),
            injected: Rc::new(Injected::new(notifier)),
            again: Cell::new(false),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.poll.borrow().as_raw_fd()
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn injected(&self) -> &Rc<Injected> {
        &self.injected
    }

    pub(crate) fn listeners(&self) -> RefMut<'_, Listeners> {
        self.listeners.borrow_mut()
    }

    pub(super) fn listen(&self, listener: Listener) -> io::Result<()> {
        self.listeners.borrow_mut().add(&self.registry, listener)
    }

    pub(super) fn close_listeners(&self) {
        self.listeners.borrow_mut().close(&self.registry);
    }

    /// Returns when a listener is to be looked at again.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.listeners.borrow().next_timeout()
    }

    /// Polls without waiting; the events go back by [`give_back`](Self::give_back).
    pub(super) fn poll(&self) -> Events {
        let mut events = self.events.replace(Events::with_capacity(0));
        match self.poll.borrow_mut().poll(&mut events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => tracing::error!(%error, "polling failed"),
            _ => {}
        }
        events
    }

    pub(super) fn give_back(&self, events: Events) {
        // A full batch: the poller holds more, and its descriptor tells of it only once.
        let full = events.iter().count() == EVENTS_PER_POLL;
        self.events.replace(events);
        if full {
            self.notify_again();
        }
    }

    /// Has the next turn come at once.
    pub(crate) fn notify_again(&self) {
        self.again.set(true);
    }

    /// Returns true if the next turn has something to do here.
    pub(super) fn has_work(&self) -> bool {
        !self.injected.is_empty() || self.again.take()
    }
}
