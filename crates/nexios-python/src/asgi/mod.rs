//! An ASGI application that answers plain HTTP beside the WebSockets.
//!
//! hyper asks on the loop's own thread; the application runs as an asyncio task. Between them
//! stands an [`Exchange`]: the body of the request is read when `receive()` asks for it, and
//! `send()` waits while hyper has not taken what was sent before.

mod exchange;
mod receive;
mod request;
mod response;
mod scope;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response};
use nexios_engine::{RequestBody, ResponseBody, ResponseFuture};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::host::Host;
use exchange::Exchange;
pub(crate) use request::AsgiRequest;

/// The application and what its requests are given.
pub(crate) struct Asgi {
    app: Py<PyAny>,
    /// `respond(app, request, scope)`: the coroutine of a request's task.
    respond: Py<PyAny>,
    /// The state that its lifespan has left for the requests, if it has one.
    state: Option<Py<PyDict>>,
}

/// A request that Python has yet to receive.
pub(crate) struct Start {
    asgi: Arc<Asgi>,
    head: Parts,
    exchange: Arc<Exchange>,
}

/// The engine's side: waits until the application has begun its response.
struct Answer {
    start: Option<Start>,
    exchange: Arc<Exchange>,
}

impl Asgi {
    /// From a `nexios._asgi.Http`, after its startup.
    pub(crate) fn new(http: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = http.py();
        Ok(Asgi {
            app: http.getattr(intern!(py, "app"))?.unbind(),
            respond: py.import("nexios._asgi")?.getattr(intern!(py, "respond"))?.unbind(),
            state: http.getattr(intern!(py, "state"))?.extract()?,
        })
    }

    pub(crate) fn answer(self: &Arc<Self>, request: Request<RequestBody>) -> ResponseFuture {
        let (head, body) = request.into_parts();
        let exchange = Exchange::new(&head, body);
        let start = Start { asgi: self.clone(), head, exchange: exchange.clone() };
        Box::pin(Answer { start: Some(start), exchange })
    }
}

impl Future for Answer {
    type Output = Response<ResponseBody>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<ResponseBody>> {
        if let (Some(start), Some(host)) = (self.start.take(), Host::current()) {
            host.requests.borrow_mut().push(start);
        }
        self.exchange.poll_answer(cx)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.exchange.end_answer();
    }
}

impl Start {
    pub(crate) fn run(self, py: Python<'_>, host: &Rc<Host>) {
        if let Err(error) = self.begin(py, host) {
            error.write_unraisable(py, None);
            self.exchange.end();
        }
    }

    fn begin(&self, py: Python<'_>, host: &Rc<Host>) -> PyResult<()> {
        if self.exchange.is_client_gone() {
            return Ok(());
        }
        let Asgi { app, respond, state } = &*self.asgi;
        let scope = scope::build(py, &self.head, state.as_ref())?;
        // A task factory may run the task at once, to its end even.
        let key = host.request_tasks.borrow_mut().insert(None);
        let request =
            Bound::new(py, AsgiRequest::new(self.exchange.clone(), host, key, self.head.extensions.get().copied()))?;
        let coroutine = respond.bind(py).call1((app, request, scope))?;
        let task = host.create_task(coroutine, None, None)?;
        if let Some(place) = host.request_tasks.borrow_mut().get_mut(key) {
            *place = Some(task);
        }
        Ok(())
    }
}
