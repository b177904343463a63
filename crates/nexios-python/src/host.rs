//! asyncio turns the crank: what one event loop's thread has of a served app.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use nexios::{ConnectionId, serve::ShardService};
use nexios_engine::{Service, Shard};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use send_wrapper::SendWrapper;
use slab::Slab;

use crate::asgi;
use crate::connection::Core;
use crate::log::{Departed, Log};
use crate::run::Start;
use crate::signal::{Alarm, Signal};
use crate::waiter::Waiter;
use crate::websocket::WebSocket;

/// Rounds of resumed handlers before the sockets are written.
const ROUNDS_PER_TURN: usize = 16;
/// The time by which a loop's timer may be early.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);
/// A handler that holds its thread for longer is named in a warning.
const BLOCKING: Duration = Duration::from_millis(100);

pub(crate) struct Host {
    shard: RefCell<Option<Shard>>,
    python: Python_,
    /// A turn is under way.
    turning: Cell<bool>,
    /// The loop will call `turn` in this tick.
    scheduled: Cell<bool>,
    timer: RefCell<Option<(Instant, Py<PyAny>)>>,
    /// The time by which a test has moved the engine's clock.
    ahead: Cell<Duration>,
    signal: Arc<Signal>,
    alarm: Alarm,
    /// Waits that are woken by a number, because anything may wake them.
    parked: RefCell<Slab<Py<Waiter>>>,
    pub(crate) starts: RefCell<Vec<Start>>,
    pub(crate) requests: RefCell<Vec<asgi::Start>>,
    /// Tasks that answer HTTP requests; they may outlast their connection.
    pub(crate) request_tasks: RefCell<Slab<Option<Py<PyAny>>>>,
    pub(crate) cancels: RefCell<Vec<Py<PyAny>>>,
    pub(crate) woken: RefCell<Vec<Py<Waiter>>>,
    pub(crate) sockets: RefCell<HashMap<ConnectionId, Py<WebSocket>>>,
    pub(crate) log: Rc<Log>,
    pub(crate) departed: Departed,
    logs_access: Cell<bool>,
    /// Runs blocking work for static files.
    runtime: Option<tokio::runtime::Runtime>,
}

/// Objects of Python that are called on the event loop.
struct Python_ {
    event_loop: Py<PyAny>,
    call_soon: Py<PyAny>,
    create_task: Py<PyAny>,
    /// The context in which the server was started. Whatever a turn begins runs in a copy of it or of a
    /// handler's, never in the context of the task that happened to have the turn scheduled.
    context: Py<PyAny>,
    /// `context=` of what is called at the end of tasks: without it each task would hold a context for that.
    shared_context: Py<PyDict>,
    turn: RefCell<Option<Py<PyAny>>>,
    ring: RefCell<Option<Py<PyAny>>>,
    warn_blocked: Py<PyAny>,
    log: Py<PyAny>,
}

thread_local! {
    /// The host whose turn it is, for tasks that run in it.
    static CURRENT: RefCell<Option<Rc<Host>>> = const { RefCell::new(None) };
}

impl Host {
    pub(crate) fn new(event_loop: &Bound<'_, PyAny>, shard: Shard, files: bool) -> PyResult<Rc<Self>> {
        let py = event_loop.py();
        let (signal, alarm) = Signal::new()?;
        let notified = signal.clone();
        shard.set_notifier(Arc::new(move || notified.raise()));
        let context = copy_context(py)?;
        let shared_context = PyDict::new(py);
        shared_context.set_item("context", context.call_method0("copy")?)?;
        let runtime = files.then(|| tokio::runtime::Builder::new_current_thread().build()).transpose()?;
        Ok(Rc::new(Host {
            shard: RefCell::new(Some(shard)),
            python: Python_ {
                event_loop: event_loop.clone().unbind(),
                call_soon: event_loop.getattr("call_soon")?.unbind(),
                create_task: event_loop.getattr("create_task")?.unbind(),
                context: context.unbind(),
                shared_context: shared_context.unbind(),
                turn: RefCell::new(None),
                ring: RefCell::new(None),
                warn_blocked: py.import("nexios._log")?.getattr("blocked")?.unbind(),
                log: py.import("nexios._log")?.getattr("log_record")?.unbind(),
            },
            turning: Cell::new(false),
            scheduled: Cell::new(false),
            timer: RefCell::new(None),
            ahead: Cell::default(),
            signal,
            alarm,
            parked: RefCell::default(),
            starts: RefCell::default(),
            requests: RefCell::default(),
            request_tasks: RefCell::default(),
            cancels: RefCell::default(),
            woken: RefCell::default(),
            sockets: RefCell::default(),
            log: Log::here(),
            departed: Departed::default(),
            logs_access: Cell::new(false),
            runtime,
        }))
    }

