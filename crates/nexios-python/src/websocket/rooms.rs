//! The rooms of a connection, and its user's presence in them.

use nexios::ConnectionState;
use nexios::broker::Position;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};

use super::WebSocket;
use crate::completed::Completed;
use crate::presence;
use crate::room_handle::position;
use crate::waiting::Waiting;

impl WebSocket {
    /// The connection for what is possible from `accept()` on; before, it raises as sending does.
    fn accepted(&self) -> PyResult<&nexios::WebSocket> {
        let ws = self.ws()?;
        match ws.connection_state() {
            ConnectionState::Connecting => {
                Err(PyRuntimeError::new_err("call accept() before joining or leaving a room"))
            }
            _ => Ok(ws),
        }
    }
}

#[pymethods]
impl WebSocket {
    /// Enters a room, given as a `Room` or by its name; returns true if the connection is in it now. Raises
    /// `RuntimeError` before `accept()`.
    ///
    /// With `since`, a position in a room with history, the client first gets the messages that it missed, each
    /// once and in order, and then new ones; the result is a `Joined` then. `"start"` gives it the whole history.
    /// `None`, or a position from which nothing can be recovered, joins as if for the first time.
    ///
    /// >>> await ws.join("general")
    /// True
    /// >>> await app.room("general").broadcast("hello") == 1
    /// True
    /// >>> room = app.room("lobby", history=History(size=1000, ttl=3600))
    /// >>> one, two = await room.broadcast("one"), await room.broadcast("two")
    /// >>> joined = await ws.join("lobby", since=one.stored)
    /// >>> joined.recovered, joined.position == two.stored
    /// (True, True)
    /// >>> [await client.receive_text() for _ in range(2)]
    /// ['hello', 'two']
    #[pyo3(signature = (room, *, since = Since::NotGiven), text_signature = "($self, room, *, since=...)")]
    fn join(&self, py: Python<'_>, room: RoomName, since: Since) -> PyResult<Py<PyAny>> {
        let (ws, room) = (self.accepted()?.clone(), room.0);
        Waiting::begin(py, &self.core()?.host, async move {
            let Since::Given(since) = since else {
                let joined = ws.join(room).await;
                return Ok(Python::attach(|py| PyBool::new(py, joined).to_owned().into_any().unbind()));
            };
            let joined = match since {
                From::Start => ws.join_from_start(room).await,
                From::Position(since) => ws.join_from(room, since).await,
            };
            Python::attach(|py| {
                let class = py.import("nexios.history")?.getattr("Joined")?;
                let position = joined.map(|joined| joined.position.to_string());
                let recovered = joined.is_some_and(|joined| joined.recovered);
                Ok(class.call1((joined.is_some(), recovered, position.unwrap_or_default()))?.unbind())
            })
        })
    }

    /// Leaves a room, given as a `Room` or by its name; returns true if the connection was in it. Joins that
    /// wait are given up, also those of a `nexios.v1` client.
    ///
    /// >>> await ws.leave("general")
    /// False
    fn leave(&self, py: Python<'_>, room: RoomName) -> PyResult<Py<PyAny>> {
        let (ws, room) = (self.accepted()?.clone(), room.0);
        self.socket.here()?.at_once(py, async move { ws.leave(room).await })
    }

    /// Shows the connection's user in a room's ``presence()``, as ``Room.track(ws, data)`` does. The room is given as a
    /// ``Room`` or by its name. Raises ``PresenceError`` where the connection is not in the room.
    ///
    /// >>> await ws.join("general")
    /// True
    /// >>> await ws.track("general", {"status": "busy"})
    #[pyo3(signature = (room, data = None))]
    fn track(&self, py: Python<'_>, room: RoomName, data: Option<Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        presence::show(py, self.accepted()?, &room.0, data.as_ref())?;
        Completed::nothing(py)
    }

    /// Ends what ``track()`` began; returns true if the connection was tracked.
    ///
    /// >>> await ws.untrack("general")
    /// False
    fn untrack(&self, py: Python<'_>, room: RoomName) -> PyResult<Py<PyAny>> {
        let (ws, room) = (self.accepted()?.clone(), room.0);
        self.socket.here()?.at_once(py, async move { ws.untrack_now(&room) })
    }
}

/// The name of a room that is given as a `Room` or by its name.
struct RoomName(String);

impl<'a, 'py> FromPyObject<'a, 'py> for RoomName {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if given.is_instance_of::<PyString>() {
            return Ok(RoomName(given.extract()?));
        }
        let class = given.py().import("nexios.broadcast")?.getattr("Room")?;
        match given.is_instance(&class)? {
            true => Ok(RoomName(given.getattr("name")?.extract()?)),
            false => Err(PyTypeError::new_err(format!("expected a Room or the name of one, not {}", given.repr()?))),
        }
    }
}

/// A client's position in a room. Left out, it differs from `None`, an unknown position.
pub(crate) enum Since {
    NotGiven,
    Given(From),
}

/// A position, or the whole history of the room.
pub(crate) enum From {
    Start,
    Position(Option<Position>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Since {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let text: Option<String> = given.extract()?;
        Ok(Since::Given(match text.as_deref() {
            Some("start") => From::Start,
            text => From::Position(text.map(position)),
        }))
    }
}
