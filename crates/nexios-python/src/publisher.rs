//! Publishing without serving.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use nexios::broker::{self, Published};
use parking_lot::Mutex;
use pyo3::exceptions::{PyTimeoutError, PyValueError};
use pyo3::prelude::*;

use crate::broadcast::client_refs;
use crate::broker::Broker;
use crate::convert::with_message;
use crate::errors;
use crate::room_handle;

/// A signal is handled within this time.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// Sends to the clients of an app without being a node of it; on any thread, and in a process that was forked.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct Publisher {
    broker: broker::Broker,
    connected: Mutex<Option<Connected>>,
}

/// A connection, and the process that made it.
struct Connected {
    process: u32,
    publisher: broker::Publisher,
}

#[pymethods]
impl Publisher {
    #[new]
    fn new(py: Python<'_>, broker: &Broker) -> PyResult<Self> {
        let broker = broker.broker();
        let connected = Mutex::new(Some(Connected::begin(py, &broker)?));
        Ok(Publisher { broker, connected })
    }

    /// Queues a message for a router, a room or all; `history` is that of the room, in messages and seconds.
    #[pyo3(signature = (router, room, clients, history, message, exclude, key, idempotency_key, compress))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn publish(
        &self,
        py: Python<'_>,
        router: Option<&str>,
        room: Option<&str>,
        clients: Option<&Bound<'_, PyAny>>,
        history: Option<(usize, f64)>,
        message: &Bound<'_, PyAny>,
        exclude: Option<&Bound<'_, PyAny>>,
        key: Option<String>,
        idempotency_key: Option<String>,
        compress: Option<bool>,
    ) -> PyResult<Publishing> {
        let message = with_message(message, |message| message.to_message())?;
        let publisher = self.publisher(py)?;
        let mut audience = match (router, room) {
            (Some(router), _) => publisher.router(router),
            (None, Some(room)) => publisher.room(room),
            (None, None) => publisher.app(),
        };
        if let Some(clients) = clients {
            audience = audience.only(client_refs(clients)?);
        }
        if let Some(exclude) = exclude {
            audience = audience.exclude(client_refs(exclude)?);
        }
        if let Some(size_and_ttl) = history {
            audience = audience.with_history(room_handle::history(size_and_ttl)?);
        }
        if let Some(key) = key {
            audience = audience.key(key);
        }
        if let Some(key) = idempotency_key {
            audience = audience.idempotency_key(key);
        }
        if let Some(on) = compress {
            audience = audience.compress(on);
        }
        Ok(Publishing(Mutex::new(Some(audience.broadcast(message)))))
    }

    /// Sends what is left.
    fn close(&self, py: Python<'_>) {
        let connected = self.connected.lock().take();
        py.detach(|| drop(connected));
    }
}

impl Publisher {
    /// Returns the connection of this process; one that was forked makes its own.
    fn publisher(&self, py: Python<'_>) -> PyResult<broker::Publisher> {
        let is_here = |connected: &Connected| connected.process == std::process::id();
        match &*self.connected.lock() {
            None => return Err(PyValueError::new_err("the publisher is closed")),
            Some(connected) if is_here(connected) => return Ok(connected.publisher.clone()),
            Some(_) => {}
        }
        let connected = Connected::begin(py, &self.broker)?;
        let publisher = connected.publisher.clone();
        let before = self.connected.lock().replace(connected);
        drop(before);
        Ok(publisher)
    }
}

/// Its thread ends with it, and must not wait for the one that collects the garbage.
impl Drop for Publisher {
    fn drop(&mut self) {
        let connected = self.connected.lock().take();
        Python::attach(|py| py.detach(|| drop(connected)));
    }
}

impl Connected {
    fn begin(py: Python<'_>, broker: &broker::Broker) -> PyResult<Self> {
        let connecting = broker::Publisher::connect(broker.clone());
        let connected = wait(py, Box::pin(connecting), None)?.unwrap_or_else(|| Err(never()));
        let publisher = connected.map_err(|error| errors::broker(py, &error))?;
        Ok(Connected { process: std::process::id(), publisher })
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // Its thread is in the process that was forked: nobody can be waited for here.
            std::mem::forget(self.publisher.clone());
        }
    }
}

/// A message on its way to the broker.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct Publishing(Mutex<Option<broker::Publishing>>);

#[pymethods]
impl Publishing {
    /// Blocks until the broker has it, for so many seconds at most, and says where it is stored, how many other
    /// servers have it and whether it was there before; on any thread, once. Signals are handled meanwhile.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<(Option<String>, u32, bool)> {
        let invalid = |_| PyValueError::new_err(format!("invalid timeout {timeout:?}: must be a number of seconds"));
        let max = timeout.map(Duration::try_from_secs_f64).transpose().map_err(invalid)?;
        let Some(publishing) = self.0.lock().take() else { return Ok((None, 0, false)) };
        let Some(published) = wait(py, Box::pin(publishing), max)? else {
            let seconds = timeout.unwrap_or_default();
            let text = format!("the broker has not confirmed the message within {seconds} s: it may still be sent");
            return Err(PyTimeoutError::new_err(text));
        };
        let published = published.map_err(|error| errors::broker(py, &error))?;
        let Published { stored, replicated, duplicate, .. } = published;
        Ok((stored.map(|position| position.to_string()), replicated, duplicate))
    }
}

fn never() -> broker::BrokerError {
    broker::BrokerError::Unavailable("it was not waited for".to_owned())
}

/// Blocks until a future is ready, without the GIL; `None` after `max`. What a signal handler raises is raised.
fn wait<T: Send>(
    py: Python<'_>,
    mut future: Pin<Box<dyn Future<Output = T> + Send>>,
    max: Option<Duration>,
) -> PyResult<Option<T>> {
    let end = max.and_then(|max| Instant::now().checked_add(max));
    loop {
        let polled = py.detach(|| {
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_pending() {
                let left = end.map(|end| end.saturating_duration_since(Instant::now()));
                std::thread::park_timeout(left.unwrap_or(SIGNALS_EVERY).min(SIGNALS_EVERY));
            }
            polled
        });
        if let Poll::Ready(output) = polled {
            return Ok(Some(output));
        }
        py.check_signals()?;
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(None);
        }
    }
}

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
