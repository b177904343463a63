//! Routers while they are built.

use std::sync::Arc;

use nexios::{Message, Route};
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::broker;
use crate::presence;
use crate::route::{Direct, Guarded, PyRoute};
use crate::router_handle::RouterHandle;
use crate::run::{self, Call, Run};
use crate::settings::Level;

/// A router on its way into an app.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct WsRouter(Mutex<Option<nexios::WsRouter>>);

impl WsRouter {
    fn change(&self, change: impl FnOnce(nexios::WsRouter) -> nexios::WsRouter) -> PyResult<()> {
        let router = self.take()?;
        *self.0.lock() = Some(change(router));
        Ok(())
    }

    pub(crate) fn take(&self) -> PyResult<nexios::WsRouter> {
        self.0.lock().take().ok_or_else(|| PyRuntimeError::new_err("this router is mounted already"))
    }
}

#[pymethods]
impl WsRouter {
    #[new]
    fn new(prefix: &str, name: Option<String>, settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut router = nexios::WsRouter::with_prefix(prefix);
        if let Some(name) = name {
            router = router.named(name);
        }
        let level = Level::of(settings)?;
        level.require_no_route_settings()?;
        for change in level.changes {
            router = router.settings(change);
        }
        if let Some(origins) = level.allowed_origins {
            router = router.allowed_origins(origins);
        }
        if let Some(on) = level.refuse_before_accept {
            router = router.refuse_before_accept(on);
        }
        if let Some((min, max)) = level.retry {
            router = router.retry(min, max);
        }
        if let Some(rooms) = level.watched_rooms_max {
            router = router.watched_rooms_max(rooms);
        }
        if let Some(timeout) = level.hold_timeout {
            router = router.hold_timeout(timeout);
        }
        if let Some(delay) = level.leave_delay {
            router = router.leave_delay(delay);
        }
        if let Some(on) = level.live {
            router = router.live(on);
        }
        Ok(WsRouter(Mutex::new(Some(router))))
    }

    #[pyo3(signature = (path, *, name, start, info, accept, guarded, settings))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn route(
        &self,
        path: &str,
        name: Option<String>,
        start: Py<PyAny>,
        info: &Bound<'_, PyAny>,
        accept: Option<Py<PyAny>>,
        guarded: bool,
        settings: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let python = Arc::new(PyRoute::new(start, info, accept)?);
        let mut route = Route::new(path, Direct(python.clone()));
        if guarded {
            route = route.middleware(Guarded(python));
        }
        if let Some(name) = name {
            route = route.name(name);
        }
        let level = Level::of(settings)?;
        for change in level.changes {
            route = route.settings(change);
        }
        if let Some(origins) = level.allowed_origins {
            route = route.allowed_origins(origins);
        }
        if let Some(on) = level.refuse_before_accept {
            route = route.refuse_before_accept(on);
        }
        if let Some(subprotocols) = level.subprotocols {
            route = route.subprotocols(subprotocols);
        }
        if let Some(on) = level.cancel_on_disconnect {
            route = route.cancel_on_disconnect(on);
        }
        if let Some((min, max)) = level.retry {
            route = route.retry(min, max);
        }
        if let Some(rooms) = level.watched_rooms_max {
            route = route.watched_rooms_max(rooms);
        }
        if let Some(timeout) = level.hold_timeout {
            route = route.hold_timeout(timeout);
        }
        if let Some(delay) = level.leave_delay {
            route = route.leave_delay(delay);
        }
        if let Some(on) = level.live {
            route = route.live(on);
        }
        self.change(|router| router.route(route))
    }

    fn on_disconnect(&self, listener: Py<PyAny>) -> PyResult<()> {
        let listener = Arc::new(listener);
        self.change(|router| router.on_disconnect(move |ws| Run::new(ws, Call::Listener(listener.clone()))))
    }

    fn on_message(&self, listener: Py<PyAny>) -> PyResult<()> {
        let listener = Arc::new(listener);
        let call = move |ws, message: Message| Run::new(ws, Call::Message(listener.clone(), message));
        self.change(|router| router.on_message(call))
    }

    fn on_drop(&self, listener: Py<PyAny>) -> PyResult<()> {
        let listener = Arc::new(listener);
        let call = move |ws, messages: Vec<Message>| Run::new(ws, Call::Dropped(listener.clone(), messages));
        self.change(|router| router.on_drop(call))
    }

    /// Calls `listener(router, room, missed, cause)` on the thread of the event loop.
    fn on_gap(&self, listener: Py<PyAny>) -> PyResult<()> {
        let call = move |gap| {
            broker::report(&listener, &gap);
            std::future::ready(())
        };
        self.change(|router| router.on_gap(call))
    }

    /// Calls `listener("join", room, user, data, here)` on the thread of the event loop, data as JSON.
    fn on_join(&self, listener: Py<PyAny>) -> PyResult<()> {
        let call = move |event| {
            presence::announce(&listener, "join", &event);
            std::future::ready(())
        };
        self.change(|router| router.on_join(call))
    }

    /// Calls `listener("leave", room, user, data, here)` on the thread of the event loop, data as JSON.
    fn on_leave(&self, listener: Py<PyAny>) -> PyResult<()> {
        let call = move |event| {
            presence::announce(&listener, "leave", &event);
            std::future::ready(())
        };
        self.change(|router| router.on_leave(call))
    }

    fn authorize_join(&self, function: Py<PyAny>) -> PyResult<()> {
        let function = Arc::new(function);
        self.change(|router| router.authorize_join(move |ws, room| run::permission(ws, function.clone(), room)))
    }

    fn authorize_history(&self, function: Py<PyAny>) -> PyResult<()> {
        let function = Arc::new(function);
        self.change(|router| router.authorize_history(move |ws, room| run::permission(ws, function.clone(), room)))
    }

    fn authorize_publish(&self, function: Py<PyAny>) -> PyResult<()> {
        let function = Arc::new(function);
        self.change(|router| router.authorize_publish(move |ws, room| run::permission(ws, function.clone(), room)))
    }

    fn authorize_presence(&self, function: Py<PyAny>) -> PyResult<()> {
        let function = Arc::new(function);
        self.change(|router| router.authorize_presence(move |ws, room| run::permission(ws, function.clone(), room)))
    }

    fn authorize_leave(&self, function: Py<PyAny>) -> PyResult<()> {
        let function = Arc::new(function);
        self.change(|router| router.authorize_leave(move |ws, room| run::permission(ws, function.clone(), room)))
    }

    fn on_request(&self, method: &str, function: Py<PyAny>) -> PyResult<()> {
        let function = Arc::new(function);
        let call = move |ws, argument: Message| run::reply(ws, function.clone(), argument);
        self.change(|router| router.on_request(method, call))
    }

    fn mount(&self, router: &WsRouter) -> PyResult<()> {
        let child = router.take()?;
        self.change(|router| router.mount(child))
    }

    fn handle(&self) -> PyResult<RouterHandle> {
        match &*self.0.lock() {
            Some(router) => Ok(RouterHandle::new(router.handle())),
            None => Err(PyRuntimeError::new_err("this router is mounted already")),
        }
    }
}
