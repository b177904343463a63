//! How a client connects.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::client::Client;
use crate::error::ConnectError;
use crate::position::Position;
use crate::session::Session;

/// Where to connect, and how: made once, used again for each new attempt.
///
/// ```
/// use nexios_client::Connector;
/// let connector = Connector::new("wss://example.org/live")
///     .subprotocol("bearer").subprotocol("secret-token")
///     .header("X-Device", "kitchen");
/// ```
#[derive(Clone)]
#[must_use = "nothing is connected until `connect` is awaited"]
pub struct Connector {
    /// At least one.
    pub(crate) urls: Vec<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) subprotocols: Vec<String>,
    pub(crate) compression: bool,
    pub(crate) message_bytes_max: usize,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    pub(crate) positions: BTreeMap<String, Position>,
}

impl Connector {
    /// To a `ws://` or `wss://` URL.
    pub fn new(url: impl Into<String>) -> Self {
        Connector {
            urls: vec![url.into()],
            headers: Vec::new(),
            subprotocols: Vec::new(),
            compression: false,
            message_bytes_max: 16 << 20,
            tls: None,
            positions: BTreeMap::new(),
        }
    }

    /// One more URL, of another node of the same application. The first is tried first, and the next
    /// after each loss and each failed attempt.
    pub fn or(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// One more header field of the handshake.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// One more offered subprotocol beside `nexios.v1`: `bearer` and a token, say.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// Whether the server may compress (RFC 7692); not if not set.
    pub fn compression(mut self, on: bool) -> Self {
        self.compression = on;
        self
    }

    /// The longest message that is taken: 16 MiB if not set.
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Instead of trusting the certificates that the machine trusts.
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Where a room was left: what [`Room::position`](crate::Room::position) said, kept over the
    /// end of the process.
    pub fn position(mut self, room: impl Into<String>, position: Position) -> Self {
        self.positions.insert(room.into(), position);
        self
    }

    /// Connects, and waits for the server's welcome. From then on the client comes back by itself.
    ///
    /// # Errors
    /// [`ConnectError`]: the first attempt has failed, at each URL; the last of the errors.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        Session::start(self).await
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("urls", &self.urls).finish_non_exhaustive()
    }
}
