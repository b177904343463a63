//! The app on its way to an engine.

use std::sync::Arc;

use nexios::StaticFiles;
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::asgi::Asgi;
use crate::broker::Broker;
use crate::router::WsRouter;
use crate::settings;

/// An app that is being put together.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct App {
    app: Mutex<Option<nexios::App>>,
    /// Files are read in threads of a runtime.
    pub(crate) files: bool,
}

impl App {
    pub(crate) fn take(&self) -> PyResult<nexios::App> {
        self.app.lock().take().ok_or_else(|| PyRuntimeError::new_err("this app is built already"))
    }
}

#[pymethods]
impl App {
    #[new]
    #[pyo3(signature = (
        router, server, trusted_proxies, files, health, http = None, broker = None, allowed_hosts = None,
        access_log = false
    ))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn new(
        router: &WsRouter,
        server: &Bound<'_, PyDict>,
        trusted_proxies: Vec<String>,
        files: Vec<(String, std::path::PathBuf, bool, bool)>,
        health: Option<String>,
        http: Option<&Bound<'_, PyAny>>,
        broker: Option<&Broker>,
        allowed_hosts: Option<Vec<String>>,
        access_log: bool,
    ) -> PyResult<Self> {
        let mut settings = nexios::ServerSettings::default();
        settings::server(server, &mut settings)?;
        let mut app = nexios::App::from(router.take()?).trusted_proxies(trusted_proxies);
        app = app.server(|server| *server = settings).access_log(access_log);
        if let Some(hosts) = allowed_hosts {
            app = app.allowed_hosts(hosts);
        }
        let has_files = !files.is_empty();
        for (path, directory, hidden, links) in files {
            app = app.static_files(path, StaticFiles::of(directory).hidden_files(hidden).follow_links(links));
        }
        if let Some(path) = health {
            app = app.health(path);
        }
        if let Some(http) = http {
            let asgi = Arc::new(Asgi::new(http)?);
            app = app.front_http(move |request| asgi.answer(request));
        }
        if let Some(broker) = broker {
            app = app.broker(broker.broker());
        }
        Ok(App { app: Mutex::new(Some(app)), files: has_files })
    }

    /// Raises `ValueError` where the app contradicts itself.
    fn check(&self) -> PyResult<()> {
        self.take()?.build().map(drop).map_err(|error| PyValueError::new_err(error.to_string()))
    }
}
