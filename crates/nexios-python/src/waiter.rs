//! The object that a task waits for: as much of a future as `asyncio.Task` needs.
//!
//! A waiter is used again and again by one awaitable; one that was cancelled never is, so that
//! a task's `CancelledError` cannot reach the next wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyRuntimeError, asyncio::CancelledError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::connection::Core;
use crate::host::Host;
use crate::local::Local;

/// The owner of a wait: a cancelled wait stops counting as pending.
pub(crate) trait Withdraw {
    fn withdraw(&self);

    /// The event loop that it is on.
    fn host(&self) -> &Rc<Host>;

    /// The connection that it waits for, if it is one.
    fn core(&self) -> Option<&Rc<Core>> {
        None
    }
}

enum Stage {
    Idle,
    /// Handed to a task, which leaves a callback that wakes it.
    Armed(Option<Callback>),
    /// The task is to be resumed, or was.
    Fired,
    /// With the message that came along.
    Cancelled(Option<Py<PyAny>>),
}

#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct Waiter(Local<Wait>);

struct Wait {
    stage: RefCell<Stage>,
    /// Set by us, cleared by the task: it tells `yield` from `yield from`.
    blocking: Cell<bool>,
    owner: Rc<dyn Withdraw>,
}

struct Callback {
    function: Py<PyAny>,
    context: Option<Py<PyAny>>,
}

impl Waiter {
    pub(crate) fn new(owner: Rc<dyn Withdraw>) -> Self {
        let host = owner.host().clone();
        Waiter(Local::new(Wait { stage: RefCell::new(Stage::Idle), blocking: Cell::new(false), owner }, &host))
    }

    /// Makes it ready to be yielded; `false`: it was cancelled and must be replaced.
    pub(crate) fn arm(&self) -> bool {
        self.0.get().is_some_and(Wait::arm)
    }

    /// The connection that it waits for, if it is one.
    pub(crate) fn core(&self) -> Option<&Rc<Core>> {
        self.0.get()?.owner.core()
    }

    /// Resumes the task: from a turn, where no task is current, and nowhere else.
    pub(crate) fn fire(slf: &Bound<'_, Self>) -> PyResult<()> {
        let Some(Callback { function, context }) = slf.get().0.here()?.fire() else { return Ok(()) };
        let py = slf.py();
        match context {
            Some(context) => context.call_method1(py, pyo3::intern!(py, "run"), (function, slf))?,
            None => function.call1(py, (slf,))?,
        };
        Ok(())
    }
}

impl Wait {
    fn arm(&self) -> bool {
        let mut stage = self.stage.borrow_mut();
        match *stage {
            Stage::Cancelled(_) => return false,
            Stage::Armed(_) => {}
            Stage::Idle | Stage::Fired => *stage = Stage::Armed(None),
        }
        self.blocking.set(true);
        true
    }

    fn fire(&self) -> Option<Callback> {
        self.disarm(|| Stage::Fired).flatten()
    }

    /// Puts another stage in the place of `Armed`; `None` where it was not armed.
    fn disarm(&self, next: impl FnOnce() -> Stage) -> Option<Option<Callback>> {
        let mut stage = self.stage.borrow_mut();
        let Stage::Armed(callback) = &mut *stage else { return None };
        let callback = callback.take();
        *stage = next();
        Some(callback)
    }

    fn call_soon(&self, slf: &Bound<'_, Waiter>, callback: &Callback) -> PyResult<()> {
        self.owner.host().call_soon(slf.py(), &callback.function, slf.as_any(), callback.context.as_ref())
    }
}

#[pymethods]
impl Waiter {
    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> PyResult<bool> {
        Ok(self.0.here()?.blocking.get())
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) -> PyResult<()> {
        self.0.here()?.blocking.set(blocking);
        Ok(())
    }

    fn get_loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.0.here()?.owner.host().event_loop(py))
    }

    #[pyo3(signature = (function, *, context = None))]
    fn add_done_callback(slf: &Bound<'_, Self>, function: Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let wait = slf.get().0.here()?;
        let new = Callback { function, context };
        match &mut *wait.stage.borrow_mut() {
            Stage::Armed(callback @ None) => {
                *callback = Some(new);
                return Ok(());
            }
            Stage::Armed(Some(_)) => return Err(PyRuntimeError::new_err("this wait has its task already")),
            Stage::Idle => return Err(PyRuntimeError::new_err("nobody waits yet")),
            Stage::Fired | Stage::Cancelled(_) => {}
        }
        wait.call_soon(slf, &new)
    }

    fn remove_done_callback(&self, _function: &Bound<'_, PyAny>) -> PyResult<usize> {
        let removed = match &mut *self.0.here()?.stage.borrow_mut() {
            Stage::Armed(callback) => callback.take(),
            _ => None,
        };
        Ok(usize::from(removed.is_some()))
    }

    #[pyo3(signature = (msg = None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let wait = slf.get().0.here()?;
        let Some(callback) = wait.disarm(|| Stage::Cancelled(msg)) else { return Ok(false) };
        wait.owner.withdraw();
        if let Some(callback) = callback {
            wait.call_soon(slf, &callback)?;
        }
        Ok(true)
    }

    fn cancelled(&self) -> PyResult<bool> {
        Ok(matches!(*self.0.here()?.stage.borrow(), Stage::Cancelled(_)))
    }

    fn done(&self) -> PyResult<bool> {
        Ok(matches!(*self.0.here()?.stage.borrow(), Stage::Fired | Stage::Cancelled(_)))
    }

    fn result(&self, py: Python<'_>) -> PyResult<()> {
        match &*self.0.here()?.stage.borrow() {
            Stage::Cancelled(Some(message)) => Err(CancelledError::new_err((message.clone_ref(py),))),
            Stage::Cancelled(None) => Err(CancelledError::new_err(())),
            _ => Ok(()),
        }
    }

    fn exception(&self, py: Python<'_>) -> PyResult<()> {
        self.result(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(wait) = self.0.get() else { return Ok(()) };
        let Ok(stage) = wait.stage.try_borrow() else { return Ok(()) };
        match &*stage {
            Stage::Armed(Some(Callback { function, context })) => {
                visit.call(function)?;
                visit.call(context)
            }
            Stage::Cancelled(message) => visit.call(message),
            _ => Ok(()),
        }
    }

    fn __clear__(&self) {
        let cleared = self.0.get().map(|wait| wait.stage.replace(Stage::Idle));
        drop(cleared);
    }
}
