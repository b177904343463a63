//! An application's side of a request: `receive` and `send`.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use nexios::ConnectionId;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::exchange::{Event, Exchange, Undone};
use super::receive::{Receive, Room, to_python};
use super::response::Message;
use crate::completed::Completed;
use crate::host::Host;
use crate::local::Local;
use crate::waiting::Waiting;

/// A request that the application answers. Frameworks run parts of it in threads, so that any
/// thread may drop it; its methods belong to the loop's.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct AsgiRequest {
    exchange: Arc<Exchange>,
    host: Local<Weak<Host>>,
    /// The place of its task.
    key: usize,
    connection: Option<ConnectionId>,
}

impl AsgiRequest {
    pub(super) fn new(exchange: Arc<Exchange>, host: &Rc<Host>, key: usize, connection: Option<ConnectionId>) -> Self {
        AsgiRequest { exchange, host: Local::new(Rc::downgrade(host), host), key, connection }
    }

    fn host(&self) -> PyResult<Rc<Host>> {
        self.host.here()?.upgrade().ok_or_else(|| PyRuntimeError::new_err("the server has ended"))
    }
}

/// A task that was cancelled before it began.
impl Drop for AsgiRequest {
    fn drop(&mut self) {
        self.exchange.end();
    }
}

#[pymethods]
impl AsgiRequest {
    /// The next message: a part of the body, or that the client has gone.
    fn receive(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let host = self.host()?;
        if self.exchange.is_over() {
            return Completed::with(py, to_python(py, &Event::Disconnect)?);
        }
        Waiting::lazy(py, &host, Receive::new(self.exchange.clone()))
    }

    /// Takes a message; waits as long as the client is behind.
    fn send(&self, message: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = message.py();
        let host = self.host()?;
        if self.exchange.is_client_gone() {
            return Completed::nothing(py);
        }
        match Message::of(message)? {
            Message::Start(head) => {
                self.exchange.start(head)?;
                if let Some(connection) = self.connection {
                    host.keep_request_context(py, connection)?;
                }
            }
            Message::Body { part, more } => {
                let has_room = self.exchange.push(part, more)?;
                host.settle(py);
                if !has_room {
                    return Waiting::lazy(py, &host, Room::new(self.exchange.clone()));
                }
            }
        }
        Completed::nothing(py)
    }

    /// The application has returned or raised; says what it left undone.
    fn end(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        let host = self.host()?;
        host.request_tasks.borrow_mut().try_remove(self.key);
        let undone = self.exchange.end();
        host.settle(py);
        if let Some(connection) = self.connection {
            host.departed.release(&connection);
        }
        Ok(undone.map(|undone| match undone {
            Undone::Nothing => "without a response",
            Undone::Half => "in the middle of its response",
        }))
    }
}
