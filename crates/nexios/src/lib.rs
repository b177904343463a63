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

mod accept;
mod access;
mod allowed_hosts;
mod app;
mod auth;
mod broadcast;
pub mod broker;
mod build;
mod companion;
mod connection_task;
mod error;
mod event;
mod exception;
mod foreign;
mod handle;
mod handler;
mod host;
mod host_names;
mod http;
mod hub;
mod joining;
mod live;
mod membership;
mod middleware;
mod options;
mod origin;
mod path;
mod proxy;
mod rate_limit;
mod receive;
mod registry;
mod request;
mod room;
mod rooms;
mod route;
mod router;
mod send;
mod serve;
mod service;
mod state;
mod static_files;
pub mod testing;
mod tls;
mod websocket;

pub use accept::{Accept, Accepting, NotLive, SubprotocolNotOffered};
pub use allowed_hosts::InvalidHost;
pub use app::{App, AppHandle, BuiltApp, Connected};
pub use broadcast::{Broadcasting, BroadcastingTo, ClientRef, Outcome};
pub use broker::{PresenceData, PresenceError, PresenceEvent, PresenceKind, Present};
pub use build::ConfigError;
pub use error::{
    Error, IntoCloseCode, ReceiveError, Result, SendError, WebSocketDisconnect, WebSocketException, WebSocketTypeError,
};
pub use exception::{Exception, ExceptionHandler};
#[doc(hidden)]
pub use foreign::check_origins;
pub use handle::Handle;
pub use handler::{Handler, IntoResult, LocalFuture};
pub use joining::Joined;
pub use live::{Argument, IntoPermission, IntoReply, Json, RequestError};
pub use middleware::{Identity, Middleware, Next};
pub use nexios_engine::{
    AcceptError, Binary, Cause, Compression, ConnectionId, ConnectionState, InvalidSetting, Message, MessageRef,
    MetricsSnapshot, Refusal, RequestBody, ServerSettings, Settings, SlowClient, Text,
};
pub use nexios_protocol::{CloseCode, Escaped, InvalidCloseCode, escaped};
pub use origin::InvalidOrigin;
pub use path::PathError;
pub use proxy::InvalidProxy;
pub use rate_limit::{OnExcess, RateLimit};
pub use receive::{
    AnyMessage, BinaryMessage, JsonMessage, MessageKind, Messages, Receive, ReceiveControl, ReceiveWith, TextMessage,
};
pub use request::{Client, Cookies, Headers, PathParamError, PathParams, QueryParams};
pub use room::Room;
pub use route::Route;
pub use router::{RouterHandle, WsRouter};
#[doc(hidden)]
pub use rustls::ServerConfig as TlsConfig;
pub use send::{AsBinary, AsJson, AsText, Compress, Payload, RoundTrip, Sending};
pub use serve::{Running, Serve, StartError};
pub use service::ShardService;
pub use state::State;
pub use static_files::StaticFiles;
pub use tls::{Tls, TlsError};
pub use websocket::WebSocket;

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
