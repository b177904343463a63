//! `await ws.receive_text()` and its siblings: objects that hand out a message when the task
//! resumes, and not before, so that a cancelled receive loses nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use nexios::{Message, ReceiveError, WebSocketTypeError};
use nexios_engine::ReceiveTicket;
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;

use crate::connection::Core;
use crate::convert::{from_json, message_to_python};
use crate::errors;
use crate::host::Host;
use crate::waiter::{Waiter, Withdraw};
use crate::waiting::{Awaited, Waiting};

/// The kind of message that a receive takes, and what it returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Any,
    Text,
    Bytes,
    Json,
}

/// A message that a task waits for.
pub(crate) struct Receiving {
    kind: Kind,
    slot: Rc<Slot>,
    waiter: RefCell<Option<Py<Waiter>>>,
}

/// The place in the engine's line of receivers.
struct Slot {
    core: Rc<Core>,
    ticket: RefCell<ReceiveTicket>,
    /// Its parked wait, unless the connection's own task is woken.
    parked: Cell<Option<usize>>,
}

impl Withdraw for Slot {
    fn withdraw(&self) {
        self.core.ws.engine().end_receive(&mut self.ticket.borrow_mut());
        if let Some(key) = self.parked.take() {
            self.core.host.unpark(key);
        }
    }

    fn host(&self) -> &Rc<Host> {
        &self.core.host
    }

    fn core(&self) -> Option<&Rc<Core>> {
        Some(&self.core)
    }
}

impl Waiting {
    /// Returns one that receives a message when it is awaited.
    pub(crate) fn for_message(core: Rc<Core>, kind: Kind) -> Self {
        let host = core.host.clone();
        let slot = Slot { core, ticket: RefCell::default(), parked: Cell::default() };
        let receiving = Receiving { kind, slot: Rc::new(slot), waiter: RefCell::default() };
        Waiting::new(Awaited::Message(receiving), &host)
    }
}

impl Receiving {
    pub(crate) fn next(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (polled, by_task) = self.poll();
        let result = match polled {
            Poll::Pending => return Ok(self.wait(py, by_task)?.into_any()),
            Poll::Ready(Ok(message)) => {
                Err(self.convert(py, &message).map_or_else(|error| error, |value| PyStopIteration::new_err((value,))))
            }
            Poll::Ready(Err(error)) => Err(errors::receive_error(py, ReceiveError::from(error))),
        };
        // A full inbox may have got room, and then the socket is to be read.
        self.slot.core.host.settle(py);
        result
    }

    /// Returns a message if there is one, and true if the connection's own task is woken otherwise.
    fn poll(&self) -> (Poll<Result<Message, nexios_engine::ReceiveError>>, bool) {
        let slot = &self.slot;
        let mut ticket = slot.ticket.borrow_mut();
        match slot.core.poll_receive(&mut ticket) {
            Some(polled) => (polled, true),
            // The waker that counts comes once there is something to wake.
            None => {
                let mut context = Context::from_waker(Waker::noop());
                (slot.core.ws.engine().poll_receive(&mut context, &mut ticket), false)
            }
        }
    }

    fn wait(&self, py: Python<'_>, by_task: bool) -> PyResult<Py<Waiter>> {
        let waiter = self.armed(py)?;
        let core = &self.slot.core;
        if by_task {
            core.await_message(waiter.clone_ref(py));
            return Ok(waiter);
        }
        let (key, waker) = core.host.park(waiter.clone_ref(py));
        self.slot.parked.set(Some(key));
        let polled =
            core.ws.engine().poll_receive(&mut Context::from_waker(&waker), &mut self.slot.ticket.borrow_mut());
        debug_assert!(polled.is_pending(), "nothing came between two polls");
        Ok(waiter)
    }

    fn armed(&self, py: Python<'_>) -> PyResult<Py<Waiter>> {
        let mut own = self.waiter.borrow_mut();
        if let Some(waiter) = own.as_ref().filter(|waiter| waiter.get().arm()) {
            return Ok(waiter.clone_ref(py));
        }
        let waiter = Py::new(py, Waiter::new(self.slot.clone()))?;
        waiter.get().arm();
        *own = Some(waiter.clone_ref(py));
        Ok(waiter)
    }

    fn convert(&self, py: Python<'_>, message: &Message) -> PyResult<Py<PyAny>> {
        match (self.kind, message) {
            (Kind::Text, Message::Binary(_)) | (Kind::Bytes, Message::Text(_)) => {
                Err(errors::type_error(py, &WebSocketTypeError { message: message.clone() }))
            }
            (Kind::Json, message) => from_json(py, message),
            (_, message) => Ok(message_to_python(py, message)),
        }
    }

    pub(crate) fn waiter(&self) -> &RefCell<Option<Py<Waiter>>> {
        &self.waiter
    }

    pub(crate) fn close(&self) {
        self.slot.withdraw();
        if let Some(waiter) = self.waiter.take() {
            self.slot.core.forget_message(&waiter);
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.slot.withdraw();
    }
}
