//! Routes: a path, a handler, and what holds for it alone.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use nexios_engine::{Group, Profile, Settings};

use crate::audience::switchboard::Switchboard;
use crate::connection::websocket::WebSocket;
use crate::live::{HOLD_TIMEOUT, Retry, Rules, WATCHED_ROOMS_MAX};
use crate::routing::event::Listeners;
use crate::routing::exception::ExceptionHandlers;
use crate::routing::handler::{AnyHandler, Handler};
use crate::routing::middleware::Middleware;
use crate::routing::options::Options;
use crate::routing::path::Pattern;
use crate::routing::router::RouterHandle;

/// A WebSocket route with more than a path and a handler.
///
/// ```
/// use nexios::{Next, Route, WebSocket, WsRouter};
/// # async fn auth(ws: WebSocket, next: Next) -> nexios::Result { next.run(ws).await }
/// # async fn chat(ws: WebSocket) -> nexios::Result { ws.accept().await }
///
/// let chat = Route::new("/chat/{room}", chat)
///     .name("chat")
///     .middleware(auth)
///     .subprotocols(["chat.v2", "chat.v1"])
///     .settings(|settings| settings.message_bytes_max = Some(4096));
/// let router = WsRouter::new().route(chat);
/// ```
#[must_use = "a route serves nobody until a router has it"]
pub struct Route {
    pub(crate) path: String,
    pub(crate) name: Option<String>,
    pub(crate) handler: Arc<dyn AnyHandler>,
    pub(crate) middleware: Vec<Arc<dyn Middleware>>,
    pub(crate) options: Options,
}

/// A route as connections meet it: all that its routers and the app add is in it.
pub(crate) struct BuiltRoute {
    pub(crate) pattern: Pattern,
    /// The whole path, as people read it.
    pub(crate) path: String,
    pub(crate) name: Option<String>,
    pub(crate) handler: Arc<dyn AnyHandler>,
    pub(crate) middleware: Vec<Arc<dyn Middleware>>,
    pub(crate) listeners: Listeners,
    pub(crate) exceptions: ExceptionHandlers,
    pub(crate) settings: Settings,
    pub(crate) origins: crate::connection::origin::Origins,
    pub(crate) refuse_before_accept: bool,
    pub(crate) subprotocols: Vec<String>,
    /// Clients may speak `nexios.v1`.
    pub(crate) live: bool,
    pub(crate) cancel_on_disconnect: bool,
    pub(crate) retry: Retry,
    /// How long joins and publishes of a fresh `nexios.v1` connection wait for the handler.
    pub(crate) hold_timeout: Duration,
    /// How long a user who has lost the connection stays in presence.
    pub(crate) leave_delay: Duration,
    /// Rooms whose presence one client may watch.
    pub(crate) watched_rooms_max: Option<usize>,
    pub(crate) rules: Arc<Rules>,
    /// The router's own connections.
    pub(crate) group: Group,
    pub(crate) router: RouterHandle,
    pub(crate) app: RouterHandle,
    pub(crate) switchboard: Arc<Switchboard>,
}

/// A route as the table of routes has it: connections carry its profile, and with it the route.
pub(crate) struct ServedRoute {
    pub(crate) route: Arc<BuiltRoute>,
    pub(crate) profile: Arc<Profile>,
}

impl Route {
    /// A route for this path, within its router's prefix.
    ///
    /// Parameters are whole segments: `{name}`, `{name:int}` for digits only, and
    /// `{name:path}` for all the segments that are left.
    pub fn new(path: impl Into<String>, handler: impl Handler) -> Self {
        Route {
            path: path.into(),
            name: None,
            handler: Arc::new(handler),
            middleware: Vec::new(),
            options: Options::default(),
        }
    }

    /// Names the route.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds a middleware inside those of the routers and those added before.
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// The subprotocols that it speaks; `accept()` takes the client's first among them.
    pub fn subprotocols<I: IntoIterator<Item: Into<String>>>(mut self, subprotocols: I) -> Self {
        self.options.subprotocols = Some(subprotocols.into_iter().map(Into::into).collect());
        self
    }

    /// Changes limits and timings for this route.
    pub fn settings(mut self, change: impl Fn(&mut Settings) + Send + Sync + 'static) -> Self {
        self.options.change(change);
        self
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

    /// Lets clients speak `nexios.v1`, or not: [`WsRouter::live`](crate::WsRouter::live).
    pub fn live(mut self, on: bool) -> Self {
        self.options.live = Some(on);
        self
    }

    /// When clients come back after an unexpected end: [`WsRouter::retry`](crate::WsRouter::retry).
    pub fn retry(mut self, min: Duration, max: Duration) -> Self {
        self.options.retry = Some(Retry::new(min, max));
        self
    }

    /// How many rooms one client may watch the presence of: [`WsRouter::watched_rooms_max`](crate::WsRouter::watched_rooms_max).
    pub fn watched_rooms_max(mut self, rooms: Option<usize>) -> Self {
        self.options.watched_rooms_max = Some(rooms);
        self
    }

    /// How long the first frames of a `nexios.v1` client wait for the handler:
    /// [`WsRouter::hold_timeout`](crate::WsRouter::hold_timeout).
    pub fn hold_timeout(mut self, timeout: Duration) -> Self {
        self.options.hold_timeout = Some(timeout);
        self
    }

    /// How long a user stays in presence after a connection is lost:
    /// [`WsRouter::leave_delay`](crate::WsRouter::leave_delay).
    pub fn leave_delay(mut self, delay: Duration) -> Self {
        self.options.leave_delay = Some(delay);
        self
    }

    /// Whether the handler is cancelled when the client is gone: it is dropped where it waits.
    pub fn cancel_on_disconnect(mut self, on: bool) -> Self {
        self.options.cancel_on_disconnect = Some(on);
        self
    }
}

impl BuiltRoute {
    /// Whether listeners look at each message.
    pub(crate) fn observes(&self) -> bool {
        !self.listeners.message.is_empty()
    }

    /// The route of a connection whose profile has none of ours: it has nothing.
    pub(crate) fn none() -> &'static Arc<BuiltRoute> {
        static NONE: LazyLock<Arc<BuiltRoute>> = LazyLock::new(|| {
            Arc::new(BuiltRoute {
                pattern: Pattern::default(),
                path: String::new(),
                name: None,
                handler: Arc::new(async |_: WebSocket| ()),
                middleware: Vec::new(),
                listeners: Listeners::default(),
                exceptions: ExceptionHandlers::default(),
                settings: Settings::default(),
                origins: crate::connection::origin::Origins::default(),
                refuse_before_accept: false,
                subprotocols: Vec::new(),
                live: false,
                cancel_on_disconnect: false,
                retry: Retry::default(),
                hold_timeout: HOLD_TIMEOUT,
                leave_delay: Duration::ZERO,
                watched_rooms_max: Some(WATCHED_ROOMS_MAX),
                rules: Arc::default(),
                group: Group::new(u32::MAX),
                router: RouterHandle::default(),
                app: RouterHandle::default(),
                switchboard: Arc::default(),
            })
        });
        &NONE
    }
}

impl ServedRoute {
    pub(crate) fn new(route: Arc<BuiltRoute>) -> Self {
        let profile = Profile::new(route.settings.clone(), Some(route.group.clone()), route.clone());
        ServedRoute { route, profile: Arc::new(profile) }
    }
}
