//! `WebSocket`: one client's connection, as handlers in Python have it. Its examples are run by
//! `python/tests/test_docstrings.py`, where `ws`, `client` and `app` come from.

use std::rc::Rc;

use nexios::broker::Position;
use nexios::{ConnectionState, MessageRef};
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};

use crate::connection::Core;
use crate::convert::{CloseCodeArgument, to_json, with_bytes, with_message, with_text};
use crate::faces;
use crate::future::{Completed, Waiting};
use crate::handle::Handle;
use crate::handshake;
use crate::host::Host;
use crate::local::Local;
use crate::presence;
use crate::receive::{Kind, Receive};
use crate::router::position;
use crate::socket::Socket;

/// One client's connection, as handlers have it; it stays on the thread of its event loop.
///
/// A handler is called with one, and accepts it or closes it. `async for message in ws` gives its
/// messages until the client is gone. What is awaited works with all of asyncio: timeouts,
/// `gather`, tasks of your own.
///
/// >>> @app.ws("/echo")
/// ... async def echo(ws):
/// ...     await ws.accept()
/// ...     async for message in ws:
/// ...         await ws.send(message)
/// >>> with TestClient(app) as test, test.websocket_connect("/echo") as client:
/// ...     client.send_text("hello")
/// ...     client.receive_text()
/// 'hello'
#[pyclass(frozen, weakref, module = "nexios")]
pub(crate) struct WebSocket {
    socket: Local<Socket>,
    /// The application's own values; any thread's garbage collector may look at them.
    values: Mutex<Option<Py<PyDict>>>,
}

impl WebSocket {
    /// The object for a connection that Python has not seen yet.
    pub(crate) fn introduce(py: Python<'_>, host: &Rc<Host>, core: Rc<Core>) -> PyResult<Py<WebSocket>> {
        let id = core.ws.id();
        let socket = Local::new(Socket::new(core), host);
        let socket = Py::new(py, WebSocket { socket, values: Mutex::default() })?;
        host.sockets.borrow_mut().insert(id, socket.clone_ref(py));
        Ok(socket)
    }

    /// The connection's task has ended: whoever still needs the context holds it.
    pub(crate) fn take_context(socket: &Py<WebSocket>) -> Option<Py<PyAny>> {
        socket.get().core().ok()?.take_context()
    }

    pub(crate) fn core(&self) -> PyResult<&Rc<Core>> {
        Ok(&self.socket.here()?.core)
    }

    /// The connection, as Rust knows it.
    pub(crate) fn ws(&self) -> PyResult<&nexios::WebSocket> {
        Ok(&self.core()?.ws)
    }

    /// The connection for what is possible from `accept()` on; before, it raises as sending does.
    fn accepted(&self) -> PyResult<&nexios::WebSocket> {
        let ws = self.ws()?;
        match ws.connection_state() {
            ConnectionState::Connecting => {
                Err(PyRuntimeError::new_err("call accept() before joining or leaving a room"))
            }
            _ => Ok(ws),
        }
    }

    fn values(&self, py: Python<'_>) -> Py<PyDict> {
        let made = PyDict::new(py).unbind();
        self.values.lock().get_or_insert(made).clone_ref(py)
    }
}

#[pymethods]
impl WebSocket {
    // --- identity and state

    /// The connection's id: assigned by the server, not guessable.
    ///
    /// >>> len(ws.id)
    /// 32
    #[getter]
    fn id(&self) -> PyResult<String> {
        Ok(self.ws()?.id().to_string())
    }

    /// The name that the application gave the client; several connections may share it, as a user's
    /// tabs do.
    ///
    /// >>> ws.client_id = "ann"
    /// >>> await app.broadcast_to("ann", "hello") == 1
    /// True
    #[getter]
    fn client_id(&self) -> PyResult<Option<String>> {
        Ok(self.ws()?.client_id().map(|id| id.to_string()))
    }

    #[setter]
    fn set_client_id(&self, client_id: Option<&str>) -> PyResult<()> {
        match client_id {
            Some(client_id) => self.ws()?.set_client_id(client_id),
            None => self.ws()?.clear_client_id(),
        }
        Ok(())
    }

    /// The application's own values; it also compares with a `WebSocketState`.
    ///
    /// >>> ws.state["user_id"] = 42
    /// >>> ws.state.user_id, ws.state == WebSocketState.CONNECTED
    /// (42, True)
    #[getter]
    fn state(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        slf.get().socket.here()?;
        faces::state(slf, slf.get().values(slf.py()))
    }

    /// Where the connection is in its life.
    ///
    /// >>> ws.connection_state
    /// <WebSocketState.CONNECTED: 'connected'>
    #[getter]
    fn connection_state(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        faces::connection_state(py, self.ws()?.connection_state())
    }

