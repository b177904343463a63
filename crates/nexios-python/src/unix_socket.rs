//! A Unix socket that several processes serve.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nexios_engine::Listener;
use parking_lot::Mutex;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// A listening Unix socket; its file goes with it.
#[pyclass(frozen)]
pub(crate) struct UnixSocket {
    listener: Mutex<Option<Listener>>,
}

#[pymethods]
impl UnixSocket {
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        let bound = Listener::bind_unix(&path);
        let error = |error: std::io::Error| PyOSError::new_err(format!("cannot listen on {}: {error}", path.display()));
        Ok(UnixSocket { listener: Mutex::new(Some(bound.map_err(error)?)) })
    }

    fn fileno(&self) -> PyResult<i32> {
        let listener = self.listener.lock();
        let listener = listener.as_ref().ok_or_else(|| PyOSError::new_err("the socket is closed"))?;
        Ok(listener.as_fd().as_raw_fd())
    }

    /// Removes its file; later calls do nothing.
    fn close(&self) {
        self.listener.lock().take();
    }
}
