//! The connection as handlers have it.

use std::cell::RefCell;
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;

use nexios_engine::{CloseInfo, Connection, ConnectionId, ConnectionState, Refusal};
use nexios_protocol::{CloseCode, InvalidCloseCode, escaped};

use crate::audience::shards::yield_now;
use crate::connection::accept::{Accept, Accepting};
use crate::connection::auth;
use crate::connection::handle::Handle;
use crate::connection::listeners;
use crate::connection::membership::Memberships;
use crate::connection::request::{self, Client, Cookies, Headers, PathParamError, PathParams, QueryParams};
use crate::connection::state::State;
use crate::error::{Error, IntoCloseCode, Result};
use crate::live::LiveSession;
use crate::routing::handler::LocalFuture;
use crate::routing::rate_limit::Limiter;
use crate::routing::route::BuiltRoute;
use crate::routing::router::RouterHandle;
use crate::serving::service::ShardService;

/// One client's connection: what a handler gets.
///
/// All methods take `&self`; clones are the same connection. It stays on its thread:
///
/// ```compile_fail
/// async fn handler(ws: nexios::WebSocket) {
///     tokio::spawn(async move { ws.send_text("hi").await }); // `WebSocket` is not `Send`
/// }
/// ```
///
/// The way out: a [`handle`](Self::handle) may go anywhere, and [`spawn`](Self::spawn) runs
/// a task on this connection's thread.
///
/// ```
/// async fn handler(ws: nexios::WebSocket) -> nexios::Result {
///     ws.accept().await?;
///     let handle = ws.handle();
///     tokio::spawn(async move { handle.send_text("from anywhere") });
///     let same = ws.clone();
///     ws.spawn(async move {
///         let _ = same.send_text("from a second task here").await;
///     });
///     ws.wait_closed().await;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct WebSocket(Connection);

/// What few connections need.
#[derive(Default)]
struct Rare {
    state: Option<State>,
    client_id: Option<Arc<str>>,
    memberships: Memberships,
    limiters: Vec<Rc<Limiter>>,
    /// Kept where the request head is dropped.
    params: Option<PathParams>,
    subprotocol: Option<String>,
    /// Of a client that speaks `nexios.v1`.
    session: Option<Rc<LiveSession>>,
    /// Runs next to the handler; taken out while it is polled.
    listeners: Option<LocalFuture<()>>,
}

/// What has happened to a connection so far: one bit each, kept by the engine.
#[derive(Clone, Copy)]
pub(crate) enum Mark {
    /// The middleware has let it through.
    HandlerStarted = 1,
    /// `accept()` is over, connect listeners included: events may come.
    Opened = 2,
    /// Listeners or limits look at each message.
    Observed = 4,
    /// The task of the listeners has begun to show them each message.
    Observing = 8,
    /// The connection is gone, and the disconnect listeners have been called.
    Departed = 16,
    /// The shard's client ids have an entry for it.
    Registered = 32,
    /// The task of its listeners runs.
    HasListeners = 64,
    /// Nothing runs next to the handler or ends it early, as on most connections.
    Alone = 128,
}

impl WebSocket {
    /// The connection of one of our routes, as its handler has it: no larger than the engine's own handle.
    pub(crate) fn of(connection: &Connection) -> Self {
        WebSocket(connection.clone())
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0
    }

    pub(crate) fn route(&self) -> &Arc<BuiltRoute> {
        self.0.profile().and_then(|profile| profile.front()).unwrap_or_else(|| BuiltRoute::none())
    }

    pub(crate) fn has(&self, mark: Mark) -> bool {
        self.0.marks() & mark as u8 != 0
    }

    pub(crate) fn mark(&self, mark: Mark) {
        self.0.set_marks(self.0.marks() | mark as u8);
    }

    fn unmark(&self, mark: Mark) {
        self.0.set_marks(self.0.marks() & !(mark as u8));
    }

    /// `accept()` is over: from now on messages and the end are told to their listeners.
    pub(crate) fn opens(&self) {
        self.mark(Mark::Opened);
        if !listeners::is_needed(self) && !self.route().cancel_on_disconnect {
            self.mark(Mark::Alone);
        }
    }

    pub(crate) fn handler_starts(&self) {
        self.mark(Mark::HandlerStarted);
    }

    fn rare<R>(&self, look: impl FnOnce(&mut Rare) -> R) -> R {
        let rare = self.kept().unwrap_or_else(|| {
            let fresh = Rc::<RefCell<Rare>>::default();
            self.0.set_extension(fresh.clone());
            fresh
        });
        look(&mut rare.borrow_mut())
    }