    /// The code of whoever closed first; `None` while the connection is open.
    ///
    /// 1005 stands for a Close frame without a code, 1006 for none at all.
    ///
    /// >>> await client.close(4000, "bye")
    /// >>> ws.close_code
    /// 4000
    #[getter]
    fn close_code(&self) -> PyResult<Option<u16>> {
        Ok(self.ws()?.close_code())
    }

    /// The reason of whoever closed first; `None` while the connection is open.
    ///
    /// >>> await client.close(4000, "bye")
    /// >>> ws.close_reason
    /// 'bye'
    #[getter]
    fn close_reason(&self) -> PyResult<Option<String>> {
        Ok(self.ws()?.close_reason().map(Into::into))
    }

    /// The rooms that the connection has joined.
    ///
    /// >>> await ws.join("general")
    /// True
    /// >>> ws.rooms
    /// ['general']
    #[getter]
    fn rooms(&self) -> PyResult<Vec<String>> {
        Ok(self.ws()?.rooms().iter().map(|room| room.to_string()).collect())
    }

    // --- the request

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

    // --- the handshake and the end

    /// Completes the handshake, then runs the connect listeners.
    ///
    /// Without `subprotocol` it is the client's first that the route has. `headers` go into the answer.
    /// What a listener raises is raised here. Raises `ValueError` for a subprotocol that the client has
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

    /// What is logged of a handshake that fails here sees the caller's context variables.
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

    /// Waits until the connection is gone; never raises. Messages go to their listeners and,
    /// where nobody receives, are then thrown away.
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

    /// Compresses messages of 1 KiB and more from now on; says whether the client can read that.
    ///
    /// >>> ws.enable_compression()
    /// True
    /// >>> await ws.send_text("compressed " * 1000)
    /// >>> await ws.send_text("a secret, beside text of others", compress=False)
    fn enable_compression(&self) -> PyResult<bool> {
        Ok(self.ws()?.enable_compression())
    }

    // --- sending

    /// Sends a `str` as text, bytes as binary, anything else as JSON.
    ///
    /// Like every send it waits while the client is behind, above 64 KiB of unsent bytes; raises
    /// `WebSocketDisconnect` when the client is gone, `RuntimeError` before `accept()`.
    /// `compress=False` leaves this message uncompressed.
    ///
    /// >>> await ws.send({"hello": "world"})
    /// >>> await client.receive()
    /// '{"hello":"world"}'
    #[pyo3(signature = (value, *, compress = None))]
    fn send(&self, value: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        with_message(value, |message| self.socket.here()?.queue(value.py(), message, compress))?
    }

    /// Sends a text message.
    ///
    /// >>> await ws.send_text("hello")
    /// >>> await client.receive_text()
    /// 'hello'
    #[pyo3(signature = (text, *, compress = None))]
    fn send_text(&self, text: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        with_text(text, |borrowed| self.socket.here()?.queue(text.py(), MessageRef::Text(borrowed), compress))?
    }

    /// Sends a binary message.
    ///
    /// >>> await ws.send_bytes(b"hello")
    /// >>> await client.receive_bytes()
    /// b'hello'
    #[pyo3(signature = (data, *, compress = None))]
    fn send_bytes(&self, data: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        with_bytes(data, |bytes| self.socket.here()?.queue(data.py(), MessageRef::Binary(bytes), compress))?
    }

    /// Sends a value as JSON, in a text message; raises `TypeError` or `ValueError` where it has no
    /// JSON.
    ///
    /// >>> await ws.send_json({"numbers": [1, 2, 3]})
    /// >>> await client.receive_json()
    /// {'numbers': [1, 2, 3]}
    #[pyo3(signature = (value, *, compress = None))]
    fn send_json(&self, value: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        let json = to_json(value)?;
        self.socket.here()?.queue(value.py(), MessageRef::Text(json.to_str()?), compress)
    }

    /// Sends a ping of at most 125 bytes, else raises `ValueError`. The server sends its own in any
    /// case.
    ///
    /// >>> await ws.send_ping(b"1")
    /// >>> await ws.receive_pong()
    /// b'1'
    #[pyo3(signature = (payload = None))]
    fn send_ping(&self, py: Python<'_>, payload: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.send_control(py, payload, true)
    }

    /// Sends a pong of at most 125 bytes that answers no ping.
    ///
    /// >>> await ws.send_pong(b"still here")
    /// >>> await client.receive_pong()
    /// b'still here'
    #[pyo3(signature = (payload = None))]
    fn send_pong(&self, py: Python<'_>, payload: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.send_control(py, payload, false)
    }

