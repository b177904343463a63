//! How a handshake is answered: with a 101, or with another status.

use std::rc::Rc;

use nexios::{Accept, Refusal};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::connection::Core;
use crate::convert::{is_binary, with_bytes, with_text};
use crate::errors;
use crate::future::{Completed, Waiting};

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
    if core.ws.engine().is_framed() {
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

pub(crate) fn refuse(
    core: &Core,
    py: Python<'_>,
    status: u16,
    headers: Option<&Bound<'_, PyAny>>,
    body: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    if !(300..=599).contains(&status) {
        return Err(PyValueError::new_err("a handshake is refused with a status from 300 to 599"));
    }
    let body = match body {
        None => Vec::new(),
        Some(body) if is_binary(body) => with_bytes(body, <[u8]>::to_vec)?,
        Some(body) => with_text(body, |text| text.as_bytes().to_vec())?,
    };
    let mut refusal = Refusal::new(status, body);
    for (name, value) in fields(headers)? {
        refusal = refusal.header(name, value);
    }
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
        fields.push(pair.extract().map_err(|_| PyTypeError::new_err("headers are pairs of str"))?);
    }
    Ok(fields)
}