    fn rare_if_any<R>(&self, look: impl FnOnce(&mut Rare) -> Option<R>) -> Option<R> {
        look(&mut self.kept()?.borrow_mut())
    }

    pub(crate) fn memberships<R>(&self, look: impl FnOnce(&mut Memberships) -> R) -> R {
        self.rare(|rare| look(&mut rare.memberships))
    }

    /// `None` where it has never been in a room.
    pub(crate) fn memberships_if_any<R>(&self, look: impl FnOnce(&mut Memberships) -> Option<R>) -> Option<R> {
        self.rare_if_any(|rare| look(&mut rare.memberships))
    }

    fn kept(&self) -> Option<Rc<RefCell<Rare>>> {
        self.0.extension()?.downcast().ok()
    }

    // --- identity and state

    /// The connection's id: assigned by the server, not guessable, 32 hexadecimal digits.
    pub fn id(&self) -> ConnectionId {
        self.connection().id()
    }

    /// The client id that the application has set.
    pub fn client_id(&self) -> Option<Arc<str>> {
        self.rare_if_any(|rare| rare.client_id.clone())
    }

    /// Names the client, for [`broadcast_to`](RouterHandle::broadcast_to); several
    /// connections may share a name, as a user's tabs do.
    pub fn set_client_id(&self, client_id: impl AsRef<str>) {
        let client_id: Arc<str> = client_id.as_ref().into();
        self.rare(|rare| rare.client_id = Some(client_id.clone()));
        self.mark(Mark::Registered);
        if let Some(service) = self.service() {
            service.client_ids().borrow_mut().set_client_id(self.id(), Some(client_id));
        }
    }

    /// The application's own values for this connection.
    pub fn state(&self) -> State {
        self.rare(|rare| rare.state.get_or_insert_default().clone())
    }

    /// Where the connection is in its life.
    pub fn connection_state(&self) -> ConnectionState {
        self.connection().state()
    }

    /// The code of whoever closed first; 1005 if the Close frame had none, 1006 if there was
    /// no Close frame; `None` while the connection is open.
    pub fn close_code(&self) -> Option<u16> {
        self.connection().close_info().map(|info| info.code)
    }

    /// The reason of whoever closed first.
    pub fn close_reason(&self) -> Option<Box<str>> {
        self.connection().close_info().map(|info| info.reason)
    }

    // --- the request

    /// The request's header fields.
    pub fn headers(&self) -> Headers {
        Headers::new(self.connection().head())
    }

