//! The way to a server: WebSocket over TCP or TLS, unless the application brings another, such as a simulated one for
//! tests in virtual time.

mod address;
mod tcp;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub use address::is_address;
pub use tcp::{Tcp, TcpOptions};

use crate::Message;

/// A boxed future, as the traits of this module return it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An opener of connections. Clients use [`Tcp`], unless [`Connector::dialer`](crate::Connector::dialer) names another.
///
/// ```
/// use nexios_client::transport::{Attempt, BoxFuture, Connection, DialError, Dialer};
///
/// struct Unplugged;
///
/// impl Dialer for Unplugged {
///     fn dial(&self, attempt: Attempt) -> BoxFuture<Result<Box<dyn Connection>, DialError>> {
///         Box::pin(async move { Err(DialError::Unreachable(format!("no way to {}", attempt.url))) })
///     }
/// }
/// ```
pub trait Dialer: Send + Sync + 'static {
    /// Opens a connection. The client drops the future if it takes too long.
    fn dial(&self, attempt: Attempt) -> BoxFuture<Result<Box<dyn Connection>, DialError>>;
}

/// An open WebSocket. Dropping it cuts it.
pub trait Connection: Send + 'static {
    /// Returns the subprotocol that the server has selected.
    fn subprotocol(&self) -> Option<&str>;

    /// Queues a message; [`poll`](Self::poll) writes it.
    fn send(&mut self, message: Message);

    /// Returns true if so much waits to be written that more should wait.
    fn is_full(&self) -> bool;

    /// Writes what waits and returns the next message, or the end of the connection.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Ended>>;

    /// Writes what waits and a Close frame, and waits for that of the server, within two seconds.
    fn close(self: Box<Self>, code: u16, reason: String) -> BoxFuture<()>;
}

/// The request for a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The address, which is a valid one.
    pub url: String,
    /// The subprotocols to offer, in this order.
    pub subprotocols: Vec<String>,
    /// Additional header fields.
    pub headers: Vec<(String, String)>,
}

/// The reason there is no connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The server cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The server has answered with another status than 101.
    #[error("the server refused the handshake with status {status}")]
    Refused {
        /// The status.
        status: u16,
        /// The header field `Retry-After`, if it gives seconds.
        retry_after: Option<Duration>,
    },
    /// The answer of the server is not a WebSocket handshake.
    #[error("{0}")]
    Malformed(String),
}

/// The end of a connection, as the server or the network has made it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Ended {
    /// The server has sent a Close frame; 1005 stands for one without a code.
    Closed {
        /// Its code.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// The connection was lost.
    Lost(String),
    /// The server has violated the WebSocket protocol, or sent a message that is too long.
    Malformed(String),
}

impl Attempt {
    pub(crate) fn new(url: String, subprotocols: Vec<String>, headers: Vec<(String, String)>) -> Self {
        Attempt { url, subprotocols, headers }
    }
}
