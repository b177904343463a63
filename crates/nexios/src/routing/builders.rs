//! The builders that routers and the app have in common, written once.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use nexios_engine::{Message, Settings, SlowClient};

use super::app::App;
use super::event::{gap_listener, listener, listener_with, presence_listener};
use super::exception::{AnyExceptionHandler, Exception, ExceptionHandler};
use super::handler::{Handler, IntoResult};
use super::middleware::Middleware;
use super::route::Route;
use super::router::WsRouter;
use crate::broker::{Gap, PresenceEvent};
use crate::connection::websocket::WebSocket;
use crate::live::{Argument, IntoPermission, IntoReply, Retry, authorize, request_handler};

/// Gives the type its builders. The type has `router_mut`, which returns the router that they build.
macro_rules! builders {
    ($owner:ty) => {
        impl $owner {
            /// Adds a route that needs only a path and a handler.
            pub fn ws(self, path: impl Into<String>, handler: impl Handler) -> Self {
                self.route(Route::new(path, handler))
            }

            /// Adds a route.
            pub fn route(mut self, route: Route) -> Self {
                self.router_mut().routes.push(route);
                self
            }

            /// Adds a router below this one; [`WsRouter::at`] mounts it under another prefix than its own.
            pub fn mount(mut self, router: WsRouter) -> Self {
                self.router_mut().children.push(router);
                self
            }

            /// Adds a middleware inside those of the outer routers and those added before.
            pub fn middleware(mut self, middleware: impl Middleware) -> Self {
                self.router_mut().middleware.push(Arc::new(middleware));
                self
            }

            /// Registers a function that runs when a client has connected, before `accept()` returns; it may send.
            /// `accept()` returns its error.
            pub fn on_connect<F, Fut>(mut self, function: F) -> Self
            where
                F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: IntoResult> + 'static,
            {
                self.router_mut().listeners.connect.push(listener(function));
                self
            }

            /// Registers a function that runs once for each connect after the client has left, with
            /// `ws.close_code()` set. Its error is logged.
            pub fn on_disconnect<F, Fut>(mut self, function: F) -> Self
            where
                F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: IntoResult> + 'static,
            {
                self.router_mut().listeners.disconnect.push(listener(function));
                self
            }

            /// Registers a function that sees every data message once, in order, before a receive returns it. It
            /// consumes nothing. Its error goes to the exception handlers; without one it is logged.
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
                self.router_mut().listeners.message.push(listener_with(function));
                self
            }

            /// Registers a function that runs when the policy for slow clients has dropped broadcasts; it receives
            /// the dropped messages.
            pub fn on_drop<F, Fut>(mut self, function: F) -> Self
            where
                F: Fn(WebSocket, Vec<Message>) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: IntoResult> + 'static,
            {
                self.router_mut().listeners.dropped.push(listener_with(function));
                self
            }

            /// Registers a function that runs when clients of this node may have missed messages of other nodes: of
            /// this router, of an outer or an inner one, of a room, or of the app. It runs once for each gap, not
            /// once for each connection.
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
                self.router_mut().listeners.gap.push(gap_listener(function));
                self
            }

            /// Registers a function that runs when a user enters a room of the app: with the first connection that
            /// [`Room::track`](crate::Room::track) has on any node. It runs once on every node that has tracked a
            /// user in the room, or read its presence within a minute; `event.here` is true on the node that the
            /// client is connected to. A node that begins to watch a room reports the users who are already there,
            /// too.
            ///
            /// ```
            /// use nexios::{presence::PresenceEvent, WsRouter};
            /// let router = WsRouter::new().on_join(async |event: PresenceEvent| {
            ///     println!("{} is in {}: {}", event.user, event.room, event.data);
            /// });
            /// ```
            pub fn on_join<F, Fut>(mut self, function: F) -> Self
            where
                F: Fn(PresenceEvent) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: IntoResult> + 'static,
            {
                self.router_mut().listeners.join.push(presence_listener(function));
                self
            }

            /// Registers a function that runs when a user has left a room of the app: with the last connection on
            /// any node. It runs on the same nodes as [`on_join`](Self::on_join). If a node has died, `here` is
            /// false everywhere.
            pub fn on_leave<F, Fut>(mut self, function: F) -> Self
            where
                F: Fn(PresenceEvent) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: IntoResult> + 'static,
            {
                self.router_mut().listeners.leave.push(presence_listener(function));
                self
            }

            /// Allows or forbids `nexios.v1` on all routes below. It is off by default, and the nearest setting of
            /// route, router and app counts. A `nexios.v1` client sees the names of the rooms that it is in. The
            /// `authorize_…` functions decide what it may do.
            ///
            /// ```
            /// # async fn chat(ws: nexios::WebSocket) -> nexios::Result { ws.accept().await }
            /// let router = nexios::WsRouter::with_prefix("/chat").live(true).ws("/", chat);
            /// ```
            pub fn live(mut self, on: bool) -> Self {
                self.router_mut().options.live = Some(on);
                self
            }

            /// Decides if a `nexios.v1` client may enter a room that it asks for, on the routes here and below; the
            /// nearest router's function counts. Without one the answer is no.
            ///
            /// ```
            /// use std::sync::Arc;
            /// use nexios::{WebSocket, WsRouter};
            /// let router = WsRouter::new().authorize_join(async |ws: WebSocket, room: Arc<str>| {
            ///     // Everybody may read the news; a team's rooms are for its members.
            ///     &*room == "news" || ws.client_id().is_some_and(|team| room.starts_with(&*team))
            /// });
            /// ```
            ///
            /// The function returns `bool` or `Result<bool>`. A
            /// [`WebSocketException`](crate::WebSocketException) or [`RequestError`](crate::RequestError) is sent
            /// to the client; other errors are logged, and the client receives `failed`.
            pub fn authorize_join<F, Fut>(mut self, function: F) -> Self
            where
                F: Fn(WebSocket, Arc<str>) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: IntoPermission> + 'static,
            {
                self.router_mut().rules.join = Some(authorize(function));
                self
            }

            /// Decides if a `nexios.v1` client may publish to a room, as [`authorize_join`](Self::authorize_join)
            /// does for entering it. The client need not be in the room.
            pub fn authorize_publish<F, Fut>(mut self, function: F) -> Self
            where
                F: Fn(WebSocket, Arc<str>) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: IntoPermission> + 'static,
            {
                self.router_mut().rules.publish = Some(authorize(function));
                self
            }

            /// Decides if a `nexios.v1` client may read the history of a room from before it joined, which it does
            /// by joining from the start. [`authorize_join`](Self::authorize_join) is asked first.
            pub fn authorize_history<F, Fut>(mut self, function: F) -> Self
            where
                F: Fn(WebSocket, Arc<str>) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: IntoPermission> + 'static,
            {
                self.router_mut().rules.history = Some(authorize(function));
                self
            }

            /// Decides if a `nexios.v1` client may read the presence of a room that it is in, and each change from
            /// then on; otherwise as [`authorize_join`](Self::authorize_join).
            pub fn authorize_presence<F, Fut>(mut self, function: F) -> Self
            where
                F: Fn(WebSocket, Arc<str>) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: IntoPermission> + 'static,
            {
                self.router_mut().rules.presence = Some(authorize(function));
                self
            }

            /// Decides if a `nexios.v1` client may leave a room that the application joined for it by
            /// [`WebSocket::join`]; otherwise as [`authorize_join`](Self::authorize_join). A client may always leave
            /// a room that it joined itself.
            pub fn authorize_leave<F, Fut>(mut self, function: F) -> Self
            where
                F: Fn(WebSocket, Arc<str>) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: IntoPermission> + 'static,
            {
                self.router_mut().rules.leave = Some(authorize(function));
                self
            }

            /// Answers the requests for this method that `nexios.v1` clients make; the nearest router's function
            /// counts. It runs concurrently with the handler, and ends with the connection.
            ///
            /// ```
            /// use nexios::{Json, RequestError, WebSocket, WsRouter};
            /// let router = WsRouter::new().on_request("divide", async |_: WebSocket, Json((a, b)): Json<(i64, i64)>| {
            ///     let quotient = a.checked_div(b).ok_or_else(|| RequestError::new("by_zero", "cannot divide by 0"))?;
            ///     nexios::Result::Ok(Json(quotient))
            /// });
            /// ```
            ///
            /// The argument is a [`Message`], a `String`, a `Vec<u8>`, [`Json`](crate::Json) or `()`. The function
            /// returns one of these types, or a [`Result`](crate::Result) of it. The client receives errors as
            /// described for [`authorize_join`](Self::authorize_join).
            pub fn on_request<A, F, Fut>(mut self, method: impl AsRef<str>, function: F) -> Self
            where
                A: Argument,
                F: Fn(WebSocket, A) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: IntoReply> + 'static,
            {
                self.router_mut().rules.requests.insert(method.as_ref().into(), request_handler(function));
                self
            }

            /// Sets the limits of the random time after which `nexios.v1` clients reconnect when a connection has
            /// ended unexpectedly: 100 ms to 2 s by default. When the server restarts, the upper limit is at least
            /// 1 s for each 1,000 clients.
            pub fn retry(mut self, min: Duration, max: Duration) -> Self {
                self.router_mut().options.retry = Some(Retry::new(min, max));
                self
            }

            /// Limits the rooms of which one `nexios.v1` client may watch the presence at a time: 100 by default,
            /// `None` for any number. A request for another room's presence receives the error `forbidden`.
            pub fn watched_rooms_max(mut self, rooms: Option<usize>) -> Self {
                self.router_mut().options.watched_rooms_max = Some(rooms);
                self
            }

            /// Sets how long `join` and `publish` frames of a fresh `nexios.v1` connection wait for its handler:
            /// until it first receives, calls [`wait_closed`](WebSocket::wait_closed) or ends, for 1 s at most by
            /// default. A handler that looks up something after `accept()` and then joins rooms has finished before
            /// the client's frames take effect, such as publishes that the client repeats after a reconnect. With
            /// [`Duration::ZERO`] they do not wait.
            ///
            /// ```
            /// use std::time::Duration;
            /// use nexios::WsRouter;
            /// let router = WsRouter::new().live(true).hold_timeout(Duration::from_secs(5));
            /// ```
            pub fn hold_timeout(mut self, timeout: Duration) -> Self {
                self.router_mut().options.hold_timeout = Some(timeout);
                self
            }

            /// Sets how long a user stays in the presence of rooms after a connection was lost: no time by default.
            /// A user who is tracked there again within that time, on any node, has neither left nor joined.
            ///
            /// ```
            /// use std::time::Duration;
            /// use nexios::WsRouter;
            /// let router = WsRouter::new().leave_delay(Duration::from_secs(5));
            /// ```
            pub fn leave_delay(mut self, delay: Duration) -> Self {
                self.router_mut().options.leave_delay = Some(delay);
                self
            }

            /// Handles errors of type `E` from handlers, middleware and message listeners. The nearest router's
            /// handler wins, and within a router the most specific type. [`Error`](crate::Error) stands for all
            /// types.
            pub fn exception_handler<E: Exception, H: ExceptionHandler<E>>(mut self, handler: H) -> Self {
                self.router_mut().exceptions.push(AnyExceptionHandler::new::<E>(handler));
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
                self.router_mut().options.change(change);
                self
            }

            /// Sets the policy for clients that do not keep up with broadcasts.
            pub fn slow_client(self, policy: SlowClient) -> Self {
                self.settings(move |settings| settings.slow_client = policy)
            }

            /// Allows pages of these origins to connect, in addition to pages of the server's own origin:
            /// `https://example.org`, `https://*.example.org` for all hosts below it, `*` for all origins. Any
            /// other text is an error when the app is built.
            pub fn allowed_origins<I: IntoIterator<Item: Into<String>>>(mut self, origins: I) -> Self {
                self.router_mut().options.origins = Some(origins.into_iter().map(Into::into).collect());
                self
            }

            /// Answers `close()` before `accept()` with HTTP 403 and the reason as body if `on`, else with a
            /// handshake and a Close frame.
            pub fn refuse_before_accept(mut self, on: bool) -> Self {
                self.router_mut().options.refuse_before_accept = Some(on);
                self
            }
        }
    };
}

builders!(WsRouter);
builders!(App);
