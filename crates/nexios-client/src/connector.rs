//! The settings of a client.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::client::Client;
use crate::core::{First, Settings};
use crate::error::ConnectError;
use crate::json::Bigint;
use crate::position::Position;
use crate::session::{CallSettings, Route, Session};
use crate::source::Source;
use crate::storage::{Storage, over};
use crate::transport::{Dialer, Tcp, TcpOptions, is_address};

/// The settings of a client, and the way to start it.
///
/// ```
/// use nexios_client::Connector;
/// let connector = Connector::new("wss://example.org/live")
///     .or("wss://other.example.org/live")
///     .token_from(|| async { std::fs::read_to_string("token") })
///     .header("X-Device", "kitchen");
/// ```
#[derive(Clone)]
#[must_use = "nothing is connected until `connect` or `start`"]
pub struct Connector {
    /// At least one.
    urls: Vec<Source>,
    token: Option<Source>,
    headers: Vec<(String, String)>,
    protocols: Vec<Source<Vec<String>>>,
    tcp: TcpOptions,
    dialer: Option<Arc<dyn Dialer>>,
    storage: Option<Arc<dyn Storage>>,
    positions: BTreeMap<String, Position>,
    stable_after: Duration,
    open_timeout: Duration,
    request_timeout: Option<Duration>,
    bigint: Bigint,
    retry_first: bool,
    chance: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl Connector {
    /// Connects to a `ws://` or `wss://` address.
    pub fn new(url: impl Into<String>) -> Self {
        Connector::with(Source::Fixed(url.into()))
    }

    /// Connects to the address that a function returns, which is called for each attempt.
    ///
    /// ```
    /// use nexios_client::Connector;
    /// let connector = Connector::from_fn(|| async { std::env::var("LIVE_URL") });
    /// ```
    pub fn from_fn<F, T, E>(url: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<String>,
        E: Display,
    {
        Connector::with(Source::made(url))
    }

    fn with(url: Source) -> Self {
        Connector {
            urls: vec![url],
            token: None,
            headers: Vec::new(),
            protocols: Vec::new(),
            tcp: TcpOptions::default(),
            dialer: None,
            storage: None,
            positions: BTreeMap::new(),
            stable_after: Duration::from_secs(10),
            open_timeout: Duration::from_secs(10),
            request_timeout: Some(Duration::from_secs(10)),
            bigint: Bigint::default(),
            retry_first: true,
            chance: Arc::new(fastrand::f64),
        }
    }

    /// Adds the address of another node of the same application. The first is tried first, and the next after each
    /// loss and each failed attempt.
    pub fn or(mut self, url: impl Into<String>) -> Self {
        self.urls.push(Source::Fixed(url.into()));
        self
    }

    /// Adds an address that a function returns, as with [`from_fn`](Self::from_fn).
    pub fn or_from_fn<F, T, E>(mut self, url: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<String>,
        E: Display,
    {
        self.urls.push(Source::made(url));
        self
    }

    /// Offers the subprotocols `bearer` and this token, where a Nexios server looks for one.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Source::Fixed(token.into()));
        self
    }

    /// Offers a token that a function returns, which is called for each attempt. A server that does not accept it (401,
    /// or Close 4401) makes the client call it once more before it parks.
    pub fn token_from<F, T, E>(mut self, token: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<String>,
        E: Display,
    {
        self.token = Some(Source::made(token));
        self
    }

    /// Adds a header field to the handshake.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Offers a subprotocol in addition to `nexios.v1`, behind the token.
    pub fn protocol(mut self, name: impl Into<String>) -> Self {
        self.protocols.push(Source::Fixed(vec![name.into()]));
        self
    }

    /// Offers the subprotocols that a function returns, which is called for each attempt, as that of
    /// [`token_from`](Self::token_from) is.
    ///
    /// ```
    /// use nexios_client::Connector;
    /// let connector = Connector::new("wss://example.org/live")
    ///     .protocols_from(|| async { Ok::<_, std::io::Error>(["v2.chat".to_owned()]) });
    /// ```
    pub fn protocols_from<F, T, E>(mut self, protocols: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Vec<String>>,
        E: Display,
    {
        self.protocols.push(Source::made(protocols));
        self
    }

    /// Lets the server compress (RFC 7692); off by default.
    pub fn compression(mut self, on: bool) -> Self {
        self.tcp.compression = on;
        self
    }

    /// Sets the longest message accepted: 16 MiB by default.
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.tcp.message_bytes_max = bytes;
        self
    }

    /// Sets TLS, instead of trusting the certificates that the machine trusts.
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tcp.tls = Some(config);
        self
    }

    /// Opens connections by other means than TCP and TLS; see [`transport`](crate::transport).
    pub fn dialer(mut self, dialer: impl Dialer) -> Self {
        self.dialer = Some(Arc::new(dialer));
        self
    }

    /// Stores positions, so that rooms continue from the position that an earlier process has handled.
    pub fn storage(mut self, storage: impl Storage) -> Self {
        self.storage = Some(Arc::new(storage));
        self
    }

    /// Sets the position of a room, instead of that in the storage.
    pub fn position(mut self, room: impl Into<String>, position: Position) -> Self {
        self.positions.insert(room.into(), position);
        self
    }

    /// Sets the time after which an open connection counts as one that holds, so that attempts are counted from zero
    /// again: ten seconds by default.
    pub fn stable_after(mut self, time: Duration) -> Self {
        self.stable_after = time;
        self
    }

    /// Sets the time for an attempt, until the server's welcome: ten seconds by default.
    pub fn open_timeout(mut self, time: Duration) -> Self {
        self.open_timeout = time;
        self
    }

    /// Sets the time for the answer to a request: ten seconds by default, `None` for ever.
    pub fn request_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.request_timeout = time.into();
        self
    }

    /// Sets the form of whole numbers beyond 2^53 in values that are sent as JSON: an error at the call by default.
    pub fn bigint(mut self, form: Bigint) -> Self {
        self.bigint = form;
        self
    }

    /// Sets whether the first connection is retried like any other: true by default. With `false` the client parks once
    /// each address has failed, and [`connect`](Self::connect) fails; [`Client::reconnect`] tries each once more.
    pub fn retry_first(mut self, on: bool) -> Self {
        self.retry_first = on;
        self
    }

    /// Replaces the source of chance, numbers in [0, 1), for tests in virtual time.
    pub fn chance(mut self, chance: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.chance = Arc::new(chance);
        self
    }

    /// Starts a client without waiting for a connection. It needs a tokio runtime.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), nexios_client::ConnectError> {
    /// let client = nexios_client::Connector::new("wss://example.org/live").start()?;
    /// assert_eq!(client.state(), nexios_client::State::Connecting);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ConnectError`]: an address or the storage cannot be used.
    pub fn start(self) -> Result<Client, ConnectError> {
        self.run(None)
    }

    /// Starts a client and waits for its first connection, which is tried like any other: until it is there, or until
    /// the server wants no more attempts.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), nexios_client::ConnectError> {
    /// let client = nexios_client::Connector::new("wss://example.org/live").connect().await?;
    /// assert!(client.id().is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ConnectError`]: an address or the storage cannot be used, or the client has parked, as it does after the first
    /// failures where [`retry_first`](Self::retry_first) is false.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let (reply, first) = oneshot::channel();
        let client = self.run(Some(reply))?;
        match first.await {
            Ok(Err(closed)) => Err(ConnectError::Ended(closed)),
            _ => Ok(client),
        }
    }

