//! The form in which the members of a room with history receive its entries.

use nexios_engine::{Audience, Broadcast, Connection, Group, Message, MessageRef, SendError};

use crate::broker::{Entry, Envelope, Position};
use crate::live;

/// The form of the messages for a group of a room; a room has one group for each form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// The message as it was sent.
    Plain,
    /// A frame of `nexios.v1` that says where in the room's history the message is.
    Live,
}

impl Framing {
    /// Returns the form that a connection receives.
    pub(crate) fn of(connection: &Connection) -> Self {
        if live::is_live(connection) { Framing::Live } else { Framing::Plain }
    }

    /// Returns an entry in this form.
    pub(crate) fn message(self, room: &str, entry: &Entry, envelope: &Envelope<'_>) -> Message {
        match self {
            Framing::Plain => envelope.message.to_message(),
            Framing::Live => live::entry(room, entry.position(), envelope.message),
        }
    }

    /// Returns the first message of a member: where it begins, and whether what it missed follows.
    pub(crate) fn joined(self, room: &str, position: Position, recovered: bool) -> Option<Message> {
        match self {
            Framing::Plain => None,
            Framing::Live => Some(live::joined_at(room, position, recovered)),
        }
    }

    /// Returns the message that entries are lost, with the position where the room is now.
    pub(crate) fn reset(self, room: &str, position: Position) -> Option<Message> {
        match self {
            Framing::Plain => None,
            Framing::Live => Some(live::reset(room, position)),
        }
    }

    /// Returns a message of this form for a group.
    pub(crate) fn broadcast(group: &Group, message: Message) -> Broadcast {
        Broadcast::new(Audience::One(group.id()), message)
    }

    /// Sends a message of this form.
    pub(crate) fn send(
        self,
        connection: &Connection,
        message: MessageRef<'_>,
        compress: Option<bool>,
    ) -> Result<(), SendError> {
        match self {
            Framing::Plain => connection.send(message, compress),
            Framing::Live => connection.send_formed(message, compress),
        }
    }
}
