//! Errors on their way between the two languages.

use nexios::{
    CloseCode, Error, ReceiveError, RequestError, SendError, WebSocketDisconnect, WebSocketException,
    WebSocketTypeError, error::InvalidCloseCode,
};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::convert::message_to_python;

/// The exception classes of `nexios.exceptions`.
struct Classes {
    disconnect: Py<PyType>,
    exception: Py<PyType>,
    type_error: Py<PyType>,
    outbox_full: Py<PyType>,
    broker: Py<PyType>,
    unconfirmed: Py<PyType>,
    presence: Py<PyType>,
    request: Py<PyType>,
    /// Returns the exception that a group of exceptions is about.
    essence: Py<PyAny>,
}

static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();

fn classes(py: Python<'_>) -> PyResult<&Classes> {
    CLASSES.get_or_try_init(py, || {
        let module = py.import("nexios.exceptions")?;
        let class = |name: &str| Ok::<_, PyErr>(module.getattr(name)?.cast_into::<PyType>()?.unbind());
        Ok(Classes {
            disconnect: class("WebSocketDisconnect")?,
            exception: class("WebSocketException")?,
            type_error: class("WebSocketTypeError")?,
            outbox_full: class("OutboxFull")?,
            broker: class("BrokerError")?,
            unconfirmed: class("PublishUnconfirmed")?,
            presence: class("PresenceError")?,
            request: class("RequestError")?,
            essence: py.import("nexios._exception_groups")?.getattr("essence")?.unbind(),
        })
    })
}

fn raised<'py, A: pyo3::call::PyCallArgs<'py>>(py: Python<'py>, class: &Py<PyType>, args: A) -> PyErr {
    match class.bind(py).call1(args) {
        Ok(instance) => PyErr::from_value(instance),
        Err(error) => error,
    }
}

pub(crate) fn broker(py: Python<'_>, error: &nexios::broker::BrokerError) -> PyErr {
    match classes(py) {
        Ok(classes) => {
            let is_unconfirmed = matches!(error, nexios::broker::BrokerError::Unconfirmed(_));
            let class = if is_unconfirmed { &classes.unconfirmed } else { &classes.broker };
            raised(py, class, (error.to_string(),))
        }
        Err(error) => error,
    }
}

pub(crate) fn presence(py: Python<'_>, error: &nexios::presence::PresenceError) -> PyErr {
    match classes(py) {
        Ok(classes) => raised(py, &classes.presence, (error.to_string(),)),
        Err(error) => error,
    }
}

pub(crate) fn disconnect(py: Python<'_>, error: &WebSocketDisconnect) -> PyErr {
    match classes(py) {
        Ok(classes) => raised(py, &classes.disconnect, (error.code, &*error.reason)),
        Err(error) => error,
    }
}

pub(crate) fn type_error(py: Python<'_>, error: &WebSocketTypeError) -> PyErr {
    match classes(py) {
        Ok(classes) => raised(py, &classes.type_error, (message_to_python(py, &error.message), error.to_string())),
        Err(error) => error,
    }
}

pub(crate) fn exception(py: Python<'_>, code: u16, reason: &str) -> PyErr {
    match classes(py) {
        Ok(classes) => raised(py, &classes.exception, (code, reason)),
        Err(error) => error,
    }
}

pub(crate) fn invalid_close_code(error: &InvalidCloseCode) -> PyErr {
    PyValueError::new_err(error.to_string())
}

pub(crate) fn receive_error(py: Python<'_>, error: ReceiveError) -> PyErr {
    match error {
        ReceiveError::Disconnected(error) => disconnect(py, &error),
        ReceiveError::WrongType(error) => type_error(py, &error),
        ReceiveError::Invalid(error) => exception(py, error.code.get(), &error.reason),
        other => PyRuntimeError::new_err(other.to_string()),
    }
}

pub(crate) fn send_error(py: Python<'_>, error: SendError) -> PyErr {
    match error {
        SendError::Disconnected(error) => disconnect(py, &error),
        SendError::ControlTooLong => PyValueError::new_err(error.to_string()),
        SendError::OutboxFull => match classes(py) {
            Ok(classes) => raised(py, &classes.outbox_full, (error.to_string(),)),
            Err(error) => error,
        },
        other => PyRuntimeError::new_err(other.to_string()),
    }
}

/// Whatever the framework raised, as a Python exception.
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    if let Some(error) = error.downcast_ref::<WebSocketDisconnect>() {
        return disconnect(py, error);
    }
    if let Some(error) = error.downcast_ref::<WebSocketTypeError>() {
        return type_error(py, error);
    }
    if let Some(error) = error.downcast_ref::<WebSocketException>() {
        return exception(py, error.code.get(), &error.reason);
    }
    if error.is::<nexios::accept::SubprotocolNotOffered>()
        || error.is::<nexios::accept::NotLive>()
        || error.is::<InvalidCloseCode>()
    {
        return PyValueError::new_err(error.to_string());
    }
    match error.downcast_ref::<nexios::accept::AcceptError>() {
        Some(
            nexios::accept::AcceptError::InvalidHeader(_)
            | nexios::accept::AcceptError::OwnHeader { .. }
            | nexios::accept::AcceptError::InvalidStatus(_),
        ) => PyValueError::new_err(error.to_string()),
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}

/// Returns the meaning of a Python exception for its connection; `None` if it is a fault, to be logged.
pub(crate) fn to_rust(py: Python<'_>, error: &PyErr) -> PyResult<Option<Error>> {
    let classes = classes(py)?;
    let value = classes.essence.bind(py).call1((error.value(py),))?;
    if value.is_instance(classes.disconnect.bind(py))? {
        let code = value.getattr("code")?.extract()?;
        let reason: String = value.getattr("reason")?.extract()?;
        return Ok(Some(WebSocketDisconnect { code, reason: reason.into() }.into()));
    }
    if value.is_instance(classes.exception.bind(py))? {
        let code = value.getattr("code")?.extract::<u16>().ok().and_then(|code| CloseCode::try_from(code).ok());
        let code = code.unwrap_or(CloseCode::INTERNAL_ERROR);
        let reason: String = value.getattr("reason")?.extract()?;
        return Ok(Some(WebSocketException::new(code, reason).into()));
    }
    if value.is_instance(classes.request.bind(py))? {
        let (code, message): (String, String) =
            (value.getattr("code")?.extract()?, value.getattr("message")?.extract()?);
        return Ok(Some(RequestError::new(code, message).into()));
    }
    Ok(None)
}

/// The exception that `throw(type, value, traceback)` or `throw(value)` asks for.
pub(crate) fn thrown(kind: &Bound<'_, PyAny>, value: Option<&Bound<'_, PyAny>>) -> PyErr {
    match value.filter(|value| !value.is_none()) {
        Some(value) => PyErr::from_value(value.clone()),
        // A class is instantiated when it is raised.
        None => PyErr::from_value(kind.clone()),
    }
}
