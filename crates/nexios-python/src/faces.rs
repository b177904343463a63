//! Parts of a connection that are classes of the package: its state, its request.

use nexios::ConnectionState;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::websocket::WebSocket;

/// Classes of `nexios.state` and `nexios.request`.
struct Faces {
    state: Py<PyAny>,
    states: [Py<PyAny>; 4],
    headers: Py<PyAny>,
    multi: Py<PyAny>,
    address: Py<PyAny>,
    path_params: Py<PyAny>,
    iterate: Py<PyAny>,
}

static FACES: PyOnceLock<Faces> = PyOnceLock::new();

fn faces(py: Python<'_>) -> PyResult<&Faces> {
    FACES.get_or_try_init(py, || {
        let state = py.import("nexios.state")?;
        let request = py.import("nexios.request")?;
        let states = state.getattr("WebSocketState")?;
        let named = |name: &str| Ok::<_, PyErr>(states.getattr(name)?.unbind());
        Ok(Faces {
            state: state.getattr("State")?.unbind(),
            states: [named("CONNECTING")?, named("CONNECTED")?, named("CLOSING")?, named("DISCONNECTED")?],
            headers: request.getattr("Headers")?.unbind(),
            multi: request.getattr("Parameters")?.unbind(),
            address: request.getattr("Address")?.unbind(),
            path_params: request.getattr("path_params")?.unbind(),
            iterate: request.getattr("iterate")?.unbind(),
        })
    })
}

/// `ws.state`
pub(crate) fn state(ws: &Bound<'_, WebSocket>, values: Py<PyDict>) -> PyResult<Py<PyAny>> {
    faces(ws.py())?.state.call1(ws.py(), (ws, values))
}

/// `ws.connection_state`
pub(crate) fn connection_state(py: Python<'_>, state: ConnectionState) -> PyResult<Py<PyAny>> {
    let [connecting, connected, closing, disconnected] = &faces(py)?.states;
    Ok(match state {
        ConnectionState::Connecting => connecting,
        ConnectionState::Connected => connected,
        ConnectionState::Closing => closing,
        ConnectionState::Disconnected => disconnected,
    }
    .clone_ref(py))
}

/// `ws.headers`
pub(crate) fn headers(py: Python<'_>, ws: &nexios::WebSocket) -> PyResult<Py<PyAny>> {
    let latin1 = |value: &[u8]| value.iter().copied().map(char::from).collect::<String>();
    let text = |value: &[u8]| std::str::from_utf8(value).map_or_else(|_| latin1(value), str::to_owned);
    let fields: Vec<_> = ws.headers().iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
    faces(py)?.headers.call1(py, (fields,))
}

/// `ws.query_params`
pub(crate) fn query_params(py: Python<'_>, ws: &nexios::WebSocket) -> PyResult<Py<PyAny>> {
    let params = ws.query_params();
    let pairs: Vec<_> = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    faces(py)?.multi.call1(py, (pairs,))
}

/// `ws.path_params`
pub(crate) fn path_params(py: Python<'_>, ws: &nexios::WebSocket) -> PyResult<Py<PyAny>> {
    let params = ws.path_params();
    let pairs: Vec<_> = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    faces(py)?.path_params.call1(py, (ws.route_path(), pairs))
}

/// `ws.client`
pub(crate) fn client(py: Python<'_>, ws: &nexios::WebSocket) -> PyResult<Option<Py<PyAny>>> {
    let Some(client) = ws.client() else { return Ok(None) };
    faces(py)?.address.call1(py, (client.host.to_string(), client.port)).map(Some)
}

/// `ws.iter_…()`, by the name of the method that receives.
pub(crate) fn iterate(ws: &Bound<'_, WebSocket>, receive: &str) -> PyResult<Py<PyAny>> {
    faces(ws.py())?.iterate.call1(ws.py(), (ws.getattr(receive)?,))
}
