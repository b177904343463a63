//! Errors in handlers, with their meaning for the connection, and errors in the parts of an app.

use std::any::Any;
use std::fmt;

pub use nexios_engine::InvalidSetting;
use nexios_engine::{AcceptError, CloseInfo, Message};
use nexios_protocol::CloseCode;
pub use nexios_protocol::InvalidCloseCode;

pub use crate::connection::allowed_hosts::InvalidHost;
pub use crate::connection::origin::InvalidOrigin;
pub use crate::connection::proxy::InvalidProxy;
pub use crate::routing::build::ConfigError;
pub use crate::routing::path::PathError;

/// What handlers, middleware and listeners return.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Any error, as `?` in a handler makes it.
///
/// It is not an error type itself, so that `?` works on every [`std::error::Error`].
/// What becomes of the connection is decided by the nearest
/// [exception handler](crate::WsRouter::exception_handler), else by the kind of error: a
/// [`WebSocketException`] closes with its own code, a [`WebSocketDisconnect`] is a normal
/// end, anything else closes 1011 and is logged.
///
/// ```
/// fn parse(text: &str) -> nexios::Result<u32> {
///     Ok(text.parse()?)
/// }
/// let error = parse("x").unwrap_err();
/// assert!(error.is::<std::num::ParseIntError>());
/// ```
pub struct Error(Box<dyn std::error::Error + 'static>);

/// Closes the connection with a code and a reason; `?` and `return Err(..)` raise it.
///
/// ```
/// use nexios::{CloseCode, WebSocketException};
/// let error = WebSocketException::new(CloseCode::POLICY_VIOLATION, "members only");
/// assert_eq!(error.to_string(), "members only");
/// assert_eq!(WebSocketException::from("members only"), error);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct WebSocketException {
    /// The close code (RFC 6455 §7.4).
    pub code: CloseCode,
    /// The reason; cut to 123 bytes on the wire.
    pub reason: String,
}

/// The next message is of the other kind; unhandled it closes 1003, caught it loses nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a {} message", self.expected())]
pub struct WebSocketTypeError {
    /// The message that came instead.
    pub message: Message,
}

/// The connection is over: the code and reason of whoever closed first.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("disconnected with code {code}")]
pub struct WebSocketDisconnect {
    /// The close code; 1005 if the Close frame had none, 1006 if there was no Close frame.
    pub code: u16,
    /// The reason, possibly empty.
    pub reason: Box<str>,
}

/// Why nothing was received.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The connection is over, and all that had arrived was handed out.
    #[error(transparent)]
    Disconnected(#[from] WebSocketDisconnect),
    /// The message is of the other kind.
    #[error(transparent)]
    WrongType(#[from] WebSocketTypeError),
    /// The message is not what it has to be, such as JSON.
    #[error(transparent)]
    Invalid(#[from] WebSocketException),
    /// Another receive of the same kind is waiting; a message has one receiver.
    #[error("another receive is waiting on this connection")]
    Busy,
    /// The handshake is not answered yet.
    #[error("call accept() before receiving")]
    NotAccepted,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is over.
    #[error(transparent)]
    Disconnected(#[from] WebSocketDisconnect),
    /// The handshake is not answered yet.
    #[error("call accept() before sending")]
    NotAccepted,
    /// The client reads too slowly, and the outbox is at its limit.
    #[error("the outbox of this connection is full")]
    OutboxFull,
    /// A ping or pong carries at most 125 bytes (RFC 6455 §5.5).
    #[error("a ping or pong carries at most 125 bytes")]
    ControlTooLong,
    /// The value has no JSON form.
    #[error("the value has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
}

/// A close code as a number or as the type that can only hold codes that may be sent.
pub trait IntoCloseCode {
    /// The code.
    ///
    /// # Errors
    /// A number that may not be sent: 1005, 1006, 1015, reserved, under 1000 or over 4999.
    fn into_close_code(self) -> Result<CloseCode, InvalidCloseCode>;
}

impl IntoCloseCode for CloseCode {
    fn into_close_code(self) -> Result<CloseCode, InvalidCloseCode> {
        Ok(self)
    }
}

impl IntoCloseCode for u16 {
    fn into_close_code(self) -> Result<CloseCode, InvalidCloseCode> {
        CloseCode::try_from(self)
    }
}

impl Error {
    /// An error that is only a text; it closes 1011.
    pub fn msg(text: impl Into<String>) -> Self {
        Error(text.into().into())
    }

    /// Whether it is an `E`.
    pub fn is<E: std::error::Error + 'static>(&self) -> bool {
        self.0.is::<E>()
    }

    /// The error, if it is an `E`.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// The error, if it is an `E`.
    ///
    /// # Errors
    /// Itself, if it is something else.
    pub fn downcast<E: std::error::Error + 'static>(self) -> Result<E> {
        self.0.downcast().map(|error| *error).map_err(Error)
    }

    /// The error as the trait object that it is inside.
    pub fn as_dyn(&self) -> &(dyn std::error::Error + 'static) {
        &*self.0
    }
}

/// The errors of receiving, sending and accepting are taken apart, so that exception
/// handlers see a [`WebSocketDisconnect`] and not what wrapped it.
impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let mut error = Some(error);
        let any: &mut dyn Any = &mut error;
        if let Some(Some(error)) = any.downcast_mut::<Option<ReceiveError>>().map(Option::take) {
            return Error(error.unwrapped());
        }
        if let Some(Some(error)) = any.downcast_mut::<Option<SendError>>().map(Option::take) {
            return Error(error.unwrapped());
        }
        if let Some(Some(error)) = any.downcast_mut::<Option<AcceptError>>().map(Option::take) {
            return Error(match error {
                AcceptError::Gone(info) => Box::new(WebSocketDisconnect::from(info)),
                other => Box::new(other),
            });
        }
        match error {
            Some(error) => Error(Box::new(error)),
            None => Error::msg("the error was taken apart twice"),
        }
    }
}

