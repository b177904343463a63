//! Receiving: plain futures that hold a reference and a ticket, and streams of them.
//!
//! A receive that is dropped while it waits loses nothing, so `select!` and timeouts are safe.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use nexios_engine::{Binary, Connection, Message, MessageRef, ReceiveTicket, Text};
use nexios_protocol::CloseCode;
use serde::de::DeserializeOwned;

use crate::connection::websocket::WebSocket;
use crate::error::{ReceiveError, WebSocketException, WebSocketTypeError};

/// What a receive makes of a message: [`AnyMessage`], [`TextMessage`], [`BinaryMessage`], [`JsonMessage`].
pub trait MessageKind {
    /// What comes out.
    type Output;

    /// The message as this kind.
    ///
    /// # Errors
    /// The message is of another kind, or its contents are.
    fn convert(message: Message) -> Result<Self::Output, ReceiveError>;
}

/// Messages of both kinds.
#[derive(Clone, Copy, Debug)]
pub struct AnyMessage;

/// Text messages only.
#[derive(Clone, Copy, Debug)]
pub struct TextMessage;

/// Binary messages only.
#[derive(Clone, Copy, Debug)]
pub struct BinaryMessage;

/// JSON in messages of both kinds.
#[derive(Clone, Copy, Debug)]
pub struct JsonMessage<T>(PhantomData<fn() -> T>);

/// Waits for the next message: [`WebSocket::receive`] and its siblings.
#[must_use = "nothing is received until this is awaited"]
pub struct Receive<'a, K> {
    waiting: Waiting<'a>,
    kind: PhantomData<fn() -> K>,
}

/// Waits for the next message and lends it: [`WebSocket::receive_with`].
#[must_use = "nothing is received until this is awaited"]
pub struct ReceiveWith<'a, F> {
    waiting: Waiting<'a>,
    look: Option<F>,
}

/// Waits for a ping or a pong: [`WebSocket::receive_ping`] and [`WebSocket::receive_pong`].
#[must_use = "nothing is received until this is awaited"]
pub struct ReceiveControl<'a> {
    waiting: Waiting<'a>,
    ping: bool,
}

/// The messages of a connection, until it is over: [`WebSocket::messages`] and its siblings.
///
/// It is a [`Stream`], and has a [`next`](Self::next) of its own.
#[must_use = "nothing is received until this is polled"]
pub struct Messages<'a, K = AnyMessage> {
    ws: &'a WebSocket,
    receive: Option<Receive<'a, K>>,
}

/// A place in the engine's line of receivers, given back when dropped while waiting.
struct Waiting<'a> {
    connection: &'a Connection,
    ticket: ReceiveTicket,
    pending: bool,
}

impl MessageKind for AnyMessage {
    type Output = Message;

    fn convert(message: Message) -> Result<Message, ReceiveError> {
        Ok(message)
    }
}

impl MessageKind for TextMessage {
    type Output = Text;

    fn convert(message: Message) -> Result<Text, ReceiveError> {
        match message {
            Message::Text(text) => Ok(text),
            message @ Message::Binary(_) => Err(WebSocketTypeError { message }.into()),
        }
    }
}

impl MessageKind for BinaryMessage {
    type Output = Binary;

    fn convert(message: Message) -> Result<Binary, ReceiveError> {
        match message {
            Message::Binary(binary) => Ok(binary),
            message @ Message::Text(_) => Err(WebSocketTypeError { message }.into()),
        }
    }
}

impl<T: DeserializeOwned> MessageKind for JsonMessage<T> {
    type Output = T;

    fn convert(message: Message) -> Result<T, ReceiveError> {
        serde_json::from_slice(message.as_bytes()).map_err(|error| {
            WebSocketException::new(CloseCode::INVALID_PAYLOAD, format!("invalid JSON: {error}")).into()
        })
    }
}

