//! The handshake and the end of a connection.

use pyo3::prelude::*;

use super::WebSocket;
use crate::completed::Completed;
use crate::convert::CloseCodeArgument;
use crate::handshake;
use crate::waiting::Waiting;

#[pymethods]
impl WebSocket {
    /// Completes the handshake, then runs the connect listeners.
    ///
    /// Without `subprotocol` it is the client's first that the route has. `headers` go into the answer.
    /// An exception of a listener is raised here. Raises `ValueError` for a subprotocol that the client has
    /// not offered, for a header that HTTP cannot carry, and for one that the handshake writes itself
    /// (`Connection`, `Upgrade`, `Content-Length`, `Transfer-Encoding`, `Sec-WebSocket-*`); `RuntimeError`
    /// where the handshake is over already.
    ///
    /// >>> @app.ws("/accepting")
    /// ... async def accepting(ws):
    /// ...     await ws.accept(subprotocol="v2", headers={"X-Server": "one"})
    /// >>> with TestClient(app) as test:
    /// ...     accepted = test.handshake("/accepting", subprotocols=["v1", "v2"])
    /// ...     accepted.subprotocol, accepted.headers["x-server"]
    /// ('v2', 'one')
    #[pyo3(signature = (subprotocol = None, headers = None))]
    fn accept(slf: &Bound<'_, Self>, subprotocol: Option<String>, headers: Option<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let this = slf.get();
        if let Some(accept) = &this.core()?.route.accept {
            return accept.call1(py, (slf, subprotocol, headers));
        }
        let headers = headers.map(|headers| headers.into_bound(py));
        handshake::accept(this.core()?, py, subprotocol, headers.as_ref())?;
        handshake::enter_and_open(this.core()?, py)
    }

    /// Answers the handshake; returns what is to be awaited then, if there is something.
    fn _answer(
        &self,
        py: Python<'_>,
        subprotocol: Option<String>,
        headers: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        handshake::accept(self.core()?, py, subprotocol, headers.as_ref())?;
        handshake::enter(self.core()?, py)
    }

    fn _opened(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core()?;
        handshake::opened(core);
        core.host.settle(py);
        Ok(())
    }

    fn _reached_handler(&self, py: Python<'_>) -> PyResult<()> {
        self.ws()?.reached_handler();
        self.core()?.keep_early_context(py)
    }

    /// Keeps the caller's context variables for the log lines of a handshake that fails here.
    fn _keep_context(&self, py: Python<'_>) -> PyResult<()> {
        self.core()?.keep_early_context(py)
    }

    /// Answers with an HTTP status, from 300 to 599, instead of a handshake. In place of the status it takes
    /// a response such as Starlette's, which has a `status_code`, `raw_headers` and a `body`.
    ///
    /// Raises `ValueError` for another status, and for a header that contradicts what the server writes
    /// itself: `Content-Length`, `Transfer-Encoding`, `Connection`, `Upgrade`, `Sec-WebSocket-*`.
    ///
    /// `close()` before `accept()` shows browsers a code and a reason; this shows them nothing but a
    /// failure.
    ///
    /// >>> @app.ws("/rejecting")
    /// ... async def rejecting(ws):
    /// ...     await ws.reject(401, headers={"WWW-Authenticate": "Bearer"}, body="sign in first")
    /// >>> with TestClient(app) as test:
    /// ...     refused = test.handshake("/rejecting")
    /// ...     refused.status, refused.text
    /// (401, 'sign in first')
    #[pyo3(signature = (status = None, headers = None, body = None), text_signature = "($self, status=403, headers=None, body=None)")]
    fn reject(
        &self,
        py: Python<'_>,
        status: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
        body: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        handshake::refuse(self.core()?, py, status, headers, body)?;
        Completed::nothing(py)
    }

    /// Closes the connection; returns when the Close frame is queued. It is closed already: nothing
    /// happens.
    ///
    /// Before `accept()` the client sees the code and the reason as well. A reason over 123 bytes is
    /// cut; a code that may not be sent raises `ValueError`.
    ///
    /// >>> await ws.close(code=4001, reason="come back later")
    /// >>> await client.wait_closed()
    /// (4001, 'come back later')
    #[pyo3(signature = (code = CloseCodeArgument::NORMAL, reason = None), text_signature = "($self, code=1000, reason=None)")]
    fn close(&self, py: Python<'_>, code: CloseCodeArgument, reason: Option<&str>) -> PyResult<Py<PyAny>> {
        let CloseCodeArgument(code) = code;
        self.core()?.keep_early_context(py)?;
        self.ws()?.close_at_once(code, reason.unwrap_or_default());
        self.core()?.host.settle(py);
        Completed::nothing(py)
    }

    /// Waits until the connection is gone; never raises. Messages go to their listeners and
    /// are dropped afterwards, unless a task receives them.
    ///
    /// >>> @app.ws("/listening")
    /// ... async def listening(ws):
    /// ...     await ws.accept()
    /// ...     await ws.wait_closed()
    /// ...     print("gone:", ws.close_code)
    /// >>> with TestClient(app) as test, test.websocket_connect("/listening"):
    /// ...     pass
    /// gone: 1000
    fn wait_closed(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let ws = self.ws()?.clone();
        Waiting::behind_others(py, &self.core()?.host, async move {
            ws.wait_closed().await;
            Ok(Python::attach(|py| py.None()))
        })
    }

    /// Compresses messages of 1 KiB and more from now on; returns true if the client can read them.
    ///
    /// >>> ws.enable_compression()
    /// True
    /// >>> await ws.send_text("compressed " * 1000)
    /// >>> await ws.send_text("a secret, beside text of others", compress=False)
    fn enable_compression(&self) -> PyResult<bool> {
        Ok(self.ws()?.enable_compression())
    }
}
