//! Sending and receiving, on the thread of the event loop.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use nexios::message::MessageRef;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat};

use crate::completed::Completed;
use crate::connection::Core;
use crate::convert::with_bytes;
use crate::errors;
use crate::receive::Kind;
use crate::waiting::Waiting;

/// A connection on its own thread.
pub(crate) struct Socket {
    pub(crate) core: Rc<Core>,
    /// A receive that can be used again, where nobody else has it.
    pub(crate) spare: RefCell<Option<(Kind, Py<Waiting>)>>,
}

impl Socket {
    pub(crate) fn new(core: Rc<Core>) -> Self {
        Socket { core, spare: RefCell::default() }
    }

    pub(crate) fn receiving(&self, py: Python<'_>, kind: Kind) -> PyResult<Py<Waiting>> {
        if let Some((spare, receive)) = &*self.spare.borrow()
            && *spare == kind
            && is_unshared(receive, py)
        {
            return Ok(receive.clone_ref(py));
        }
        let receive = Py::new(py, Waiting::for_message(self.core.clone(), kind))?;
        let before = self.spare.replace(Some((kind, receive.clone_ref(py))));
        drop(before);
        Ok(receive)
    }

    fn ready_to_send(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.core.ws.engine().poll_send_ready(&mut context).is_ready()
    }

    pub(crate) fn queue(&self, py: Python<'_>, message: MessageRef<'_>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        if !self.ready_to_send() {
            return self.queue_later(py, message, compress);
        }
        let sent = self.core.ws.engine().send(message, compress);
        self.core.host.settle(py);
        sent.map_err(|error| errors::send_error(py, error.into()))?;
        Completed::nothing(py)
    }

    /// The outbox is above its mark: the task waits until the client has taken some of it.
    fn queue_later(&self, py: Python<'_>, message: MessageRef<'_>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        let (ws, message) = (self.core.ws.clone(), message.to_message());
        Waiting::begin(py, &self.core.host, async move {
            poll_fn(|cx| ws.engine().poll_send_ready(cx)).await;
            let sent = ws.engine().send(message.as_ref(), compress);
            Python::attach(|py| match sent {
                Ok(()) => Ok(py.None()),
                Err(error) => Err(errors::send_error(py, error.into())),
            })
        })
    }

    pub(crate) fn receive_control(&self, py: Python<'_>, ping: bool) -> PyResult<Py<PyAny>> {
        let ws = self.core.ws.clone();
        Waiting::lazy(py, &self.core.host, async move {
            let payload = match ping {
                true => ws.receive_ping().await,
                false => ws.receive_pong().await,
            };
            Python::attach(|py| match payload {
                Ok(payload) => Ok(PyBytes::new(py, &payload).into_any().unbind()),
                Err(error) => Err(errors::receive_error(py, error)),
            })
        })
    }

    pub(crate) fn send_control(
        &self,
        py: Python<'_>,
        payload: Option<&Bound<'_, PyAny>>,
        ping: bool,
    ) -> PyResult<Py<PyAny>> {
        let engine = self.core.ws.engine();
        let send = |payload: &[u8]| if ping { engine.send_ping(payload) } else { engine.send_pong(payload) };
        let sent = match payload {
            Some(payload) => with_bytes(payload, send)?,
            None => send(b""),
        };
        self.core.host.settle(py);
        sent.map_err(|error| errors::send_error(py, error.into()))?;
        Completed::nothing(py)
    }

    pub(crate) fn ping(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let ws = self.core.ws.clone();
        Waiting::begin(py, &self.core.host, async move {
            let time = ws.ping().await;
            Python::attach(|py| match time {
                Ok(time) => Ok(PyFloat::new(py, time.as_secs_f64()).into_any().unbind()),
                Err(error) => Err(errors::send_error(py, error)),
            })
        })
    }

    /// Awaits what needs no waiting.
    pub(crate) fn at_once(&self, py: Python<'_>, future: impl Future<Output = bool> + 'static) -> PyResult<Py<PyAny>> {
        let mut future = Box::pin(future);
        let host = &self.core.host;
        let polled = host.entered(|| future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        host.settle(py);
        match polled {
            Poll::Ready(yes) => Completed::with(py, PyBool::new(py, yes).to_owned().into_any().unbind()),
            Poll::Pending => Err(PyRuntimeError::new_err("rooms are not ready")),
        }
    }
}

/// Returns true if only its owner has the object.
fn is_unshared<T>(object: &Py<T>, _py: Python<'_>) -> bool {
    // SAFETY: the object is alive, and the token says that no other thread changes its count.
    #[allow(unsafe_code, reason = "PyO3 offers the count in no other way")]
    let count = unsafe { pyo3::ffi::Py_REFCNT(object.as_ptr()) };
    count == 1
}
