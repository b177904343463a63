//! The answers to a handshake: 101, or a refusal.

use nexios_protocol::{is_header_value, is_token};

use super::CloseInfo;
use crate::variant::Variant;

/// The answer 101 to an upgrade request.
#[derive(Clone, Debug, Default)]
pub struct Accept {
    /// One of the offered subprotocols.
    pub subprotocol: Option<String>,
    /// More header fields of the answer.
    pub headers: Vec<(String, String)>,
    /// The kind of the connection. One that is not plain receives broadcasts only from
    /// [`enter`](super::Connection::enter) on, and its messages have the form that the service gives them.
    pub variant: Variant,
}

/// An HTTP answer instead of 101.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status, from 300 to 599; 400 and more as a rule.
    pub status: u16,
    /// Header fields besides `Content-Length` and `Connection`, which the server writes.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why the handshake could not be answered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// It has been answered already.
    #[error("the handshake is answered already: accept() and reject() work once, before anything is sent")]
    NotConnecting,
    /// A header or subprotocol that HTTP cannot carry (CR, LF, or no token).
    #[error("{0:?} cannot stand in an HTTP header")]
    InvalidHeader(String),
    /// A header that is the server's own, with another value than the server's.
    #[error("invalid header \"{name}: {value}\": {expected}")]
    OwnHeader {
        /// The field.
        name: String,
        /// What the application says.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// A status that is no refusal's.
    #[error("invalid status {0}: a handshake is refused with a status from 300 to 599")]
    InvalidStatus(u16),
    /// The client has left.
    #[error("the client left before the handshake was answered")]
    Gone(CloseInfo),
}

impl Refusal {
    /// A refusal with a plain text body.
    ///
    /// ```
    /// let refusal = nexios_engine::Refusal::new(403, "members only");
    /// assert_eq!(refusal.body, b"members only");
    /// ```
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Refusal { status, headers: Vec::new(), body: body.into() }
    }

    /// The same with one more header field.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl AcceptError {
    pub(super) fn not_connecting(close: Option<&CloseInfo>) -> Self {
        close.map_or(AcceptError::NotConnecting, |info| AcceptError::Gone(info.clone()))
    }
}

/// Returns an error if HTTP cannot carry the header.
pub(super) fn check_header(name: &str, value: &str) -> Result<(), AcceptError> {
    match (is_token(name), is_header_value(value)) {
        (true, true) => Ok(()),
        (false, _) => Err(AcceptError::InvalidHeader(name.into())),
        (true, false) => Err(AcceptError::InvalidHeader(value.into())),
    }
}
