//! What a connection is doing with its bytes.

use std::task::Waker;

use nexios_protocol::{self as protocol, DeflateOffer, HeadReader, RequestHead};

/// What a connection is doing with its bytes.
pub(crate) enum Phase {
    /// Reading the request head (and the TLS handshake before it).
    Head(Box<HeadReader>),
    /// A plain HTTP request: hyper has the stream.
    Http(Box<HttpPhase>),
    /// An upgrade request waits for the handler's answer.
    Connecting(Box<ConnectingPhase>),
    /// RFC 6455 rules, until both Close frames are through.
    Open(protocol::Connection),
    /// All is said; what still arrives is thrown away until the peer hangs up.
    Lingering,
    /// The descriptor is given back.
    Gone,
}

#[derive(Default)]
pub(crate) struct HttpPhase {
    /// Bytes read before hyper took over.
    pub(crate) prefix: Vec<u8>,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    pub(crate) driver: Option<Waker>,
    /// The server is shutting down: no further request.
    pub(crate) draining: bool,
}

pub(crate) struct ConnectingPhase {
    pub(super) accept_key: String,
    pub(crate) subprotocols: Vec<String>,
    pub(super) offers: Vec<DeflateOffer>,
    /// Bytes that came right behind the head.
    pub(super) early: Vec<u8>,
}

/// A request whose head is complete, waiting for its turn with nothing borrowed.
pub(crate) enum Opened {
    Upgrade(RequestHead, Vec<u8>),
    Http,
}
