//! `WebSocket`: one client's connection, as handlers in Python have it. Its examples are run by
//! `python/tests/test_docstrings.py`, where `ws`, `client` and `app` come from.

mod opening;
mod receiving;
mod request;
mod rooms;
mod sending;
mod state;

use std::rc::Rc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::connection::Core;
use crate::handle::Handle;
use crate::host::Host;
use crate::local::Local;
use crate::socket::Socket;

/// One client's connection, as handlers have it; it stays on the thread of its event loop.
///
/// A handler is called with one, and accepts it or closes it. `async for message in ws` gives its
/// messages until the client is gone. What is awaited works with all of asyncio: timeouts,
/// `gather`, tasks of your own.
///
/// >>> @app.ws("/echo")
/// ... async def echo(ws):
/// ...     await ws.accept()
/// ...     async for message in ws:
/// ...         await ws.send(message)
/// >>> with TestClient(app) as test, test.websocket_connect("/echo") as client:
/// ...     client.send_text("hello")
/// ...     client.receive_text()
/// 'hello'
#[pyclass(frozen, weakref, module = "nexios")]
pub(crate) struct WebSocket {
    socket: Local<Socket>,
    /// The application's own values; any thread's garbage collector may look at them.
    values: Mutex<Option<Py<PyDict>>>,
}

impl WebSocket {
    /// The object for a connection that Python has not seen yet.
    pub(crate) fn introduce(py: Python<'_>, host: &Rc<Host>, core: Rc<Core>) -> PyResult<Py<WebSocket>> {
        let id = core.ws.id();
        let socket = Local::new(Socket::new(core), host);
        let socket = Py::new(py, WebSocket { socket, values: Mutex::default() })?;
        host.sockets.borrow_mut().insert(id, socket.clone_ref(py));
        Ok(socket)
    }

    /// The connection's task has ended: whoever still needs the context holds it.
    pub(crate) fn take_context(socket: &Py<WebSocket>) -> Option<Py<PyAny>> {
        socket.get().core().ok()?.take_context()
    }

    pub(crate) fn core(&self) -> PyResult<&Rc<Core>> {
        Ok(&self.socket.here()?.core)
    }

    /// The connection, as Rust knows it.
    pub(crate) fn ws(&self) -> PyResult<&nexios::WebSocket> {
        Ok(&self.core()?.ws)
    }

    fn values(&self, py: Python<'_>) -> Py<PyDict> {
        let made = PyDict::new(py).unbind();
        self.values.lock().get_or_insert(made).clone_ref(py)
    }
}

#[pymethods]
impl WebSocket {
    /// A handle that other threads may use.
    ///
    /// >>> handle = ws.handle()
    /// >>> await asyncio.to_thread(handle.send_text, "from a thread")
    /// >>> await client.receive_text()
    /// 'from a thread'
    fn handle(&self) -> PyResult<Handle> {
        Ok(Handle::new(self.ws()?.handle(), &self.core()?.host))
    }

    fn __repr__(&self) -> String {
        match self.ws() {
            Ok(ws) => format!("<WebSocket {} {} {:?}>", ws.id(), ws.route_path(), ws.connection_state()),
            Err(_) => "<WebSocket of another thread>".to_owned(),
        }
    }

    fn __traverse__(&self, visit: pyo3::gc::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        if let Some(values) = self.values.try_lock() {
            visit.call(&*values)?;
        }
        let Some(Socket { core, spare }) = self.socket.get() else { return Ok(()) };
        if let Ok(spare) = spare.try_borrow()
            && let Some((_, receive)) = &*spare
        {
            visit.call(receive)?;
        }
        core.visit_receiver(&visit)
    }

    fn __clear__(&self) {
        let values = self.values.lock().take();
        let spare = self.socket.get().map(|socket| socket.spare.take());
        drop((values, spare));
    }
}
