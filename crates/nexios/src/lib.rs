//! A WebSocket framework: routes, middleware, events, groups, broadcast.
//!
//! ```
//! use nexios::{App, WebSocket, WsRouter};
//!
//! async fn endpoint(ws: WebSocket) -> nexios::Result {
//!     ws.accept().await?;
//!     ws.send_text("Connected!").await?;
//!     loop {
//!         let data = ws.receive_text().await?;
//!         ws.send_text(format!("Echo: {data}")).await?;
//!     }
//! }
//!
//! let app = App::new().mount(WsRouter::new().ws("/ws", endpoint));
//! ```
//!
//! - building: [`App`], [`WsRouter`], [`Route`], [`Handler`](routing::Handler), [`Middleware`], [`RateLimit`]
//! - a connection: [`WebSocket`], its [`Handle`] for other threads, its [`State`]
//! - many connections: [`RouterHandle`], [`Room`], [`Outcome`]
//! - many processes and machines: [`broker`]
//! - clients that come back: [`WsRouter::authorize_join`], [`WsRouter::on_request`], [`RequestError`], [`Json`]
//! - what goes wrong: [`Error`], [`WebSocketException`], [`WebSocketDisconnect`], [`WebSocketTypeError`]
//! - limits: [`Settings`], [`ServerSettings`]
//! - the log: events of `tracing` with the fields `connection` and `route`; [`App::access_log`], and [`escaped`](log::escaped) for texts
//!   of clients in the lines of an application

#![forbid(unsafe_code)]

mod audience;
pub mod broker;
mod connection;
pub mod error;
mod ffi;
pub mod live;
pub mod routing;
mod serving;
pub mod testing;

pub use audience::broadcast::Outcome;
pub use audience::room::Room;
pub use connection::handle::Handle;
pub use connection::joining::Joined;
pub use connection::state::State;
pub use connection::websocket::WebSocket;
pub use error::{Error, ReceiveError, Result, SendError, WebSocketDisconnect, WebSocketException, WebSocketTypeError};
#[doc(hidden)]
pub use ffi::check_origins;
pub use live::{Json, RequestError};
pub use nexios_engine::{Compression, ConnectionId, ConnectionState, Message, ServerSettings, Settings, SlowClient};
pub use nexios_protocol::CloseCode;
pub use routing::app::{App, AppHandle};
pub use routing::middleware::{Middleware, Next};
pub use routing::rate_limit::RateLimit;
pub use routing::route::Route;
pub use routing::router::{RouterHandle, WsRouter};
pub use serving::serve::{Running, Serve, StartError};
pub use serving::static_files::StaticFiles;
pub use serving::tls::Tls;

/// The answer to a handshake: [`WebSocket::accept`] and [`WebSocket::reject`].
pub mod accept {
    pub use nexios_engine::{AcceptError, Refusal};

    pub use crate::connection::accept::{Accept, NotLive, SubprotocolNotOffered};
}

/// Messages to many clients: [`RouterHandle::broadcast`] and [`RouterHandle::broadcast_to`].
pub mod broadcast {
    pub use crate::audience::broadcast::Outcome;
    pub use crate::broker::ClientRef;
}

/// The futures that methods return.
pub mod future {
    pub use crate::audience::broadcast::{Broadcasting, BroadcastingTo};
    pub use crate::connection::accept::Accepting;
    pub use crate::connection::receive::{Messages, Receive, ReceiveControl, ReceiveWith};
    pub use crate::connection::send::{RoundTrip, Sending};
    pub use crate::routing::handler::LocalFuture;
}

/// Texts of clients in the lines of a log.
pub mod log {
    pub use nexios_protocol::{Escaped, escaped};
}

/// Messages, and the values that are sent and received as messages.
pub mod message {
    pub use nexios_engine::{Binary, Message, MessageRef, Text};

    pub use crate::connection::receive::{AnyMessage, BinaryMessage, JsonMessage, MessageKind, TextMessage};
    pub use crate::connection::send::{AsBinary, AsJson, AsText, Compress, Payload};
}

/// Functions around handlers: authentication, logging, refusals.
pub mod middleware {
    pub use crate::routing::middleware::{Identity, Middleware, Next};
}

/// The users in a room: [`Room::presence`] and [`Room::track`].
pub mod presence {
    pub use crate::broker::{PresenceData, PresenceError, PresenceEvent, PresenceKind, Present};
}

/// Limits on the messages of a client: [`RateLimit`].
pub mod rate_limit {
    pub use crate::routing::rate_limit::{OnExcess, RateLimit};
}

/// The request of a handshake: path, query, headers, cookies, the client.
pub mod request {
    pub use nexios_engine::RequestBody;

    pub use crate::connection::request::{Client, Cookies, Headers, PathParamError, PathParams, QueryParams};
}

/// Running an app: listeners, threads, counters.
pub mod serve {
    pub use nexios_engine::{Cause, MetricsSnapshot};

    pub use crate::routing::app::{BuiltApp, Connected};
    pub use crate::serving::serve::{Running, Serve, StartError};
    pub use crate::serving::service::ShardService;
}

/// TLS of a listener.
pub mod tls {
    #[doc(hidden)]
    pub use rustls::ServerConfig as TlsConfig;

    pub use crate::serving::tls::{Tls, TlsError};
}

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// So are those of the page on presence,
#[cfg(doctest)]
#[doc = include_str!("../../../docs/presence.md")]
struct PresencePage;

/// So are those of the page on clients that come back,
#[cfg(doctest)]
#[doc = include_str!("../../../docs/live.md")]
struct Live;

/// and of the page on scaling.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/scaling.md")]
struct Scaling;

/// And those of the one on rooms with history.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/history.md")]
struct Histories;
