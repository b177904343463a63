//! What a peer has sent.

use std::borrow::Cow;

use crate::close::CloseFrame;

/// What a peer has sent: of a [`Connection`](crate::Connection) after its own answers were written, of a
/// [`Decoder`](crate::Decoder) as it came.
#[derive(PartialEq, Eq, Debug)]
pub enum Received<'a> {
    /// A whole text message.
    Text(Cow<'a, str>),
    /// A whole binary message.
    Binary(Cow<'a, [u8]>),
    /// A ping; RFC 6455 §5.5.3 asks for a pong with the same payload, which a connection has written.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A Close frame, `None` where it was empty; a connection has written its own, unless it was sent before.
    Close(Option<CloseFrame<'a>>),
}
