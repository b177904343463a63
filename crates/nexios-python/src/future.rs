//! Futures of the framework, as Python awaits them.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;

use crate::completed::Completed;
use crate::host::Host;
use crate::waiter::{Waiter, Withdraw};
use crate::waiting::{Awaited, Waiting};

type BoxedFuture = Pin<Box<dyn Future<Output = PyResult<Py<PyAny>>>>>;

/// A future that a task waits for.
pub(crate) struct Pending {
    /// Lets the loop run what is ready before the first poll.
    yields: Cell<bool>,
    future: Rc<Slot>,
    waiter: RefCell<Option<Py<Waiter>>>,
}

struct Slot {
    host: Rc<Host>,
    future: RefCell<Option<BoxedFuture>>,
    parked: Cell<Option<usize>>,
}

impl Withdraw for Slot {
    fn withdraw(&self) {
        if let Some(key) = self.parked.take() {
            self.host.unpark(key);
        }
        let future = self.future.take();
        drop(future);
    }

    fn host(&self) -> &Rc<Host> {
        &self.host
    }
}

impl Waiting {
    /// Polls the future once: what is done by then needs no waiting.
    pub(crate) fn begin(
        py: Python<'_>,
        host: &Rc<Host>,
        future: impl Future<Output = PyResult<Py<PyAny>>> + 'static,
    ) -> PyResult<Py<PyAny>> {
        let pending = Pending::new(host, future);
        let polled = pending.poll(py);
        host.settle(py);
        match polled? {
            Poll::Ready(value) => Completed::with(py, value),
            Poll::Pending => Ok(Py::new(py, Waiting::new(Awaited::Future(pending), host))?.into_any()),
        }
    }

    /// Returns one that does nothing before it is awaited.
    pub(crate) fn lazy(
        py: Python<'_>,
        host: &Rc<Host>,
        future: impl Future<Output = PyResult<Py<PyAny>>> + 'static,
    ) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Waiting::new(Awaited::Future(Pending::new(host, future)), host))?.into_any())
    }

    /// Returns one that begins when tasks that were started just before have run.
    pub(crate) fn behind_others(
        py: Python<'_>,
        host: &Rc<Host>,
        future: impl Future<Output = PyResult<Py<PyAny>>> + 'static,
    ) -> PyResult<Py<PyAny>> {
        let pending = Pending::new(host, future);
        pending.yields.set(true);
        Ok(Py::new(py, Waiting::new(Awaited::Future(pending), host))?.into_any())
    }
}

impl Pending {
    fn new(host: &Rc<Host>, future: impl Future<Output = PyResult<Py<PyAny>>> + 'static) -> Self {
        let slot = Slot { host: host.clone(), future: RefCell::new(Some(Box::pin(future))), parked: Cell::default() };
        Pending { yields: Cell::new(false), future: Rc::new(slot), waiter: RefCell::default() }
    }

    fn poll(&self, py: Python<'_>) -> PyResult<Poll<Py<PyAny>>> {
        let slot = &self.future;
        let waiter = Py::new(py, Waiter::new(slot.clone()))?;
        waiter.get().arm();
        if let Some(key) = slot.parked.take() {
            slot.host.unpark(key);
        }
        let taken = slot.future.borrow_mut().take();
        let Some(mut future) = taken else {
            return Err(PyRuntimeError::new_err("cannot await the same call twice"));
        };
        let (key, waker) = slot.host.park(waiter.clone_ref(py));
        let polled = slot.host.entered(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        match polled {
            Poll::Ready(result) => {
                slot.host.unpark(key);
                result.map(Poll::Ready)
            }
            Poll::Pending => {
                slot.parked.set(Some(key));
                slot.future.replace(Some(future));
                self.waiter.replace(Some(waiter));
                Ok(Poll::Pending)
            }
        }
    }

    pub(crate) fn next(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.yields.take() {
            return Ok(py.None());
        }
        let polled = self.poll(py);
        self.future.host.settle(py);
        match polled? {
            Poll::Ready(value) => Err(PyStopIteration::new_err((value,))),
            Poll::Pending => {
                Ok(self.waiter.borrow().as_ref().map_or_else(|| py.None(), |own| own.clone_ref(py).into_any()))
            }
        }
    }

    pub(crate) fn waiter(&self) -> &RefCell<Option<Py<Waiter>>> {
        &self.waiter
    }

    pub(crate) fn close(&self) {
        self.future.withdraw();
        let waiter = self.waiter.take();
        drop(waiter);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.future.withdraw();
    }
}
