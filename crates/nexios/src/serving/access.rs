//! The access log: one event for each HTTP answer, for each handshake and for each connection's end.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use nexios_engine::{Connection, ConnectionId, HttpPeer, Report, RequestBody};
use nexios_protocol::escaped;
use tracing::field;

use crate::connection::websocket::WebSocket;
use crate::routing::app::App;
use crate::routing::route::BuiltRoute;

/// The target of all events of the access log.
const TARGET: &str = "nexios::access";

impl App {
    /// Logs each HTTP answer, each handshake and each connection's end, as `tracing` events of the target
    /// `nexios::access` and the level INFO. It is off unless it is turned on, and costs nothing then.
    ///
    /// The fields are `connection`, `client`, `method`, `path` (as it was sent, without its query), `route`, `status` or
    /// `code` and `reason`, `duration` (seconds) and `pid`. The client is the one that a trusted proxy names.
    ///
    /// ```
    /// let app = nexios::App::new().access_log(true);
    /// ```
    pub fn access_log(mut self, on: bool) -> Self {
        self.access_log = on;
        self
    }
}

/// Returns true if somebody listens to the access log.
fn is_enabled() -> bool {
    tracing::event_enabled!(target: TARGET, tracing::Level::INFO)
}

/// The access log of one shard.
#[derive(Default)]
pub(crate) struct AccessLog {
    /// Connections that have asked for a WebSocket and are not over.
    asked: RefCell<HashMap<ConnectionId, Asked>>,
}

/// What a line tells of a request.
struct Asked {
    since: Instant,
    client: Option<String>,
    method: String,
    path: String,
    route: Option<Arc<BuiltRoute>>,
}

/// What became of it.
#[derive(Clone, Copy)]
enum Outcome<'a> {
    /// The HTTP status.
    Status(u16),
    /// The close code and its reason.
    Closed(u16, &'a str),
}

impl AccessLog {
    /// A handshake has found its route.
    pub(crate) fn handshake(&self, ws: &WebSocket) {
        if !is_enabled() {
            return;
        }
        let asked = Asked {
            since: Instant::now(),
            client: ws.client().map(|client| SocketAddr::new(client.host, client.port).to_string()),
            method: "GET".to_owned(),
            path: ws.path(),
            route: Some(ws.route().clone()),
        };
        self.asked.borrow_mut().insert(ws.id(), asked);
    }

    /// The handshake was answered with a 101.
    pub(crate) fn accepted(&self, id: ConnectionId) {
        if let Some(asked) = self.asked.borrow().get(&id) {
            asked.log(id, Outcome::Status(101), "accepted");
        }
    }

    /// The handshake was answered with another status, or the bytes are no request.
    pub(crate) fn refused(&self, connection: &Connection, status: u16) {
        let asked = self.asked.borrow_mut().remove(&connection.id());
        let asked = asked.or_else(|| is_enabled().then(|| Asked::unknown(connection)));
        if let Some(asked) = asked {
            asked.log(connection.id(), Outcome::Status(status), "refused");
        }
    }

    /// The connection is over. Nothing is logged of one that was refused, or that has never asked for anything.
    pub(crate) fn closed(&self, connection: &Connection) {
        let Some(asked) = self.asked.borrow_mut().remove(&connection.id()) else { return };
        let info = connection.close_info();
        let (code, reason) = info.as_ref().map_or((1006, ""), |info| (info.code, &*info.reason));
        asked.log(connection.id(), Outcome::Closed(code, reason), "closed");
    }

    /// Returns true until the last line of a connection is logged.
    pub(crate) fn awaits(&self, id: &ConnectionId) -> bool {
        self.asked.borrow().contains_key(id)
    }

    /// A plain request, whose answer calls what is returned.
    pub(crate) fn request(id: ConnectionId, request: &http::Request<RequestBody>, peer: HttpPeer) -> Option<Report> {
        if !is_enabled() {
            return None;
        }
        let asked = Asked {
            since: Instant::now(),
            client: peer.address.map(|address| address.to_string()),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            route: None,
        };
        Some(Box::new(move |status| asked.log(id, Outcome::Status(status), "answered")))
    }
}

impl Asked {
    /// A request that has no route, or of which nothing could be read.
    fn unknown(connection: &Connection) -> Self {
        let head = connection.head();
        let part = |part: Option<&str>| part.unwrap_or("-").to_owned();
        Asked {
            since: Instant::now(),
            client: connection.peer().map(|address| address.to_string()),
            method: part(head.as_deref().map(|head| head.method())),
            path: part(head.as_deref().map(|head| head.path())),
            route: None,
        }
    }

    fn log(&self, id: ConnectionId, outcome: Outcome<'_>, what: &str) {
        let (status, code, reason) = match outcome {
            Outcome::Status(status) => (Some(status), None, None),
            Outcome::Closed(code, reason) => (None, Some(code), Some(reason)),
        };
        tracing::info!(
            target: TARGET,
            connection = %id,
            client = self.client.as_ref().map(field::display),
            method = %escaped(&self.method),
            path = %escaped(&self.path),
            route = self.route.as_ref().map(|route| field::display(&route.path)),
            status,
            code,
            reason = reason.map(|reason| field::display(escaped(reason))),
            duration = self.since.elapsed().as_secs_f64(),
            pid = std::process::id(),
            "{what}"
        );
    }
}
