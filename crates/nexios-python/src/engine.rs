//! A served app on one event loop.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexios_engine::{Listener, Server};
use parking_lot::Mutex;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::app::App;
use crate::broker;
use crate::errors;
use crate::host::Host;
use crate::local::Local;

/// The least by which a test moves the clock, so that it gets to its end.
const CLOCK_STEP: Duration = Duration::from_millis(1);

/// Drives connections on the thread of an event loop, which calls `turn`.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct Engine {
    host: Local<Rc<Host>>,
    server: Server,
    built: Arc<nexios::serve::BuiltApp>,
    broker: Mutex<Option<nexios::serve::Connected>>,
    log: tracing::Dispatch,
}

impl Engine {
    pub(crate) fn host(&self) -> PyResult<&Rc<Host>> {
        self.host.here()
    }

    pub(crate) fn shard(&self) -> PyResult<nexios_engine::Shard> {
        self.host()?.shard().ok_or_else(|| PyRuntimeError::new_err("the server has ended"))
    }

    fn listen(&self, listener: Listener) -> PyResult<()> {
        Ok(self.shard()?.listen(listener)?)
    }
}

#[pymethods]
impl Engine {
    #[new]
    fn new(app: &App, event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let built = app.take()?.build().map_err(|error| PyValueError::new_err(error.to_string()))?;
        let server = Server::new(built.server_settings().clone());
        let shard = server.shard(Instant::now())?;
        built.run_on(&server, &shard);
        let service = shard.service::<nexios::serve::ShardService>();
        let host = Host::new(event_loop, shard, app.files)?;
        if let Some(service) = service {
            host.forget_ended(&service);
        }
        let log = tracing::dispatcher::get_default(Clone::clone);
        Ok(Engine { host: Local::new(host.clone(), &host), server, built, broker: Mutex::default(), log })
    }

    #[getter]
    fn has_broker(&self) -> bool {
        self.built.has_broker() || self.built.has_own_node()
    }

    /// Waits until the broker is reached; on any thread.
    fn connect(&self, py: Python<'_>) -> PyResult<()> {
        let connect = || tracing::dispatcher::with_default(&self.log, || self.built.connect());
        let connected = py.detach(connect);
        *self.broker.lock() = Some(connected.map_err(|error| errors::broker(py, &error))?);
        Ok(())
    }

    /// Sends what waits for the broker and ends the connection; on any thread.
    fn disconnect(&self, py: Python<'_>) {
        let connected = self.broker.lock().take();
        py.detach(|| {
            drop(connected);
            self.built.end();
        });
    }

