//! The coroutine protocol of all that is awaited: futures of the framework, and messages.

use std::cell::RefCell;

use pyo3::prelude::*;

use crate::errors;
use crate::future::Pending;
use crate::host::Host;
use crate::local::Local;
use crate::receive::Receiving;
use crate::waiter::Waiter;

/// A coroutine to asyncio. It stays on the thread of its event loop.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct Waiting(Local<Awaited>);

/// A future or a message that a task waits for.
pub(crate) enum Awaited {
    Future(Pending),
    Message(Receiving),
}

impl Waiting {
    pub(crate) fn new(awaited: Awaited, host: &Host) -> Self {
        Waiting(Local::new(awaited, host))
    }
}

impl Awaited {
    /// Returns what the task is to wait for; raises `StopIteration` with the result.
    fn next(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Awaited::Future(pending) => pending.next(py),
            Awaited::Message(receiving) => receiving.next(py),
        }
    }

    fn close(&self) {
        match self {
            Awaited::Future(pending) => pending.close(),
            Awaited::Message(receiving) => receiving.close(),
        }
    }

    fn waiter(&self) -> &RefCell<Option<Py<Waiter>>> {
        match self {
            Awaited::Future(pending) => pending.waiter(),
            Awaited::Message(receiving) => receiving.waiter(),
        }
    }
}

#[pymethods]
impl Waiting {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.0.here()?.next(py)
    }

    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.__next__(py)
    }

    #[pyo3(signature = (kind, value = None, _traceback = None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.0.here()?.close();
        Err(errors::thrown(kind, value))
    }

    fn close(&self) -> PyResult<()> {
        self.0.here()?.close();
        Ok(())
    }

    fn __traverse__(&self, visit: pyo3::gc::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        match self.0.get().map(|awaited| awaited.waiter().try_borrow()) {
            Some(Ok(waiter)) => visit.call(&*waiter),
            _ => Ok(()),
        }
    }

    fn __clear__(&self) {
        let waiter = self.0.get().map(|awaited| awaited.waiter().take());
        drop(waiter);
    }
}
