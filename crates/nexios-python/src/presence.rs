//! Presence: the users in a room, and events when they join and leave.

use std::rc::Rc;

use nexios::{Room, presence::PresenceEvent};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::convert::to_json;
use crate::errors;
use crate::host::Host;
use crate::waiting::Waiting;

pub(crate) fn track(py: Python<'_>, room: &Room, ws: &nexios::WebSocket, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let data = to_json(data)?;
    room.track_json(ws, data.to_str()?).map_err(|error| errors::presence(py, &error))
}

pub(crate) fn show(
    py: Python<'_>,
    ws: &nexios::WebSocket,
    room: &str,
    data: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let none = py.None().into_bound(py);
    let data = to_json(data.unwrap_or(&none))?;
    ws.track_json(room, data.to_str()?).map_err(|error| errors::presence(py, &error))
}

/// Lists the users of a room, each made by `present(user, data, connections)`, data as JSON.
pub(crate) fn list(py: Python<'_>, host: &Rc<Host>, room: Room, present: Py<PyAny>) -> PyResult<Py<PyAny>> {
    Waiting::begin(py, host, async move {
        let all = room.presence().await;
        Python::attach(|py| {
            let list = PyList::empty(py);
            for one in all {
                list.append(present.call1(py, (&*one.user, one.data.as_str(), one.connections))?)?;
            }
            Ok(list.into_any().unbind())
        })
    })
}

pub(crate) fn count(py: Python<'_>, host: &Rc<Host>, room: Room) -> PyResult<Py<PyAny>> {
    Waiting::begin(py, host, async move {
        let count = room.presence_count().await;
        Python::attach(|py| Ok(count.into_pyobject(py)?.into_any().unbind()))
    })
}

/// Calls a listener; what it starts runs later.
pub(crate) fn announce(listener: &Py<PyAny>, kind: &str, event: &PresenceEvent) {
    Python::attach(|py| {
        let called = listener.call1(py, (kind, &*event.room, &*event.user, event.data.as_str(), event.here));
        if let Err(error) = called {
            error.write_unraisable(py, None);
        }
    });
}