    /// Sends a ping and waits for its pong: the seconds that it took.
    ///
    /// >>> await ws.ping() < 5
    /// True
    fn ping(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.ping(py)
    }

    // --- receiving

    /// Waits for the next message: a `str` or `bytes`.
    ///
    /// Like every receive it first hands out what has arrived, then raises `WebSocketDisconnect` when
    /// the client is gone. One that is cancelled loses nothing. A second one at once raises
    /// `RuntimeError`.
    ///
    /// >>> await client.send_text("hello")
    /// >>> await ws.receive()
    /// 'hello'
    fn receive(&self, py: Python<'_>) -> PyResult<Py<Receive>> {
        self.socket.here()?.receiving(py, Kind::Any)
    }

    /// Waits for the next message, which has to be text; bytes raise `WebSocketTypeError`, which has
    /// them.
    ///
    /// >>> await client.send_text("hello")
    /// >>> await ws.receive_text()
    /// 'hello'
    fn receive_text(&self, py: Python<'_>) -> PyResult<Py<Receive>> {
        self.socket.here()?.receiving(py, Kind::Text)
    }

    /// Waits for the next message, which has to be binary; text raises `WebSocketTypeError`, which has
    /// it.
    ///
    /// >>> await client.send_bytes(b"hello")
    /// >>> await ws.receive_bytes()
    /// b'hello'
    fn receive_bytes(&self, py: Python<'_>) -> PyResult<Py<Receive>> {
        self.socket.here()?.receiving(py, Kind::Bytes)
    }

    /// Waits for the next message, which has to be JSON, in either kind; else raises
    /// `WebSocketException` (1007).
    ///
    /// >>> await client.send_json({"numbers": [1, 2, 3]})
    /// >>> await ws.receive_json()
    /// {'numbers': [1, 2, 3]}
    fn receive_json(&self, py: Python<'_>) -> PyResult<Py<Receive>> {
        self.socket.here()?.receiving(py, Kind::Json)
    }

    /// Waits for a ping that was not looked at yet; the engine has answered it.
    ///
    /// >>> await client.send_ping(b"1")
    /// >>> await ws.receive_ping()
    /// b'1'
    fn receive_ping(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.receive_control(py, true)
    }

    /// Waits for a pong that was not looked at yet.
    ///
    /// >>> await client.send_pong(b"still here")
    /// >>> await ws.receive_pong()
    /// b'still here'
    fn receive_pong(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.receive_control(py, false)
    }

