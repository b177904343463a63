//! Rooms while their app is served: members, history, presence.

use std::time::{Duration, UNIX_EPOCH};

use nexios::broker::{History, HistoryPage, Position, StoredMessage};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::broadcast::{self, Options};
use crate::convert::message_to_python;
use crate::engine::Engine;
use crate::errors;
use crate::presence;
use crate::waiting::Waiting;
use crate::websocket::WebSocket;

/// The members of a room, what it stores, and its users.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct RoomHandle(nexios::Room);

impl RoomHandle {
    pub(crate) fn new(room: nexios::Room) -> Self {
        RoomHandle(room)
    }
}

#[pymethods]
impl RoomHandle {
    /// Reads the history of the room: `page(messages, position, recovered)`, each message as
    /// `(message, position, time)`.
    fn history(
        &self,
        py: Python<'_>,
        engine: &Engine,
        page: Py<PyAny>,
        limit: usize,
        since: Option<&str>,
    ) -> PyResult<Py<PyAny>> {
        let mut reading = self.0.history().limit(limit);
        if let Some(since) = since {
            reading = reading.since(position(since));
        }
        Waiting::begin(py, engine.host()?, async move {
            let found = reading.await;
            Python::attach(|py| page_to_python(py, &page, found.map_err(|error| errors::broker(py, &error))?))
        })
    }

    fn count(&self) -> usize {
        self.0.count()
    }

    /// Returns the members of the engine on this thread.
    fn connections<'py>(&self, py: Python<'py>, engine: Option<&Engine>) -> PyResult<Bound<'py, PyList>> {
        broadcast::connections(py, engine, || self.0.local_members())
    }

    #[pyo3(signature = (engine, outcome, message, exclude, key, idempotency_key, compress))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn broadcast(
        &self,
        engine: Option<&Engine>,
        outcome: Py<PyAny>,
        message: &Bound<'_, PyAny>,
        exclude: Option<&Bound<'_, PyAny>>,
        key: Option<String>,
        idempotency_key: Option<String>,
        compress: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let options = Options { exclude, key, idempotency_key, compress };
        broadcast::to_all(engine, outcome, message, options, |message| self.0.broadcast(message))
    }

    fn broadcast_to(
        &self,
        engine: Option<&Engine>,
        outcome: Py<PyAny>,
        clients: &Bound<'_, PyAny>,
        message: &Bound<'_, PyAny>,
        compress: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let to = |clients, message| self.0.broadcast_to(clients, message);
        broadcast::to_clients(engine, outcome, clients, message, compress, to)
    }

    fn track(&self, py: Python<'_>, ws: &Bound<'_, WebSocket>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        presence::track(py, &self.0, ws.get().ws()?, data)
    }

    fn untrack(&self, ws: &Bound<'_, WebSocket>) -> PyResult<bool> {
        Ok(self.0.untrack_now(ws.get().ws()?))
    }

    fn presence(&self, py: Python<'_>, engine: &Engine, present: Py<PyAny>) -> PyResult<Py<PyAny>> {
        presence::list(py, engine.host()?, self.0.clone(), present)
    }

    fn presence_count(&self, py: Python<'_>, engine: &Engine) -> PyResult<Py<PyAny>> {
        presence::count(py, engine.host()?, self.0.clone())
    }
}

fn page_to_python(py: Python<'_>, page: &Py<PyAny>, found: HistoryPage) -> PyResult<Py<PyAny>> {
    let messages = PyList::empty(py);
    for stored in &found.messages {
        let StoredMessage { message, position, time, .. } = stored;
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        messages.append((message_to_python(py, message), position.to_string(), seconds))?;
    }
    page.call1(py, (messages, found.position.to_string(), found.recovered))
}

/// Returns a history of so many messages and seconds.
pub(crate) fn history((size, seconds): (usize, f64)) -> PyResult<History> {
    let ttl = Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))?;
    History::try_new(size, ttl).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Reads a position; text that is not a valid one is a position that no client has ever been at.
pub(crate) fn position(text: &str) -> Position {
    text.parse().unwrap_or_default()
}
