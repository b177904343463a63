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
//! - building: [`App`], [`WsRouter`], [`Route`], [`Handler`], [`Middleware`], [`RateLimit`]
//! - a connection: [`WebSocket`], its [`Handle`] for other threads, its [`State`]
//! - many connections: [`RouterHandle`], [`Room`], [`Outcome`]
//! - many processes and machines: [`broker`]
//! - clients that come back: [`WsRouter::authorize_join`], [`WsRouter::on_request`], [`RequestError`], [`Json`]
//! - what goes wrong: [`Error`], [`WebSocketException`], [`WebSocketDisconnect`], [`WebSocketTypeError`]
//! - limits: [`Settings`], [`ServerSettings`]
//! - the log: events of `tracing` with the fields `connection` and `route`; [`App::access_log`], and [`escaped`] for texts
//!   of clients in the lines of an application

#![forbid(unsafe_code)]

// The servers of the integration tests, by the name under which those know this crate.
#[cfg(test)]
extern crate self as nexios;

mod audience;
pub mod broker;
mod connection;
mod error;
mod ffi;
mod live;
mod routing;
mod serving;
pub mod testing;

pub use audience::broadcast::{Broadcasting, BroadcastingTo, Outcome};
pub use audience::room::Room;
pub use broker::{ClientRef, PresenceData, PresenceError, PresenceEvent, PresenceKind, Present};
pub use connection::accept::{Accept, Accepting, NotLive, SubprotocolNotOffered};
pub use connection::allowed_hosts::InvalidHost;
pub use connection::handle::Handle;
pub use connection::joining::Joined;
pub use connection::origin::InvalidOrigin;
pub use connection::proxy::InvalidProxy;
pub use connection::receive::{
    AnyMessage, BinaryMessage, JsonMessage, MessageKind, Messages, Receive, ReceiveControl, ReceiveWith, TextMessage,
};
pub use connection::request::{Client, Cookies, Headers, PathParamError, PathParams, QueryParams};
pub use connection::send::{AsBinary, AsJson, AsText, Compress, Payload, RoundTrip, Sending};
pub use connection::state::State;
pub use connection::websocket::WebSocket;
pub use error::{
    Error, IntoCloseCode, ReceiveError, Result, SendError, WebSocketDisconnect, WebSocketException, WebSocketTypeError,
};
#[doc(hidden)]
pub use ffi::check_origins;
pub use live::{Argument, IntoPermission, IntoReply, Json, RequestError};
pub use nexios_engine::{
    AcceptError, Binary, Cause, Compression, ConnectionId, ConnectionState, InvalidSetting, Message, MessageRef,
    MetricsSnapshot, Refusal, RequestBody, ServerSettings, Settings, SlowClient, Text,
};
pub use nexios_protocol::{CloseCode, Escaped, InvalidCloseCode, escaped};
pub use routing::app::{App, AppHandle, BuiltApp, Connected};
pub use routing::build::ConfigError;
pub use routing::exception::{Exception, ExceptionHandler};
pub use routing::handler::{Handler, IntoResult, LocalFuture};
pub use routing::middleware::{Identity, Middleware, Next};
pub use routing::path::PathError;
pub use routing::rate_limit::{OnExcess, RateLimit};
pub use routing::route::Route;
pub use routing::router::{RouterHandle, WsRouter};
#[doc(hidden)]
pub use rustls::ServerConfig as TlsConfig;
pub use serving::serve::{Running, Serve, StartError};
pub use serving::service::ShardService;
pub use serving::static_files::StaticFiles;
pub use serving::tls::{Tls, TlsError};

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

/// And those of the one on rooms that remember.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/history.md")]
struct Histories;
