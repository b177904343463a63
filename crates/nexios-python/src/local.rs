//! Values of one event loop's thread, inside Python objects that any thread may hold.
//!
//! Python hands objects from thread to thread, and its garbage collector runs on whichever
//! thread allocates. There a [`Local`] gives a `RuntimeError` instead of its value, shows the
//! collector nothing (which only puts the collection off), and when it is dropped sends its
//! value home, where the next turn drops it.

use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use pyo3::PyTraverseError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use send_wrapper::SendWrapper;

use crate::host::Host;
use crate::signal::Signal;

/// A value that only the thread of its event loop may touch.
pub(crate) struct Local<T: 'static> {
    /// `None` only while it is dropped.
    value: Option<SendWrapper<T>>,
    signal: Arc<Signal>,
}

/// A thread that has an event loop, as the others see it.
pub(crate) struct Home {
    thread: Token,
    /// Values that were let go of on other threads.
    returned: Mutex<Vec<Box<dyn Any + Send>>>,
}

/// The number of a thread: compared in a fraction of the time that a `ThreadId` takes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Token(u64);

static LAST_TOKEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static TOKEN: Cell<u64> = const { Cell::new(0) };
    static HOME: Arc<Home> = Arc::new(Home { thread: Token::here(), returned: Mutex::default() });
}

impl<T> Local<T> {
    pub(crate) fn new(value: T, host: &Host) -> Self {
        Local { value: Some(SendWrapper::new(value)), signal: host.signal() }
    }

    /// Returns the value, on its own thread.
    pub(crate) fn get(&self) -> Option<&T> {
        match &self.value {
            Some(value) if self.signal.home().is_here() => Some(value),
            _ => None,
        }
    }

    /// Returns the value; raises `RuntimeError` on any other thread.
    pub(crate) fn here(&self) -> PyResult<&T> {
        self.get().ok_or_else(elsewhere)
    }
}

impl<T> Drop for Local<T> {
    fn drop(&mut self) {
        if self.signal.home().is_here() {
            return;
        }
        if let Some(value) = self.value.take() {
            self.signal.home().returned.lock().push(Box::new(value));
            self.signal.raise();
        }
    }
}

/// Shows the garbage collector what is in a cell.
pub(crate) fn visit_cell<T>(cell: &Cell<Option<Py<T>>>, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
    let value = cell.take();
    let visited = visit.call(&value);
    cell.set(value);
    visited
}

impl Home {
    /// Returns that of this thread.
    pub(crate) fn here() -> Arc<Self> {
        HOME.with(Arc::clone)
    }

    pub(crate) fn is_here(&self) -> bool {
        self.thread == Token::here()
    }

    /// Drops what other threads have let go of.
    pub(crate) fn drop_returned(&self) {
        let returned = std::mem::take(&mut *self.returned.lock());
        drop(returned);
    }
}

/// The thread is over, and what belongs to it may be touched by no other.
impl Drop for Home {
    fn drop(&mut self) {
        std::mem::forget(std::mem::take(self.returned.get_mut()));
    }
}

impl Token {
    fn here() -> Self {
        TOKEN.with(|token| {
            if token.get() == 0 {
                token.set(LAST_TOKEN.fetch_add(1, Ordering::Relaxed) + 1);
            }
            Token(token.get())
        })
    }
}

#[cold]
fn elsewhere() -> PyErr {
    PyRuntimeError::new_err(
        "this belongs to the thread of its event loop; use ws.handle() from other threads, made on that thread, \
         or asyncio.run_coroutine_threadsafe()",
    )
}