    /// One header field.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers().get(name).map(str::to_owned)
    }

    /// The request's cookies.
    pub fn cookies(&self) -> Cookies {
        Cookies::of(&self.headers())
    }

    /// One cookie.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies().get(name).map(str::to_owned)
    }

    /// The parameters of the request's query.
    pub fn query_params(&self) -> QueryParams {
        let head = self.connection().head();
        head.map(|head| head.query().parse().unwrap_or_default()).unwrap_or_default()
    }

    /// One parameter of the query.
    pub fn query(&self, name: &str) -> Option<String> {
        self.query_params().get(name).map(str::to_owned)
    }

    /// The values of the route's `{parameters}`.
    pub fn path_params(&self) -> PathParams {
        let kept = self.rare_if_any(|rare| rare.params.clone());
        kept.unwrap_or_else(|| PathParams::new(self.route().pattern.captures(&self.path())))
    }

    /// One parameter of the path as a `T`.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// let room: u32 = ws.path_param("room")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`PathParamError`]: the route has no such parameter, or it does not parse.
    pub fn path_param<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, PathParamError> {
        self.path_params().parse(name)
    }

    /// The request's path, as it was sent.
    pub fn path(&self) -> String {
        self.connection().head().map(|head| head.path().to_owned()).unwrap_or_default()
    }

    /// The whole URL that the client asked for, as far as it is known here.
    pub fn url(&self) -> String {
        let (headers, proxies, peer) = (self.headers(), &self.route().switchboard.proxies, self.peer());
        let secure = match proxies.scheme(peer, &headers) {
            Some(scheme) => ["https", "wss"].contains(&scheme.as_str()),
            None => self.connection().is_tls(),
        };
        let host = proxies.host(peer, &headers).filter(|host| !host.is_empty());
        let host = host.as_deref().or_else(|| headers.get("host"));
        let target = self.connection().head().map(|head| head.target().to_owned()).unwrap_or_default();
        format!("{}://{}{target}", if secure { "wss" } else { "ws" }, host.unwrap_or("localhost"))
    }

    /// The subprotocols that the client offered.
    pub fn subprotocols(&self) -> Vec<String> {
        request::offered_subprotocols(&self.headers())
    }

    /// The subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Option<String> {
        self.rare_if_any(|rare| rare.subprotocol.clone())
    }

    /// The token of `Authorization: Bearer <token>`, else of the subprotocols
    /// `bearer, <token>`, which is how a browser can send one.
    ///
    /// ```
    /// # fn user_of(token: &str) -> Option<String> { None }
    /// async fn secure(ws: nexios::WebSocket) -> nexios::Result {
    ///     let Some(user) = ws.bearer_token().and_then(|token| user_of(&token)) else {
    ///         ws.close(1008, "Invalid token").await?;
    ///         return Ok(());
    ///     };
    ///     ws.accept().await?;
    ///     ws.send_text(format!("hello {user}")).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn bearer_token(&self) -> Option<String> {
        auth::bearer_token(&self.headers())
    }

    /// Who is on the other side; `None` on a Unix socket.
    pub fn client(&self) -> Option<Client> {
        let port = self.connection().peer().map_or(0, |peer| peer.port());
        let host = self.route().switchboard.proxies.client(self.peer(), &self.headers())?;
        Some(Client { host, port })
    }

    fn peer(&self) -> Option<std::net::IpAddr> {
        self.connection().peer().map(|address| address.ip())
    }

    /// The route's whole path, with its `{parameters}`.
    pub fn route_path(&self) -> &str {
        &self.route().path
    }

    /// The route's name.
    pub fn route_name(&self) -> Option<&str> {
        self.route().name.as_deref()
    }

    /// The router that the route stands on.
    pub fn router(&self) -> RouterHandle {
        self.route().router.clone()
    }

    /// The app: its broadcast reaches everybody.
    pub fn app(&self) -> RouterHandle {
        self.route().app.clone()
    }

    /// The app's value of this type, set by [`App::state`](crate::App::state).
    ///
    /// # Errors
    /// The app has none.
    pub fn app_state<T: Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        let missing = || Error::msg(format!("the app has no state of type {}", std::any::type_name::<T>()));
        self.route().switchboard.state().ok_or_else(missing)
    }

    // --- the handshake and the end

    /// Completes the handshake, then runs the connect listeners.
    ///
    /// # Errors
    /// The client left, the handshake was answered already, or a listener failed.
    pub fn accept(&self) -> Accepting<'_> {
        Accepting::new(self, None)
    }

    /// Completes the handshake with a subprotocol or header fields of the application's choice.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// use nexios::accept::Accept;
    /// ws.accept_with(Accept::new().subprotocol("chat.v1").header("X-Version", "1")).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`accept`](Self::accept), and a subprotocol that was not offered, or a header
    /// that HTTP cannot carry.
    pub fn accept_with(&self, accept: Accept) -> Accepting<'_> {
        Accepting::new(self, Some(Box::new(accept)))
    }

    /// Answers with an HTTP status instead of a handshake.
    ///
    /// # Errors
    /// The handshake was answered already, or the client left.
    pub async fn reject(&self, status: u16) -> Result {
        self.reject_with(Refusal::new(status, "")).await
    }

    /// Answers by HTTP, with header fields and a body, instead of a handshake.
    ///
    /// # Errors
    /// The handshake was answered already, the client left, or a header that HTTP cannot carry.
    pub async fn reject_with(&self, refusal: Refusal) -> Result {
        Ok(self.connection().refuse(refusal)?)
    }

    /// Closes the connection; returns when the Close frame is queued. Nothing happens if it
    /// is closed already. A reason over 123 bytes is cut.
    ///
    /// Before `accept()` the client gets the handshake with this Close frame as the first and
    /// only frame, so that it sees the code, or HTTP 403 if `refuse_before_accept` is set.
    ///
    /// # Errors
    /// A code that may not be sent.
    pub async fn close(&self, code: impl IntoCloseCode, reason: impl AsRef<str>) -> Result<(), InvalidCloseCode> {
        self.close_now(code.into_close_code()?, reason.as_ref());
        Ok(())
    }

    pub(crate) fn close_now(&self, code: CloseCode, reason: &str) {
        if self.connection_state() != ConnectionState::Connecting {
            return self.connection().close(code, reason);
        }
        let closed = match self.route().refuse_before_accept {
            true => self.connection().refuse(Refusal::new(403, reason)),
            false => {
                let subprotocol =
                    auth::pick_for_close(&self.subprotocols(), &self.route().subprotocols, self.route().live);
                let variant = crate::live::variant_of(subprotocol.as_deref());
                let accept = nexios_engine::Accept { subprotocol, variant, ..Default::default() };
                self.connection().accept_and_close(&accept, code, reason)
            }
        };
        if let Err(error) = closed {
            tracing::debug!(connection = %self.id(), error = %escaped(&error), "closed before accept");
        }
    }

    /// Waits until the connection is over. For handlers that only want events: meanwhile messages
    /// go to the message listeners and, where nobody receives, are then thrown away.
    ///
    /// ```
    /// # async fn reader(ws: nexios::WebSocket) {}
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// // A task beside it gets all messages: nothing is thrown away.
    /// ws.spawn(reader(ws.clone()));
    /// ws.wait_closed().await;
    /// # Ok(()) }
    /// ```
    pub async fn wait_closed(&self) {
        struct Discarding<'a>(&'a Connection);
        impl Drop for Discarding<'_> {
            fn drop(&mut self) {
                self.0.discard_unreceived(false);
            }
        }
        // Tasks that were started just before get to receive first.
        yield_now().await;
        self.connection().discard_unreceived(true);
        let discarding = Discarding(self.connection());
        poll_fn(|cx| discarding.0.poll_closed(cx)).await;
    }

    pub(crate) async fn closed(&self) -> CloseInfo {
        poll_fn(|cx| self.connection().poll_closed(cx)).await
    }

    /// Compresses what is sent from now on, from the minimum size of the settings up.
    ///
    /// Returns whether it took effect: the client has to offer `permessage-deflate`.
    pub fn enable_compression(&self) -> bool {
        self.connection().enable_compression()
    }

    // --- other tasks and threads

    /// A handle that may leave this thread: `Send + Sync + Clone`.
    pub fn handle(&self) -> Handle {
        Handle::new(self.connection().remote(), self.client_id())
    }

    /// Runs a task beside the handler, on this connection's thread; it is not ended with the
    /// connection.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.connection().shard().spawn(future);
    }

    // --- for the framework

    pub(crate) fn service(&self) -> Option<Rc<ShardService>> {
        self.connection().shard().service()
    }

    pub(crate) fn keep_params(&self) {
        let params = self.path_params();
        self.rare(|rare| rare.params = Some(params));
    }

    pub(crate) fn set_subprotocol(&self, subprotocol: String) {
        self.rare(|rare| rare.subprotocol = Some(subprotocol));
    }

    /// The client has said `hello`.
    pub(crate) fn begin_session(&self, session: Rc<LiveSession>) {
        self.rare(|rare| rare.session = Some(session));
        self.route().switchboard.framed_began();
    }

    pub(crate) fn session(&self) -> Option<Rc<LiveSession>> {
        self.rare_if_any(|rare| rare.session.clone())
    }

    pub(crate) fn forget_client_id(&self) {
        self.rare(|rare| rare.client_id = None);
        if let Some(service) = self.service() {
            service.client_ids().borrow_mut().set_client_id(self.id(), None);
        }
    }

    /// Makes a rate limit see each message from now on.
    pub(crate) fn limit_messages(&self, limiter: Limiter) {
        self.rare(|rare| rare.limiters.push(Rc::new(limiter)));
        self.observe();
    }

    pub(crate) fn limiters(&self) -> Vec<Rc<Limiter>> {
        self.rare_if_any(|rare| Some(rare.limiters.clone())).unwrap_or_default()
    }

    pub(crate) fn observe(&self) {
        self.mark(Mark::Observed);
        self.unmark(Mark::Alone);
        self.connection().observe();
    }

    /// Keeps the task of the listeners, which runs next to the handler.
    pub(crate) fn set_listeners(&self, listeners: LocalFuture<()>) {
        self.mark(Mark::HasListeners);
        let before = self.rare(|rare| rare.listeners.replace(listeners));
        drop(before);
    }

    /// Takes the task of the listeners out. [`set_listeners`](Self::set_listeners) puts it back.
    pub(crate) fn take_listeners(&self) -> Option<LocalFuture<()>> {
        self.unmark(Mark::HasListeners);
        self.rare_if_any(|rare| rare.listeners.take())
    }

    /// The connection's task has ended: nothing of the app remembers it.
    pub(crate) fn forget(&self) {
        drop(self.take_listeners());
        self.leave_all();
        if self.has(Mark::Registered) {
            let watched = self.service().and_then(|service| service.client_ids().borrow_mut().remove(&self.id()));
            drop(watched);
        }
        if let Some(session) = self.rare_if_any(|rare| rare.session.take()) {
            session.end();
            self.route().switchboard.framed_ended();
        }
    }
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket").field("id", &self.id()).field("route", &self.route_path()).finish_non_exhaustive()
    }
}
