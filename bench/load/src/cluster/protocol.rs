//! What servers of rooms speak: plain messages, or Socket.IO.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail, ensure};

use crate::frame::{self, Kind};
use crate::{opening, verify};

/// Socket.IO 5 over Engine.IO 4, without HTTP long-polling first.
const SOCKET_IO_PATH: &str = "/socket.io/?EIO=4&transport=websocket";

/// How a message of the room looks: a JSON array of the event's name and one text that needs no escapes.
const EVENT_START: &[u8] = b"42[\"message\",\"";
const EVENT_END: &[u8] = b"\"]";

/// What clients and servers say to each other within WebSocket messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// The messages themselves: who connects to `/room` is in it, what comes on `/publish` goes to it.
    Plain,
    /// Socket.IO: a client sends `join` to be in the room, `publish` with a text, and hears `message`.
    SocketIo,
}

/// What a payload of the server is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// A message of the room.
    Message(&'a [u8]),
    /// A question for a sign of life.
    Ping,
    /// Nothing that needs an answer.
    Other,
}

impl Protocol {
    /// The route of those who listen.
    pub(crate) fn room_path(self) -> &'static str {
        if self == Self::Plain { "/room" } else { SOCKET_IO_PATH }
    }

    /// The route of who publishes.
    pub(crate) fn publisher_path(self) -> &'static str {
        if self == Self::Plain { "/publish" } else { SOCKET_IO_PATH }
    }

    /// What follows the handshake before anything else: with Socket.IO the server opens, the
    /// client connects to the main namespace, the server confirms.
    pub(crate) fn open(self, socket: &OwnedFd, received: &mut Vec<u8>) -> Result<()> {
        if self == Self::Plain {
            return Ok(());
        }
        self.expect(socket, received, b"0{").context("the opening of Engine.IO")?;
        opening::write_all(socket, &text(b"40"))?;
        self.expect(socket, received, b"40").context("the namespace of Socket.IO")
    }

    /// Reads one packet that has to begin so. Some servers ask for a sign of life before.
    fn expect(self, socket: &OwnedFd, received: &mut Vec<u8>, start: &[u8]) -> Result<()> {
        loop {
            let (_, payload) = verify::receive(socket, received)?;
            if payload.starts_with(start) {
                return Ok(());
            }
            ensure!(payload == b"2", "the server says {:?}", String::from_utf8_lossy(&payload));
            opening::write_all(socket, &self.pong())?;
        }
    }

    /// What a client says to be in the room, if the route does not say it.
    pub(crate) fn join(self) -> Option<Vec<u8>> {
        (self == Self::SocketIo).then(|| text(b"42[\"join\"]"))
    }

    /// The frame that publishes a message.
    pub(crate) fn publish(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => text(message),
            Self::SocketIo => text(&[b"42[\"publish\",\"", message, EVENT_END].concat()),
        }
    }

    /// What answers [`Heard::Ping`].
    pub(crate) fn pong(self) -> Vec<u8> {
        text(b"3")
    }

    pub(crate) fn hear(self, payload: &[u8]) -> Result<Heard<'_>> {
        if self == Self::Plain {
            return Ok(Heard::Message(payload));
        }
        let message = payload.strip_prefix(EVENT_START).and_then(|rest| rest.strip_suffix(EVENT_END));
        match (message, payload) {
            (Some(message), _) => Ok(Heard::Message(message)),
            (None, b"2") => Ok(Heard::Ping),
            // No operation, and answers to what asked for none.
            (None, [b'6', ..] | [b'4', b'3', ..]) => Ok(Heard::Other),
            (None, other) => bail!("the server says {:?}", String::from_utf8_lossy(other)),
        }
    }
}

fn text(payload: &[u8]) -> Vec<u8> {
    frame::masked(Kind::Text, false, payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_socket_io_is_what_its_event_holds() {
        let heard = |payload| Protocol::SocketIo.hear(payload);
        assert_eq!(heard(b"42[\"message\",\"0001abc\"]").unwrap(), Heard::Message(b"0001abc"));
        assert_eq!(heard(b"2").unwrap(), Heard::Ping);
        assert_eq!(heard(b"430[]").unwrap(), Heard::Other);
    }

    #[test]
    fn what_is_no_message_of_the_room_is_an_error() {
        for payload in
            [&b"42[\"other\",\"x\"]"[..], b"44{\"message\":\"no\"}", b"41", b"1", b"42[\"message\", \"x\"]", b""]
        {
            assert!(Protocol::SocketIo.hear(payload).is_err(), "{}", String::from_utf8_lossy(payload));
        }
    }

    #[test]
    fn plain_messages_are_themselves() {
        assert_eq!(Protocol::Plain.hear(b"2").unwrap(), Heard::Message(b"2"));
        assert!(Protocol::Plain.join().is_none());
        assert_eq!(Protocol::Plain.publish(b"hi"), text(b"hi"));
    }

    #[test]
    fn publishing_wraps_the_message_into_an_event() {
        assert_eq!(Protocol::SocketIo.publish(b"hi"), text(b"42[\"publish\",\"hi\"]"));
    }
}