    fn __aiter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        faces::iterate(here(slf)?, "receive")
    }

    /// All messages, which have to be text, until the connection is over.
    ///
    /// >>> await client.send_text("one")
    /// >>> await client.close()
    /// >>> [text async for text in ws.iter_text()]
    /// ['one']
    fn iter_text(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        faces::iterate(here(slf)?, "receive_text")
    }

    /// All messages, which have to be binary, until the connection is over.
    ///
    /// >>> await client.send_bytes(b"one")
    /// >>> await client.close()
    /// >>> [data async for data in ws.iter_bytes()]
    /// [b'one']
    fn iter_bytes(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        faces::iterate(here(slf)?, "receive_bytes")
    }

    /// All messages as values, from JSON, until the connection is over.
    ///
    /// >>> await client.send_json({"number": 1})
    /// >>> await client.close()
    /// >>> [value["number"] async for value in ws.iter_json()]
    /// [1]
    fn iter_json(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        faces::iterate(here(slf)?, "receive_json")
    }

    // --- rooms, other threads

    /// Enters a room, given as a `Room` or by its name; says whether the connection is in it now. Raises
    /// `RuntimeError` before `accept()`.
    ///
    /// With `since`, a position in a room that remembers, the client first gets what it missed, each message
    /// once and in order, and then what comes; the answer is a `Joined` then. `"start"` gives it all that the room
    /// remembers. `None`, and what cannot be recovered, is as if the client came for the first time.
    ///
    /// >>> await ws.join("general")
    /// True
    /// >>> await app.room("general").broadcast("hello") == 1
    /// True
    /// >>> room = app.room("lobby", history=History(size=1000, ttl=3600))
    /// >>> one, two = await room.broadcast("one"), await room.broadcast("two")
    /// >>> joined = await ws.join("lobby", since=one.stored)
    /// >>> joined.recovered, joined.position == two.stored
    /// (True, True)
    /// >>> [await client.receive_text() for _ in range(2)]
    /// ['hello', 'two']
    #[pyo3(signature = (room, *, since = Since::NotGiven), text_signature = "($self, room, *, since=...)")]
    fn join(&self, py: Python<'_>, room: RoomName, since: Since) -> PyResult<Py<PyAny>> {
        let (ws, room) = (self.accepted()?.clone(), room.0);
        Waiting::begin(py, &self.core()?.host, async move {
            let Since::Given(since) = since else {
                let joined = ws.join(room).await;
                return Ok(Python::attach(|py| PyBool::new(py, joined).to_owned().into_any().unbind()));
            };
            let joined = match since {
                From::Start => ws.join_from_start(room).await,
                From::Position(since) => ws.join_from(room, since).await,
            };
            Python::attach(|py| {
                let class = py.import("nexios.history")?.getattr("Joined")?;
                let position = joined.map(|joined| joined.position.to_string());
                let recovered = joined.is_some_and(|joined| joined.recovered);
                Ok(class.call1((joined.is_some(), recovered, position.unwrap_or_default()))?.unbind())
            })
        })
    }

    /// Leaves a room, given as a `Room` or by its name; says whether the connection was in it. Joins that
    /// wait, also those that a client of `nexios.v1` has asked for, come to nothing.
    ///
    /// >>> await ws.leave("general")
    /// False
    fn leave(&self, py: Python<'_>, room: RoomName) -> PyResult<Py<PyAny>> {
        let (ws, room) = (self.accepted()?.clone(), room.0);
        self.socket.here()?.at_once(py, async move { ws.leave(room).await })
    }

    /// Shows the connection's user in a room's ``presence()``, as ``Room.track(ws, data)`` does. The room is given as a
    /// ``Room`` or by its name. Raises ``PresenceError`` where the connection is not in the room.
    ///
    /// >>> await ws.join("general")
    /// True
    /// >>> await ws.track("general", {"status": "busy"})
    #[pyo3(signature = (room, data = None))]
    fn track(&self, py: Python<'_>, room: RoomName, data: Option<Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        presence::show(py, self.accepted()?, &room.0, data.as_ref())?;
        Completed::nothing(py)
    }

    /// Ends what ``track()`` began; says whether there was something to end.
    ///
    /// >>> await ws.untrack("general")
    /// False
    fn untrack(&self, py: Python<'_>, room: RoomName) -> PyResult<Py<PyAny>> {
        let (ws, room) = (self.accepted()?.clone(), room.0);
        self.socket.here()?.at_once(py, async move { ws.untrack_now(&room) })
    }

    /// A handle that other threads may use.
    ///
    /// >>> handle = ws.handle()
    /// >>> await asyncio.to_thread(handle.send_text, "from a thread")
    /// >>> await client.receive_text()
    /// 'from a thread'
    fn handle(&self) -> PyResult<Handle> {
        Ok(Handle::new(self.ws()?.handle(), &self.core()?.host))
    }

    fn __repr__(&self) -> String {
        match self.ws() {
            Ok(ws) => format!("<WebSocket {} {} {:?}>", ws.id(), ws.route_path(), ws.connection_state()),
            Err(_) => "<WebSocket of another thread>".to_owned(),
        }
    }

    fn __traverse__(&self, visit: pyo3::gc::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        if let Some(values) = self.values.try_lock() {
            visit.call(&*values)?;
        }
        let Some(Socket { core, spare }) = self.socket.get() else { return Ok(()) };
        if let Ok(spare) = spare.try_borrow()
            && let Some((_, receive)) = &*spare
        {
            visit.call(receive)?;
        }
        core.visit_receiver(&visit)
    }

    fn __clear__(&self) {
        let values = self.values.lock().take();
        let spare = self.socket.get().map(|socket| socket.spare.take());
        drop((values, spare));
    }
}

/// The name of a room that is given as a `Room` or by its name.
struct RoomName(String);

impl<'a, 'py> FromPyObject<'a, 'py> for RoomName {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if given.is_instance_of::<PyString>() {
            return Ok(RoomName(given.extract()?));
        }
        let class = given.py().import("nexios.broadcast")?.getattr("Room")?;
        match given.is_instance(&class)? {
            true => Ok(RoomName(given.getattr("name")?.extract()?)),
            false => Err(PyTypeError::new_err(format!("expected a Room or the name of one, not {}", given.repr()?))),
        }
    }
}

/// Where a client was in a room: it may be left out, which is not the same as not to know.
pub(crate) enum Since {
    NotGiven,
    Given(From),
}

/// A position, or all that the room remembers.
pub(crate) enum From {
    Start,
    Position(Option<Position>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Since {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let text: Option<String> = given.extract()?;
        Ok(Since::Given(match text.as_deref() {
            Some("start") => From::Start,
            text => From::Position(text.map(position)),
        }))
    }
}

/// Raises on another thread than the loop's, before anything is begun.
fn here<'a, 'py>(ws: &'a Bound<'py, WebSocket>) -> PyResult<&'a Bound<'py, WebSocket>> {
    ws.get().socket.here().map(|_| ws)
}
