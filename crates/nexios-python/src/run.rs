//! A Python coroutine in a task of its own, and the future in the engine that waits for its end.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use nexios::{CloseCode, ConnectionState, Message, Refusal, RequestError, Result};
use pyo3::exceptions::asyncio::CancelledError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::connection::Core;
use crate::convert::{message_to_python, with_message};
use crate::errors;
use crate::host::Host;
use crate::local::Local;
use crate::route::PyRoute;
use crate::websocket::WebSocket;

/// What a connection's task, or a listener, has Python run.
pub(crate) enum Call {
    /// Middleware and handler of a route.
    Handler(Arc<PyRoute>),
    /// `listener(ws)`
    Listener(Arc<Py<PyAny>>),
    /// `listener(ws, message)`
    Message(Arc<Py<PyAny>>, Message),
    /// `listener(ws, messages)`
    Dropped(Arc<Py<PyAny>>, Vec<Message>),
    /// `authorize(ws, room)`
    Permission(Arc<Py<PyAny>>, Arc<str>),
    /// `answer(ws, argument)`
    Request(Arc<Py<PyAny>>, Message),
}

/// What a call has returned, where that is of interest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Returned {
    Nothing,
    Permission(bool),
    Reply(Message),
}

/// What becomes of what a call returns and raises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Nothing,
    Permission,
    Reply,
}

/// The future of the engine's side.
pub(crate) struct Run {
    ws: nexios::WebSocket,
    call: Option<Call>,
    progress: Option<(Rc<Host>, Rc<Progress>)>,
}

/// What both sides know of a run.
#[derive(Default)]
pub(crate) struct Progress {
    result: RefCell<Option<Result<Returned>>>,
    waker: RefCell<Option<Waker>>,
    task: RefCell<Option<Py<PyAny>>>,
    /// The connection whose handler this is.
    core: RefCell<Option<Rc<Core>>>,
}

/// A run that Python has yet to begin.
pub(crate) struct Start {
    ws: nexios::WebSocket,
    call: Call,
    progress: Rc<Progress>,
}

/// Told by the task that it is done.
#[pyclass(frozen, module = "nexios._nexios")]
struct Done(Local<End>);

struct End {
    progress: Rc<Progress>,
    host: Rc<Host>,
    wanted: Wanted,
    /// `None` once the garbage collector has cleared it.
    socket: RefCell<Option<Py<WebSocket>>>,
}

impl Run {
    pub(crate) fn new(ws: nexios::WebSocket, call: Call) -> Self {
        Run { ws, call: Some(call), progress: None }
    }

    fn begin(&mut self, cx: &Context<'_>) {
        let (Some(host), Some(call)) = (Host::current(), self.call.take()) else { return };
        let progress = Rc::new(Progress::default());
        progress.waker.replace(Some(cx.waker().clone()));
        if let Call::Handler(route) = &call {
            let core = Core::new(self.ws.clone(), host.clone(), route.clone(), cx.waker().clone());
            progress.core.replace(Some(core));
        }
        host.starts.borrow_mut().push(Start { ws: self.ws.clone(), call, progress: progress.clone() });
        self.progress = Some((host, progress));
    }
}

/// Asks `function(ws, room)`.
pub(crate) async fn permission(ws: nexios::WebSocket, function: Arc<Py<PyAny>>, room: Arc<str>) -> Result<bool> {
    let mut run = Run::new(ws, Call::Permission(function, room));
    Ok(poll_fn(|cx| run.poll_returned(cx)).await? == Returned::Permission(true))
}

/// Has `function(ws, argument)` answer.
pub(crate) async fn reply(ws: nexios::WebSocket, function: Arc<Py<PyAny>>, argument: Message) -> Result<Message> {
    let mut run = Run::new(ws, Call::Request(function, argument));
    match poll_fn(|cx| run.poll_returned(cx)).await? {
        Returned::Reply(message) => Ok(message),
        Returned::Nothing | Returned::Permission(_) => Ok("".into()),
    }
}

impl Future for Run {
    type Output = Result;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result> {
        self.poll_returned(cx).map(|returned| returned.map(drop))
    }
}

