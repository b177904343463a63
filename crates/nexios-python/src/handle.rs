//! A handle to a connection that other threads may use.

use nexios::SendError;
use pyo3::prelude::*;

use crate::convert::{to_json, with_bytes, with_message, with_text};
use crate::errors;

/// Sends to a connection and closes it from any thread; its methods return at once.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct Handle(pub(crate) nexios::Handle);

fn sent(py: Python<'_>, result: Result<(), SendError>) -> PyResult<()> {
    result.map_err(|error| errors::send_error(py, error))
}

#[pymethods]
impl Handle {
    /// The connection's id.
    #[getter]
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// The client id that the application had set when the handle was made.
    #[getter]
    fn client_id(&self) -> Option<&str> {
        self.0.client_id()
    }

    /// Whether messages can be sent.
    #[getter]
    fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    /// Queues a `str` as text, bytes as binary, anything else as JSON.
    fn send(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let message = with_message(value, |message| message.to_message())?;
        sent(value.py(), self.0.send(message))
    }

    /// Queues a text message.
    fn send_text(&self, text: &Bound<'_, PyAny>) -> PyResult<()> {
        sent(text.py(), with_text(text, |text| self.0.send_text(text))?)
    }

    /// Queues a binary message.
    fn send_bytes(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        sent(data.py(), with_bytes(data, |bytes| self.0.send_bytes(bytes))?)
    }

    /// Queues a value as JSON, in a text message.
    fn send_json(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let json = to_json(value)?;
        sent(value.py(), self.0.send_text(json.to_str()?))
    }

    /// Queues a ping of at most 125 bytes.
    #[pyo3(signature = (payload = None))]
    fn send_ping(&self, py: Python<'_>, payload: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let result = match payload {
            Some(payload) => with_bytes(payload, |bytes| self.0.send_ping(bytes))?,
            None => self.0.send_ping(b""),
        };
        sent(py, result)
    }

    /// Queues a pong of at most 125 bytes.
    #[pyo3(signature = (payload = None))]
    fn send_pong(&self, py: Python<'_>, payload: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let result = match payload {
            Some(payload) => with_bytes(payload, |bytes| self.0.send_pong(bytes))?,
            None => self.0.send_pong(b""),
        };
        sent(py, result)
    }

    /// Closes the connection; nothing happens if it is closed already.
    #[pyo3(signature = (code = 1000, reason = ""))]
    fn close(&self, code: u16, reason: &str) -> PyResult<()> {
        self.0.close(code, reason).map_err(|error| errors::invalid_close_code(&error))
    }

    fn __repr__(&self) -> String {
        format!("<Handle {}>", self.0.id())
    }
}
