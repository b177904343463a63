//! Brokers, the hub, and publishing without serving.

use std::path::PathBuf;
use std::time::Duration;

use nexios::broker::{self, BrokerMetrics, Durability, Gap, Topic};
use parking_lot::Mutex;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Which broker, and how it is used; `place` is a URL or a `MemoryBroker`.
///
/// >>> broker = Broker("redis://:secret@localhost:6379", namespace="chat", connect_timeout=2)
/// >>> broker
/// Broker { url: "redis://localhost:6379", namespace: "chat", .. }
/// >>> app = NexiosApp(broker=broker)
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct Broker(broker::Broker);

impl Broker {
    pub(crate) fn broker(&self) -> broker::Broker {
        self.0.clone()
    }
}

#[pymethods]
impl Broker {
    #[new]
    #[pyo3(signature = (
        place, *, namespace = None, connect_timeout = None, outgoing_messages_max = None, outgoing_bytes_max = None,
        incoming_bytes_max = None, presence_ttl = None, presence_bytes_max = None, durability = None, tls_ca = None, tls_cert = None,
        tls_key = None,
    ))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn new(
        place: &Bound<'_, PyAny>,
        namespace: Option<String>,
        connect_timeout: Option<f64>,
        outgoing_messages_max: Option<usize>,
        outgoing_bytes_max: Option<usize>,
        incoming_bytes_max: Option<usize>,
        presence_ttl: Option<f64>,
        presence_bytes_max: Option<usize>,
        durability: Option<&str>,
        tls_ca: Option<PathBuf>,
        tls_cert: Option<PathBuf>,
        tls_key: Option<PathBuf>,
    ) -> PyResult<Self> {
        let mut broker = match (place.cast::<MemoryBroker>(), place.extract::<String>()) {
            (Ok(memory), _) => broker::Broker::from(&memory.get().0),
            (_, Ok(url)) => broker::Broker::new(url),
            _ => return Err(PyTypeError::new_err("a broker is a URL or a MemoryBroker")),
        };
        if let Some(namespace) = namespace {
            broker = broker.namespace(namespace);
        }
        if let Some(seconds) = connect_timeout {
            let timeout = Duration::try_from_secs_f64(seconds).map_err(|error| value_error(&error))?;
            broker = broker.connect_timeout(timeout);
        }
        if let Some(seconds) = presence_ttl {
            let ttl = Duration::try_from_secs_f64(seconds).map_err(|error| value_error(&error))?;
            broker = broker.presence_ttl(ttl);
        }
        if let Some(bytes) = presence_bytes_max {
            broker = broker.presence_bytes_max(bytes);
        }
        if let Some(messages) = outgoing_messages_max {
            broker = broker.outgoing_messages_max(messages);
        }
        if let Some(bytes) = outgoing_bytes_max {
            broker = broker.outgoing_bytes_max(bytes);
        }
        if let Some(bytes) = incoming_bytes_max {
            broker = broker.incoming_bytes_max(bytes);
        }
        if let Some(level) = durability {
            broker = broker.durability(match level {
                "accepted" => Durability::Accepted,
                "stored" => Durability::Stored,
                "replicated" => Durability::Replicated,
                _ => return Err(PyValueError::new_err("durability is 'accepted', 'stored' or 'replicated'")),
            });
        }
        if let Some(path) = tls_ca {
            broker = broker.tls_ca(path);
        }
        if let Some(path) = tls_cert {
            broker = broker.tls_cert(path);
        }
        if let Some(path) = tls_key {
            broker = broker.tls_key(path);
        }
        broker.check().map_err(|error| value_error(&error))?;
        Ok(Broker(broker))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// A broker in memory, for several apps of one process: for tests.
///
/// >>> broker = MemoryBroker()
/// >>> one, other = NexiosApp(broker=broker), NexiosApp(broker=broker)
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct MemoryBroker(broker::Memory);

#[pymethods]
impl MemoryBroker {
    #[new]
    fn new() -> Self {
        MemoryBroker(broker::Memory::new())
    }

    /// Goes away, as a broker does whose machine fails.
    ///
    /// >>> broker = MemoryBroker()
    /// >>> broker.stop()
    /// >>> try:
    /// ...     Publisher(Broker(broker, connect_timeout=0.1)).app.broadcast("hello")
    /// ... except BrokerError as error:
    /// ...     print(error)
    /// cannot reach the broker in memory: the broker in memory is stopped
    fn stop(&self) {
        self.0.stop();
    }

    /// Drops the histories of all rooms, like a broker that comes back without its data.
    ///
    /// >>> broker = MemoryBroker()
    /// >>> broker.forget()
    fn forget(&self) {
        self.0.forget();
    }

    /// Comes back: nodes connect again by themselves.
    ///
    /// >>> broker = MemoryBroker()
    /// >>> broker.stop()
    /// >>> broker.start()
    /// >>> Publisher(broker).app.broadcast("hello")
    /// Published(stored=None, replicated=0, duplicate=False)
    fn start(&self) {
        self.0.start();
    }
}

/// The hub of the processes of one machine; it runs until `close()`.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct Hub {
    running: Mutex<Option<broker::RunningHub>>,
    /// Which has its threads, and its socket.
    process: u32,
}

#[pymethods]
impl Hub {
    #[new]
    fn new(path: std::path::PathBuf) -> PyResult<Self> {
        let running = broker::Hub::bind(path)?.start()?;
        Ok(Hub { running: Mutex::new(Some(running)), process: std::process::id() })
    }

    fn close(&self, py: Python<'_>) {
        let running = self.running.lock().take();
        match self.process == std::process::id() {
            true => py.detach(|| drop(running)),
            // It goes on in the process that was forked.
            false => std::mem::forget(running),
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}

/// Calls a gap listener; what it starts runs later.
pub(crate) fn report(listener: &Py<PyAny>, gap: &Gap) {
    let (router, room) = match &gap.topic {
        Some(Topic::Router(name)) => (Some(&**name), None),
        Some(Topic::Room(name)) => (None, Some(&**name)),
        _ => (None, None),
    };
    Python::attach(|py| {
        if let Err(error) = listener.call1(py, (router, room, gap.missed, gap.cause.name())) {
            error.write_unraisable(py, None);
        }
    });
}

pub(crate) fn metrics<'py>(py: Python<'py>, metrics: &BrokerMetrics) -> PyResult<Bound<'py, PyDict>> {
    let gaps = PyDict::new(py);
    for (cause, count) in &metrics.gaps {
        gaps.set_item(cause.name(), count)?;
    }
    let counters = PyDict::new(py);
    counters.set_item("connected", metrics.connected)?;
    counters.set_item("reconnects", metrics.reconnects)?;
    counters.set_item("published", metrics.published)?;
    counters.set_item("refused", metrics.refused)?;
    counters.set_item("received", metrics.received)?;
    counters.set_item("duplicates", metrics.duplicates)?;
    counters.set_item("unreadable", metrics.unreadable)?;
    counters.set_item("missed", metrics.missed)?;
    counters.set_item("stored", metrics.stored)?;
    counters.set_item("read", metrics.read)?;
    counters.set_item("resyncs", metrics.resyncs)?;
    counters.set_item("resets", metrics.resets)?;
    counters.set_item("gaps", gaps)?;
    Ok(counters)
}

fn value_error(error: &dyn std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}
