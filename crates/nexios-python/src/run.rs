//! A Python coroutine in a task of its own, and the future in the engine that waits for its end.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use nexios::{CloseCode, ConnectionState, Message, RequestError, Result, accept::Refusal};
use pyo3::exceptions::asyncio::CancelledError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::connection::Core;
use crate::convert::{message_to_python, with_message};
use crate::errors;
use crate::host::Host;
use crate::local::{Local, visit_cell};
use crate::route::PyRoute;
use crate::websocket::WebSocket;

/// A call of Python by a connection's task or a listener.
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

/// The result of a call, if it is needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Returned {
    Nothing,
    Permission(bool),
    Reply(Message),
}

/// The use of a call's result and exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Nothing,
    Permission,
    Reply,
}

/// The future of the engine's side. Idle connections hold it: what it needs to begin is apart.
pub(crate) enum Run {
    Fresh(Option<Box<(nexios::WebSocket, Call)>>),
    Running(Rc<Host>, Rc<Progress>),
}

/// State of a run that both sides know.
pub(crate) struct Progress {
    result: Cell<Option<Result<Returned>>>,
    task: Cell<Option<Py<PyAny>>>,
    runner: Runner,
}

/// The larger whole of a run.
enum Runner {
    /// The task of the connection whose handler this is: it needs no waker.
    Task(Rc<Core>),
    /// A run next to a handler.
    Companion(Waker, Wanted),
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
    /// `None` once the garbage collector has cleared it.
    socket: Cell<Option<Py<WebSocket>>>,
}

impl Run {
    pub(crate) fn new(ws: nexios::WebSocket, call: Call) -> Self {
        Run::Fresh(Some(Box::new((ws, call))))
    }

    fn begin(&mut self, cx: &Context<'_>) {
        let Run::Fresh(fresh) = self else { return };
        let (Some(host), Some(fresh)) = (Host::current(), fresh.take()) else { return };
        let (ws, call) = *fresh;
        let runner = match &call {
            Call::Handler(route) => Runner::Task(Core::new(ws.clone(), host.clone(), route.clone())),
            _ => Runner::Companion(cx.waker().clone(), call.wanted()),
        };
        let progress = Rc::new(Progress { result: Cell::default(), task: Cell::default(), runner });
        host.starts.borrow_mut().push(Start { ws, call, progress: progress.clone() });
        *self = Run::Running(host, progress);
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
        let Run::Running(_, progress) = self else {
            self.begin(cx);
            return Poll::Pending;
        };
        if let Some(core) = progress.core() {
            core.resume_receiver();
        }
        let Some(result) = progress.result.take() else { return Poll::Pending };
        if let Some(core) = progress.core() {
            core.lose_task();
        }
        drop(progress.task.take());
        Poll::Ready(result)
    }
}

/// Given up, because the client is gone or the server ends: so is the task in Python.
impl Drop for Run {
    fn drop(&mut self) {
        let Run::Running(host, progress) = self else { return };
        if let Some(core) = progress.core() {
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
        if let Err(error) = begin(py, host, &ws, call, &progress) {
            let socket = host.sockets.borrow().get(&ws.id()).map(|socket| socket.clone_ref(py));
            progress.finish(progress.wanted().raised(py, &ws, socket.as_ref(), &error));
        }
    }
}

fn begin(py: Python<'_>, host: &Rc<Host>, ws: &nexios::WebSocket, call: Call, progress: &Rc<Progress>) -> PyResult<()> {
    let socket = match progress.core() {
        Some(core) => WebSocket::introduce(py, host, core.clone())?,
        None => {
            let known = host.sockets.borrow().get(&ws.id()).map(|socket| socket.clone_ref(py));
            let Some(known) = known else {
                progress.finish(Ok(Returned::Nothing));
                return Ok(());
            };
            known
        }
    };
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
    let core = socket.get().core()?;
    let task = host.create_task(coroutine, Some(&core.route.task), core.context(py).as_ref())?;
    let end = End { progress: progress.clone(), socket: Cell::new(Some(socket)) };
    let done = Bound::new(py, Done(Local::new(end, host)))?;
    host.when_done(task.bind(py), &done)?;
    progress.task.set(Some(task));
    Ok(())
}

impl Progress {
    fn core(&self) -> Option<&Rc<Core>> {
        match &self.runner {
            Runner::Task(core) => Some(core),
            Runner::Companion(..) => None,
        }
    }

