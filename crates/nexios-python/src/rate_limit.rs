//! Limits on how often clients send or connect.

use std::time::Duration;

use nexios::rate_limit::OnExcess;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors;
use crate::waiting::Waiting;
use crate::websocket::WebSocket;

/// The part of `nexios.RateLimit` that counts.
#[pyclass(frozen, subclass, module = "nexios._nexios")]
pub(crate) struct RateLimit(nexios::RateLimit);

#[pymethods]
impl RateLimit {
    #[new]
    fn new(handshakes: bool, count: u32, per: f64, burst: u32, on_excess: &str, by_host: bool) -> PyResult<Self> {
        let per = Duration::try_from_secs_f64(per).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let on_excess = match on_excess {
            "close" => OnExcess::Close,
            "drop" => OnExcess::Drop,
            "wait" => OnExcess::Wait,
            _ => return Err(PyValueError::new_err("on_excess: expected \"close\", \"drop\" or \"wait\"")),
        };
        let limit = match handshakes {
            true => nexios::RateLimit::handshakes(count),
            false => nexios::RateLimit::messages(count),
        };
        let limit = limit.per(per).burst(burst).on_excess(on_excess);
        Ok(RateLimit(if by_host { limit.by_host() } else { limit }))
    }

    /// Returns the number of messages and handshakes that were dropped.
    ///
    /// >>> limit = RateLimit(messages=10, on_excess="drop")
    /// >>> limit.dropped
    /// 0
    #[getter]
    fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Counts the messages of a connection from now on.
    fn _limit_messages(&self, ws: &WebSocket, key: Option<String>) -> PyResult<()> {
        self.0.limit_messages_of(ws.ws()?, key);
        Ok(())
    }

    /// Returns true if a handshake may continue; otherwise the client has its answer.
    fn _admits(&self, py: Python<'_>, ws: &WebSocket, key: Option<String>) -> PyResult<Py<PyAny>> {
        let (limit, socket) = (self.0.clone(), ws.ws()?.clone());
        Waiting::begin(py, &ws.core()?.host, async move {
            let admitted = limit.admits(&socket, key).await;
            Python::attach(|py| match admitted {
                Ok(admitted) => Ok(pyo3::types::PyBool::new(py, admitted).to_owned().into_any().unbind()),
                Err(error) => Err(errors::to_python(py, &error)),
            })
        })
    }
}