impl Run {
    fn poll_returned(&mut self, cx: &Context<'_>) -> Poll<Result<Returned>> {
        let Some((_, progress)) = &self.progress else {
            self.begin(cx);
            return Poll::Pending;
        };
        let core = progress.core.borrow();
        if let Some(core) = &*core {
            core.resume_receiver();
        }
        let result = progress.result.borrow_mut().take();
        match result {
            Some(result) => {
                if let Some(core) = &*core {
                    core.lose_task();
                }
                progress.task.replace(None);
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }
}

/// Given up, because the client is gone or the server ends: so is the task in Python.
impl Drop for Run {
    fn drop(&mut self) {
        let Some((host, progress)) = self.progress.take() else { return };
        if let Some(core) = progress.core.take() {
            core.lose_task();
        }
        if let Some(task) = progress.task.take() {
            host.cancels.borrow_mut().push(task);
        }
    }
}

impl Start {
    pub(crate) fn run(self, py: Python<'_>, host: &Rc<Host>) {
        let Start { ws, call, progress } = self;
        // Dropped before it began.
        if Rc::strong_count(&progress) == 1 {
            return;
        }
        let wanted = call.wanted();
        if let Err(error) = begin(py, host, &ws, call, &progress) {
            let socket = host.sockets.borrow().get(&ws.id()).map(|socket| socket.clone_ref(py));
            progress.finish(wanted.raised(py, &ws, socket.as_ref(), &error));
        }
    }
}

fn begin(py: Python<'_>, host: &Rc<Host>, ws: &nexios::WebSocket, call: Call, progress: &Rc<Progress>) -> PyResult<()> {
    let core = progress.core.borrow().clone();
    let socket = match core {
        Some(core) => WebSocket::introduce(py, host, core)?,
        None => {
            let known = host.sockets.borrow().get(&ws.id()).map(|socket| socket.clone_ref(py));
            let Some(known) = known else {
                progress.finish(Ok(Returned::Nothing));
                return Ok(());
            };
            known
        }
    };
    let wanted = call.wanted();
    let coroutine = match call {
        Call::Handler(route) => route.start.bind(py).call1((&socket,))?,
        Call::Listener(listener) => listener.bind(py).call1((&socket,))?,
        Call::Message(listener, message) => listener.bind(py).call1((&socket, message_to_python(py, &message)))?,
        Call::Dropped(listener, messages) => {
            let messages = PyList::new(py, messages.iter().map(|message| message_to_python(py, message)))?;
            listener.bind(py).call1((&socket, messages))?
        }
        Call::Permission(authorize, room) => authorize.bind(py).call1((&socket, &*room))?,
        Call::Request(answer, argument) => answer.bind(py).call1((&socket, message_to_python(py, &argument)))?,
    };
    let task = host.create_task(py, coroutine)?;
    let end = End { progress: progress.clone(), host: host.clone(), wanted, socket: RefCell::new(Some(socket)) };
    let done = Bound::new(py, Done(Local::new(end, host)))?;
    task.call_method1(py, intern!(py, "add_done_callback"), (done,))?;
    progress.task.replace(Some(task));
    Ok(())
}

impl Progress {
    fn finish(&self, result: Result<Returned>) {
        self.result.replace(Some(result));
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[pymethods]
impl Done {
    fn __call__(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = task.py();
        let End { progress, host, wanted, socket } = self.0.here()?;
        let Some(socket) = socket.take() else { return Ok(()) };
        let ws = socket.get().ws()?;
        let result = match task.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            true => Err(CancelledError::new_err("cancelled")),
            false => task.call_method0(intern!(py, "result")).and_then(|value| wanted.returned(&value)),
        };
        let result = result.or_else(|error| wanted.raised(py, ws, Some(&socket), &error));
        progress.finish(result);
        host.settle(py);
        Ok(())
    }

    /// The task is the engine's as well, and so not to be told of: it stays while the engine waits for it.
    fn __traverse__(&self, visit: pyo3::gc::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        match self.0.get().map(|end| end.socket.try_borrow()) {
            Some(Ok(socket)) => visit.call(&*socket),
            _ => Ok(()),
        }
    }

    fn __clear__(&self) {
        let socket = self.0.get().map(|end| end.socket.take());
        drop(socket);
    }
}

impl Call {
    fn wanted(&self) -> Wanted {
        match self {
            Call::Permission(..) => Wanted::Permission,
            Call::Request(..) => Wanted::Reply,
            Call::Handler(_) | Call::Listener(_) | Call::Message(..) | Call::Dropped(..) => Wanted::Nothing,
        }
    }
}

impl Wanted {
    fn returned(self, value: &Bound<'_, PyAny>) -> PyResult<Returned> {
        match self {
            Wanted::Nothing => Ok(Returned::Nothing),
            Wanted::Permission => Ok(Returned::Permission(value.extract()?)),
            Wanted::Reply if value.is_none() => Ok(Returned::Nothing),
            Wanted::Reply => with_message(value, |message| Returned::Reply(message.to_message())),
        }
    }

    fn raised(
        self,
        py: Python<'_>,
        ws: &nexios::WebSocket,
        socket: Option<&Py<WebSocket>>,
        error: &PyErr,
    ) -> Result<Returned> {
        match self {
            Wanted::Nothing => outcome(py, ws, socket, error).map(|()| Returned::Nothing),
            Wanted::Permission | Wanted::Reply => Err(failure(py, socket, error)),
        }
    }
}

/// What a client is told of a Python exception; a fault is logged here, whole.
fn failure(py: Python<'_>, socket: Option<&Py<WebSocket>>, error: &PyErr) -> nexios::Error {
    match errors::to_rust(py, error) {
        Ok(Some(known)) => return known,
        Ok(None) => {}
        Err(error) => error.write_unraisable(py, None),
    }
    log_fault(py, socket, error, "what a client asked for failed");
    RequestError::new("failed", "the server failed").into()
}

fn log_fault(py: Python<'_>, socket: Option<&Py<WebSocket>>, error: &PyErr, what: &str) {
    let logged = py.import("nexios._log").and_then(|log| log.call_method1("fault", (socket, error.value(py), what)));
    if let Err(error) = logged {
        error.write_unraisable(py, None);
    }
}

/// What a Python exception that nobody took is to the framework; a fault is logged here, whole,
/// and ends the connection: 1011 without a reason, before accept HTTP 500.
fn outcome(py: Python<'_>, ws: &nexios::WebSocket, socket: Option<&Py<WebSocket>>, error: &PyErr) -> Result {
    match errors::to_rust(py, error) {
        Ok(Some(known)) => return Err(known),
        Ok(None) => {}
        Err(error) => error.write_unraisable(py, None),
    }
    log_fault(py, socket, error, "the handler failed");
    match ws.connection_state() {
        // An error says that somebody has just answered.
        ConnectionState::Connecting => drop(ws.engine().refuse(Refusal::new(500, ""))),
        _ => ws.close_at_once(CloseCode::INTERNAL_ERROR, ""),
    }
    Ok(())
}
