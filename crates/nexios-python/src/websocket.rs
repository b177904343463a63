//! `WebSocket`: one client's connection, as handlers in Python have it.

use std::any::Any;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use nexios::{Accept, CloseCode, ConnectionId, ConnectionState, MessageRef, Refusal};
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyFloat};

use crate::convert::{is_binary, to_json, with_bytes, with_message, with_text};
use crate::errors;
use crate::future::{Completed, Waiting};
use crate::handle::Handle;
use crate::host::Host;
use crate::local::Local;
use crate::receive::{Kind, Receive};
use crate::route::PyRoute;
use crate::waiter::Waiter;

/// One client's connection; it stays on the thread of its event loop.
#[pyclass(frozen, weakref, module = "nexios")]
pub(crate) struct WebSocket {
    socket: Local<Socket>,
    /// The application's own values; any thread's garbage collector may look at them.
    values: Mutex<Option<Py<PyDict>>>,
}

struct Socket {
    core: Rc<Core>,
    /// A receive that can be used again, where nobody else has it.
    spare: RefCell<Option<(Kind, Py<Receive>)>>,
}

/// What Python's object and the engine's task share.
pub(crate) struct Core {
    pub(crate) ws: nexios::WebSocket,
    pub(crate) host: Rc<Host>,
    pub(crate) route: Arc<PyRoute>,
    /// The connection's own task, as long as it runs the handler: it wakes the receiver at no cost.
    task: RefCell<Option<Waker>>,
    receiver: RefCell<Option<Py<Waiter>>>,
}

/// Makes the loop forget the connection when its task has ended.
struct Known(Rc<Host>, ConnectionId);

impl Drop for Known {
    fn drop(&mut self) {
        let socket = self.0.sockets.borrow_mut().remove(&self.1);
        drop(socket);
    }
}

impl Core {
    pub(crate) fn new(ws: nexios::WebSocket, host: Rc<Host>, route: Arc<PyRoute>, task: Waker) -> Rc<Self> {
        Rc::new(Core { ws, host, route, task: RefCell::new(Some(task)), receiver: RefCell::default() })
    }

    pub(crate) fn has_task(&self) -> bool {
        self.task.borrow().is_some()
    }

    pub(crate) fn with_task<R>(&self, look: impl FnOnce(Option<&Waker>) -> R) -> R {
        look(self.task.borrow().as_ref())
    }

    /// The next message, or the end, goes to this wait.
    pub(crate) fn await_message(&self, waiter: Py<Waiter>) {
        let before = self.receiver.replace(Some(waiter));
        drop(before);
    }

    pub(crate) fn forget_message(&self, waiter: &Py<Waiter>) {
        let same = self.receiver.borrow().as_ref().is_some_and(|own| own.as_ptr() == waiter.as_ptr());
        let taken = same.then(|| self.receiver.take());
        drop(taken);
    }

    /// Something has happened to the connection: whoever receives has another look.
    pub(crate) fn resume_receiver(&self) {
        let waiter = self.receiver.take();
        self.host.woken.borrow_mut().extend(waiter);
    }

    /// The handler is over; who still receives is woken by other means from now on.
    pub(crate) fn lose_task(&self) {
        self.task.replace(None);
        self.resume_receiver();
    }
}

impl WebSocket {
    /// The object for a connection that Python has not seen yet.
    pub(crate) fn introduce(py: Python<'_>, host: &Rc<Host>, core: Rc<Core>) -> PyResult<Py<WebSocket>> {
        let ws = core.ws.clone();
        let socket = Local::new(Socket { core, spare: RefCell::default() }, host);
        let socket = Py::new(py, WebSocket { socket, values: Mutex::default() })?;
        host.sockets.borrow_mut().insert(ws.id(), socket.clone_ref(py));
        let known: Rc<dyn Any> = Rc::new(Known(host.clone(), ws.id()));
        ws.attach(known);
        Ok(socket)
    }

    pub(crate) fn core(&self) -> PyResult<&Rc<Core>> {
        Ok(&self.socket.here()?.core)
    }

