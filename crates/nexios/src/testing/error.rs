//! What a test sees when something does not go well.

use nexios_engine::protocol::{HandshakeError, ProtocolError};

use super::Received;

/// The server answered the handshake by HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a test client could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// The handshake was refused.
    #[error("the server refused the handshake: {}", .0.status)]
    Refused(Refused),
    /// The request cannot be sent like this, or the answer breaks RFC 6455.
    #[error("the handshake is wrong: {0}")]
    Handshake(HandshakeError),
    /// A frame that breaks RFC 6455.
    #[error("the server's frames are wrong: {0}")]
    Protocol(#[from] ProtocolError),
    /// Nothing came in time.
    #[error("nothing came in time")]
    Timeout,
    /// Something else came.
    #[error("expected {expected}, got {got:?}")]
    Unexpected {
        /// What was asked for.
        expected: &'static str,
        /// What came.
        got: Received,
    },
    /// The JSON cannot be read.
    #[error("not the JSON that was expected: {0}")]
    Json(#[from] serde_json::Error),
    /// The server reset the connection.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
}
