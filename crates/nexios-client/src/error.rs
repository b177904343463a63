//! Errors of calls, and of connecting.

use std::borrow::Cow;
use std::fmt;

use crate::end::CloseKind;

/// The reason a call failed. `code` is the server's, or one of the client's own:
///
/// | code | reason |
/// |---|---|
/// | `argument` | an argument is invalid; nothing was sent |
/// | `busy` | too many calls wait already, here or at the server |
/// | `closed` | the client was closed, or the room was left meanwhile |
/// | `disconnected` | the connection was lost before the answer of a request |
/// | `expired` | a publish had no answer for five minutes |
/// | `invalid_answer` | the answer of the server cannot be read |
/// | `rejected` | the server closed the connection because of what was sent on it |
/// | `timeout` | a request had no answer in time |
/// | `too_big` | the frame is larger than the server takes |
///
/// [`Event::Error`](crate::Event::Error) has the codes `handler` (a handler failed), `storage` (the storage failed),
/// `address` (a function for a token or an address failed, or returned what cannot be used), `rooms` (the server named
/// more than 1,000 rooms) and `invalid_answer`.
///
/// ```
/// # fn show(error: nexios_client::Error) {
/// match error.code() {
///     "forbidden" => println!("not here"),
///     _ if error.maybe_stored() => println!("publish again with the key {:?}", error.key()),
///     _ => println!("{error}"),
/// }
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    code: Cow<'static, str>,
    message: String,
    key: Option<Box<str>>,
    maybe_stored: bool,
}

impl Error {
    /// Creates an error, such as one that a handler reports.
    ///
    /// ```
    /// let error = nexios_client::Error::new("no_disk", "the disk is full");
    /// assert_eq!((error.code(), error.message()), ("no_disk", "the disk is full"));
    /// ```
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Error { code: code.into(), message: message.into(), key: None, maybe_stored: false }
    }

    /// Returns the code, a word for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the message, a sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the key of a publish, for a retry; `None` for other calls.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Returns true if the server may have carried out the call. A publish that is repeated with its
    /// [`key`](Self::key) is stored once in rooms with history, within five minutes.
    pub fn maybe_stored(&self) -> bool {
        self.maybe_stored
    }

    pub(crate) fn with_key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    pub(crate) fn with_maybe_stored(mut self, maybe_stored: bool) -> Self {
        self.maybe_stored = maybe_stored;
        self
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Error::new("argument", message)
    }

    pub(crate) fn closed() -> Self {
        Error::new("closed", "the client is closed")
    }

    pub(crate) fn left() -> Self {
        Error::new("closed", "the room was left")
    }

    pub(crate) fn disconnected() -> Self {
        Error::new("disconnected", "the connection ended before the answer")
    }
}

/// The reason that [`Connector::connect`](crate::Connector::connect) returned no client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be parsed.
    #[error("invalid address {0:?}: must be ws://HOST or wss://HOST")]
    Url(String),
    /// The client parked, or the first attempt failed where that is an error.
    #[error("{0}")]
    Ended(Closed),
    /// The storage cannot be read.
    #[error("the storage cannot be read: {0}")]
    Storage(String),
}

/// The end of a connection or of an attempt to connect.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Closed {
    /// The code of RFC 6455 §7.4; 1006 where there was no closing handshake.
    pub code: u16,
    /// The reason that the server gave, or a description of the failure.
    pub reason: String,
    /// The sort of end.
    pub kind: CloseKind,
    /// True if the client makes another attempt.
    pub retry: bool,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the connection ended ({}, {})", self.code, self.kind)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}
