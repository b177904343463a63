//! Routers: routes under a prefix, with middleware, listeners and exception handlers.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nexios_engine::{Message, Settings, Shard, SlowClient};
use parking_lot::Mutex;
use serde::Serialize;

use crate::audience::broadcast::{Broadcasting, BroadcastingTo};
use crate::audience::room::Room;
use crate::audience::switchboard::{Place, Switchboard, Target};
use crate::broker::ClientRef;
use crate::broker::{BrokerMetrics, Declared, Gap, PresenceEvent};
use crate::connection::handle::Handle;
use crate::connection::websocket::WebSocket;
use crate::live::{Argument, IntoPermission, IntoReply, Retry, Rules, authorize, request_handler};
use crate::routing::event::{Listeners, gap_listener, listener, listener_with, presence_listener};
use crate::routing::exception::{AnyExceptionHandler, Exception, ExceptionHandler};
use crate::routing::handler::{Handler, IntoResult};
use crate::routing::middleware::Middleware;
use crate::routing::options::Options;
use crate::routing::route::Route;
use crate::serving::service::ShardService;

/// A group of routes; what is registered on it covers its own routes and those of the
/// routers mounted below it.
///
/// A router is built, then mounted on an [`App`](crate::App) or another router. Mounting it
/// twice does not compile, since mounting takes it by value.
///
/// ```
/// use nexios::{App, WebSocket, WsRouter};
///
/// async fn general(ws: WebSocket) -> nexios::Result { ws.accept().await }
/// async fn private(ws: WebSocket) -> nexios::Result { ws.accept().await }
///
/// let chat = WsRouter::with_prefix("/chat").ws("/general", general).ws("/private", private);
/// let handle = chat.handle();
/// let app = App::new().mount(chat);
/// # async fn later(handle: nexios::RouterHandle) {
/// handle.broadcast("Hello, chat!").await;
/// # }
/// ```
#[must_use = "a router serves nobody until it is mounted"]
pub struct WsRouter {
    pub(crate) prefix: String,
    pub(crate) name: Option<String>,
    pub(crate) handle: RouterHandle,
    pub(crate) routes: Vec<Route>,
    pub(crate) children: Vec<WsRouter>,
    pub(crate) middleware: Vec<Arc<dyn Middleware>>,
    pub(crate) listeners: Listeners,
    pub(crate) exceptions: Vec<AnyExceptionHandler>,
    pub(crate) options: Options,
    pub(crate) rules: Rules,
}

/// Broadcasts to a router's clients, from handlers and from any thread: `Send + Sync + Clone`.
///
/// Before the app runs there is nobody to reach, and the count is 0.
#[derive(Clone, Default)]
pub struct RouterHandle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    place: OnceLock<Place>,
    /// Rooms that remember, until there is an app that knows of them.
    declared: Mutex<Vec<(Arc<str>, Arc<Declared>)>>,
}

impl Default for WsRouter {
    fn default() -> Self {
        WsRouter::new()
    }
}

impl WsRouter {
    /// A router without a prefix.
    pub fn new() -> Self {
        WsRouter::with_prefix("")
    }

    /// A router whose routes are below this path; prefixes of nested routers concatenate.
    pub fn with_prefix(prefix: impl Into<String>) -> Self {
        WsRouter {
            prefix: prefix.into(),
            name: None,
            handle: RouterHandle::default(),
            routes: Vec::new(),
            children: Vec::new(),
            middleware: Vec::new(),
            listeners: Listeners::default(),
            exceptions: Vec::new(),
            options: Options::default(),
            rules: Rules::default(),
        }
    }

    /// The name by which other nodes know it; without one its full prefix.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A handle for broadcasts that works also after mounting.
    pub fn handle(&self) -> RouterHandle {
        self.handle.clone()
    }

    /// Adds a route with nothing but a path and a handler.
    pub fn ws(self, path: impl Into<String>, handler: impl Handler) -> Self {
        self.route(Route::new(path, handler))
    }

    /// Adds a route.
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Adds a router below this one.
    pub fn mount(mut self, router: WsRouter) -> Self {
        self.children.push(router);
        self
    }

    /// Adds a router below this one, with another prefix than its own.
    pub fn mount_at(self, prefix: impl Into<String>, mut router: WsRouter) -> Self {
        router.prefix = prefix.into();
        self.mount(router)
    }

    /// Adds a middleware inside those of the routers around and those added before.
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// Runs when a client has connected, before `accept()` returns; it may send. Its error is
    /// raised from `accept()`.
    pub fn on_connect<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoResult> + 'static,
    {
        self.listeners.connect.push(listener(function));
        self
    }

    /// Runs once for each connect when the client is gone, with `ws.close_code()` set. Its
    /// error is logged.
    pub fn on_disconnect<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoResult> + 'static,
    {
        self.listeners.disconnect.push(listener(function));
        self
    }

