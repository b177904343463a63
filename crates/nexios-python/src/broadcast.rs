//! Broadcasts of routers and rooms: their options, and what Python awaits.

use nexios::broadcast::ClientRef;
use nexios::future::{Broadcasting, BroadcastingTo};
use nexios::{Message, Outcome};
use nexios_engine::Connection;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::completed::Completed;
use crate::convert::with_message;
use crate::engine::Engine;
use crate::handle::Handle;
use crate::waiting::Waiting;
use crate::websocket::WebSocket;

/// The options of a broadcast, as Python gives them.
pub(crate) struct Options<'a, 'py> {
    pub(crate) exclude: Option<&'a Bound<'py, PyAny>>,
    pub(crate) key: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) compress: Option<bool>,
}

impl Options<'_, '_> {
    fn apply(self, mut broadcasting: Broadcasting) -> PyResult<Broadcasting> {
        if let Some(exclude) = self.exclude {
            broadcasting = broadcasting.exclude(client_refs(exclude)?);
        }
        if let Some(key) = self.key {
            broadcasting = broadcasting.key(key);
        }
        if let Some(key) = self.idempotency_key {
            broadcasting = broadcasting.idempotency_key(key);
        }
        if let Some(on) = self.compress {
            broadcasting = broadcasting.compress(on);
        }
        Ok(broadcasting)
    }
}

/// Broadcasts a message to the audience of `broadcast`; `outcome` makes the result.
pub(crate) fn to_all(
    engine: Option<&Engine>,
    outcome: Py<PyAny>,
    message: &Bound<'_, PyAny>,
    options: Options<'_, '_>,
    broadcast: impl FnOnce(Message) -> Broadcasting,
) -> PyResult<Py<PyAny>> {
    let encoded = with_message(message, |message| message.to_message())?;
    let broadcasting = options.apply(broadcast(encoded))?;
    begin(message.py(), engine, outcome, async move { broadcasting.await })
}

/// Broadcasts a message to clients by `broadcast`; `outcome` makes the result.
pub(crate) fn to_clients(
    engine: Option<&Engine>,
    outcome: Py<PyAny>,
    clients: &Bound<'_, PyAny>,
    message: &Bound<'_, PyAny>,
    compress: Option<bool>,
    broadcast: impl FnOnce(Vec<ClientRef>, Message) -> BroadcastingTo,
) -> PyResult<Py<PyAny>> {
    let encoded = with_message(message, |message| message.to_message())?;
    let mut broadcasting = broadcast(client_refs(clients)?, encoded);
    if let Some(on) = compress {
        broadcasting = broadcasting.compress(on);
    }
    begin(message.py(), engine, outcome, async move { broadcasting.await })
}

/// Returns the connections of the engine on this thread, as Python knows them.
pub(crate) fn connections<'py>(
    py: Python<'py>,
    engine: Option<&Engine>,
    local: impl FnOnce() -> Vec<Connection>,
) -> PyResult<Bound<'py, PyList>> {
    let found = PyList::empty(py);
    let Some(engine) = engine else { return Ok(found) };
    let host = engine.host()?;
    for connection in local() {
        let socket = host.sockets.borrow().get(&connection.id()).map(|socket| socket.clone_ref(py));
        if let Some(socket) = socket {
            found.append(socket)?;
        }
    }
    Ok(found)
}

fn begin(
    py: Python<'_>,
    engine: Option<&Engine>,
    outcome: Py<PyAny>,
    broadcast: impl Future<Output = Outcome> + 'static,
) -> PyResult<Py<PyAny>> {
    let to_python = move |py: Python<'_>, found: Outcome| {
        let Outcome { count, dropped, unknown, forwarded, accepted, replicated, duplicate, .. } = found;
        let stored = found.stored.map(|position| position.to_string());
        outcome.call1(py, (count, dropped, unknown, forwarded, accepted, stored, replicated, duplicate))
    };
    let Some(engine) = engine else {
        // Nothing is served, so there is nothing to wait for.
        let mut broadcast = Box::pin(broadcast);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        return match broadcast.as_mut().poll(&mut context) {
            std::task::Poll::Ready(found) => Completed::with(py, to_python(py, found)?),
            std::task::Poll::Pending => Err(PyRuntimeError::new_err("the server has ended")),
        };
    };
    Waiting::begin(py, engine.host()?, async move {
        let found = broadcast.await;
        Python::attach(|py| to_python(py, found))
    })
}

/// Reads connections, handles or ids: one of them or several.
pub(crate) fn client_refs(clients: &Bound<'_, PyAny>) -> PyResult<Vec<ClientRef>> {
    if let Some(client) = client_ref(clients)? {
        return Ok(vec![client]);
    }
    let refs = clients.try_iter()?.map(|client| {
        let client = client?;
        client_ref(&client)?.ok_or_else(|| PyTypeError::new_err("expected ids or connections"))
    });
    refs.collect()
}

fn client_ref(client: &Bound<'_, PyAny>) -> PyResult<Option<ClientRef>> {
    if let Ok(text) = client.cast::<PyString>() {
        return Ok(Some(text.to_str()?.into()));
    }
    if let Ok(socket) = client.cast::<WebSocket>() {
        return Ok(Some(socket.get().ws()?.into()));
    }
    Ok(client.cast::<Handle>().ok().map(|handle| (&handle.get().handle).into()))
}
