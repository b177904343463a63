//! Routers while they are built, and the handles by which they broadcast.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use nexios::broker::{History, HistoryPage, Position, StoredMessage};
use nexios::{Message, Outcome, Room, Route, broadcast::ClientRef};
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::broker;
use crate::completed::Completed;
use crate::convert::{message_to_python, with_message};
use crate::errors;
use crate::handle::Handle;
use crate::presence;
use crate::route::{Direct, Guarded, PyRoute};
use crate::run::{self, Call, Run};
use crate::settings::Level;
use crate::waiting::Waiting;
use crate::websocket::WebSocket;

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
            broker::tell(&listener, &gap);
            std::future::ready(())
        };
        self.change(|router| router.on_gap(call))
    }

    /// Calls `listener("join", room, user, data, here)` on the thread of the event loop, data as JSON.
    fn on_join(&self, listener: Py<PyAny>) -> PyResult<()> {
        let call = move |event| {
            presence::tell(&listener, "join", &event);
            std::future::ready(())
        };
        self.change(|router| router.on_join(call))
    }

    /// The same with `"leave"`.
    fn on_leave(&self, listener: Py<PyAny>) -> PyResult<()> {
        let call = move |event| {
            presence::tell(&listener, "leave", &event);
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
            Some(router) => Ok(RouterHandle { handle: router.handle(), room: None, declared: Mutex::default() }),
            None => Err(PyRuntimeError::new_err("this router is mounted already")),
        }
    }
}

/// Broadcasts to a router's clients, or to those of a room.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct RouterHandle {
    handle: nexios::RouterHandle,
    room: Option<Room>,
    declared: Mutex<Vec<RouterHandle>>,
}

impl RouterHandle {
    fn presence_room(&self) -> nexios::Room {
        self.room.clone().unwrap_or_else(|| self.handle.room(""))
    }

    fn broadcasting(&self, message: Message) -> nexios::future::Broadcasting {
        match &self.room {
            Some(room) => room.broadcast(message),
            None => self.handle.broadcast(message),
        }
    }

    fn broadcasting_to(&self, clients: Vec<ClientRef>, message: Message) -> nexios::future::BroadcastingTo {
        match &self.room {
            Some(room) => room.broadcast_to(clients, message),
            None => self.handle.broadcast_to(clients, message),
        }
    }
}

#[pymethods]
impl RouterHandle {
    /// A room; one that remembers where it has a size and a number of seconds.
    fn room(&self, name: &str, history: Option<(usize, f64)>) -> PyResult<RouterHandle> {
        let mut room = self.handle.room(name);
        if let Some(history) = history {
            room = room.remembering(self::history(history)?);
        }
        Ok(RouterHandle { handle: self.handle.clone(), room: Some(room), declared: Mutex::default() })
    }

    /// A room remembers, for as long as the app is served.
    fn declare(&self, name: &str, history: (usize, f64)) -> PyResult<()> {
        let declared = self.room(name, Some(history))?;
        self.declared.lock().push(declared);
        Ok(())
    }

    /// Reads what a room remembers: `page(messages, position, recovered)`, each message as
    /// `(message, position, time)`.
    fn history(
        &self,
        py: Python<'_>,
        engine: &crate::engine::Engine,
        page: Py<PyAny>,
        limit: usize,
        since: Option<&str>,
    ) -> PyResult<Py<PyAny>> {
        let room = self.room.as_ref().ok_or_else(|| PyRuntimeError::new_err("only rooms remember"))?;
        let mut reading = room.history().limit(limit);
        if let Some(since) = since {
            reading = reading.since(position(since));
        }
        Waiting::begin(py, engine.host()?, async move {
            let found = reading.await;
            Python::attach(|py| page_to_python(py, &page, found.map_err(|error| errors::broker(py, &error))?))
        })
    }

    fn count(&self) -> usize {
        match &self.room {
            Some(room) => room.count(),
            None => self.handle.count(),
        }
    }