    /// The connection, as Rust knows it.
    pub(crate) fn ws(&self) -> PyResult<&nexios::WebSocket> {
        Ok(&self.core()?.ws)
    }

    fn values(&self, py: Python<'_>) -> Py<PyDict> {
        let made = PyDict::new(py).unbind();
        self.values.lock().get_or_insert(made).clone_ref(py)
    }
}

impl Socket {
    fn receiving(&self, py: Python<'_>, kind: Kind) -> PyResult<Py<Receive>> {
        if let Some((spare, receive)) = &*self.spare.borrow()
            && *spare == kind
            && is_unshared(receive, py)
        {
            return Ok(receive.clone_ref(py));
        }
        let receive = Py::new(py, Receive::new(self.core.clone(), kind))?;
        let before = self.spare.replace(Some((kind, receive.clone_ref(py))));
        drop(before);
        Ok(receive)
    }

    fn ready_to_send(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.core.ws.engine().poll_send_ready(&mut context).is_ready()
    }

    fn queue(&self, py: Python<'_>, message: MessageRef<'_>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        if !self.ready_to_send() {
            return self.queue_later(py, message, compress);
        }
        let sent = self.core.ws.engine().send(message, compress);
        self.core.host.settle(py);
        sent.map_err(|error| errors::send_error(py, error.into()))?;
        Completed::nothing(py)
    }

    /// The outbox is above its mark: the task waits until the client has taken some of it.
    fn queue_later(&self, py: Python<'_>, message: MessageRef<'_>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        let (ws, message) = (self.core.ws.clone(), message.to_message());
        Waiting::begin(py, &self.core.host, async move {
            poll_fn(|cx| ws.engine().poll_send_ready(cx)).await;
            let sent = ws.engine().send(message.as_ref(), compress);
            Python::attach(|py| match sent {
                Ok(()) => Ok(py.None()),
                Err(error) => Err(errors::send_error(py, error.into())),
            })
        })
    }

    fn receive_control(&self, py: Python<'_>, ping: bool) -> PyResult<Py<PyAny>> {
        let ws = self.core.ws.clone();
        Waiting::lazy(py, &self.core.host, async move {
            let payload = match ping {
                true => ws.receive_ping().await,
                false => ws.receive_pong().await,
            };
            Python::attach(|py| match payload {
                Ok(payload) => Ok(PyBytes::new(py, &payload).into_any().unbind()),
                Err(error) => Err(errors::receive_error(py, error)),
            })
        })
    }

    fn send_control(&self, py: Python<'_>, payload: Option<&Bound<'_, PyAny>>, ping: bool) -> PyResult<Py<PyAny>> {
        let engine = self.core.ws.engine();
        let send = |payload: &[u8]| if ping { engine.send_ping(payload) } else { engine.send_pong(payload) };
        let sent = match payload {
            Some(payload) => with_bytes(payload, send)?,
            None => send(b""),
        };
        self.core.host.settle(py);
        sent.map_err(|error| errors::send_error(py, error.into()))?;
        Completed::nothing(py)
    }
}

/// What `nexios.state` and `nexios.request` make of what is here.
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

#[pymethods]
impl WebSocket {
    // --- identity and state

    /// The connection's id: assigned by the server, not guessable.
    #[getter]
    fn id(&self) -> PyResult<String> {
        Ok(self.ws()?.id().to_string())
    }

    /// The name that the application gave the client; several connections may share it.
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
    #[getter]
    fn state(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        slf.get().socket.here()?;
        faces(py)?.state.call1(py, (slf, slf.get().values(py)))
    }

    /// Where the connection is in its life.
    #[getter]
    fn connection_state(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let [connecting, connected, closing, disconnected] = &faces(py)?.states;
        Ok(match self.ws()?.connection_state() {
            ConnectionState::Connecting => connecting,
            ConnectionState::Connected => connected,
            ConnectionState::Closing => closing,
            ConnectionState::Disconnected => disconnected,
        }
        .clone_ref(py))
    }

