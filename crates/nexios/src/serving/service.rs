//! What one shard runs: finds the route of a handshake and starts its task.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use nexios_engine::{
    BoxedTask, Cause, Connection, ConnectionId, Dropped, HttpPeer, Message, MessageRef, Places, Profile, Refusal,
    Report, RequestBody, ResponseFuture, Service, Step, Variant, bad_request,
};
use nexios_protocol::{CloseCode, escaped};

use crate::audience::client_ids::ClientIds;
use crate::broker::{Gap, GapCause};
use crate::connection::origin::Target;
use crate::connection::request::Headers;
use crate::connection::task;
use crate::connection::websocket::WebSocket;
use crate::live;
use crate::routing::app::BuiltApp;
use crate::routing::route::{BuiltRoute, ServedRoute};
use crate::serving::access::AccessLog;

/// The service of one shard: [`BuiltApp::run_on`].
pub struct ShardService {
    app: Arc<BuiltApp>,
    places: Places,
    client_ids: RefCell<ClientIds>,
    on_ended: OnceCell<OnEnded>,
    access: Option<AccessLog>,
}

type OnEnded = Box<dyn Fn(&ConnectionId, bool)>;

impl ShardService {
    pub(crate) fn new(app: Arc<BuiltApp>, places: Places) -> Self {
        let access = app.access_log.then(AccessLog::default);
        ShardService { app, places, client_ids: RefCell::default(), on_ended: OnceCell::new(), access }
    }

    pub(crate) fn client_ids(&self) -> &RefCell<ClientIds> {
        &self.client_ids
    }

    /// A front end in another language hears of each connection whose task has ended.
    pub(crate) fn set_on_ended(&self, on_ended: OnEnded) {
        // A second front end for one shard does not exist.
        let _ = self.on_ended.set(on_ended);
    }

    /// Its access log, if it has one.
    pub(crate) fn access(&self) -> Option<&AccessLog> {
        self.access.as_ref()
    }

    /// The app that is served.
    pub fn app(&self) -> &Arc<BuiltApp> {
        &self.app
    }
}

impl ShardService {
    /// Returns true if requests to this host are answered; logs one to another.
    fn serves(&self, host: impl FnOnce() -> Option<String>) -> bool {
        let hosts = &self.app.hosts;
        if hosts.is_any() {
            return true;
        }
        let host = host();
        let is_served = hosts.allow(host.as_deref());
        if !is_served {
            tracing::warn!(
                host = %escaped(host.as_deref().unwrap_or("")),
                "a request to another host was refused; to serve it, add it to allowed_hosts"
            );
        }
        is_served
    }
}

const OTHER_HOST: &str = "this host is not served here\n";

fn start(connection: &Connection) -> BoxedTask {
    let ws = WebSocket::of(connection);
    // A handler may be a plain function that returns a future, and may panic before it does.
    let started = catch_unwind(AssertUnwindSafe(|| task::start(ws.clone())));
    started.unwrap_or_else(|_| {
        tracing::error!(connection = %ws.id(), route = ws.route_path(), "the handler panicked before it began");
        connection.shard().count(Cause::Panic);
        refuse(connection, Refusal::new(500, ""))
    })
}

impl Service for ShardService {
    fn websocket(self: Rc<Self>, connection: &Connection) -> Option<BoxedTask> {
        let head = connection.head()?;
        let ServedRoute { route, profile } = self.app.routes.find(head.path())?;
        connection.set_profile(profile.clone());
        if let Some(access) = self.access() {
            access.handshake(&WebSocket::of(connection));
        }
        let headers = Headers::new(Some(head.clone()));
        let peer = connection.peer().map(|address| address.ip());
        let host =
            || self.app.switchboard.proxies.host(peer, &headers).or_else(|| headers.get("host").map(str::to_owned));
        if !self.serves(host) {
            return Some(refuse(connection, Refusal::new(400, OTHER_HOST)));
        }
        if let Err(origin) = check_origin(connection, route, &headers) {
            tracing::warn!(
                connection = %connection.id(), route = route.path, origin = %escaped(&origin),
                "a page of another origin was refused; to let it connect, add it to allowed_origins"
            );
            return Some(refuse(connection, Refusal::new(403, "this origin may not connect\n")));
        }
        Some(start(connection))
    }

    fn is_proxy(&self, peer: Option<IpAddr>) -> bool {
        self.app.switchboard.proxies.trusts(peer)
    }

    fn client(&self, connection: &Connection) -> Option<IpAddr> {
        let peer = connection.peer().map(|address| address.ip());
        self.app.switchboard.proxies.client(peer, &Headers::new(connection.head()))
    }