    /// Sees every data message once, in order, before a receive hands it out; it consumes
    /// nothing. Its error goes to the exception handlers; unhandled it is logged.
    ///
    /// ```
    /// use nexios::{Message, WebSocket, WsRouter};
    /// let router = WsRouter::new().on_message(async |ws: WebSocket, message: Message| {
    ///     println!("{} sent {} bytes", ws.id(), message.len());
    /// });
    /// ```
    pub fn on_message<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(WebSocket, Message) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoResult> + 'static,
    {
        self.listeners.message.push(listener_with(function));
        self
    }

    /// Runs when broadcasts were dropped for a slow client, by its policy; gets the messages.
    pub fn on_drop<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(WebSocket, Vec<Message>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoResult> + 'static,
    {
        self.listeners.dropped.push(listener_with(function));
        self
    }

    /// Runs when clients here may have missed messages of other nodes: of this router, one around
    /// it or below it, a room, or the app. It is not called for each connection, but once.
    ///
    /// ```
    /// use nexios::{WsRouter, broker::Gap};
    /// let scores = WsRouter::with_prefix("/scores");
    /// let handle = scores.handle();
    /// let scores = scores.on_gap(move |_: Gap| {
    ///     let handle = handle.clone();
    ///     async move {
    ///         handle.broadcast("reload").await;
    ///     }
    /// });
    /// ```
    pub fn on_gap<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(Gap) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoResult> + 'static,
    {
        self.listeners.gap.push(gap_listener(function));
        self
    }

    /// Runs when a user comes into a room of the app: with the first connection that
    /// [`Room::track`] has anywhere. It runs on every node that has tracked somebody in the room, or
    /// looked at it within a minute, once on each; `event.here` says on which the client is. A node
    /// that begins to look at a room is told of those who are there already, too.
    ///
    /// ```
    /// use nexios::{PresenceEvent, WsRouter};
    /// let router = WsRouter::new().on_join(async |event: PresenceEvent| {
    ///     println!("{} is in {}: {}", event.user, event.room, event.data);
    /// });
    /// ```
    pub fn on_join<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(PresenceEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoResult> + 'static,
    {
        self.listeners.join.push(presence_listener(function));
        self
    }

    /// Runs when a user has left a room of the app: with the last connection anywhere. It runs
    /// where [`on_join`](Self::on_join) does. Where a node has died nobody is the last one `here`.
    pub fn on_leave<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(PresenceEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoResult> + 'static,
    {
        self.listeners.leave.push(presence_listener(function));
        self
    }

    /// Lets clients speak `nexios.v1` on all routes below, or not; off unless it is set, and the nearest
    /// of route, router and app counts. A client that speaks it sees the names of the rooms that it
    /// is in. All that it may do by itself is for the `authorize_…` functions to say.
    ///
    /// ```
    /// # async fn chat(ws: nexios::WebSocket) -> nexios::Result { ws.accept().await }
    /// let router = nexios::WsRouter::with_prefix("/chat").live(true).ws("/", chat);
    /// ```
    pub fn live(mut self, on: bool) -> Self {
        self.options.live = Some(on);
        self
    }

    /// Says whether a client that speaks `nexios.v1` may enter a room that it asks for, on the routes
    /// here and below; the nearest router's function is asked. Without one no client may.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use nexios::{WebSocket, WsRouter};
    /// let router = WsRouter::new().authorize_join(async |ws: WebSocket, room: Arc<str>| {
    ///     // Everybody may read the news; rooms of teams are for those of the team.
    ///     &*room == "news" || ws.client_id().is_some_and(|team| room.starts_with(&*team))
    /// });
    /// ```
    ///
    /// It returns `bool` or `Result<bool>`. The client is told a
    /// [`WebSocketException`](crate::WebSocketException) or [`RequestError`](crate::RequestError);
    /// other errors are logged, and the client is told `failed`.
    pub fn authorize_join<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(WebSocket, Arc<str>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoPermission> + 'static,
    {
        self.rules.join = Some(authorize(function));
        self
    }

    /// Says whether a client that speaks `nexios.v1` may send to a room by itself; otherwise as
    /// [`authorize_join`](Self::authorize_join). It need not be in the room.
    pub fn authorize_publish<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(WebSocket, Arc<str>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoPermission> + 'static,
    {
        self.rules.publish = Some(authorize(function));
        self
    }

    /// Says whether a client that speaks `nexios.v1` may read what a room remembers from before it joined: it joins
    /// from the start then. Otherwise as [`authorize_join`](Self::authorize_join), which is asked first.
    pub fn authorize_history<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(WebSocket, Arc<str>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoPermission> + 'static,
    {
        self.rules.history = Some(authorize(function));
        self
    }

    /// Says whether a client that speaks `nexios.v1` may see who is in a room that it is in, and each
    /// change from then on; otherwise as [`authorize_join`](Self::authorize_join).
    pub fn authorize_presence<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(WebSocket, Arc<str>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoPermission> + 'static,
    {
        self.rules.presence = Some(authorize(function));
        self
    }

    /// Says whether a client that speaks `nexios.v1` may leave a room that the application has let it
    /// into by [`WebSocket::join`]; otherwise as [`authorize_join`](Self::authorize_join). A room that
    /// the client has entered by itself it may always leave.
    pub fn authorize_leave<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(WebSocket, Arc<str>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoPermission> + 'static,
    {
        self.rules.leave = Some(authorize(function));
        self
    }

    /// Answers the requests of this method that clients make in `nexios.v1`; the nearest router's
    /// function counts. It runs beside the handler, and ends with the connection.
    ///
    /// ```
    /// use nexios::{Json, RequestError, WebSocket, WsRouter};
    /// let router = WsRouter::new().on_request("divide", async |_: WebSocket, Json((a, b)): Json<(i64, i64)>| {
    ///     let quotient = a.checked_div(b).ok_or_else(|| RequestError::new("by_zero", "cannot divide by 0"))?;
    ///     nexios::Result::Ok(Json(quotient))
    /// });
    /// ```
    ///
    /// The argument is a [`Message`], a `String`, a `Vec<u8>`, [`Json`](crate::Json) or `()`; so is what
    /// is returned, or a [`Result`](crate::Result) of it. Errors are told as
    /// [`authorize_join`](Self::authorize_join) says.
    pub fn on_request<A, F, Fut>(mut self, method: impl AsRef<str>, function: F) -> Self
    where
        A: Argument,
        F: Fn(WebSocket, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoReply> + 'static,
    {
        self.rules.requests.insert(method.as_ref().into(), request_handler(function));
        self
    }

    /// When clients that speak `nexios.v1` come back after an unexpected end: after a random time
    /// between these. 100 ms and 2 s if not set; when the server restarts, 1 s more for each 1,000
    /// clients where that is more.
    pub fn retry(mut self, min: Duration, max: Duration) -> Self {
        self.options.retry = Some(Retry::new(min, max));
        self
    }

    /// How many rooms one client that speaks `nexios.v1` may watch the presence of at a time: 100 if not set, `None`
    /// for any number. A question about another room is answered with the error `forbidden`.
    pub fn watched_rooms_max(mut self, rooms: Option<usize>) -> Self {
        self.options.watched_rooms_max = Some(rooms);
        self
    }

    /// How long `join` and `publish` frames of a fresh `nexios.v1` connection wait for its handler: until it first
    /// receives, calls [`wait_closed`](WebSocket::wait_closed) or ends, for 1 s at most if not set. A handler that looks
    /// something up after `accept()` and then joins rooms has done so before the client's frames are carried out, such as
    /// publishes that the client repeats after a reconnect. With [`Duration::ZERO`] they do not wait.
    ///
    /// ```
    /// use std::time::Duration;
    /// use nexios::WsRouter;
    /// let router = WsRouter::new().live(true).hold_timeout(Duration::from_secs(5));
    /// ```
    pub fn hold_timeout(mut self, timeout: Duration) -> Self {
        self.options.hold_timeout = Some(timeout);
        self
    }

    /// How long a user stays in the presence of rooms after a connection is gone: no time if not set. A user who is
    /// tracked there again within that time, on any node, has neither left nor joined.
    ///
    /// ```
    /// use std::time::Duration;
    /// use nexios::WsRouter;
    /// let router = WsRouter::new().leave_delay(Duration::from_secs(5));
    /// ```
    pub fn leave_delay(mut self, delay: Duration) -> Self {
        self.options.leave_delay = Some(delay);
        self
    }

    /// Takes errors of type `E` from handlers, middleware and message listeners; the nearest
    /// router's wins, there the most specific type. For [`Error`](crate::Error) it takes all.
    pub fn exception_handler<E: Exception, H: ExceptionHandler<E>>(mut self, handler: H) -> Self {
        self.exceptions.push(AnyExceptionHandler::new::<E>(handler));
        self
    }

    /// Changes limits and timings of all routes below.
    ///
    /// ```
    /// let router = nexios::WsRouter::new().settings(|settings| {
    ///     settings.message_bytes_max = Some(64 * 1024);
    ///     settings.ping_interval = None;
    /// });
    /// ```
    pub fn settings(mut self, change: impl Fn(&mut Settings) + Send + Sync + 'static) -> Self {
        self.options.change(change);
        self
    }

    /// What a broadcast does to clients that do not keep up.
    pub fn slow_client(self, policy: SlowClient) -> Self {
        self.settings(move |settings| settings.slow_client = policy)
    }

    /// The origins whose pages may connect besides the same origin: `https://example.org`, `https://*.example.org` for
    /// all hosts below that one, `*` for all. Any other text is an error when the app is built.
    pub fn allowed_origins<I: IntoIterator<Item: Into<String>>>(mut self, origins: I) -> Self {
        self.options.origins = Some(origins.into_iter().map(Into::into).collect());
        self
    }

    /// Whether `close()` before `accept()` answers HTTP 403 with the reason as body, instead
    /// of a handshake with a Close frame.
    pub fn refuse_before_accept(mut self, on: bool) -> Self {
        self.options.refuse_before_accept = Some(on);
        self
    }
}

impl RouterHandle {
    /// Puts the router into its place; the first call counts.
    pub(crate) fn place(&self, place: Place) {
        self.0.place.get_or_init(|| place);
        self.tell_declared();
    }

    pub(crate) fn switchboard(&self) -> Option<Arc<Switchboard>> {
        self.0.place.get().map(|place| place.switchboard.clone())
    }

    /// A room remembers; where there is no app yet, it is told once there is one.
    pub(crate) fn declare(&self, room: &Arc<str>, declared: Arc<Declared>) -> Arc<Declared> {
        if let Some(switchboard) = self.switchboard() {
            return switchboard.declare(room, &declared);
        }
        let mut waiting = self.0.declared.lock();
        waiting.retain(|(name, _)| name != room);
        waiting.push((room.clone(), declared.clone()));
        drop(waiting);
        self.tell_declared();
        declared
    }

    fn tell_declared(&self) {
        let Some(switchboard) = self.switchboard() else { return };
        for (room, declared) in std::mem::take(&mut *self.0.declared.lock()) {
            switchboard.declare_first(&room, declared);
        }
    }

    pub(crate) fn target(&self) -> Option<(Arc<Switchboard>, Target)> {
        let place = self.0.place.get()?;
        Some((place.switchboard.clone(), Target::Routers(place.ids.clone())))
    }

    /// Sends a message to every connected client of this router and of those below it.
    pub fn broadcast(&self, message: impl Into<Message>) -> Broadcasting {
        Broadcasting::new(self.target(), message.into())
    }

    /// Sends a value as JSON, in a text message.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// ws.router().broadcast_json(&["joined", "ann"])?.await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn broadcast_json(&self, value: &impl Serialize) -> serde_json::Result<Broadcasting> {
        Ok(self.broadcast(serde_json::to_string(value)?))
    }

    /// Sends a message to these clients, named by connection id or client id.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// let outcome = ws.app().broadcast_to(["client1", "client2"], "Hello, specific clients!").await;
    /// assert!(outcome.unknown.is_empty(), "not here: {:?}", outcome.unknown);
    /// # Ok(()) }
    /// ```
    pub fn broadcast_to<I: IntoIterator<Item: Into<ClientRef>>>(
        &self,
        clients: I,
        message: impl Into<Message>,
    ) -> BroadcastingTo {
        BroadcastingTo::new(self.target(), clients.into_iter().map(Into::into).collect(), message.into())
    }

    /// A room; the app's, whichever router it is asked of.
    pub fn room(&self, name: impl AsRef<str>) -> Room {
        Room::new(self.clone(), name.as_ref())
    }

    /// How many clients are connected to this node.
    pub fn count(&self) -> usize {
        self.target().map_or(0, |(switchboard, target)| switchboard.count(&target).0)
    }

    /// The clients that are connected to this node.
    pub async fn connections(&self) -> Vec<Handle> {
        members(self.target()).await
    }

    /// The counters of the app's broker; without one those of what keeps its rooms that remember;
    /// `None` where there is neither.
    pub fn broker_metrics(&self) -> Option<BrokerMetrics> {
        let switchboard = &self.0.place.get()?.switchboard;
        Some(switchboard.node().cloned().or_else(|| switchboard.own_node())?.counters.snapshot())
    }

    /// The app's own value of this type; [`App::state`](crate::App::state) sets it.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.place.get()?.switchboard.state()
    }
}

impl std::fmt::Debug for RouterHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouterHandle").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// Handles to all connections of an audience, on all shards.
pub(crate) async fn members(target: Option<(Arc<Switchboard>, Target)>) -> Vec<Handle> {
    let Some((switchboard, target)) = target else { return Vec::new() };
    let audience = target.audience();
    let list = move |shard: &Shard| {
        let service = shard.service::<ShardService>();
        let client_id = |id| service.as_ref().and_then(|service| service.client_ids().borrow().client_id(&id));
        let members = shard.members(&audience).into_iter();
        members.map(|connection| Handle::new(connection.remote(), client_id(connection.id()))).collect::<Vec<_>>()
    };
    switchboard.shards.ask(Arc::new(list)).await.into_iter().flatten().collect()
}
