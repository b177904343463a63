//! Messages on their way between the two languages.

use nexios::{CloseCode, Message, message::MessageRef};
use pyo3::Borrowed;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyInt, PyMemoryView, PyString};

pub(crate) fn message_to_python(py: Python<'_>, message: &Message) -> Py<PyAny> {
    match message {
        Message::Text(text) => PyString::new(py, text).into_any().unbind(),
        Message::Binary(bytes) => PyBytes::new(py, bytes).into_any().unbind(),
    }
}

/// Lends the message that a Python value is: a `str` as text, bytes as binary, anything else as JSON.
pub(crate) fn with_message<R>(value: &Bound<'_, PyAny>, send: impl FnOnce(MessageRef<'_>) -> R) -> PyResult<R> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(send(MessageRef::Text(text.to_str()?)));
    }
    if is_binary(value) {
        return with_bytes(value, |bytes| send(MessageRef::Binary(bytes)));
    }
    let json = to_json(value)?;
    Ok(send(MessageRef::Text(json.to_str()?)))
}

pub(crate) fn is_binary(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>() || value.is_instance_of::<PyMemoryView>()
}

/// Lends the bytes of a bytes-like object; of `bytes` without a copy.
pub(crate) fn with_bytes<R>(value: &Bound<'_, PyAny>, look: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(look(bytes.as_bytes()));
    }
    if value.is_instance_of::<PyByteArray>() || value.is_instance_of::<PyMemoryView>() {
        let copied = value.py().get_type::<PyBytes>().call1((value,))?.cast_into::<PyBytes>()?;
        return Ok(look(copied.as_bytes()));
    }
    let kind = value.get_type().name()?;
    Err(PyTypeError::new_err(format!("expected bytes, not {kind}; send_text() takes str, send_json() anything")))
}

/// Lends the text of a `str`.
pub(crate) fn with_text<R>(value: &Bound<'_, PyAny>, look: impl FnOnce(&str) -> R) -> PyResult<R> {
    match value.cast::<PyString>() {
        Ok(text) => Ok(look(text.to_str()?)),
        Err(_) => {
            let kind = value.get_type().name()?;
            Err(PyTypeError::new_err(format!(
                "expected str, not {kind}; send_bytes() takes bytes, send_json() anything"
            )))
        }
    }
}

/// A close code that may be sent, as an argument.
#[derive(Clone, Copy)]
pub(crate) struct CloseCodeArgument(pub(crate) CloseCode);

impl CloseCodeArgument {
    pub(crate) const NORMAL: Self = CloseCodeArgument(CloseCode::NORMAL);
}

impl<'py> FromPyObject<'_, 'py> for CloseCodeArgument {
    type Error = PyErr;

    fn extract(code: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if !code.is_instance_of::<PyInt>() || code.is_instance_of::<PyBool>() {
            return Err(PyTypeError::new_err(format!("a close code is an int, not {}", code.get_type().name()?)));
        }
        let sendable = code.extract::<u16>().ok().and_then(|code| CloseCode::try_from(code).ok());
        sendable.map(CloseCodeArgument).ok_or_else(|| {
            PyValueError::new_err(format!(
                "close code {} must not be sent: expected 1000 to 1003, 1007 to 1014, or 3000 to 4999",
                code.str().map(|code| code.to_string()).unwrap_or_default()
            ))
        })
    }
}

static ENCODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static DECODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// A value as JSON; what has none raises `TypeError` or `ValueError`.
pub(crate) fn to_json<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let py = value.py();
    let encode =
        ENCODE.get_or_try_init(py, || Ok::<_, PyErr>(py.import("nexios._json")?.getattr("encode")?.unbind()))?;
    Ok(encode.bind(py).call1((value,))?.cast_into::<PyString>()?)
}

/// The value of a message that is JSON.
pub(crate) fn from_json(py: Python<'_>, message: &Message) -> PyResult<Py<PyAny>> {
    let decode =
        DECODE.get_or_try_init(py, || Ok::<_, PyErr>(py.import("nexios._json")?.getattr("decode")?.unbind()))?;
    decode.call1(py, (message_to_python(py, message),))
}
