//! Futures of `receive()` and `send()`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::exchange::{Event, Exchange, Key};

/// The next `http.request` or `http.disconnect`; one that is dropped takes nothing.
pub(super) struct Receive(Wait);

/// Room for more of the response's body.
pub(super) struct Room(Wait);

struct Wait {
    exchange: Arc<Exchange>,
    key: Option<Key>,
}

impl Receive {
    pub(super) fn new(exchange: Arc<Exchange>) -> Self {
        Receive(Wait { exchange, key: None })
    }
}

impl Room {
    pub(super) fn new(exchange: Arc<Exchange>) -> Self {
        Room(Wait { exchange, key: None })
    }
}

impl Future for Receive {
    type Output = PyResult<Py<PyAny>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Wait { exchange, key } = &mut self.0;
        exchange.poll_receive(key, cx).map(|event| Python::attach(|py| to_python(py, &event)))
    }
}

impl Future for Room {
    type Output = PyResult<Py<PyAny>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Wait { exchange, key } = &mut self.0;
        exchange.poll_room(key, cx).map(|()| Ok(Python::attach(|py| py.None())))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.exchange.forget(key);
        }
    }
}

pub(super) fn to_python(py: Python<'_>, event: &Event) -> PyResult<Py<PyAny>> {
    let message = PyDict::new(py);
    match event {
        Event::Body { part, more } => {
            message.set_item(intern!(py, "type"), intern!(py, "http.request"))?;
            message.set_item(intern!(py, "body"), PyBytes::new(py, part))?;
            message.set_item(intern!(py, "more_body"), more)?;
        }
        Event::Disconnect => message.set_item(intern!(py, "type"), intern!(py, "http.disconnect"))?,
    }
    Ok(message.into_any().unbind())
}