    fn wanted(&self) -> Wanted {
        match self.runner {
            Runner::Task(_) => Wanted::Nothing,
            Runner::Companion(_, wanted) => wanted,
        }
    }

    fn finish(&self, result: Result<Returned>) {
        self.result.set(Some(result));
        match &self.runner {
            Runner::Task(core) => core.wake_task(),
            Runner::Companion(waker, _) => waker.wake_by_ref(),
        }
    }
}

#[pymethods]
impl Done {
    fn __call__(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = task.py();
        let End { progress, socket } = self.0.here()?;
        let Some(socket) = socket.take() else { return Ok(()) };
        let core = socket.get().core()?;
        let (ws, wanted) = (&core.ws, progress.wanted());
        let result = match task.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            true => Err(CancelledError::new_err("cancelled")),
            false => task.call_method0(intern!(py, "result")).and_then(|value| wanted.returned(&value)),
        };
        let result = result.or_else(|error| wanted.raised(py, ws, Some(&socket), &error));
        progress.finish(result);
        core.host.settle(py);
        Ok(())
    }

    /// The task is the engine's as well, and so not to be told of: it stays while the engine waits for it.
    fn __traverse__(&self, visit: pyo3::gc::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        self.0.get().map_or(Ok(()), |end| visit_cell(&end.socket, &visit))
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

/// Returns the report of a Python exception to the client; a fault is logged here with its traceback.
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
    if let Err(error) = try_to_log_fault(py, socket, error, what) {
        error.write_unraisable(py, None);
    }
}

/// In a copy of the handler's context, so that the line has what middleware has set.
fn try_to_log_fault(py: Python<'_>, socket: Option<&Py<WebSocket>>, error: &PyErr, what: &str) -> PyResult<()> {
    let fault = py.import(intern!(py, "nexios._log"))?.getattr(intern!(py, "fault"))?;
    let Some(core) = socket.map(|socket| socket.get().core()).transpose()? else {
        return fault.call1((None::<Py<PyAny>>, error.value(py), what)).map(drop);
    };
    let call = (fault, socket, error.value(py), what).into_pyobject(py)?;
    core.host.call_in_context(py, core.context(py).as_ref(), call)
}

/// Returns the meaning of a Python exception that no handler took; a fault is logged here with its traceback,
/// and ends the connection: 1011 without a reason, before accept HTTP 500.
fn outcome(py: Python<'_>, ws: &nexios::WebSocket, socket: Option<&Py<WebSocket>>, error: &PyErr) -> Result {
    match errors::to_rust(py, error) {
        // Outside of a request nobody is answered by it: there it is a fault.
        Ok(Some(known)) if !known.is::<RequestError>() => return Err(known),
        Ok(_) => {}
        Err(error) => error.write_unraisable(py, None),
    }
    // The client is gone, and with `cancel_on_disconnect` that is how a handler ends.
    let is_over = ws.connection_state() == ConnectionState::Disconnected;
    if is_over && error.is_instance_of::<CancelledError>(py) {
        return Ok(());
    }
    log_fault(py, socket, error, "the handler failed");
    match ws.connection_state() {
        // An error says that somebody has just answered.
        ConnectionState::Connecting => drop(ws.engine().refuse(Refusal::new(500, ""))),
        _ => ws.close_at_once(CloseCode::INTERNAL_ERROR, ""),
    }
    Ok(())
}
