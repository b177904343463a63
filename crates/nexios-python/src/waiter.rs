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

#[pyclass(unsendable, module = "nexios._nexios")]
pub(crate) struct Waiter {
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
        Waiter {
            host,
            stage: Cell::new(Stage::Idle),
            blocking: Cell::new(false),
            callback: RefCell::default(),
            owner,
            message: RefCell::default(),
        }
    }

    /// Makes it ready to be yielded; `false`: it was cancelled and must be replaced.
    pub(crate) fn arm(&self) -> bool {
        if self.stage.get() == Stage::Cancelled {
            return false;
        }
        self.stage.set(Stage::Armed);
        self.blocking.set(true);
        true
    }

    /// Whose wait it is, for people.
    pub(crate) fn place(&self) -> Option<String> {
        self.owner.place()
    }

    /// The task goes on: from a turn, where no task is current, and nowhere else.
    pub(crate) fn fire(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.borrow();
        if this.stage.get() != Stage::Armed {
            return Ok(());
        }
        this.stage.set(Stage::Fired);
        let callback = this.callback.borrow_mut().take();
        drop(this);
        let Some(Callback { function, context }) = callback else { return Ok(()) };
        let py = slf.py();
        match context {
            Some(context) => context.call_method1(py, pyo3::intern!(py, "run"), (function, slf))?,
            None => function.call1(py, (slf,))?,
        };
        Ok(())
    }
}

#[pymethods]
impl Waiter {
    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> bool {
        self.blocking.get()
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.blocking.set(blocking);
    }

    fn get_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.host.event_loop(py)
    }

    #[pyo3(signature = (function, *, context = None))]
    fn add_done_callback(slf: &Bound<'_, Self>, function: Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let this = slf.borrow();
        if matches!(this.stage.get(), Stage::Fired | Stage::Cancelled) {
            return this.host.call_soon(slf.py(), &function, slf.as_any(), context.as_ref());
        }
        if this.callback.borrow().is_some() {
            return Err(PyRuntimeError::new_err("this wait has its task already"));
        }
        *this.callback.borrow_mut() = Some(Callback { function, context });
        Ok(())
    }

    fn remove_done_callback(&self, _function: &Bound<'_, PyAny>) -> usize {
        usize::from(self.callback.borrow_mut().take().is_some())
    }

    #[pyo3(signature = (msg = None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let this = slf.borrow();
        if this.stage.get() != Stage::Armed {
            return Ok(false);
        }
        this.stage.set(Stage::Cancelled);
        this.owner.withdraw();
        *this.message.borrow_mut() = msg;
        let callback = this.callback.borrow_mut().take();
        if let Some(Callback { function, context }) = callback {
            this.host.call_soon(slf.py(), &function, slf.as_any(), context.as_ref())?;
        }
        Ok(true)
    }

    fn cancelled(&self) -> bool {
        self.stage.get() == Stage::Cancelled
    }

    fn done(&self) -> bool {
        matches!(self.stage.get(), Stage::Fired | Stage::Cancelled)
    }

    fn result(&self, py: Python<'_>) -> PyResult<()> {
        if self.stage.get() != Stage::Cancelled {
            return Ok(());
        }
        Err(match &*self.message.borrow() {
            Some(message) => CancelledError::new_err((message.clone_ref(py),)),
            None => CancelledError::new_err(()),
        })
    }

    fn exception(&self, py: Python<'_>) -> PyResult<()> {
        self.result(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(callback) = self.callback.try_borrow()
            && let Some(callback) = &*callback
        {
            visit.call(&callback.function)?;
            visit.call(&callback.context)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let callback = self.callback.take();
        drop(callback);
    }
}
