//! What can go wrong, and how a connection ended.

use std::io;

use nexios_protocol::HandshakeError;

/// Why a client could not connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is none of a WebSocket.
    #[error("{0:?} is no ws:// or wss:// URL")]
    Url(String),
    /// There is no connection to the server.
    #[error("the server cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// The server's answer is no acceptance.
    #[error("the server did not accept: {0}")]
    Handshake(#[from] HandshakeError),
    /// The server does not speak `nexios.v1`.
    #[error(
        "the server accepted without the subprotocol nexios.v1: it is no Nexios server, or its route has picked another"
    )]
    NotSpoken,
    /// The server ended the connection before its welcome.
    #[error("the server closed the connection: {} {}", .0.code, .0.reason)]
    Closed(CloseReason),
    /// The server took too long.
    #[error("the server did not answer within {0} s")]
    Timeout(u64),
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CloseReason {
    /// The code of RFC 6455 §7.4; 1006 where there was no closing handshake.
    pub code: u16,
    /// The server's words.
    pub reason: String,
    /// Whether the client comes back by itself.
    pub retry: bool,
}

/// Why a request or a publish was not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The server refused; the codes are those of `docs/protocol.md`, or the application's own.
    #[error("{code}: {message}")]
    Refused {
        /// `forbidden`, `not_found`, `invalid`, `busy`, `unavailable`, `failed`, or another.
        code: String,
        /// What was wrong.
        message: String,
    },
    /// The connection was lost before the answer; whether it was carried out is not known.
    #[error("the connection was lost before the answer")]
    Disconnected,
    /// 256 others wait for their answers.
    #[error("256 requests wait for their answers already")]
    Busy,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
    /// The answer is not what it should be.
    #[error("the answer makes no sense: {0}")]
    Malformed(String),
}

impl CloseReason {
    pub(crate) fn lost(error: impl ToString) -> Self {
        CloseReason { code: nexios_protocol::ABNORMAL, reason: error.to_string(), retry: true }
    }
}