impl WebSocket {
    /// The next message, of either kind.
    ///
    /// # Errors
    /// [`ReceiveError`]: the connection is over, not accepted yet, or another receive waits.
    pub fn receive(&self) -> Receive<'_, AnyMessage> {
        Receive::new(self)
    }

    /// The next message, which has to be text.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// let text = ws.receive_text().await?;
    /// ws.send_text(format!("Echo: {text}")).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`receive`](Self::receive), and a [`WebSocketTypeError`] that carries the
    /// message if it is binary: unhandled it closes 1003, caught the connection goes on.
    pub fn receive_text(&self) -> Receive<'_, TextMessage> {
        Receive::new(self)
    }

    /// The next message, which has to be binary.
    ///
    /// # Errors
    /// As for [`receive_text`](Self::receive_text).
    pub fn receive_bytes(&self) -> Receive<'_, BinaryMessage> {
        Receive::new(self)
    }

    /// The next message as a value, from JSON in a message of either kind.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// let (room, text): (String, String) = ws.receive_json().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`receive`](Self::receive), and a [`WebSocketException`] with code 1007 if the
    /// message is not JSON of that form.
    pub fn receive_json<T: DeserializeOwned>(&self) -> Receive<'_, JsonMessage<T>> {
        Receive::new(self)
    }

    /// Lends the next message to a function, without a copy.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// let length = ws.receive_with(|message| message.as_bytes().len()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`receive`](Self::receive).
    pub fn receive_with<R, F: FnOnce(MessageRef<'_>) -> R>(&self, look: F) -> ReceiveWith<'_, F> {
        ReceiveWith { waiting: Waiting::new(self), look: Some(look) }
    }

    /// The payload of the oldest ping that was not looked at. Pings are answered anyway.
    ///
    /// # Errors
    /// As for [`receive`](Self::receive).
    pub fn receive_ping(&self) -> ReceiveControl<'_> {
        ReceiveControl { waiting: Waiting::new(self), ping: true }
    }

    /// The payload of the oldest pong that was not looked at, but for the engine's own keepalive.
    ///
    /// # Errors
    /// As for [`receive`](Self::receive).
    pub fn receive_pong(&self) -> ReceiveControl<'_> {
        ReceiveControl { waiting: Waiting::new(self), ping: false }
    }

    /// All messages, until the connection is over.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// let mut messages = ws.messages();
    /// while let Some(message) = messages.next().await {
    ///     ws.send(message?).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn messages(&self) -> Messages<'_> {
        Messages { ws: self, receive: None }
    }

    /// All messages, which have to be text.
    pub fn iter_text(&self) -> Messages<'_, TextMessage> {
        Messages { ws: self, receive: None }
    }

    /// All messages, which have to be binary.
    pub fn iter_bytes(&self) -> Messages<'_, BinaryMessage> {
        Messages { ws: self, receive: None }
    }

    /// All messages as values, from JSON.
    pub fn iter_json<T: DeserializeOwned>(&self) -> Messages<'_, JsonMessage<T>> {
        Messages { ws: self, receive: None }
    }
}

impl<'a> Waiting<'a> {
    fn new(ws: &'a WebSocket) -> Self {
        Waiting { connection: ws.connection(), ticket: ReceiveTicket::default(), pending: false }
    }

    fn noted<T>(&mut self, poll: Poll<T>) -> Poll<T> {
        self.pending = poll.is_pending();
        poll
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.pending {
            self.connection.end_receive(&mut self.ticket);
        }
    }
}

impl<'a, K> Receive<'a, K> {
    fn new(ws: &'a WebSocket) -> Self {
        Receive { waiting: Waiting::new(ws), kind: PhantomData }
    }
}

impl<K: MessageKind> Future for Receive<'_, K> {
    type Output = Result<K::Output, ReceiveError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waiting = &mut self.waiting;
        match waiting.connection.receive_at_once(&mut waiting.ticket) {
            Some(message) => {
                waiting.pending = false;
                Poll::Ready(K::convert(message))
            }
            None => self.poll_queued(cx),
        }
    }
}