    /// The code of whoever closed first; `None` while the connection is open.
    #[getter]
    fn close_code(&self) -> PyResult<Option<u16>> {
        Ok(self.ws()?.close_code())
    }

    /// The reason of whoever closed first.
    #[getter]
    fn close_reason(&self) -> PyResult<Option<String>> {
        Ok(self.ws()?.close_reason().map(Into::into))
    }

    /// The rooms that the connection has joined.
    #[getter]
    fn rooms(&self) -> PyResult<Vec<String>> {
        Ok(self.ws()?.rooms().iter().map(|room| room.to_string()).collect())
    }

    // --- the request

    /// The request's header fields.
    #[getter]
    fn headers(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let headers = self.ws()?.headers();
        let latin1 = |value: &[u8]| value.iter().copied().map(char::from).collect::<String>();
        let text = |value: &[u8]| std::str::from_utf8(value).map_or_else(|_| latin1(value), str::to_owned);
        let fields: Vec<_> = headers.iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
        faces(py)?.headers.call1(py, (fields,))
    }

    /// The parameters of the request's query.
    #[getter]
    fn query_params(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let params = self.ws()?.query_params();
        let pairs: Vec<_> = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        faces(py)?.multi.call1(py, (pairs,))
    }

    /// The values of the route's `{parameters}`; those declared `int` are numbers.
    #[getter]
    fn path_params(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let params = self.ws()?.path_params();
        let pairs: Vec<_> = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        faces(py)?.path_params.call1(py, (self.ws()?.route_path(), pairs))
    }

    /// The request's cookies.
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
    #[getter]
    fn url(&self) -> PyResult<String> {
        Ok(self.ws()?.url())
    }

    /// The request's path, as it was sent.
    #[getter]
    fn path(&self) -> PyResult<String> {
        Ok(self.ws()?.path())
    }

    /// The subprotocols that the client offered.
    #[getter]
    fn subprotocols(&self) -> PyResult<Vec<String>> {
        Ok(self.ws()?.subprotocols())
    }

    /// The subprotocol that was agreed on.
    #[getter]
    fn subprotocol(&self) -> PyResult<Option<String>> {
        Ok(self.ws()?.subprotocol())
    }

    /// The client's host and port; `None` on a Unix socket.
    #[getter]
    fn client(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(client) = self.ws()?.client() else { return Ok(None) };
        faces(py)?.address.call1(py, (client.host.to_string(), client.port)).map(Some)
    }

