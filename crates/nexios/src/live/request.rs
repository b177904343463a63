//! Requests: what a client asks by name, and what it gets.

use nexios_engine::Message;
use nexios_protocol::CloseCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result, WebSocketDisconnect, WebSocketException};

/// A value from JSON, as an argument; a value as JSON, as a reply.
///
/// ```
/// use nexios::{Json, WebSocket, WsRouter};
/// let router = WsRouter::new().on_request("sum", async |_: WebSocket, Json(numbers): Json<Vec<i64>>| {
///     Json(numbers.iter().sum::<i64>())
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Json<T>(pub T);

/// An answer that is an error: a code for programs, a message for people.
///
/// ```
/// use nexios::{RequestError, WebSocket, WsRouter};
/// let router = WsRouter::new().on_request("open", async |_: WebSocket, name: String| {
///     if name != "sesame" {
///         return Err(RequestError::new("closed", "say the word").into());
///     }
///     nexios::Result::Ok("come in")
/// });
/// ```
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// One of `docs/protocol.md`, or the application's own.
    pub code: String,
    /// What a person may read.
    pub message: String,
}

/// What the function of a request takes: the payload, or what can be made of it.
pub trait Argument: Sized + 'static {
    /// The argument of a payload.
    ///
    /// # Errors
    /// `invalid`, as the client sees it.
    fn from_payload(payload: Message) -> Result<Self, RequestError>;
}

/// What the function of a request returns: nothing, a text, bytes, a message, [`Json`], or one of
/// these in a [`Result`].
pub trait IntoReply {
    /// The payload of the reply.
    ///
    /// # Errors
    /// The function's own, or a value without a JSON form.
    fn into_reply(self) -> Result<Message>;
}

impl RequestError {
    /// An error with this code and message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        RequestError { code: code.into(), message: message.into() }
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        RequestError::new("forbidden", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        RequestError::new("invalid", message)
    }

    /// A fault of ours, of which nothing is told.
    pub(crate) fn failed() -> Self {
        RequestError::new("failed", "the server failed")
    }

    /// What a client is told of an error; `None` where it is a fault of ours.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        if error.is::<WebSocketDisconnect>() {
            return Some(RequestError::new("unavailable", "the connection is over"));
        }
        if let Some(error) = error.downcast_ref::<RequestError>() {
            return Some(error.clone());
        }
        let exception = error.downcast_ref::<WebSocketException>()?;
        let code = match exception.code {
            CloseCode::POLICY_VIOLATION => "forbidden",
            CloseCode::UNSUPPORTED_DATA | CloseCode::INVALID_PAYLOAD => "invalid",
            CloseCode::TRY_AGAIN_LATER => "busy",
            _ => "failed",
        };
        Some(RequestError::new(code, exception.reason.clone()))
    }
}

impl Argument for Message {
    fn from_payload(payload: Message) -> Result<Self, RequestError> {
        Ok(payload)
    }
}

impl Argument for String {
    fn from_payload(payload: Message) -> Result<Self, RequestError> {
        match payload {
            Message::Text(text) => Ok(text.into_string()),
            Message::Binary(_) => Err(RequestError::invalid("the argument has to be text")),
        }
    }
}

impl Argument for Vec<u8> {
    fn from_payload(payload: Message) -> Result<Self, RequestError> {
        match payload {
            Message::Binary(bytes) => Ok(bytes.into_vec()),
            Message::Text(_) => Err(RequestError::invalid("the argument has to be binary")),
        }
    }
}

impl Argument for () {
    fn from_payload(_: Message) -> Result<Self, RequestError> {
        Ok(())
    }
}

impl<T: DeserializeOwned + 'static> Argument for Json<T> {
    fn from_payload(payload: Message) -> Result<Self, RequestError> {
        let value = serde_json::from_slice(payload.as_bytes());
        value
            .map(Json)
            .map_err(|error| RequestError::invalid(format!("the argument is not what it has to be: {error}")))
    }
}

impl<T: Serialize> IntoReply for Json<T> {
    fn into_reply(self) -> Result<Message> {
        Ok(serde_json::to_string(&self.0)?.into())
    }
}

impl<T: Serialize> IntoReply for Result<Json<T>> {
    fn into_reply(self) -> Result<Message> {
        self?.into_reply()
    }
}

macro_rules! reply {
    ($($payload:ty: $into:expr),* $(,)?) => {$(
        impl IntoReply for $payload {
            fn into_reply(self) -> Result<Message> {
                Ok($into(self))
            }
        }

        impl IntoReply for Result<$payload> {
            fn into_reply(self) -> Result<Message> {
                self.map($into)
            }
        }
    )*};
}

reply! {
    (): |()| Message::from(""),
    &'static str: Message::from,
    String: Message::from,
    Vec<u8>: Message::from,
    Message: std::convert::identity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_of_another_kind_is_invalid() {
        let (text, binary) = (Message::from("[1]"), Message::from(b"[1]".to_vec()));
        assert_eq!(String::from_payload(text.clone()), Ok("[1]".to_owned()));
        assert_eq!(String::from_payload(binary.clone()).unwrap_err().code, "invalid");
        assert_eq!(Vec::from_payload(text.clone()).unwrap_err().code, "invalid");
        assert_eq!(Json::<[u8; 1]>::from_payload(binary), Ok(Json([1])));
        assert_eq!(Json::<[u8; 2]>::from_payload(text).unwrap_err().code, "invalid");
    }

    #[test]
    fn what_an_error_says_is_told_and_a_fault_is_not() {
        let told = |error: Error| RequestError::of(&error).map(|error| (error.code, error.message));
        let pair = |code: &str, message: &str| Some((code.to_owned(), message.to_owned()));
        assert_eq!(told(RequestError::new("own", "x").into()), pair("own", "x"));
        assert_eq!(told(WebSocketException::from("no").into()), pair("forbidden", "no"));
        assert_eq!(told(WebSocketException::new(CloseCode::INVALID_PAYLOAD, "x").into()), pair("invalid", "x"));
        assert_eq!(told(WebSocketException::new(CloseCode::INTERNAL_ERROR, "x").into()), pair("failed", "x"));
        assert_eq!(told(Error::msg("a secret")), None);
    }
}
