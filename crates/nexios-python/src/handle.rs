//! A handle to a connection that other threads may use.

use std::sync::Arc;

use nexios::SendError;
use pyo3::prelude::*;

use crate::convert::{CloseCodeArgument, to_json, with_bytes, with_message, with_text};
use crate::errors;
use crate::host::Host;
use crate::signal::Signal;

/// Sends to a connection and closes it from any thread; its methods return at once.
///
/// `ws.handle()` gives one. It may outlive the connection, and does not keep it alive.
///
/// >>> def work(handle):
/// ...     handle.send_text("done")
/// >>> await asyncio.to_thread(work, ws.handle())
/// >>> await client.receive_text()
/// 'done'
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct Handle {
    pub(crate) handle: nexios::Handle,
    signal: Arc<Signal>,
}

impl Handle {
    pub(crate) fn new(handle: nexios::Handle, host: &Host) -> Self {
        Handle { handle, signal: host.signal() }
    }

    fn sent(&self, py: Python<'_>, result: Result<(), SendError>) -> PyResult<()> {
        // On the loop's own thread nothing else would look.
        self.signal.ring();
        result.map_err(|error| errors::send_error(py, error))
    }
}

#[pymethods]
impl Handle {
    /// The connection's id: `ws.id`.
    ///
    /// >>> ws.handle().id == ws.id
    /// True
    #[getter]
    fn id(&self) -> String {
        self.handle.id().to_string()
    }

    /// The client id that the application had set when the handle was made.
    ///
    /// >>> ws.client_id = "ann"
    /// >>> ws.handle().client_id
    /// 'ann'
    #[getter]
    fn client_id(&self) -> Option<&str> {
        self.handle.client_id()
    }

    /// Returns true if messages can be sent.
    ///
    /// >>> ws.handle().is_connected()
    /// True
    fn is_connected(&self) -> bool {
        self.handle.is_connected()
    }

    /// Queues a `str` as text, bytes as binary, anything else as JSON.
    ///
    /// Like every send of a handle it returns at once; raises `WebSocketDisconnect` when the client is gone, and
    /// `OutboxFull` where it reads too slowly.
    ///
    /// >>> ws.handle().send({"hello": "world"})
    /// >>> await client.receive_json()
    /// {'hello': 'world'}
    fn send(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let message = with_message(value, |message| message.to_message())?;
        self.sent(value.py(), self.handle.send(message))
    }

    /// Queues a text message.
    ///
    /// >>> ws.handle().send_text("hello")
    /// >>> await client.receive_text()
    /// 'hello'
    fn send_text(&self, text: &Bound<'_, PyAny>) -> PyResult<()> {
        self.sent(text.py(), with_text(text, |text| self.handle.send_text(text))?)
    }

    /// Queues a binary message.
    ///
    /// >>> ws.handle().send_bytes(b"hello")
    /// >>> await client.receive_bytes()
    /// b'hello'
    fn send_bytes(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.sent(data.py(), with_bytes(data, |bytes| self.handle.send_bytes(bytes))?)
    }

    /// Queues a value as JSON, in a text message.
    ///
    /// >>> ws.handle().send_json([1, 2, 3])
    /// >>> await client.receive_json()
    /// [1, 2, 3]
    fn send_json(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let json = to_json(value)?;
        self.sent(value.py(), self.handle.send_text(json.to_str()?))
    }

    /// Queues a ping of at most 125 bytes, else raises `ValueError`.
    ///
    /// >>> ws.handle().send_ping(b"1")
    /// >>> await client.receive_ping()
    /// b'1'
    #[pyo3(signature = (payload = None))]
    fn send_ping(&self, py: Python<'_>, payload: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let result = match payload {
            Some(payload) => with_bytes(payload, |bytes| self.handle.send_ping(bytes))?,
            None => self.handle.send_ping(b""),
        };
        self.sent(py, result)
    }

    /// Queues a pong of at most 125 bytes, else raises `ValueError`.
    ///
    /// >>> ws.handle().send_pong(b"still here")
    /// >>> await client.receive_pong()
    /// b'still here'
    #[pyo3(signature = (payload = None))]
    fn send_pong(&self, py: Python<'_>, payload: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let result = match payload {
            Some(payload) => with_bytes(payload, |bytes| self.handle.send_pong(bytes))?,
            None => self.handle.send_pong(b""),
        };
        self.sent(py, result)
    }

    /// Closes the connection; nothing happens if it is closed already.
    ///
    /// >>> ws.handle().close(4000, "bye")
    /// >>> await client.wait_closed()
    /// (4000, 'bye')
    #[pyo3(signature = (code = CloseCodeArgument::NORMAL, reason = ""), text_signature = "($self, code=1000, reason='')")]
    fn close(&self, code: CloseCodeArgument, reason: &str) -> PyResult<()> {
        let closed = self.handle.close(code.0.get(), reason).map_err(|error| errors::invalid_close_code(&error));
        self.signal.ring();
        closed
    }

    fn __repr__(&self) -> String {
        format!("<Handle {}>", self.handle.id())
    }
}
