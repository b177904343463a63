//! Sending messages and control frames.

use nexios::message::MessageRef;
use pyo3::prelude::*;

use super::WebSocket;
use crate::convert::{to_json, with_bytes, with_message, with_text};

#[pymethods]
impl WebSocket {
    /// Sends a `str` as text, bytes as binary, anything else as JSON.
    ///
    /// Like every send it waits while the client is behind, above 64 KiB of unsent bytes; raises
    /// `WebSocketDisconnect` when the client is gone, `RuntimeError` before `accept()`.
    /// `compress=False` leaves this message uncompressed.
    ///
    /// >>> await ws.send({"hello": "world"})
    /// >>> await client.receive()
    /// '{"hello":"world"}'
    #[pyo3(signature = (value, *, compress = None))]
    fn send(&self, value: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        with_message(value, |message| self.socket.here()?.queue(value.py(), message, compress))?
    }

    /// Sends a text message.
    ///
    /// >>> await ws.send_text("hello")
    /// >>> await client.receive_text()
    /// 'hello'
    #[pyo3(signature = (text, *, compress = None))]
    fn send_text(&self, text: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        with_text(text, |borrowed| self.socket.here()?.queue(text.py(), MessageRef::Text(borrowed), compress))?
    }

    /// Sends a binary message.
    ///
    /// >>> await ws.send_bytes(b"hello")
    /// >>> await client.receive_bytes()
    /// b'hello'
    #[pyo3(signature = (data, *, compress = None))]
    fn send_bytes(&self, data: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        with_bytes(data, |bytes| self.socket.here()?.queue(data.py(), MessageRef::Binary(bytes), compress))?
    }

    /// Sends a value as JSON, in a text message; raises `TypeError` or `ValueError` where it has no
    /// JSON.
    ///
    /// >>> await ws.send_json({"numbers": [1, 2, 3]})
    /// >>> await client.receive_json()
    /// {'numbers': [1, 2, 3]}
    #[pyo3(signature = (value, *, compress = None))]
    fn send_json(&self, value: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        let json = to_json(value)?;
        self.socket.here()?.queue(value.py(), MessageRef::Text(json.to_str()?), compress)
    }

    /// Sends a ping of at most 125 bytes, else raises `ValueError`. The server sends its own in any
    /// case.
    ///
    /// >>> await ws.send_ping(b"1")
    /// >>> await ws.receive_pong()
    /// b'1'
    #[pyo3(signature = (payload = None))]
    fn send_ping(&self, py: Python<'_>, payload: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.send_control(py, payload, true)
    }

    /// Sends a pong of at most 125 bytes that answers no ping.
    ///
    /// >>> await ws.send_pong(b"still here")
    /// >>> await client.receive_pong()
    /// b'still here'
    #[pyo3(signature = (payload = None))]
    fn send_pong(&self, py: Python<'_>, payload: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.send_control(py, payload, false)
    }

    /// Sends a ping and waits for its pong: the seconds that it took.
    ///
    /// >>> await ws.ping() < 5
    /// True
    fn ping(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.ping(py)
    }
}
