//! The request that has opened a connection.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::WebSocket;
use crate::faces;

#[pymethods]
impl WebSocket {
    /// The request's header fields; their names have no case, and repeated ones are kept.
    ///
    /// >>> ws.headers["Authorization"], ws.headers.get("X-None")
    /// ('Bearer letmein', None)
    #[getter]
    fn headers(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        faces::headers(py, self.ws()?)
    }

    /// The parameters of the request's query.
    ///
    /// >>> ws.query_params["name"]
    /// 'ann'
    #[getter]
    fn query_params(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        faces::query_params(py, self.ws()?)
    }

    /// The values of the route's `{parameters}`; those declared `int` are numbers.
    ///
    /// >>> ws.path_params
    /// {'room': 'general'}
    #[getter]
    fn path_params(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        faces::path_params(py, self.ws()?)
    }

    /// The request's cookies.
    ///
    /// >>> ws.cookies
    /// {'theme': 'dark'}
    #[getter]
    fn cookies<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, value) in self.ws()?.cookies().iter() {
            if !dict.contains(name)? {
                dict.set_item(name, value)?;
            }
        }
        Ok(dict)
    }

    /// The whole URL that the client asked for.
    ///
    /// >>> ws.url
    /// 'ws://testserver/chat/general?name=ann'
    #[getter]
    fn url(&self) -> PyResult<String> {
        Ok(self.ws()?.url())
    }

    /// The request's path, as it was sent.
    ///
    /// >>> ws.path
    /// '/chat/general'
    #[getter]
    fn path(&self) -> PyResult<String> {
        Ok(self.ws()?.path())
    }

    /// The subprotocols that the client offered.
    ///
    /// >>> ws.subprotocols
    /// ['v2', 'v1']
    #[getter]
    fn subprotocols(&self) -> PyResult<Vec<String>> {
        Ok(self.ws()?.subprotocols())
    }

    /// The subprotocol that was agreed on.
    ///
    /// >>> ws.subprotocol
    /// 'v1'
    #[getter]
    fn subprotocol(&self) -> PyResult<Option<String>> {
        Ok(self.ws()?.subprotocol())
    }

    /// The client's host and port; `None` on a Unix socket. Behind a proxy see `trusted_proxies`.
    ///
    /// >>> ws.client
    /// Address(host='203.0.113.7', port=50000)
    #[getter]
    fn client(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        faces::client(py, self.ws()?)
    }

    /// The route that serves the connection.
    ///
    /// >>> ws.route
    /// <Route /chat/{room} 'chat'>
    #[getter]
    fn route(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.core()?.route.info.clone_ref(py))
    }

    /// The app that is served, or the router where a router is served without one.
    ///
    /// >>> ws.app is app
    /// True
    #[getter]
    fn app(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.core()?.route.info.getattr(py, "app")
    }

    /// The token of `Authorization: Bearer …`, else of the subprotocols `bearer, <token>`.
    ///
    /// >>> ws.bearer_token
    /// 'letmein'
    #[getter]
    fn bearer_token(&self) -> PyResult<Option<String>> {
        Ok(self.ws()?.bearer_token())
    }
}
