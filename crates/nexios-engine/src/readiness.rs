//! News of a socket, and those of connections without one.

use std::cell::RefCell;
use std::sync::Arc;

use crate::notifier::Notifier;

/// What happened to a socket.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_closed: bool,
    pub(crate) error: bool,
}

/// Readiness that no poller tells of, by the tokens of the connections: each entry has the host turn.
pub(crate) struct Injected {
    waiting: RefCell<Vec<(u32, Readiness)>>,
    notifier: Arc<Notifier>,
}

impl Injected {
    pub(crate) fn new(notifier: Arc<Notifier>) -> Self {
        Injected { waiting: RefCell::default(), notifier }
    }

    pub(crate) fn push(&self, token: u32, readiness: Readiness) {
        self.waiting.borrow_mut().push((token, readiness));
        self.notifier.notify();
    }

    pub(crate) fn take(&self) -> Vec<(u32, Readiness)> {
        self.waiting.take()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }
}
