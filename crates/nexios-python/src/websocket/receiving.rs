//! Receiving messages and control frames, one at a time and by iteration.

use pyo3::prelude::*;

use super::WebSocket;
use crate::faces;
use crate::receive::Kind;
use crate::waiting::Waiting;

#[pymethods]
impl WebSocket {
    /// Waits for the next message: a `str` or `bytes`.
    ///
    /// Like every receive it first hands out what has arrived, then raises `WebSocketDisconnect` when
    /// the client is gone. One that is cancelled loses nothing. A second one at once raises
    /// `RuntimeError`.
    ///
    /// >>> await client.send_text("hello")
    /// >>> await ws.receive()
    /// 'hello'
    fn receive(&self, py: Python<'_>) -> PyResult<Py<Waiting>> {
        self.socket.here()?.receiving(py, Kind::Any)
    }

    /// Waits for the next message, which has to be text; bytes raise `WebSocketTypeError`, which has
    /// them.
    ///
    /// >>> await client.send_text("hello")
    /// >>> await ws.receive_text()
    /// 'hello'
    fn receive_text(&self, py: Python<'_>) -> PyResult<Py<Waiting>> {
        self.socket.here()?.receiving(py, Kind::Text)
    }

    /// Waits for the next message, which has to be binary; text raises `WebSocketTypeError`, which has
    /// it.
    ///
    /// >>> await client.send_bytes(b"hello")
    /// >>> await ws.receive_bytes()
    /// b'hello'
    fn receive_bytes(&self, py: Python<'_>) -> PyResult<Py<Waiting>> {
        self.socket.here()?.receiving(py, Kind::Bytes)
    }

    /// Waits for the next message, which has to be JSON, in either kind; else raises
    /// `WebSocketException` (1007).
    ///
    /// >>> await client.send_json({"numbers": [1, 2, 3]})
    /// >>> await ws.receive_json()
    /// {'numbers': [1, 2, 3]}
    fn receive_json(&self, py: Python<'_>) -> PyResult<Py<Waiting>> {
        self.socket.here()?.receiving(py, Kind::Json)
    }

    /// Waits for a ping that was not looked at yet; the engine has answered it.
    ///
    /// >>> await client.send_ping(b"1")
    /// >>> await ws.receive_ping()
    /// b'1'
    fn receive_ping(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.receive_control(py, true)
    }

    /// Waits for a pong that was not looked at yet.
    ///
    /// >>> await client.send_pong(b"still here")
    /// >>> await ws.receive_pong()
    /// b'still here'
    fn receive_pong(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.receive_control(py, false)
    }

    fn __aiter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        faces::iterate(here(slf)?, "receive")
    }

    /// All messages, which have to be text, until the connection is over.
    ///
    /// >>> await client.send_text("one")
    /// >>> await client.close()
    /// >>> [text async for text in ws.iter_text()]
    /// ['one']
    fn iter_text(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        faces::iterate(here(slf)?, "receive_text")
    }

    /// All messages, which have to be binary, until the connection is over.
    ///
    /// >>> await client.send_bytes(b"one")
    /// >>> await client.close()
    /// >>> [data async for data in ws.iter_bytes()]
    /// [b'one']
    fn iter_bytes(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        faces::iterate(here(slf)?, "receive_bytes")
    }

    /// All messages as values, from JSON, until the connection is over.
    ///
    /// >>> await client.send_json({"number": 1})
    /// >>> await client.close()
    /// >>> [value["number"] async for value in ws.iter_json()]
    /// [1]
    fn iter_json(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        faces::iterate(here(slf)?, "receive_json")
    }
}

/// Raises on another thread than the loop's, before anything is begun.
fn here<'a, 'py>(ws: &'a Bound<'py, WebSocket>) -> PyResult<&'a Bound<'py, WebSocket>> {
    ws.get().socket.here().map(|_| ws)
}
