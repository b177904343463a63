//! The part of a connection behind its face in Python: the engine's side, and the waits for messages.
//!
//! Idle connections hold it, so nothing is in it that one can do without.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use nexios::{ConnectionState, Message};
use nexios_engine::{ReceiveError, ReceiveTicket};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::host::Host;
use crate::local::visit_cell;
use crate::route::PyRoute;
use crate::waiter::Waiter;

/// State that Python's object and the engine's task share.
pub(crate) struct Core {
    pub(crate) ws: nexios::WebSocket,
    pub(crate) host: Rc<Host>,
    pub(crate) route: Arc<PyRoute>,
    /// The connection's own task runs the handler: it wakes the receiver at no cost.
    has_task: Cell<bool>,
    receiver: Cell<Option<Py<Waiter>>>,
    /// The handler's context as it was at `accept()`; `None` if it is the server's.
    context: RefCell<Option<Py<PyAny>>>,
}

impl Core {
    pub(crate) fn new(ws: nexios::WebSocket, host: Rc<Host>, route: Arc<PyRoute>) -> Rc<Self> {
        Rc::new(Core {
            ws,
            host,
            route,
            has_task: Cell::new(true),
            receiver: Cell::default(),
            context: RefCell::default(),
        })
    }

    /// The next message, which wakes the connection's own task where it has yet to come; `None`
    /// where that runs no handler any more.
    pub(crate) fn poll_receive(&self, ticket: &mut ReceiveTicket) -> Option<Poll<Result<Message, ReceiveError>>> {
        if self.has_task.get() { self.ws.engine().poll_receive_as_task(ticket) } else { None }
    }

    pub(crate) fn wake_task(&self) {
        if self.has_task.get() {
            self.ws.engine().wake_task();
        }
    }

    /// The next message, or the end, goes to this wait.
    pub(crate) fn await_message(&self, waiter: Py<Waiter>) {
        let before = self.receiver.replace(Some(waiter));
        drop(before);
    }

    pub(crate) fn forget_message(&self, waiter: &Py<Waiter>) {
        let (own, other) = match self.receiver.take() {
            Some(own) if own.as_ptr() == waiter.as_ptr() => (Some(own), None),
            other => (None, other),
        };
        self.receiver.set(other);
        drop(own);
    }

    /// Something has happened to the connection: whoever receives has another look.
    pub(crate) fn resume_receiver(&self) {
        let waiter = self.receiver.take();
        self.host.woken.borrow_mut().extend(waiter);
    }

    /// The handler is over; who still receives is woken by other means from now on.
    pub(crate) fn lose_task(&self) {
        self.has_task.set(false);
        self.resume_receiver();
    }

    /// Keeps the context of the caller, who accepts: listeners and log lines see its variables.
    pub(crate) fn keep_context(&self, py: Python<'_>) -> PyResult<()> {
        let before = self.context.replace(self.host.own_context(py)?);
        drop(before);
        Ok(())
    }

    /// Keeps the context before `accept()`, for log lines of a handshake that is refused; `accept()` replaces it.
    pub(crate) fn keep_early_context(&self, py: Python<'_>) -> PyResult<()> {
        match self.ws.connection_state() {
            ConnectionState::Connecting => self.keep_context(py),
            _ => Ok(()),
        }
    }

    pub(crate) fn context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.context.borrow().as_ref().map(|context| context.clone_ref(py))
    }

    /// The connection is over. A context may hold the connection itself, so it is not kept here.
    pub(crate) fn take_context(&self) -> Option<Py<PyAny>> {
        self.context.take()
    }

    /// Shows the wait to the garbage collector.
    pub(crate) fn visit_receiver(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit_cell(&self.receiver, visit)
    }
}