    /// The counters of the broker, by the names of `BrokerMetrics`; on any thread.
    fn broker_metrics<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.built.handle().broker_metrics().map(|metrics| broker::metrics(py, &metrics)).transpose()
    }

    /// The descriptors that the loop watches: the poller's, and the one on which other threads ring.
    fn fds(&self) -> PyResult<(i32, i32)> {
        Ok((self.shard()?.fd(), self.host()?.alarm_fd()))
    }

    /// Lets the loop call for turns, until `close()`.
    fn begin(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (turn, ring) = (slf.getattr("turn")?, slf.getattr("ring")?);
        slf.get().host()?.set_turn(turn.unbind(), ring.unbind());
        Ok(())
    }

    /// A turn that the timer calls for.
    fn ring(&self, py: Python<'_>) -> PyResult<()> {
        let host = self.host()?.clone();
        host.ring(py)
    }

    /// A turn that another thread calls for.
    fn alarm(&self, py: Python<'_>) -> PyResult<()> {
        let host = self.host()?.clone();
        host.alarm(py)
    }

    /// Polls, resumes handlers, writes.
    fn turn(&self, py: Python<'_>) -> PyResult<()> {
        let host = self.host()?.clone();
        host.turn(py)
    }

    /// Listens on a host and port; returns the addresses.
    #[pyo3(signature = (host, port, *, reuse_port = false, tls = None))]
    fn listen_tcp(
        &self,
        host: &str,
        port: u16,
        reuse_port: bool,
        tls: Option<(PathBuf, PathBuf)>,
    ) -> PyResult<Vec<(String, u16)>> {
        let config = tls_config(tls)?;
        let resolved: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
        // Port 0 would pick a different one for each address.
        let count = if port == 0 { 1 } else { usize::MAX };
        let mut addresses = Vec::new();
        for address in resolved.into_iter().take(count) {
            let bound = Listener::bind_shared(address, reuse_port);
            let mut listener = bound.map_err(|error| cannot_listen(&address.to_string(), &error))?;
            addresses.extend(listener.local_address().map(|address| (address.ip().to_string(), address.port())));
            if let Some(config) = &config {
                listener = listener.with_tls(config.clone());
            }
            self.listen(listener)?;
        }
        Ok(addresses)
    }

    /// Listens on a Unix socket.
    fn listen_unix(&self, path: PathBuf) -> PyResult<()> {
        let bound = Listener::bind_unix(&path);
        self.listen(bound.map_err(|error| cannot_listen(&path.display().to_string(), &error))?)
    }

    /// Accepts from a descriptor that listens already, and owns it from now on.
    #[pyo3(signature = (fd, *, tls = None))]
    fn listen_fd(&self, fd: i32, tls: Option<(PathBuf, PathBuf)>) -> PyResult<()> {
        if fd < 0 {
            return Err(PyValueError::new_err("a descriptor is not negative"));
        }
        let config = tls_config(tls)?;
        // SAFETY: the package gives away a descriptor that it has just duplicated.
        #[allow(unsafe_code, reason = "descriptors from Python are plain numbers")]
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let listener = Listener::from_fd(fd).map_err(|error| cannot_listen("the descriptor", &error))?;
        self.listen(match config {
            Some(config) => listener.with_tls(config),
            None => listener,
        })
    }

    /// Stops accepting and closes all connections with 1012, spread over some time.
    fn shutdown(&self, py: Python<'_>, jitter: f64) -> PyResult<()> {
        self.shard()?.close_all(Duration::try_from_secs_f64(jitter).unwrap_or_default());
        self.host()?.settle(py);
        Ok(())
    }

    #[getter]
    fn connection_count(&self) -> PyResult<usize> {
        Ok(self.host()?.shard().map_or(0, |shard| shard.connection_count()))
    }

    /// Returns true if no connection and no task lives here any more.
    #[getter]
    fn is_idle(&self) -> PyResult<bool> {
        let host = self.host()?;
        Ok(host.request_tasks.borrow().is_empty() && host.shard().is_none_or(|shard| shard.is_idle()))
    }

    /// Seconds that handlers get to end.
    #[getter]
    fn shutdown_grace(&self) -> f64 {
        self.server.settings().shutdown_grace.as_secs_f64()
    }

    /// The counters at this moment, by the names of `MetricsSnapshot`; on any thread.
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metrics = self.server.metrics();
        let causes = PyDict::new(py);
        for (cause, count) in metrics.causes {
            causes.set_item(cause.name(), count)?;
        }
        let counters = PyDict::new(py);
        counters.set_item("connections", metrics.connections)?;
        counters.set_item("connected_total", metrics.connected_total)?;
        counters.set_item("dropped_total", metrics.dropped_total)?;
        counters.set_item("causes", causes)?;
        Ok(counters)
    }

    /// Moves the engine's clock to its next deadline, or by so many seconds; returns those that are left.
    fn advance(&self, py: Python<'_>, seconds: f64) -> PyResult<f64> {
        let host = self.host()?;
        let now = host.now();
        let end =
            now + Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let next = self.shard()?.next_timeout().map_or(end, |at| at.max(now + CLOCK_STEP).min(end));
        host.go_ahead(py, next - now);
        Ok((end - next).as_secs_f64())
    }

    /// Cuts what is left and cancels its handlers; returns their tasks.
    fn close(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let host = self.host()?.clone();
        host.close(py)
    }
}

/// The broker's thread ends with it, and must not wait for the one that collects the garbage.
impl Drop for Engine {
    fn drop(&mut self) {
        let connected = self.broker.lock().take();
        if connected.is_some() || self.built.has_own_node() {
            Python::attach(|py| {
                py.detach(|| {
                    drop(connected);
                    self.built.end();
                });
            });
        }
    }
}

fn tls_config(tls: Option<(PathBuf, PathBuf)>) -> PyResult<Option<Arc<nexios::tls::TlsConfig>>> {
    let Some((certificates, key)) = tls else { return Ok(None) };
    let config = nexios::Tls::files(certificates, key).server_config();
    config.map(Some).map_err(|error| match error {
        error @ nexios::tls::TlsError::File { .. } => PyOSError::new_err((None::<i32>, error.to_string())),
        error => PyValueError::new_err(error.to_string()),
    })
}

fn cannot_listen(address: &str, error: &std::io::Error) -> PyErr {
    PyOSError::new_err((error.raw_os_error(), format!("cannot listen on {address}: {error}")))
}