    /// Of the engine on this thread.
    fn connections<'py>(
        &self,
        py: Python<'py>,
        engine: Option<&crate::engine::Engine>,
    ) -> PyResult<Bound<'py, PyList>> {
        let found = PyList::empty(py);
        let Some(engine) = engine else { return Ok(found) };
        let host = engine.host()?;
        let connections = match &self.room {
            Some(room) => room.local_members(),
            None => self.handle.local_connections(),
        };
        for connection in connections {
            let socket = host.sockets.borrow().get(&connection.id()).map(|socket| socket.clone_ref(py));
            if let Some(socket) = socket {
                found.append(socket)?;
            }
        }
        Ok(found)
    }

    #[pyo3(signature = (engine, outcome, message, exclude, key, idempotency_key, compress))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn broadcast(
        &self,
        py: Python<'_>,
        engine: Option<&crate::engine::Engine>,
        outcome: Py<PyAny>,
        message: &Bound<'_, PyAny>,
        exclude: Option<&Bound<'_, PyAny>>,
        key: Option<String>,
        idempotency_key: Option<String>,
        compress: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let message = with_message(message, |message| message.to_message())?;
        let mut broadcasting = self.broadcasting(message);
        if let Some(exclude) = exclude {
            broadcasting = broadcasting.exclude(client_refs(exclude)?);
        }
        if let Some(key) = key {
            broadcasting = broadcasting.key(key);
        }
        if let Some(key) = idempotency_key {
            broadcasting = broadcasting.idempotency_key(key);
        }
        if let Some(on) = compress {
            broadcasting = broadcasting.compress(on);
        }
        begin(py, engine, outcome, async move { broadcasting.await })
    }

    fn broadcast_to(
        &self,
        py: Python<'_>,
        engine: Option<&crate::engine::Engine>,
        outcome: Py<PyAny>,
        clients: &Bound<'_, PyAny>,
        message: &Bound<'_, PyAny>,
        compress: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let message = with_message(message, |message| message.to_message())?;
        let mut broadcasting = self.broadcasting_to(client_refs(clients)?, message);
        if let Some(on) = compress {
            broadcasting = broadcasting.compress(on);
        }
        begin(py, engine, outcome, async move { broadcasting.await })
    }

    fn track(&self, py: Python<'_>, ws: &Bound<'_, WebSocket>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        presence::track(py, &self.presence_room(), ws.get().ws()?, data)
    }

    fn untrack(&self, ws: &Bound<'_, WebSocket>) -> PyResult<bool> {
        Ok(self.presence_room().untrack_now(ws.get().ws()?))
    }

    fn presence(&self, py: Python<'_>, engine: &crate::engine::Engine, present: Py<PyAny>) -> PyResult<Py<PyAny>> {
        presence::list(py, engine.host()?, self.presence_room(), present)
    }

    fn presence_count(&self, py: Python<'_>, engine: &crate::engine::Engine) -> PyResult<Py<PyAny>> {
        presence::count(py, engine.host()?, self.presence_room())
    }
}

fn begin(
    py: Python<'_>,
    engine: Option<&crate::engine::Engine>,
    outcome: Py<PyAny>,
    broadcast: impl Future<Output = Outcome> + 'static,
) -> PyResult<Py<PyAny>> {
    let to_python = move |py: Python<'_>, found: Outcome| {
        let Outcome { count, dropped, unknown, forwarded, accepted, replicated, duplicate, .. } = found;
        let stored = found.stored.map(|position| position.to_string());
        outcome.call1(py, (count, dropped, unknown, forwarded, accepted, stored, replicated, duplicate))
    };
    let Some(engine) = engine else {
        // Nobody is served: there is nobody to wait for.
        let mut broadcast = Box::pin(broadcast);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        return match broadcast.as_mut().poll(&mut context) {
            std::task::Poll::Ready(found) => Completed::with(py, to_python(py, found)?),
            std::task::Poll::Pending => Err(PyRuntimeError::new_err("the server has ended")),
        };
    };
    Waiting::begin(py, engine.host()?, async move {
        let found = broadcast.await;
        Python::attach(|py| to_python(py, found))
    })
}

fn page_to_python(py: Python<'_>, page: &Py<PyAny>, found: HistoryPage) -> PyResult<Py<PyAny>> {
    let messages = PyList::empty(py);
    for stored in &found.messages {
        let StoredMessage { message, position, time, .. } = stored;
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        messages.append((message_to_python(py, message), position.to_string(), seconds))?;
    }
    page.call1(py, (messages, found.position.to_string(), found.recovered))
}

/// How much a room remembers, of so many messages and seconds.
pub(crate) fn history((size, seconds): (usize, f64)) -> PyResult<History> {
    let ttl = Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))?;
    History::try_new(size, ttl).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// A position as a client says it; what is none is one that nobody has ever been at.
pub(crate) fn position(text: &str) -> Position {
    text.parse().unwrap_or_default()
}

/// Connections, handles, or ids; one of them or several.
pub(crate) fn client_refs(clients: &Bound<'_, PyAny>) -> PyResult<Vec<ClientRef>> {
    if let Some(client) = client_ref(clients)? {
        return Ok(vec![client]);
    }
    let refs = clients.try_iter()?.map(|client| {
        let client = client?;
        client_ref(&client)?.ok_or_else(|| pyo3::exceptions::PyTypeError::new_err("expected ids or connections"))
    });
    refs.collect()
}

fn client_ref(client: &Bound<'_, PyAny>) -> PyResult<Option<ClientRef>> {
    if let Ok(text) = client.cast::<PyString>() {
        return Ok(Some(text.to_str()?.into()));
    }
    if let Ok(socket) = client.cast::<WebSocket>() {
        return Ok(Some(socket.get().ws()?.into()));
    }
    Ok(client.cast::<Handle>().ok().map(|handle| (&handle.get().handle).into()))
}