    /// The route that serves the connection.
    #[getter]
    fn route(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.core()?.route.info.clone_ref(py))
    }

    /// The app that is served.
    #[getter]
    fn app(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.core()?.route.info.getattr(py, "app")
    }

    /// The token of `Authorization: Bearer …`, else of the subprotocols `bearer, <token>`.
    #[getter]
    fn bearer_token(&self) -> PyResult<Option<String>> {
        Ok(self.ws()?.bearer_token())
    }

    // --- the handshake and the end

    /// Completes the handshake, then runs the connect listeners.
    #[pyo3(signature = (subprotocol = None, headers = None))]
    fn accept(slf: &Bound<'_, Self>, subprotocol: Option<String>, headers: Option<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let this = slf.get();
        if let Some(accept) = &this.core()?.route.accept {
            return accept.call1(py, (slf, subprotocol, headers));
        }
        this._answer(py, subprotocol, headers.map(|headers| headers.into_bound(py)))?;
        this._opened(py)?;
        Completed::nothing(py)
    }

    fn _answer(&self, py: Python<'_>, subprotocol: Option<String>, headers: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let mut accept = Accept::new();
        if let Some(subprotocol) = subprotocol {
            accept = accept.subprotocol(subprotocol);
        }
        for (name, value) in fields(headers.as_ref())? {
            accept = accept.header(name, value);
        }
        let answered = self.ws()?.answer(accept);
        self.core()?.host.settle(py);
        answered.map_err(|error| errors::to_python(py, &error))
    }

    fn _opened(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core()?;
        core.ws.opened();
        // The companion of the listeners starts with the connection's task; the turn of the
        // handshake may be long over.
        core.with_task(|task| task.map(Waker::wake_by_ref));
        core.host.settle(py);
        Ok(())
    }

    fn _reached_handler(&self) -> PyResult<()> {
        self.ws()?.reached_handler();
        Ok(())
    }

    /// Answers with an HTTP status instead of a handshake.
    #[pyo3(signature = (status = 403, headers = None, body = None))]
    fn reject(
        &self,
        py: Python<'_>,
        status: u16,
        headers: Option<Bound<'_, PyAny>>,
        body: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        if !(400..=599).contains(&status) && !(300..=399).contains(&status) {
            return Err(PyValueError::new_err("a handshake is refused with a status from 300 to 599"));
        }
        let body = match body {
            None => Vec::new(),
            Some(body) if is_binary(body) => with_bytes(body, <[u8]>::to_vec)?,
            Some(body) => with_text(body, |text| text.as_bytes().to_vec())?,
        };
        let mut refusal = Refusal::new(status, body);
        for (name, value) in fields(headers.as_ref())? {
            refusal = refusal.header(name, value);
        }
        let refused = self.ws()?.engine().refuse(refusal);
        self.core()?.host.settle(py);
        refused.map_err(|error| errors::to_python(py, &error.into()))?;
        Completed::nothing(py)
    }

    /// Closes the connection; returns when the Close frame is queued.
    #[pyo3(signature = (code = 1000, reason = None))]
    fn close(&self, py: Python<'_>, code: u16, reason: Option<&str>) -> PyResult<Py<PyAny>> {
        let code = CloseCode::try_from(code).map_err(|error| errors::invalid_close_code(&error))?;
        self.ws()?.close_at_once(code, reason.unwrap_or_default());
        self.core()?.host.settle(py);
        Completed::nothing(py)
    }

    /// Waits until the connection is gone; never raises. Messages go to their listeners and,
    /// where nobody receives, are then thrown away.
    fn wait_closed(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let ws = self.ws()?.clone();
        Waiting::behind_others(py, &self.core()?.host, async move {
            ws.wait_closed().await;
            Ok(Python::attach(|py| py.None()))
        })
    }

    /// Compresses what is sent from now on; says whether the client can read it.
    fn enable_compression(&self) -> PyResult<bool> {
        Ok(self.ws()?.enable_compression())
    }

    // --- sending

    /// Sends a `str` as text, bytes as binary, anything else as JSON.
    #[pyo3(signature = (value, *, compress = None))]
    fn send(&self, value: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        with_message(value, |message| self.socket.here()?.queue(value.py(), message, compress))?
    }

    /// Sends a text message.
    #[pyo3(signature = (text, *, compress = None))]
    fn send_text(&self, text: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        with_text(text, |borrowed| self.socket.here()?.queue(text.py(), MessageRef::Text(borrowed), compress))?
    }

    /// Sends a binary message.
    #[pyo3(signature = (data, *, compress = None))]
    fn send_bytes(&self, data: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        with_bytes(data, |bytes| self.socket.here()?.queue(data.py(), MessageRef::Binary(bytes), compress))?
    }

    /// Sends a value as JSON, in a text message.
    #[pyo3(signature = (value, *, compress = None))]
    fn send_json(&self, value: &Bound<'_, PyAny>, compress: Option<bool>) -> PyResult<Py<PyAny>> {
        let json = to_json(value)?;
        self.socket.here()?.queue(value.py(), MessageRef::Text(json.to_str()?), compress)
    }

    /// Sends a ping of at most 125 bytes.
    #[pyo3(signature = (payload = None))]
    fn send_ping(&self, py: Python<'_>, payload: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.send_control(py, payload, true)
    }

    /// Sends a pong of at most 125 bytes that answers no ping.
    #[pyo3(signature = (payload = None))]
    fn send_pong(&self, py: Python<'_>, payload: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.send_control(py, payload, false)
    }

    /// Sends a ping and waits for its pong: the seconds that it took.
    fn ping(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let ws = self.ws()?.clone();
        Waiting::begin(py, &self.core()?.host, async move {
            let time = ws.ping().await;
            Python::attach(|py| match time {
                Ok(time) => Ok(PyFloat::new(py, time.as_secs_f64()).into_any().unbind()),
                Err(error) => Err(errors::send_error(py, error)),
            })
        })
    }

    // --- receiving

    /// Waits for the next message: a `str` or `bytes`.
    fn receive(&self, py: Python<'_>) -> PyResult<Py<Receive>> {
        self.socket.here()?.receiving(py, Kind::Any)
    }

    /// Waits for the next message, which has to be text.
    fn receive_text(&self, py: Python<'_>) -> PyResult<Py<Receive>> {
        self.socket.here()?.receiving(py, Kind::Text)
    }

    /// Waits for the next message, which has to be binary.
    fn receive_bytes(&self, py: Python<'_>) -> PyResult<Py<Receive>> {
        self.socket.here()?.receiving(py, Kind::Bytes)
    }

    /// Waits for the next message, which has to be JSON, in either kind.
    fn receive_json(&self, py: Python<'_>) -> PyResult<Py<Receive>> {
        self.socket.here()?.receiving(py, Kind::Json)
    }

    /// Waits for a ping that was not looked at yet; the engine has answered it.
    fn receive_ping(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.receive_control(py, true)
    }

    /// Waits for a pong that was not looked at yet.
    fn receive_pong(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.socket.here()?.receive_control(py, false)
    }

    fn __aiter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        iterate(slf, "receive")
    }

    /// All messages, which have to be text, until the connection is over.
    fn iter_text(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        iterate(slf, "receive_text")
    }

    /// All messages, which have to be binary, until the connection is over.
    fn iter_bytes(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        iterate(slf, "receive_bytes")
    }

    /// All messages as values, from JSON, until the connection is over.
    fn iter_json(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        iterate(slf, "receive_json")
    }

    // --- rooms, other threads

    /// Enters a room; says whether the connection is in it now.
    fn join(&self, py: Python<'_>, room: String) -> PyResult<Py<PyAny>> {
        let ws = self.ws()?.clone();
        at_once(py, &self.core()?.host, async move { ws.join(room).await })
    }

    /// Leaves a room; says whether the connection was in it.
    fn leave(&self, py: Python<'_>, room: String) -> PyResult<Py<PyAny>> {
        let ws = self.ws()?.clone();
        at_once(py, &self.core()?.host, async move { ws.leave(room).await })
    }

    /// A handle that other threads may use.
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
        if let Ok(receiver) = core.receiver.try_borrow() {
            visit.call(&*receiver)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let values = self.values.lock().take();
        let spare = self.socket.get().map(|socket| socket.spare.take());
        drop((values, spare));
    }
}

fn iterate(ws: &Bound<'_, WebSocket>, receive: &str) -> PyResult<Py<PyAny>> {
    ws.get().socket.here()?;
    faces(ws.py())?.iterate.call1(ws.py(), (ws.getattr(receive)?,))
}

fn at_once(py: Python<'_>, host: &Rc<Host>, future: impl Future<Output = bool> + 'static) -> PyResult<Py<PyAny>> {
    let mut future = Box::pin(future);
    let polled = host.entered(|| future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    host.settle(py);
    match polled {
        Poll::Ready(yes) => Completed::with(py, pyo3::types::PyBool::new(py, yes).to_owned().into_any().unbind()),
        Poll::Pending => Err(PyRuntimeError::new_err("rooms are not ready")),
    }
}

/// Whether nobody but its owner has the object.
fn is_unshared<T>(object: &Py<T>, _py: Python<'_>) -> bool {
    // SAFETY: the object is alive, and the token says that no other thread changes its count.
    #[allow(unsafe_code, reason = "PyO3 offers the count in no other way")]
    let count = unsafe { pyo3::ffi::Py_REFCNT(object.as_ptr()) };
    count == 1
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
