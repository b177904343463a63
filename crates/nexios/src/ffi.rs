//! What a front end in another language needs of a connection, beside what handlers use.
//!
//! Hidden from the documentation: it follows the front ends of this repository and nobody else.

use std::sync::Arc;

use http::Request;
use nexios_engine::{CloseInfo, Connection, ConnectionId, RequestBody, ResponseFuture, Shard};
use nexios_protocol::CloseCode;

use crate::audience::room::Room;
use crate::audience::switchboard::Target;
use crate::broker::PresenceError;
use crate::connection::accept::{self, Accept};
use crate::connection::origin::{InvalidOrigin, Origins};
use crate::connection::websocket::WebSocket;
use crate::error::Result;
use crate::live;
use crate::routing::app::{App, BuiltApp};
use crate::routing::handler::LocalFuture;
use crate::routing::rate_limit::{Limiter, RateLimit};
use crate::routing::router::RouterHandle;
use crate::serving::service::ShardService;

/// Checks a list of allowed origins before there is an app.
///
/// # Errors
/// The first that no page has.
#[doc(hidden)]
pub fn check_origins(list: &[String]) -> Result<(), InvalidOrigin> {
    Origins::of(list).map(drop)
}

#[doc(hidden)]
impl WebSocket {
    /// The engine's connection: polls and commands without `async`.
    pub fn engine(&self) -> &Connection {
        self.connection()
    }

    /// Middleware that ran elsewhere has let the connection through to its handler.
    pub fn reached_handler(&self) {
        self.handler_starts();
    }

    /// Answers the handshake; the connect listeners and [`opened`](Self::opened) are the caller's.
    ///
    /// # Errors
    /// As for [`accept_with`](Self::accept_with).
    pub fn answer(&self, accept: Accept) -> Result {
        accept::answer(self, accept)
    }

    /// After [`answer`](Self::answer): resolves when `accept()` may go on. It has to be awaited
    /// before [`opened`](Self::opened) where the client speaks `nexios.v1`, and is an error where
    /// that has not said `hello`.
    pub fn entering(&self) -> Option<LocalFuture<Result>> {
        if live::is_live(self.connection()) {
            return Some(Box::pin(hello_and_enter(self.clone())));
        }
        let entering = accept::enter(self)?;
        Some(Box::pin(async move {
            entering.done().await;
            Ok(())
        }))
    }

    /// `accept()` is over: from now on messages and the end are told to their listeners. A client
    /// that speaks `nexios.v1` and has not said `hello` was never there.
    pub fn opened(&self) {
        if !live::is_live(self.connection()) || self.session().is_some() {
            self.opens();
        }
    }

    /// [`close`](Self::close), for a code that may be sent.
    pub fn close_at_once(&self, code: CloseCode, reason: &str) {
        self.close_now(code, reason);
    }

    /// How it ended, or is ending.
    pub fn close_info(&self) -> Option<CloseInfo> {
        self.connection().close_info()
    }

    /// Clears the client id, too.
    pub fn clear_client_id(&self) {
        self.forget_client_id();
    }
}

#[doc(hidden)]
impl ShardService {
    /// Tells a front end of each connection whose task has ended, so that a connection need not
    /// hold anything for that, and whether the access log has yet to tell of its end. The first call wins.
    pub fn on_ended(&self, tell: impl Fn(&ConnectionId, bool) + 'static) {
        self.set_on_ended(Box::new(tell));
    }
}

#[doc(hidden)]
impl RateLimit {
    /// Whether messages are counted, not handshakes.
    pub fn is_for_messages(&self) -> bool {
        self.counts_messages()
    }

    /// Whether it has to be told a key of the caller's making.
    pub fn limit_messages_of(&self, ws: &WebSocket, key: Option<String>) {
        let key = self.key_or_named(ws, key);
        ws.limit_messages(Limiter::new(self.clone(), key));
    }

    /// Whether a handshake may go on; where not, the client has its answer.
    ///
    /// # Errors
    /// The refusal cannot be sent.
    pub async fn admits(&self, ws: &WebSocket, key: Option<String>) -> Result<bool> {
        self.admit_handshake(ws, key).await
    }
}

#[doc(hidden)]
impl RouterHandle {
    /// The connected clients on this thread.
    pub fn local_connections(&self) -> Vec<Connection> {
        local(self.target())
    }
}

#[doc(hidden)]
impl WebSocket {
    /// [`track`](Self::track) for data that are JSON already.
    ///
    /// # Errors
    /// As there.
    pub fn track_json(&self, room: &str, data: &str) -> Result<(), PresenceError> {
        self.show(room, &data.into())
    }

    /// [`untrack`](Self::untrack), at once.
    pub fn untrack_now(&self, room: &str) -> bool {
        self.hide(room)
    }
}

#[doc(hidden)]
impl Room {
    /// [`track`](Self::track) for data that are JSON already.
    ///
    /// # Errors
    /// As there.
    pub fn track_json(&self, ws: &WebSocket, data: &str) -> Result<(), PresenceError> {
        ws.show(self.name(), &data.into())
    }

    /// [`untrack`](Self::untrack), at once.
    pub fn untrack_now(&self, ws: &WebSocket) -> bool {
        ws.hide(self.name())
    }

    /// Those who are in it and on this thread.
    pub fn local_members(&self) -> Vec<Connection> {
        local(self.target())
    }
}

#[doc(hidden)]
impl App {
    /// Hands plain HTTP requests to the front end's own kind of app, those for the path of a WebSocket
    /// route among them. [`HttpPeer`](nexios_engine::HttpPeer) is an extension of the request.
    pub fn front_http(
        mut self,
        answer: impl Fn(Request<RequestBody>) -> ResponseFuture + Send + Sync + 'static,
    ) -> Self {
        self.http.fallback = Some(Arc::new(answer));
        self
    }
}

#[doc(hidden)]
impl BuiltApp {
    /// Whether it keeps rooms with history itself, on a thread of its own.
    pub fn has_own_node(&self) -> bool {
        self.switchboard.own_node().is_some()
    }

    /// Ends that thread.
    pub fn end(&self) {
        self.switchboard.end();
    }
}

async fn hello_and_enter(ws: WebSocket) -> Result {
    live::await_hello(ws.clone()).await?;
    if let Some(entering) = accept::enter(&ws) {
        entering.done().await;
    }
    Ok(())
}

fn local(target: Option<(Arc<crate::audience::switchboard::Switchboard>, Target)>) -> Vec<Connection> {
    let Some((switchboard, target)) = target else { return Vec::new() };
    let audience = target.audience();
    switchboard.shards.ask_local(|shard: &Shard| shard.members(&audience))
}