    fn ended(self: Rc<Self>, connection: &Connection) {
        WebSocket::of(connection).forget();
        if let Some(on_ended) = self.on_ended.get() {
            let id = connection.id();
            on_ended(&id, self.access().is_some_and(|access| access.awaits(&id)));
        }
    }

    fn overflowed(self: Rc<Self>) {
        tracing::error!("more waits for a shard than its mailbox holds: clients are told of a gap in everything");
        self.app.switchboard.report_gap(&Gap::new(None, None, GapCause::Overflow));
    }

    fn logs_access(&self) -> bool {
        self.access.is_some()
    }

    fn step(self: Rc<Self>, connection: &Connection, step: Step) {
        match (self.access(), step) {
            (Some(access), Step::Refused(status)) => access.refused(connection, status),
            (Some(access), Step::Closed) => access.closed(connection),
            (None, _) => {}
        }
    }

    fn report(&self, connection: &Connection, request: &http::Request<RequestBody>, peer: HttpPeer) -> Option<Report> {
        self.access()?;
        AccessLog::request(connection.id(), request, self.app.switchboard.proxies.http_peer(peer, request.headers()))
    }

    fn has_websocket(&self, path: &str) -> bool {
        self.app.find(path).is_some()
    }

    fn http(self: Rc<Self>, mut request: http::Request<RequestBody>, peer: HttpPeer) -> Option<ResponseFuture> {
        let (proxies, headers) = (&self.app.switchboard.proxies, request.headers());
        let own = || headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let from = peer.address.map(|address| address.ip());
        if !self.serves(|| proxies.http_host(from, headers).or_else(own)) {
            return Some(Box::pin(std::future::ready(bad_request(OTHER_HOST))));
        }
        let peer = proxies.http_peer(peer, headers);
        request.extensions_mut().insert(peer);
        let websocket = self.has_websocket(request.uri().path());
        self.app.http.answer(request, websocket, &self.places)
    }

    fn closing(&self) {
        self.app.switchboard.presence().close();
    }

    /// There is one variant: the clients that speak `nexios.v1`.
    fn form(&self, _: Variant, message: MessageRef<'_>) -> Option<Message> {
        live::escape_mistakable(message)
    }

    fn farewell(&self, _: Variant, profile: &Profile, code: CloseCode, reason: &str) -> Option<String> {
        let route = profile.front::<Arc<BuiltRoute>>()?;
        live::farewell(&self.app.switchboard, route, code, reason)
    }

    fn dropped(self: Rc<Self>, connection: &Connection, dropped: Dropped) {
        let framed = live::is_live(connection);
        let messages = if framed { live::tell_dropped(connection, dropped.messages) } else { dropped.messages };
        let Some(ws) = self.client_ids.borrow().watched(&connection.id()) else { return };
        let shard = connection.shard();
        shard.spawn(async move {
            for listener in &ws.route().listeners.dropped {
                if let Err(error) = listener(ws.clone(), messages.clone()).await {
                    tracing::error!(connection = %ws.id(), route = ws.route_path(), error = %escaped(&error), "a drop listener failed");
                }
            }
        });
    }
}

/// Answers by HTTP; there is nothing left to do for the task.
fn refuse(connection: &Connection, refusal: Refusal) -> BoxedTask {
    if let Err(error) = connection.refuse(refusal) {
        tracing::debug!(connection = %connection.id(), error = %escaped(&error), "the refusal was not sent");
    }
    Box::pin(std::future::ready(()))
}

/// Same origin, or one that the route allows; the origin where it is neither.
fn check_origin(connection: &Connection, route: &BuiltRoute, headers: &Headers) -> Result<(), String> {
    let peer = connection.peer().map(|address| address.ip());
    let proxies = &route.switchboard.proxies;
    let (forwarded, scheme) = (proxies.host(peer, headers), proxies.scheme(peer, headers));
    let own_scheme = connection.is_tls().then_some("https");
    let host = forwarded.as_deref().or_else(|| headers.get("host"));
    let target = Target { host, scheme: scheme.as_deref().or(own_scheme) };
    // Bytes that are not UTF-8 are no browser's, and a second field is nobody's.
    let fields: Vec<Cow<'_, str>> = headers.values("origin").map(String::from_utf8_lossy).collect();
    match fields.as_slice() {
        [] => Ok(()),
        [Cow::Borrowed(origin)] if route.origins.allow(origin, &target) => Ok(()),
        [origin, ..] => Err(origin.clone().into_owned()),
    }
}