    /// A connection is forgotten when its task has ended.
    pub(crate) fn forget_ended(self: &Rc<Self>, service: &ShardService) {
        self.logs_access.set(service.logs_access());
        let host = Rc::downgrade(self);
        service.on_ended(move |id, is_awaited| {
            let Some(host) = host.upgrade() else { return };
            let socket = host.sockets.borrow_mut().remove(id);
            if let Some(context) = socket.as_ref().and_then(WebSocket::take_context) {
                host.departed.insert(*id, context, is_awaited);
            }
            drop(socket);
        });
    }

    /// The host whose turn it is.
    pub(crate) fn current() -> Option<Rc<Host>> {
        CURRENT.with_borrow(Clone::clone)
    }

    pub(crate) fn shard(&self) -> Option<Shard> {
        self.shard.borrow().clone()
    }

    /// The engine's time.
    pub(crate) fn now(&self) -> Instant {
        Instant::now() + self.ahead.get()
    }

    /// Moves the engine's time, and has the loop turn.
    pub(crate) fn go_ahead(&self, py: Python<'_>, by: Duration) {
        self.ahead.set(self.ahead.get() + by);
        self.signal.raise();
        self.settle(py);
    }

    pub(crate) fn event_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.python.event_loop.clone_ref(py)
    }

    pub(crate) fn signal(&self) -> Arc<Signal> {
        self.signal.clone()
    }

    /// Returns the descriptor that other threads ring.
    pub(crate) fn alarm_fd(&self) -> i32 {
        self.alarm.fd()
    }

    pub(crate) fn call_soon(
        &self,
        py: Python<'_>,
        function: &Py<PyAny>,
        argument: &Bound<'_, PyAny>,
        context: Option<&Py<PyAny>>,
    ) -> PyResult<()> {
        let kwargs = context.map(|context| {
            let kwargs = PyDict::new(py);
            kwargs.set_item(intern!(py, "context"), context).map(|()| kwargs)
        });
        self.python.call_soon.bind(py).call((function, argument), kwargs.transpose()?.as_ref())?;
        Ok(())
    }

    /// Starts a task in a copy of a context, the server's if none is given; `options` are those of
    /// `create_task()`, without `context=`, which came with Python 3.11.
    pub(crate) fn create_task(
        &self,
        coroutine: Bound<'_, PyAny>,
        options: Option<&Py<PyDict>>,
        context: Option<&Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = coroutine.py();
        let create = (self.python.create_task.bind(py), coroutine);
        let context = self.copy_of(py, context)?;
        Ok(context.call_method(intern!(py, "run"), create, options.map(|options| options.bind(py)))?.unbind())
    }

    fn copy_of<'py>(&self, py: Python<'py>, context: Option<&Py<PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        context.unwrap_or(&self.python.context).bind(py).call_method0(intern!(py, "copy"))
    }

    /// Calls a function in a copy of a context, the server's if none is given.
    pub(crate) fn call_in_context(
        &self,
        py: Python<'_>,
        context: Option<&Py<PyAny>>,
        call: Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        self.copy_of(py, context)?.call_method1(intern!(py, "run"), call).map(drop)
    }

    /// Returns a copy of the context of the caller, or `None` if nothing in it was set since the server started.
    pub(crate) fn own_context(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let (own, server) = (copy_context(py)?, self.python.context.bind(py));
        if own.len()? != server.len()? {
            return Ok(Some(own.unbind()));
        }
        for variable in own.try_iter()? {
            let variable = variable?;
            if !server.contains(&variable)? || !own.get_item(&variable)?.is(&server.get_item(&variable)?) {
                return Ok(Some(own.unbind()));
            }
        }
        Ok(None)
    }

    /// Keeps the context of an application that begins its response, for the line of the access log.
    pub(crate) fn keep_request_context(&self, py: Python<'_>, id: ConnectionId) -> PyResult<()> {
        if self.logs_access.get()
            && let Some(context) = self.own_context(py)?
        {
            self.departed.insert(id, context, true);
        }
        Ok(())
    }

    /// Has `done` called with the task when it is over, in the context that all such calls share.
    pub(crate) fn when_done(&self, task: &Bound<'_, PyAny>, done: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = task.py();
        task.getattr(intern!(py, "add_done_callback"))?.call((done,), Some(self.python.shared_context.bind(py)))?;
        Ok(())
    }

    /// Parks a wait until the waker is called.
    pub(crate) fn park(&self, waiter: Py<Waiter>) -> (usize, Waker) {
        let key = self.parked.borrow_mut().insert(waiter);
        (key, self.signal.waker(key))
    }

    pub(crate) fn unpark(&self, key: usize) -> Option<Py<Waiter>> {
        self.parked.borrow_mut().try_remove(key)
    }

    /// After whatever may have made a turn due: has the loop call it in this tick.
    pub(crate) fn settle(&self, py: Python<'_>) {
        self.write_log(py);
        if self.turning.get() || !self.signal.is_due() || self.scheduled.replace(true) {
            return;
        }
        if let Err(error) = self.schedule(py) {
            error.write_unraisable(py, None);
        }
    }

    fn schedule(&self, py: Python<'_>) -> PyResult<()> {
        let turn = self.python.turn.borrow().as_ref().map(|turn| turn.clone_ref(py));
        if let Some(turn) = turn {
            self.scheduled.set(true);
            self.python.call_soon.call(py, (turn,), Some(&self.in_own_context(py)?))?;
        }
        Ok(())
    }

    /// `context=` of a turn that the loop calls later: whoever schedules it is some task, and neither may
    /// what the turn starts see that task's variables nor may they be kept until then.
    fn in_own_context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let options = PyDict::new(py);
        options.set_item(intern!(py, "context"), self.copy_of(py, None)?)?;
        Ok(options)
    }

    pub(crate) fn set_turn(&self, turn: Py<PyAny>, ring: Py<PyAny>) {
        self.python.turn.replace(Some(turn));
        self.python.ring.replace(Some(ring));
    }

    /// The timer has rung, perhaps a little early: from now on there is none.
    pub(crate) fn ring(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        let rung = self.timer.take();
        drop(rung);
        self.turn(py)
    }

    /// Polls, resumes handlers, writes. An error is a `KeyboardInterrupt` or the like from a handler.
    pub(crate) fn turn(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        self.scheduled.set(false);
        let Some(shard) = self.shard() else { return Ok(()) };
        if self.turning.replace(true) {
            return Ok(());
        }
        let before = CURRENT.replace(Some(self.clone()));
        self.signal.begin_turn();
        self.signal.home().drop_returned();
        let entered = self.runtime.as_ref().map(tokio::runtime::Runtime::enter);
        let now = self.now();
        detached(py, &shard, |shard| {
            shard.collect(now);
            shard.deliver();
        });
        let mut result = Ok(());
        for _ in 0..ROUNDS_PER_TURN {
            if !self.has_work() {
                break;
            }
            result = result.and(self.work(py));
            shard.deliver();
        }
        let more = detached(py, &shard, |shard| shard.flush());
        drop(entered);
        CURRENT.replace(before);
        self.turning.set(false);
        if more || self.has_work() {
            self.schedule(py)?;
        } else {
            self.settle(py);
        }
        self.arm_timer(py, &shard)?;
        self.write_log(py);
        self.departed.end_turn();
        result
    }

    /// Runs something that may poll futures of this host, outside of a turn.
    pub(crate) fn entered<R>(self: &Rc<Self>, f: impl FnOnce() -> R) -> R {
        let before = CURRENT.replace(Some(self.clone()));
        let result = f();
        CURRENT.replace(before);
        result
    }

    /// Turns because another thread has rung.
    pub(crate) fn alarm(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        self.alarm.answer(&self.signal);
        self.turn(py)
    }

    fn has_work(&self) -> bool {
        !self.woken.borrow().is_empty()
            || !self.starts.borrow().is_empty()
            || !self.requests.borrow().is_empty()
            || !self.cancels.borrow().is_empty()
            || self.signal.has_woken()
    }

    /// Does what has to be done in Python; returns the first error.
    fn work(self: &Rc<Self>, py: Python<'_>) -> PyResult<()> {
        let mut result = Ok(());
        for start in self.starts.take() {
            start.run(py, self);
        }
        for start in self.requests.take() {
            start.run(py, self);
        }
        for task in self.cancels.take() {
            result = result.and(task.call_method0(py, intern!(py, "cancel")).map(drop));
        }
        let mut started = Instant::now();
        for waiter in self.woken.take() {
            result = result.and(Waiter::fire(waiter.bind(py)));
            started = self.warn_if_blocked(py, started, &waiter);
        }
        for key in self.signal.take_woken() {
            if let Some(waiter) = self.unpark(key) {
                result = result.and(Waiter::fire(waiter.bind(py)));
                started = self.warn_if_blocked(py, started, &waiter);
            }
        }
        result
    }

    fn warn_if_blocked(&self, py: Python<'_>, started: Instant, waiter: &Py<Waiter>) -> Instant {
        let now = Instant::now();
        let taken = now - started;
        if taken > BLOCKING
            && let Err(error) = self.warn_blocked(py, taken, waiter.get().core())
        {
            error.write_unraisable(py, None);
        }
        now
    }

    fn warn_blocked(&self, py: Python<'_>, taken: Duration, core: Option<&Rc<Core>>) -> PyResult<()> {
        let socket = core.and_then(|core| self.sockets.borrow().get(&core.ws.id()).map(|socket| socket.clone_ref(py)));
        let context = core.and_then(|core| core.context(py));
        let call = (&self.python.warn_blocked, taken.as_secs_f64(), socket).into_pyobject(py)?;
        self.call_in_context(py, context.as_ref(), call)
    }

    /// Returns the function that hands records to `logging`.
    pub(crate) fn log_function(&self) -> &Py<PyAny> {
        &self.python.log
    }

    fn arm_timer(&self, py: Python<'_>, shard: &Shard) -> PyResult<()> {
        let Some(deadline) = shard.next_timeout() else { return Ok(()) };
        let now = self.now();
        let set = self.timer.borrow().as_ref().map(|(at, _)| *at);
        // One that comes earlier than needed does no harm.
        if set.is_some_and(|at| at > now && at <= deadline) {
            return Ok(());
        }
        let ring = self.python.ring.borrow().as_ref().map(|ring| ring.clone_ref(py));
        let Some(ring) = ring else { return Ok(()) };
        // Loops count in milliseconds, and may be early by one.
        let delay = deadline.saturating_duration_since(now) + TIMER_RESOLUTION;
        let later = (delay.as_secs_f64(), ring);
        let options = self.in_own_context(py)?;
        let handle = self.python.event_loop.call_method(py, intern!(py, "call_later"), later, Some(&options))?;
        let old = self.timer.replace(Some((deadline.max(now), handle)));
        if let Some((_, old)) = old {
            old.call_method0(py, intern!(py, "cancel"))?;
        }
        Ok(())
    }

    /// Drops all that lives here; futures go on their own thread.
    /// Returns the tasks of handlers that were still running; they are cancelled.
    pub(crate) fn close(self: &Rc<Self>, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let shard = self.shard.take();
        if let Some(shard) = shard {
            self.entered(|| shard.cancel_all());
        }
        self.write_log(py);
        if let Some((_, timer)) = self.timer.take() {
            timer.call_method0(py, intern!(py, "cancel"))?;
        }
        let mut tasks = self.cancels.take();
        tasks.extend(self.request_tasks.take().into_iter().filter_map(|(_, task)| task));
        for task in &tasks {
            task.call_method0(py, intern!(py, "cancel"))?;
        }
        let called = (self.python.turn.take(), self.python.ring.take());
        drop(called);
        let sockets = self.sockets.take();
        sockets.values().for_each(|socket| drop(WebSocket::take_context(socket)));
        drop(sockets);
        self.departed.clear();
        self.signal.home().drop_returned();
        Ok(tasks)
    }
}

fn copy_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import(intern!(py, "contextvars"))?.call_method0(intern!(py, "copy_context"))
}

/// Without the GIL: nothing in here touches Python.
fn detached<R: Send>(py: Python<'_>, shard: &Shard, run: impl FnOnce(&Shard) -> R) -> R {
    let job = SendWrapper::new((shard, run));
    py.detach(move || {
        let (shard, run) = job.take();
        run(shard)
    })
}
