//! Routes, as Python has registered them.

use std::sync::Arc;

use nexios::{Middleware, Next, Result, WebSocket, future::LocalFuture, routing::Handler};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::run::{Call, Run};

/// The part of a route that its connections need in Python.
pub(crate) struct PyRoute {
    /// Makes the coroutine that serves a connection, middleware included.
    pub(crate) start: Py<PyAny>,
    /// `name=` of the tasks, one string for all of them.
    pub(crate) task: Py<PyDict>,
    /// `ws.route`
    pub(crate) info: Py<PyAny>,
    /// Makes the coroutine of `accept()`, where listeners wait for connects.
    pub(crate) accept: Option<Py<PyAny>>,
}

impl PyRoute {
    pub(crate) fn new(start: Py<PyAny>, info: &Bound<'_, PyAny>, accept: Option<Py<PyAny>>) -> PyResult<Self> {
        let task = PyDict::new(info.py());
        let path: String = info.getattr(intern!(info.py(), "path"))?.extract()?;
        task.set_item(intern!(info.py(), "name"), format!("WebSocket {path}"))?;
        Ok(PyRoute { start, task: task.unbind(), info: info.clone().unbind(), accept })
    }
}

/// A route whose coroutine reaches its handler at once.
pub(crate) struct Direct(pub(crate) Arc<PyRoute>);

/// A route with middleware in Python; the coroutine says when it reaches the handler.
pub(crate) struct Guarded(pub(crate) Arc<PyRoute>);

impl Handler for Direct {
    type Future = Run;

    fn call(&self, ws: WebSocket) -> Run {
        Run::new(ws, Call::Handler(self.0.clone()))
    }
}

impl Middleware for Guarded {
    fn call(&self, ws: WebSocket, _next: Next) -> LocalFuture<Result> {
        Box::pin(Run::new(ws, Call::Handler(self.0.clone())))
    }
}
