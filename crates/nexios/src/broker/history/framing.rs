//! How an entry of a room that remembers looks to those who are in the room.

use nexios_engine::Message;

use crate::broker::envelope::Envelope;
use crate::broker::log::{Entry, Position};

/// What the members of a group of a room are sent; a room has one group for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// The message as it was sent.
    Plain,
}

impl Framing {
    /// An entry.
    pub(crate) fn message(self, _room: &str, _entry: &Entry, envelope: &Envelope<'_>) -> Message {
        match self {
            Framing::Plain => envelope.message.to_message(),
        }
    }

    /// The first that a member gets: where it begins, and whether what it missed follows.
    pub(crate) fn joined(self, _room: &str, _position: Position, _recovered: bool) -> Option<Message> {
        match self {
            Framing::Plain => None,
        }
    }

    /// Messages were lost that the node could not get back; where it is now.
    pub(crate) fn reset(self, _room: &str, _position: Position) -> Option<Message> {
        match self {
            Framing::Plain => None,
        }
    }
}
