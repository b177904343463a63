//! The scope of a request, as the ASGI specification has it.

use std::net::SocketAddr;

use http::request::Parts;
use http::{HeaderMap, Version};
use nexios_engine::HttpPeer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

pub(super) fn build<'py>(py: Python<'py>, head: &Parts, state: Option<&Py<PyDict>>) -> PyResult<Bound<'py, PyDict>> {
    let peer = head.extensions.get::<HttpPeer>();
    let asgi = PyDict::new(py);
    asgi.set_item(intern!(py, "version"), intern!(py, "3.0"))?;
    // Of 2.4 we do not have that `send()` raises once the client has gone.
    asgi.set_item(intern!(py, "spec_version"), intern!(py, "2.3"))?;
    let scope = PyDict::new(py);
    scope.set_item(intern!(py, "type"), intern!(py, "http"))?;
    scope.set_item(intern!(py, "asgi"), asgi)?;
    scope.set_item(intern!(py, "http_version"), http_version(py, head.version))?;
    scope.set_item(intern!(py, "method"), method(py, head.method.as_str()))?;
    let is_tls = peer.is_some_and(|peer| peer.tls);
    scope.set_item(intern!(py, "scheme"), if is_tls { intern!(py, "https") } else { intern!(py, "http") })?;
    let raw_path = head.uri.path();
    scope.set_item(intern!(py, "path"), &*decoded(raw_path))?;
    scope.set_item(intern!(py, "raw_path"), PyBytes::new(py, raw_path.as_bytes()))?;
    scope.set_item(intern!(py, "query_string"), PyBytes::new(py, head.uri.query().unwrap_or("").as_bytes()))?;
    scope.set_item(intern!(py, "root_path"), intern!(py, ""))?;
    scope.set_item(intern!(py, "headers"), headers(py, &head.headers)?)?;
    scope.set_item(intern!(py, "client"), address(py, peer.and_then(|peer| peer.address))?)?;
    scope.set_item(intern!(py, "server"), address(py, peer.and_then(|peer| peer.local))?)?;
    scope.set_item(intern!(py, "extensions"), PyDict::new(py))?;
    if let Some(state) = state {
        scope.set_item(intern!(py, "state"), state.bind(py).copy()?)?;
    }
    Ok(scope)
}

fn http_version(py: Python<'_>, version: Version) -> &Bound<'_, PyString> {
    match version {
        Version::HTTP_10 => intern!(py, "1.0"),
        _ => intern!(py, "1.1"),
    }
}

fn method<'py>(py: Python<'py>, method: &str) -> Bound<'py, PyString> {
    match method {
        "GET" => intern!(py, "GET").clone(),
        "POST" => intern!(py, "POST").clone(),
        other => PyString::new(py, &other.to_ascii_uppercase()),
    }
}

/// Names are in lower case already; repeats stay in their order.
fn headers<'py>(py: Python<'py>, headers: &HeaderMap) -> PyResult<Bound<'py, PyList>> {
    let fields = PyList::empty(py);
    for (name, value) in headers {
        fields.append((PyBytes::new(py, name.as_str().as_bytes()), PyBytes::new(py, value.as_bytes())))?;
    }
    Ok(fields)
}

fn address(py: Python<'_>, address: Option<SocketAddr>) -> PyResult<Option<Bound<'_, PyTuple>>> {
    address.map(|address| (address.ip().to_canonical().to_string(), address.port()).into_pyobject(py)).transpose()
}

/// Percent-encoded UTF-8; what is none is replaced, as in other servers.
fn decoded(path: &str) -> std::borrow::Cow<'_, str> {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy()
}
