//! The app: the outermost router, and what the whole server shares.

use std::rc::Rc;
use std::sync::Arc;

use nexios_engine::{Server, ServerSettings, Shard};

use crate::audience::switchboard::{AppState, Switchboard};
use crate::broker::{Broker, BrokerError, NodeThread};
use crate::connection::allowed_hosts::AllowedHosts;
use crate::routing::build::{self, ConfigError};
use crate::routing::path::PathTree;
use crate::routing::route::{BuiltRoute, ServedRoute};
use crate::routing::router::{RouterHandle, WsRouter};
use crate::serving::http::HttpRoutes;
use crate::serving::service::ShardService;

/// The handle of an app is that of its outermost router: it reaches everybody.
pub type AppHandle = RouterHandle;

/// Everything that a server serves.
///
/// ```
/// use nexios::{App, WebSocket, WsRouter};
///
/// struct Greeting(&'static str);
///
/// async fn hello(ws: WebSocket) -> nexios::Result {
///     ws.accept().await?;
///     let greeting = ws.app_state::<Greeting>()?;
///     ws.send_text(greeting.0).await?;
///     Ok(())
/// }
///
/// let app = App::new().state(Greeting("Connected!")).ws("/hello", hello).mount(WsRouter::with_prefix("/chat"));
/// ```
#[must_use = "an app serves nobody until it runs"]
pub struct App {
    pub(crate) root: WsRouter,
    pub(crate) state: AppState,
    pub(crate) trusted_proxies: Vec<String>,
    pub(crate) allowed_hosts: Option<Vec<String>>,
    pub(crate) server: ServerSettings,
    pub(crate) http: HttpRoutes,
    pub(crate) broker: Option<Broker>,
    pub(crate) access_log: bool,
}

/// An app whose parts are in their places: what a server of any host runs.
pub struct BuiltApp {
    pub(crate) routes: PathTree<ServedRoute>,
    pub(crate) switchboard: Arc<Switchboard>,
    pub(crate) hosts: AllowedHosts,
    pub(crate) server: ServerSettings,
    pub(crate) http: HttpRoutes,
    pub(crate) handle: AppHandle,
    pub(crate) broker: Option<Broker>,
    pub(crate) access_log: bool,
}

/// An app's connection to its broker; dropped, it sends what waits and ends within a second.
#[must_use = "dropping it ends the connection"]
pub struct Connected {
    broker: Option<NodeThread>,
    switchboard: Arc<Switchboard>,
}

impl Default for App {
    fn default() -> Self {
        App::new()
    }
}

impl App {
    /// An app without routes.
    pub fn new() -> Self {
        App::from(WsRouter::new())
    }

    fn around(root: WsRouter) -> Self {
        App {
            root,
            state: AppState::default(),
            trusted_proxies: Vec::new(),
            allowed_hosts: None,
            server: ServerSettings::default(),
            http: HttpRoutes::default(),
            broker: None,
            access_log: false,
        }
    }

    /// Connects the nodes of this app: [`broker`](crate::broker) has the kinds.
    ///
    /// ```
    /// let app = nexios::App::new().broker("unix:/run/chat-hub.sock");
    /// ```
    pub fn broker(mut self, broker: impl Into<Broker>) -> Self {
        self.broker = Some(broker.into());
        self
    }

    /// Answers requests to these hosts only, WebSockets and plain HTTP, and all others with HTTP 400: names,
    /// `*.example.org` for all hosts below that one, or addresses, each with a port where it counts. Any host if it is
    /// not called, or with `*`. Against DNS rebinding, where a page makes its own name lead to this server.
    ///
    /// ```
    /// let app = nexios::App::new().allowed_hosts(["example.org", "*.example.org", "localhost"]);
    /// ```
    pub fn allowed_hosts<I: IntoIterator<Item: Into<String>>>(mut self, hosts: I) -> Self {
        self.allowed_hosts.get_or_insert_default().extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Shares a value with all handlers, one of each type: [`WebSocket::app_state`](crate::WebSocket::app_state).
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.state.insert(value);
        self
    }

    /// A handle that broadcasts to everybody and finds rooms, also after the app runs.
    pub fn handle(&self) -> AppHandle {
        self.root.handle()
    }

    /// Changes what holds for the whole server.
    ///
    /// ```
    /// let app = nexios::App::new().server(|server| server.connections_max = Some(10_000));
    /// ```
    pub fn server(mut self, change: impl FnOnce(&mut ServerSettings)) -> Self {
        change(&mut self.server);
        self
    }

    /// Believes the `X-Forwarded-*` fields of these proxies: addresses, networks such as
    /// `10.0.0.0/8`, or `unix` for what comes over a Unix socket.
    pub fn trusted_proxies<I: IntoIterator<Item: Into<String>>>(mut self, proxies: I) -> Self {
        self.trusted_proxies.extend(proxies.into_iter().map(Into::into));
        self
    }

    /// Puts all parts into their places; `run` and `serve` do it by themselves.
    ///
    /// ```
    /// # async fn chat(ws: nexios::WebSocket) -> nexios::Result { ws.accept().await }
    /// let error = nexios::App::new().ws("/chat", chat).ws("//chat/", chat).build().err().unwrap();
    /// assert_eq!(error.to_string(), "two routes are on one path: /chat and /chat");
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] names the part that cannot be.
    pub fn build(self) -> Result<Arc<BuiltApp>, ConfigError> {
        build::build(self)
    }

    pub(crate) fn router_mut(&mut self) -> &mut WsRouter {
        &mut self.root
    }
}

impl From<WsRouter> for App {
    /// The router becomes the outermost one.
    fn from(router: WsRouter) -> Self {
        App::around(router)
    }
}

impl BuiltApp {
    /// Whether [`connect`](Self::connect) has something to do.
    pub fn has_broker(&self) -> bool {
        self.broker.is_some() || Broker::from_environment().is_some()
    }

    /// Connects to the broker of the app, else to that of the environment, and waits until it
    /// is reached.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub fn connect(&self) -> Result<Connected, BrokerError> {
        let switchboard = self.switchboard.clone();
        let Some(broker) = self.broker.clone().or_else(Broker::from_environment) else {
            return Ok(Connected { broker: None, switchboard });
        };
        switchboard.check_topics()?;
        let thread = NodeThread::start(&broker, Some(switchboard.clients()), Some(switchboard.presence().clone()))?;
        switchboard.connect(thread.node.clone());
        Ok(Connected { broker: Some(thread), switchboard })
    }

    /// Makes a shard run this app: call it for each shard, before its first connection.
    pub fn run_on(self: &Arc<Self>, server: &Server, shard: &Shard) {
        shard.set_service(Rc::new(ShardService::new(self.clone(), server.places())));
        self.switchboard.shards.attach(server.shards());
    }

    /// What holds for the whole server.
    pub fn server_settings(&self) -> &ServerSettings {
        &self.server
    }

    /// A handle that broadcasts to everybody.
    pub fn handle(&self) -> AppHandle {
        self.handle.clone()
    }

    /// The route of a path.
    pub(crate) fn find(&self, path: &str) -> Option<&Arc<BuiltRoute>> {
        self.routes.find(path).map(|served| &served.route)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        drop(self.broker.take());
        self.switchboard.end();
    }
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected").field("broker", &self.broker.is_some()).finish_non_exhaustive()
    }
}
