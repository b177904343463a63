//! Routers: routes under a prefix, with middleware, listeners and exception handlers.

use std::sync::{Arc, OnceLock};

use nexios_engine::{Message, Shard};
use parking_lot::Mutex;
use serde::Serialize;

use crate::audience::broadcast::{Broadcasting, BroadcastingTo};
use crate::audience::room::Room;
use crate::audience::switchboard::{Place, Switchboard, Target};
use crate::broker::{BrokerMetrics, ClientRef, Declared};
use crate::connection::handle::Handle;
use crate::live::Rules;
use crate::routing::event::Listeners;
use crate::routing::exception::AnyExceptionHandler;
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
    /// Rooms with history, until there is an app that knows of them.
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

    /// Returns the router with this prefix in place of its own.
    ///
    /// ```
    /// use nexios::{App, WsRouter};
    /// let app = App::new().mount(WsRouter::with_prefix("/chat").at("/talk"));
    /// ```
    pub fn at(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    pub(crate) fn router_mut(&mut self) -> &mut WsRouter {
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

    /// Declares a room with history; where there is no app yet, once there is one.
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

    /// The counters of the app's broker; without one those of what keeps its rooms with history;
    /// `None` where there is neither.
    pub fn broker_metrics(&self) -> Option<BrokerMetrics> {
        let switchboard = &self.0.place.get()?.switchboard;
        Some(switchboard.node().cloned().or_else(|| switchboard.own_node())?.metrics())
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
