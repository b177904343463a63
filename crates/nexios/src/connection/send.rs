//! Sending: futures that queue at the first poll, and wait only above the outbox's mark.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nexios_engine::{Connection, Message, MessageRef};
use serde::Serialize;

use crate::connection::websocket::WebSocket;
use crate::error::SendError;

/// Sends when it is awaited: [`WebSocket::send_text`] and its siblings.
#[must_use = "nothing is sent until this is awaited"]
pub struct Sending<'a, P> {
    connection: &'a Connection,
    payload: P,
}

/// What can be sent.
pub trait Payload {
    /// The message, borrowed.
    ///
    /// # Errors
    /// A value that has no JSON form.
    fn message(&mut self) -> Result<MessageRef<'_>, SendError>;

    /// Whether it is compressed where compression is on; `None` leaves it to the settings.
    fn compress(&self) -> Option<bool> {
        None
    }
}

/// A payload that goes as text.
#[derive(Clone, Copy, Debug)]
pub struct AsText<T>(T);

/// A payload that goes as binary.
#[derive(Clone, Copy, Debug)]
pub struct AsBinary<T>(T);

/// A payload that goes as JSON in a text message.
#[derive(Debug)]
pub struct AsJson(Result<String, Option<serde_json::Error>>);

/// A payload with a word on its compression: [`Sending::compress`].
///
/// A type of its own, since a handler that waits to send holds its payload all the time.
#[derive(Clone, Copy, Debug)]
pub struct Compress<P> {
    payload: P,
    on: bool,
}

/// Waits for the answer to a ping: [`WebSocket::ping`].
#[must_use = "nothing is sent until this is awaited"]
pub struct RoundTrip<'a> {
    connection: &'a Connection,
    id: Option<u64>,
}

impl Payload for Message {
    fn message(&mut self) -> Result<MessageRef<'_>, SendError> {
        Ok(self.as_ref())
    }
}

impl<T: AsRef<str>> Payload for AsText<T> {
    fn message(&mut self) -> Result<MessageRef<'_>, SendError> {
        Ok(MessageRef::Text(self.0.as_ref()))
    }
}

impl<T: AsRef<[u8]>> Payload for AsBinary<T> {
    fn message(&mut self) -> Result<MessageRef<'_>, SendError> {
        Ok(MessageRef::Binary(self.0.as_ref()))
    }
}

impl Payload for AsJson {
    fn message(&mut self) -> Result<MessageRef<'_>, SendError> {
        match &mut self.0 {
            Ok(json) => Ok(MessageRef::Text(json)),
            Err(error) => Err(error.take().map_or(SendError::NotAccepted, SendError::Json)),
        }
    }
}

impl<P: Payload> Payload for Compress<P> {
    fn message(&mut self) -> Result<MessageRef<'_>, SendError> {
        self.payload.message()
    }

    fn compress(&self) -> Option<bool> {
        Some(self.on)
    }
}

