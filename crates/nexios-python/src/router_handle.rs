//! Routers while they are served.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::broadcast::{self, Options};
use crate::engine::Engine;
use crate::room_handle::{RoomHandle, history};

/// The clients of a router, and of those below it.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct RouterHandle {
    handle: nexios::RouterHandle,
    /// Rooms with history that were declared before the app was served.
    declared: Mutex<Vec<nexios::Room>>,
}

impl RouterHandle {
    pub(crate) fn new(handle: nexios::RouterHandle) -> Self {
        RouterHandle { handle, declared: Mutex::default() }
    }

    fn find(&self, name: &str, size_and_ttl: Option<(usize, f64)>) -> PyResult<nexios::Room> {
        let room = self.handle.room(name);
        Ok(match size_and_ttl {
            Some(size_and_ttl) => room.with_history(history(size_and_ttl)?),
            None => room,
        })
    }
}

#[pymethods]
impl RouterHandle {
    /// Returns a room of the app, with history if it is given a number of messages and one of seconds.
    fn room(&self, name: &str, history: Option<(usize, f64)>) -> PyResult<RoomHandle> {
        Ok(RoomHandle::new(self.find(name, history)?))
    }

    /// Gives a room its history for as long as the app is served.
    fn declare(&self, name: &str, history: (usize, f64)) -> PyResult<()> {
        let declared = self.find(name, Some(history))?;
        self.declared.lock().push(declared);
        Ok(())
    }

    fn count(&self) -> usize {
        self.handle.count()
    }

    /// Returns the connections of the engine on this thread.
    fn connections<'py>(&self, py: Python<'py>, engine: Option<&Engine>) -> PyResult<Bound<'py, PyList>> {
        broadcast::connections(py, engine, || self.handle.local_connections())
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
        broadcast::to_all(engine, outcome, message, options, |message| self.handle.broadcast(message))
    }

    fn broadcast_to(
        &self,
        engine: Option<&Engine>,
        outcome: Py<PyAny>,
        clients: &Bound<'_, PyAny>,
        message: &Bound<'_, PyAny>,
        compress: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let to = |clients, message| self.handle.broadcast_to(clients, message);
        broadcast::to_clients(engine, outcome, clients, message, compress, to)
    }
}