impl<K: MessageKind> Receive<'_, K> {
    /// Apart from the hot path, where each move of the message would cost as much as all the rest.
    #[inline(never)]
    fn poll_queued(&mut self, cx: &mut Context<'_>) -> Poll<Result<K::Output, ReceiveError>> {
        let waiting = &mut self.waiting;
        let received = waiting.connection.poll_receive_queued(cx, &mut waiting.ticket);
        Poll::Ready(K::convert(ready!(waiting.noted(received))?))
    }
}

impl<F> Unpin for ReceiveWith<'_, F> {}

impl<R, F: FnOnce(MessageRef<'_>) -> R> Future for ReceiveWith<'_, F> {
    type Output = Result<R, ReceiveError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ReceiveWith { waiting, look } = &mut *self;
        let lend = |message: MessageRef<'_>| look.take().map(|look| look(message));
        let received = waiting.connection.poll_receive_with(cx, &mut waiting.ticket, lend);
        let looked = ready!(waiting.noted(received))?;
        // Polled again after it was ready: there is no function left to lend to.
        Poll::Ready(looked.ok_or(ReceiveError::Busy))
    }
}

impl Future for ReceiveControl<'_> {
    type Output = Result<Vec<u8>, ReceiveError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ReceiveControl { waiting, ping } = &mut *self;
        let received = match ping {
            true => waiting.connection.poll_ping(cx, &mut waiting.ticket),
            false => waiting.connection.poll_pong(cx, &mut waiting.ticket),
        };
        Poll::Ready(Ok(ready!(waiting.noted(received))?))
    }
}

impl<K: MessageKind> Messages<'_, K> {
    /// The next message; `None` once the connection is over.
    pub async fn next(&mut self) -> Option<Result<K::Output, ReceiveError>> {
        std::future::poll_fn(|cx| self.poll_message(cx)).await
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<K::Output, ReceiveError>>> {
        let receive = self.receive.get_or_insert_with(|| Receive::new(self.ws));
        let received = ready!(Pin::new(receive).poll(cx));
        self.receive = None;
        Poll::Ready(match received {
            Err(ReceiveError::Disconnected(_)) => None,
            received => Some(received),
        })
    }
}

impl<K: MessageKind> Stream for Messages<'_, K> {
    type Item = Result<K::Output, ReceiveError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_wrong_kind_is_an_error_that_carries_it() {
        let binary = Message::from(vec![1, 2]);
        let Err(ReceiveError::WrongType(error)) = TextMessage::convert(binary.clone()) else { panic!("taken as text") };
        assert_eq!(error.message, binary);
        assert!(BinaryMessage::convert("x".into()).is_err());
        assert_eq!(AnyMessage::convert(binary.clone()), Ok(binary));
    }

    #[test]
    fn json_comes_from_both_kinds_and_malformed_json_is_1007() {
        assert_eq!(JsonMessage::<[u8; 2]>::convert("[1,2]".into()), Ok([1, 2]));
        assert_eq!(JsonMessage::<[u8; 2]>::convert(b"[1,2]"[..].into()), Ok([1, 2]));
        for text in ["[1,2", "[1,2,3]", ""] {
            let Err(ReceiveError::Invalid(error)) = JsonMessage::<[u8; 2]>::convert(text.into()) else {
                panic!("{text}")
            };
            assert_eq!(error.code, CloseCode::INVALID_PAYLOAD);
        }
    }

    #[test]
    fn json_deeper_than_128_levels_is_refused() {
        let deep = |levels| Message::from("[".repeat(levels) + &"]".repeat(levels));
        assert!(JsonMessage::<serde_json::Value>::convert(deep(127)).is_ok());
        assert!(JsonMessage::<serde_json::Value>::convert(deep(129)).is_err());
    }
}
