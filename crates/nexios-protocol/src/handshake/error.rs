//! What can be wrong with a handshake.

/// The handshake cannot go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The bytes are not an HTTP/1.1 message head.
    #[error("malformed HTTP head")]
    MalformedHead,
    /// More bytes or header fields than allowed.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// The request target is none that an origin server takes (RFC 9112 §3.2).
    #[error("invalid request target: must be a path, or http:// with a host")]
    Target,
    /// The method of an upgrade is GET (RFC 6455 §4.1).
    #[error("a WebSocket handshake is a GET request")]
    Method,
    /// Upgrades need HTTP/1.1 or later.
    #[error("a WebSocket handshake needs HTTP/1.1")]
    HttpVersion,
    /// Exactly one `Host`, which is a name or an address.
    #[error("exactly one valid Host is needed")]
    Host,
    /// `Connection` lacks the token `Upgrade`.
    #[error("the Connection header lacks \"Upgrade\"")]
    ConnectionHeader,
    /// `Upgrade` lacks the token `websocket`.
    #[error("the Upgrade header lacks \"websocket\"")]
    UpgradeHeader,
    /// Exactly one `Sec-WebSocket-Key`, 16 bytes in base64.
    #[error("a handshake has exactly one Sec-WebSocket-Key of 16 bytes in base64")]
    Key,
    /// `Sec-WebSocket-Version` is not 13.
    #[error("the WebSocket version is not 13")]
    Version,
    /// An upgrade request with a body: a way to smuggle requests.
    #[error("an upgrade request has no body")]
    Body,
    /// `Sec-WebSocket-Protocol` is not a list of distinct tokens.
    #[error("malformed Sec-WebSocket-Protocol")]
    Subprotocol,
    /// A header that we were asked to send cannot stand in HTTP.
    #[error("{0:?} cannot stand in an HTTP header")]
    InvalidHeader(String),
    /// A header that the handshake writes itself, or that a 101 must not have (RFC 9110 §8.6).
    #[error("the header {0} belongs to the handshake itself")]
    ReservedHeader(String),
    /// Client role: the server did not answer 101.
    #[error("the server answered {status}")]
    Refused {
        /// The status.
        status: u16,
        /// The header fields.
        headers: Vec<(String, String)>,
    },
    /// Client role: `Sec-WebSocket-Accept` does not match the key.
    #[error("the server's Sec-WebSocket-Accept does not match")]
    Accept,
    /// Client role: an extension that was not offered, or that contradicts the offer.
    #[error("the server chose an extension that was not offered")]
    Extension,
    /// Client role: a subprotocol that was not offered.
    #[error("the server chose a subprotocol that was not offered")]
    UnofferedSubprotocol,
}

impl HandshakeError {
    /// The HTTP status that tells the client.
    pub fn status(&self) -> u16 {
        match self {
            HandshakeError::HeadTooLarge => 431,
            HandshakeError::Method => 405,
            HandshakeError::HttpVersion => 505,
            HandshakeError::Version | HandshakeError::UpgradeHeader => 426,
            _ => 400,
        }
    }

    /// Header fields that belong to the status.
    pub fn response_headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            HandshakeError::Version => &[("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")],
            HandshakeError::UpgradeHeader => &[("Upgrade", "websocket")],
            HandshakeError::Method => &[("Allow", "GET")],
            _ => &[],
        }
    }
}