    fn run(self, first: Option<First>) -> Result<Client, ConnectError> {
        self.check()?;
        let stored = match &self.storage {
            Some(storage) => storage.load().map_err(|error| ConnectError::Storage(error.to_string()))?,
            None => Vec::new(),
        };
        let stored = over(stored, self.positions);
        let dialer = self.dialer.unwrap_or_else(|| Arc::new(Tcp::new(self.tcp)));
        let has_made = self.urls.iter().chain(&self.token).any(Source::is_made);
        let settings = Settings {
            stable_after: self.stable_after,
            open_timeout: self.open_timeout,
            retry_first: self.retry_first,
            addresses: self.urls.len(),
            is_renewable: has_made || self.protocols.iter().any(Source::is_made),
            chance: self.chance,
        };
        let (urls, token, headers, protocols) = (self.urls, self.token, self.headers, self.protocols);
        let route = Route { urls, token, headers, protocols, dialer };
        let calls = CallSettings { request_timeout: self.request_timeout, bigint: self.bigint };
        Ok(Session::start(route, settings, stored, self.storage, calls, first))
    }

    fn check(&self) -> Result<(), ConnectError> {
        let wrong = |url: &&Source| matches!(url, Source::Fixed(url) if !is_address(url));
        match self.urls.iter().find(wrong) {
            Some(Source::Fixed(url)) => Err(ConnectError::Url(url.clone())),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("urls", &self.urls.len()).finish_non_exhaustive()
    }
}