impl ReceiveError {
    fn unwrapped(self) -> Box<dyn std::error::Error> {
        match self {
            ReceiveError::Disconnected(error) => Box::new(error),
            ReceiveError::WrongType(error) => Box::new(error),
            ReceiveError::Invalid(error) => Box::new(error),
            other => Box::new(other),
        }
    }
}

impl SendError {
    fn unwrapped(self) -> Box<dyn std::error::Error> {
        match self {
            SendError::Disconnected(error) => Box::new(error),
            SendError::Json(error) => Box::new(error),
            other => Box::new(other),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl WebSocketException {
    /// An exception with this code and reason.
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        WebSocketException { code, reason: reason.into() }
    }
}

impl From<&str> for WebSocketException {
    /// Code 1008, as in the reference.
    fn from(reason: &str) -> Self {
        WebSocketException::new(CloseCode::POLICY_VIOLATION, reason)
    }
}

impl WebSocketTypeError {
    /// The code with which it closes: 1003.
    pub const CODE: CloseCode = CloseCode::UNSUPPORTED_DATA;

    fn expected(&self) -> &'static str {
        match self.message {
            Message::Text(_) => "binary",
            Message::Binary(_) => "text",
        }
    }
}

impl From<&WebSocketTypeError> for WebSocketException {
    fn from(error: &WebSocketTypeError) -> Self {
        WebSocketException::new(WebSocketTypeError::CODE, error.to_string())
    }
}

impl From<CloseInfo> for WebSocketDisconnect {
    fn from(info: CloseInfo) -> Self {
        WebSocketDisconnect { code: info.code, reason: info.reason }
    }
}

impl From<nexios_engine::ReceiveError> for ReceiveError {
    fn from(error: nexios_engine::ReceiveError) -> Self {
        match error {
            nexios_engine::ReceiveError::Closed(info) => ReceiveError::Disconnected(info.into()),
            nexios_engine::ReceiveError::NotAccepted => ReceiveError::NotAccepted,
            _ => ReceiveError::Busy,
        }
    }
}

impl From<nexios_engine::SendError> for SendError {
    fn from(error: nexios_engine::SendError) -> Self {
        match error {
            nexios_engine::SendError::Closed(info) => SendError::Disconnected(info.into()),
            nexios_engine::SendError::NotAccepted => SendError::NotAccepted,
            nexios_engine::SendError::ControlTooLong(_) => SendError::ControlTooLong,
            _ => SendError::OutboxFull,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disconnect() -> WebSocketDisconnect {
        WebSocketDisconnect { code: 1006, reason: "".into() }
    }

    #[test]
    fn a_disconnect_is_found_behind_whatever_raised_it() {
        let raised: [Error; 4] = [
            disconnect().into(),
            ReceiveError::Disconnected(disconnect()).into(),
            SendError::Disconnected(disconnect()).into(),
            AcceptError::Gone(CloseInfo { code: 1006, reason: "".into() }).into(),
        ];
        for error in raised {
            assert_eq!(error.downcast::<WebSocketDisconnect>().unwrap(), disconnect());
        }
    }

    #[test]
    fn a_type_error_keeps_the_message() {
        let error: Error = ReceiveError::WrongType(WebSocketTypeError { message: "hi".into() }).into();
        assert_eq!(error.to_string(), "expected a binary message");
        assert_eq!(error.downcast::<WebSocketTypeError>().unwrap().message, Message::from("hi"));
    }

    #[test]
    fn a_code_that_may_not_be_sent_is_an_error_at_the_call() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            assert!(code.into_close_code().is_err(), "{code}");
        }
        assert_eq!(1008.into_close_code(), Ok(CloseCode::POLICY_VIOLATION));
    }
}