impl WebSocket {
    /// Sends a message: a text as text, bytes as binary.
    ///
    /// # Errors
    /// [`SendError`]: the connection is over, or not accepted yet.
    pub fn send(&self, message: impl Into<Message>) -> Sending<'_, Message> {
        self.sending(message.into())
    }

    /// Sends a text message.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// ws.send_text("Hello, World!").await?;
    /// ws.send_text(include_str!("send.rs")).compress(false).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_text<T: AsRef<str>>(&self, text: T) -> Sending<'_, AsText<T>> {
        self.sending(AsText(text))
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_bytes<T: AsRef<[u8]>>(&self, bytes: T) -> Sending<'_, AsBinary<T>> {
        self.sending(AsBinary(bytes))
    }

    /// Sends a value as JSON, in a text message.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and a value that has no JSON form.
    pub fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> Sending<'_, AsJson> {
        self.sending(AsJson(serde_json::to_string(value).map_err(Some)))
    }

    fn sending<P>(&self, payload: P) -> Sending<'_, P> {
        Sending { connection: self.connection(), payload }
    }

    /// Sends a ping of at most 125 bytes.
    ///
    /// # Errors
    /// The connection is over or not accepted yet, or the payload too long.
    pub async fn send_ping(&self, payload: impl AsRef<[u8]>) -> Result<(), SendError> {
        Ok(self.connection().send_ping(payload.as_ref())?)
    }

    /// Sends a pong of at most 125 bytes that answers no ping (RFC 6455 §5.5.3).
    ///
    /// # Errors
    /// The connection is over or not accepted yet, or the payload too long.
    pub async fn send_pong(&self, payload: impl AsRef<[u8]>) -> Result<(), SendError> {
        Ok(self.connection().send_pong(payload.as_ref())?)
    }

    /// Sends a ping and waits for its pong: the time that it took.
    ///
    /// # Errors
    /// The connection is over or not accepted yet.
    pub fn ping(&self) -> RoundTrip<'_> {
        RoundTrip { connection: self.connection(), id: None }
    }
}

impl<'a, P> Sending<'a, P> {
    /// `false` leaves this message uncompressed.
    pub fn compress(self, on: bool) -> Sending<'a, Compress<P>> {
        Sending { connection: self.connection, payload: Compress { payload: self.payload, on } }
    }
}

// The payload is never pinned.
impl<P> Unpin for Sending<'_, P> {}

impl<P: Payload> Future for Sending<'_, P> {
    type Output = Result<(), SendError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let compress = this.payload.compress();
        let message = this.payload.message()?;
        if this.connection.send_at_once(message) {
            return Poll::Ready(Ok(()));
        }
        poll_queue(this.connection, cx, message, compress)
    }
}

/// Apart from the hot path.
#[inline(never)]
fn poll_queue(
    connection: &Connection,
    cx: &mut Context<'_>,
    message: MessageRef<'_>,
    compress: Option<bool>,
) -> Poll<Result<(), SendError>> {
    Poll::Ready(Ok(ready!(connection.poll_send_queued(cx, message, compress))?))
}

impl Future for RoundTrip<'_> {
    type Output = Result<Duration, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let time = ready!(this.connection.poll_round_trip(cx, &mut this.id));
        this.id = None;
        Poll::Ready(Ok(time?))
    }
}

/// Nobody waits for the pong any more.
impl Drop for RoundTrip<'_> {
    fn drop(&mut self) {
        if self.id.is_some() {
            self.connection.end_round_trip(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_payload_goes_as_its_kind() {
        assert_eq!(AsText("a").message().unwrap(), MessageRef::Text("a"));
        assert_eq!(AsText(String::from("a")).message().unwrap(), MessageRef::Text("a"));
        assert_eq!(AsBinary([1, 2]).message().unwrap(), MessageRef::Binary(&[1, 2]));
        assert_eq!(Message::from("a").message().unwrap(), MessageRef::Text("a"));
    }

    #[test]
    fn the_word_on_compression_that_counts_is_the_last() {
        let payload = Compress { payload: Compress { payload: AsText("a"), on: true }, on: false };
        assert_eq!((AsText("a").compress(), payload.compress()), (None, Some(false)));
    }

    #[test]
    fn what_waits_to_be_sent_is_a_pointer_and_the_payload() {
        assert_eq!(size_of::<Sending<'_, Message>>(), 8 + size_of::<Message>());
        // A text is a byte shorter, and the pointer aligned.
        assert_eq!(size_of::<Sending<'_, AsText<nexios_engine::Text>>>(), size_of::<Sending<'_, Message>>());
    }

    #[test]
    fn a_value_without_a_json_form_is_an_error() {
        let bad = std::collections::HashMap::from([([1_u8, 2], "key is no string")]);
        let mut payload = AsJson(serde_json::to_string(&bad).map_err(Some));
        assert!(matches!(payload.message(), Err(SendError::Json(_))));
    }
}
