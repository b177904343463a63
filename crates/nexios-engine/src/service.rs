//! What the engine asks its user: the framework, or any other front end.

use std::any::Any;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use nexios_protocol::CloseCode;

use crate::connection::Connection;
use crate::group::Dropped;
use crate::message::{Message, MessageRef};
use crate::request_body::RequestBody;
use crate::route_profile::Profile;
use crate::variant::Variant;

/// The body of a plain HTTP answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
/// An answer that is being worked on.
pub type ResponseFuture = Pin<Box<dyn Future<Output = http::Response<ResponseBody>>>>;

/// Where a plain HTTP request came from.
#[derive(Clone, Copy, Debug)]
pub struct HttpPeer {
    /// `None` on a Unix socket or in memory.
    pub address: Option<SocketAddr>,
    /// The server's own end of the connection; `None` where there is no address.
    pub local: Option<SocketAddr>,
    /// Whether TLS ends here.
    pub tls: bool,
}

/// A step in a connection's life that an access log tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Its handshake was answered with this HTTP status, or its bytes are no request.
    Refused(u16),
    /// It is over: [`Connection::close_info`] says how. Also reported for connections that were refused, and for those
    /// that never sent a whole request.
    Closed,
}

/// Reports the status of the answer to a plain HTTP request.
pub type Report = Box<dyn FnOnce(u16)>;

/// A connection's own task, lent the connection at each poll so that it need not hold it.
///
/// A future is one as well, for what has its own handle to the connection.
pub trait Task {
    /// Goes on as far as it can. Ready: the task is over, or goes on as another one, which
    /// is polled at once, after this one is dropped.
    fn poll(self: Pin<&mut Self>, connection: &Connection, cx: &mut Context<'_>) -> Poll<Option<BoxedTask>>;
}

/// A task as the engine keeps it.
pub type BoxedTask = Pin<Box<dyn Task>>;

impl<F: Future<Output = ()>> Task for F {
    fn poll(self: Pin<&mut Self>, _connection: &Connection, cx: &mut Context<'_>) -> Poll<Option<BoxedTask>> {
        ready!(Future::poll(self, cx));
        Poll::Ready(None)
    }
}

/// Answers requests on one shard.
pub trait Service: Any {
    /// An upgrade request that follows RFC 6455, in state connecting. `None`: there is no such
    /// WebSocket route. What is returned is the connection's task: it accepts or refuses; when it
    /// ends, an open connection is closed with 1000, an unanswered one gets HTTP 500.
    fn websocket(self: Rc<Self>, connection: &Connection) -> Option<BoxedTask>;

    /// Returns true if connections from this peer are those of its clients: a trusted proxy. Each is counted for the
    /// [`client`](Self::client) that its upgrade names, and not for the peer. `None` is a peer on a Unix socket.
    fn is_proxy(&self, peer: Option<IpAddr>) -> bool {
        let _ = peer;
        false
    }

    /// Returns the address of the client behind a proxy; `None` if it is unknown.
    fn client(&self, connection: &Connection) -> Option<IpAddr> {
        connection.peer().map(|peer| peer.ip())
    }

    /// The connection's task is over, or was dropped with the shard: nobody acts for it any more.
    fn ended(self: Rc<Self>, connection: &Connection) {
        let _ = connection;
    }

    /// More waited for this shard than its mailbox holds: a function that it was to run never runs.
    fn overflowed(self: Rc<Self>) {}

    /// The shard closes: nobody new comes, and those who are here are sent away.
    fn closing(&self) {}

    /// Whether a WebSocket route has this path; a plain request to it gets 426.
    fn has_websocket(&self, path: &str) -> bool;

    /// A request that is no WebSocket upgrade. `None`: nobody answers it; 426 or 404 follows. The
    /// [`ConnectionId`](crate::ConnectionId) is an extension of the request.
    fn http(self: Rc<Self>, request: http::Request<RequestBody>, peer: HttpPeer) -> Option<ResponseFuture> {
        let _ = (request, peer);
        None
    }

    /// Returns the form that an application's message has for connections of a variant; `None`: it goes out as it is.
    /// Not called for plain connections.
    fn form(&self, variant: Variant, message: MessageRef<'_>) -> Option<Message> {
        let _ = (variant, message);
        None
    }

    /// Returns the message that a connection of this variant and profile receives before the server's Close frame. Not
    /// called for plain connections.
    fn farewell(&self, variant: Variant, profile: &Profile, code: CloseCode, reason: &str) -> Option<String> {
        let _ = (variant, profile, code, reason);
        None
    }

    /// Returns true if [`step`](Self::step) is to be called; asked once.
    fn logs_access(&self) -> bool {
        false
    }

    /// A connection was refused or is over; called at the end of the turn.
    fn step(self: Rc<Self>, connection: &Connection, step: Step) {
        let _ = (connection, step);
    }

    /// A plain HTTP request has come; what is returned is called when its answer begins.
    fn report(&self, connection: &Connection, request: &http::Request<RequestBody>, peer: HttpPeer) -> Option<Report> {
        let _ = (connection, request, peer);
        None
    }

    /// Broadcasts were left out for a slow client.
    fn dropped(self: Rc<Self>, connection: &Connection, dropped: Dropped) {
        let _ = (connection, dropped);
    }
}
