//! Identity and state of a connection: ids, state, close code, rooms.

use pyo3::prelude::*;

use super::WebSocket;
use crate::faces;

#[pymethods]
impl WebSocket {
    /// The connection's id: assigned by the server, not guessable.
    ///
    /// >>> len(ws.id)
    /// 32
    #[getter]
    fn id(&self) -> PyResult<String> {
        Ok(self.ws()?.id().to_string())
    }

    /// The name that the application gave the client; several connections may share it, as a user's
    /// tabs do.
    ///
    /// >>> ws.client_id = "ann"
    /// >>> await app.broadcast_to("ann", "hello") == 1
    /// True
    #[getter]
    fn client_id(&self) -> PyResult<Option<String>> {
        Ok(self.ws()?.client_id().map(|id| id.to_string()))
    }

    #[setter]
    fn set_client_id(&self, client_id: Option<&str>) -> PyResult<()> {
        match client_id {
            Some(client_id) => self.ws()?.set_client_id(client_id),
            None => self.ws()?.clear_client_id(),
        }
        Ok(())
    }

    /// The application's own values; it also compares with a `WebSocketState`.
    ///
    /// >>> ws.state["user_id"] = 42
    /// >>> ws.state.user_id, ws.state == WebSocketState.CONNECTED
    /// (42, True)
    #[getter]
    fn state(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        slf.get().socket.here()?;
        faces::state(slf, slf.get().values(slf.py()))
    }

    /// The state of the connection.
    ///
    /// >>> ws.connection_state
    /// <WebSocketState.CONNECTED: 'connected'>
    #[getter]
    fn connection_state(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        faces::connection_state(py, self.ws()?.connection_state())
    }

    /// The code of whoever closed first; `None` while the connection is open.
    ///
    /// 1005 stands for a Close frame without a code, 1006 for none at all.
    ///
    /// >>> await client.close(4000, "bye")
    /// >>> ws.close_code
    /// 4000
    #[getter]
    fn close_code(&self) -> PyResult<Option<u16>> {
        Ok(self.ws()?.close_code())
    }

    /// The reason of whoever closed first; `None` while the connection is open.
    ///
    /// >>> await client.close(4000, "bye")
    /// >>> ws.close_reason
    /// 'bye'
    #[getter]
    fn close_reason(&self) -> PyResult<Option<String>> {
        Ok(self.ws()?.close_reason().map(Into::into))
    }

    /// The rooms that the connection has joined.
    ///
    /// >>> await ws.join("general")
    /// True
    /// >>> ws.rooms
    /// ['general']
    #[getter]
    fn rooms(&self) -> PyResult<Vec<String>> {
        Ok(self.ws()?.rooms().iter().map(|room| room.to_string()).collect())
    }
}
