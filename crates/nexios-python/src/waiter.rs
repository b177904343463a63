//! What a task is given to wait for: as much of a future as `asyncio.Task` asks for.
//!
//! A waiter is used again and again by one awaitable; one that was cancelled never is, so that
//! a task's `CancelledError` cannot reach the next wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyRuntimeError, asyncio::CancelledError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::host::Host;
use crate::local::Local;

/// What happens to a wait that is cancelled: it stops counting as pending.
pub(crate) trait Withdraw {
    fn withdraw(&self);

    /// Whose wait it is, for people.
    fn place(&self) -> Option<String> {
        None
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    /// Handed to a task.
    Armed,
    /// The task is to be told, or was.
    Fired,
    Cancelled,
}

#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct Waiter(Local<Wait>);

struct Wait {
    host: Rc<Host>,
    stage: Cell<Stage>,
    /// Set by us, cleared by the task: it tells `yield` from `yield from`.
    blocking: Cell<bool>,
    callback: RefCell<Option<Callback>>,
    owner: Rc<dyn Withdraw>,
    /// The message that came with a cancellation.
    message: RefCell<Option<Py<PyAny>>>,
}

struct Callback {
    function: Py<PyAny>,
    context: Option<Py<PyAny>>,
}

impl Waiter {
    pub(crate) fn new(host: Rc<Host>, owner: Rc<dyn Withdraw>) -> Self {
        let signal = host.clone();
        let wait = Wait {
            host,
            stage: Cell::new(Stage::Idle),
            blocking: Cell::new(false),
            callback: RefCell::default(),
            owner,
            message: RefCell::default(),
        };
        Waiter(Local::new(wait, &signal))
    }

    /// Makes it ready to be yielded; `false`: it was cancelled and must be replaced.
    pub(crate) fn arm(&self) -> bool {
        self.0.get().is_some_and(Wait::arm)
    }

    /// Whose wait it is, for people.
    pub(crate) fn place(&self) -> Option<String> {
        self.0.get()?.owner.place()
    }

    /// The task goes on: from a turn, where no task is current, and nowhere else.
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
        if self.stage.get() == Stage::Cancelled {
            return false;
        }
        self.stage.set(Stage::Armed);
        self.blocking.set(true);
        true
    }

    fn fire(&self) -> Option<Callback> {
        if self.stage.get() != Stage::Armed {
            return None;
        }
        self.stage.set(Stage::Fired);
        self.callback.borrow_mut().take()
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
        Ok(self.0.here()?.host.event_loop(py))
    }

    #[pyo3(signature = (function, *, context = None))]
    fn add_done_callback(slf: &Bound<'_, Self>, function: Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let wait = slf.get().0.here()?;
        if matches!(wait.stage.get(), Stage::Fired | Stage::Cancelled) {
            return wait.host.call_soon(slf.py(), &function, slf.as_any(), context.as_ref());
        }
        if wait.callback.borrow().is_some() {
            return Err(PyRuntimeError::new_err("this wait has its task already"));
        }
        *wait.callback.borrow_mut() = Some(Callback { function, context });
        Ok(())
    }

    fn remove_done_callback(&self, _function: &Bound<'_, PyAny>) -> PyResult<usize> {
        Ok(usize::from(self.0.here()?.callback.borrow_mut().take().is_some()))
    }

    #[pyo3(signature = (msg = None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let wait = slf.get().0.here()?;
        if wait.stage.get() != Stage::Armed {
            return Ok(false);
        }
        wait.stage.set(Stage::Cancelled);
        wait.owner.withdraw();
        *wait.message.borrow_mut() = msg;
        let callback = wait.callback.borrow_mut().take();
        if let Some(Callback { function, context }) = callback {
            wait.host.call_soon(slf.py(), &function, slf.as_any(), context.as_ref())?;
        }
        Ok(true)
    }

    fn cancelled(&self) -> PyResult<bool> {
        Ok(self.0.here()?.stage.get() == Stage::Cancelled)
    }

    fn done(&self) -> PyResult<bool> {
        Ok(matches!(self.0.here()?.stage.get(), Stage::Fired | Stage::Cancelled))
    }

    fn result(&self, py: Python<'_>) -> PyResult<()> {
        let wait = self.0.here()?;
        if wait.stage.get() != Stage::Cancelled {
            return Ok(());
        }
        Err(match &*wait.message.borrow() {
            Some(message) => CancelledError::new_err((message.clone_ref(py),)),
            None => CancelledError::new_err(()),
        })
    }

    fn exception(&self, py: Python<'_>) -> PyResult<()> {
        self.result(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(wait) = self.0.get() else { return Ok(()) };
        if let Ok(callback) = wait.callback.try_borrow()
            && let Some(callback) = &*callback
        {
            visit.call(&callback.function)?;
            visit.call(&callback.context)?;
        }
        if let Ok(message) = wait.message.try_borrow() {
            visit.call(&*message)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let cleared = self.0.get().map(|wait| (wait.callback.take(), wait.message.take()));
        drop(cleared);
    }
}
