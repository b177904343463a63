//! Answers to handshakes: a 101 or another status.

use std::rc::Rc;

use nexios::accept::{Accept, Refusal};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};

use crate::completed::Completed;
use crate::connection::Core;
use crate::convert::{is_binary, with_bytes, with_text};
use crate::errors;
use crate::waiting::Waiting;

pub(crate) fn accept(
    core: &Core,
    py: Python<'_>,
    subprotocol: Option<String>,
    headers: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let mut accept = Accept::new();
    if let Some(subprotocol) = subprotocol {
        accept = accept.subprotocol(subprotocol);
    }
    for (name, value) in fields(headers)? {
        accept = accept.header(name, value);
    }
    core.keep_context(py)?;
    let answered = core.ws.answer(accept);
    core.host.settle(py);
    answered.map_err(|error| errors::to_python(py, &error))
}

/// With a broker, or a client that speaks `nexios.v1`: what is to be awaited before `accept()` returns.
pub(crate) fn enter(core: &Core, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
    let entering = core.ws.entering().map(|entering| {
        Waiting::begin(py, &core.host, async move {
            let entered = entering.await;
            Python::attach(|py| entered.map(|()| py.None()).map_err(|error| errors::to_python(py, &error)))
        })
    });
    entering.transpose()
}

/// [`enter`], and then [`opened`]: all that follows where nobody listens for connects.
pub(crate) fn enter_and_open(core: &Rc<Core>, py: Python<'_>) -> PyResult<Py<PyAny>> {
    if !core.ws.engine().variant().is_plain() {
        let (core, host) = (core.clone(), core.host.clone());
        return Waiting::begin(py, &host, async move {
            let entered = match core.ws.entering() {
                Some(entering) => entering.await,
                None => Ok(()),
            };
            opened(&core);
            Python::attach(|py| entered.map(|()| py.None()).map_err(|error| errors::to_python(py, &error)))
        });
    }
    let entering = enter(core, py)?;
    opened(core);
    core.host.settle(py);
    entering.map_or_else(|| Completed::nothing(py), Ok)
}

/// `accept()` is over. The companion of the listeners starts with the connection's task; the turn
/// of the handshake may be long over.
pub(crate) fn opened(core: &Core) {
    core.ws.opened();
    core.wake_task();
}

/// A refusal by a status, header fields and a body.
fn refusal(
    status: Option<&Bound<'_, PyAny>>,
    headers: Option<&Bound<'_, PyAny>>,
    body: Option<&Bound<'_, PyAny>>,
) -> PyResult<Refusal> {
    let body = match body {
        None => Vec::new(),
        Some(body) if is_binary(body) => with_bytes(body, <[u8]>::to_vec)?,
        Some(body) => with_text(body, |text| text.as_bytes().to_vec())?,
    };
    let mut refusal = Refusal::new(status.map_or(Ok(403), status_of)?, body);
    for (name, value) in fields(headers)? {
        refusal = refusal.header(name, value);
    }
    Ok(refusal)
}

/// A refusal by a response such as Starlette's: it has a `status_code`, `raw_headers` and a `body`.
fn refusal_of(response: &Bound<'_, PyAny>) -> PyResult<Refusal> {
    let py = response.py();
    let whole = (response.getattr_opt(intern!(py, "raw_headers"))?, response.getattr_opt(intern!(py, "body"))?);
    let (Some(headers), Some(body)) = whole else {
        let kind = response.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "expected a status or a response with status_code, raw_headers and body, not {kind}"
        )));
    };
    refusal(Some(&response.getattr(intern!(py, "status_code"))?), Some(&headers), Some(&body))
}

fn status_of(status: &Bound<'_, PyAny>) -> PyResult<u16> {
    if !status.is_instance_of::<PyInt>() || status.is_instance_of::<PyBool>() {
        return Err(PyTypeError::new_err(format!("a status is an int, not {}", status.get_type().name()?)));
    }
    // Whether it is one of a refusal is seen where it is answered.
    status.extract::<u16>().map_err(|_| {
        PyValueError::new_err(format!("invalid status {status}: a handshake is refused with a status from 300 to 599"))
    })
}

/// Refuses by a status and what belongs to it, or by a response.
pub(crate) fn refuse(
    core: &Core,
    py: Python<'_>,
    status: Option<&Bound<'_, PyAny>>,
    headers: Option<&Bound<'_, PyAny>>,
    body: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let is_response = status.map_or(Ok(false), |status| status.hasattr(intern!(py, "status_code")))?;
    let refusal = match status.filter(|_| is_response) {
        Some(response) if headers.is_none() && body.is_none() => refusal_of(response)?,
        Some(_) => return Err(PyTypeError::new_err("a response has its own headers and body")),
        None => refusal(status, headers, body)?,
    };
    core.keep_early_context(py)?;
    let refused = core.ws.engine().refuse(refusal);
    core.host.settle(py);
    refused.map_err(|error| errors::to_python(py, &error.into()))
}

/// Header fields from a mapping or from pairs.
fn fields(headers: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<(String, String)>> {
    let Some(headers) = headers else { return Ok(Vec::new()) };
    let pairs = match headers.hasattr("items")? {
        true => headers.call_method0("items")?,
        false => headers.clone(),
    };
    let list: Vec<Bound<'_, PyAny>> = pairs.try_iter()?.collect::<PyResult<_>>()?;
    let mut fields = Vec::with_capacity(list.len());
    for pair in list {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
            pair.extract().map_err(|_| PyTypeError::new_err("headers are pairs of str or bytes"))?;
        fields.push((text_of(&name)?, text_of(&value)?));
    }
    Ok(fields)
}

/// Bytes that are not UTF-8 are latin-1, as in ASGI.
fn text_of(part: &Bound<'_, PyAny>) -> PyResult<String> {
    if is_binary(part) {
        return with_bytes(part, |bytes| match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
        });
    }
    part.extract().map_err(|_| PyTypeError::new_err("headers are pairs of str or bytes"))
}
