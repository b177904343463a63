//! How an entry of a room that remembers looks to those who are in the room.

use nexios_engine::{Audience, Broadcast, Connection, Group, Message, MessageRef, SendError};

use crate::broker::envelope::Envelope;
use crate::broker::log::{Entry, Position};
use crate::live;

/// What the members of a group of a room are sent; a room has one group for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// The message as it was sent.
    Plain,
    /// A frame of `nexios.v1` that says where in the room's history the message is.
    Live,
}

impl Framing {
    /// What a connection is sent.
    pub(crate) fn of(connection: &Connection) -> Self {
        if connection.is_framed() { Framing::Live } else { Framing::Plain }
    }

    /// An entry.
    pub(crate) fn message(self, room: &str, entry: &Entry, envelope: &Envelope<'_>) -> Message {
        match self {
            Framing::Plain => envelope.message.to_message(),
            Framing::Live => live::entry(room, entry.position(), envelope.message),
        }
    }

    /// The first that a member gets: where it begins, and whether what it missed follows.
    pub(crate) fn joined(self, room: &str, position: Position, recovered: bool) -> Option<Message> {
        match self {
            Framing::Plain => None,
            Framing::Live => Some(live::joined_at(room, position, recovered)),
        }
    }

    /// Messages were lost that the node could not get back; where it is now.
    pub(crate) fn reset(self, room: &str, position: Position) -> Option<Message> {
        match self {
            Framing::Plain => None,
            Framing::Live => Some(live::reset(room, position)),
        }
    }

    /// A message of this form for a group.
    pub(crate) fn broadcast(self, group: &Group, message: Message) -> Broadcast {
        let mut broadcast = Broadcast::new(Audience::One(group.id()), message);
        broadcast.framed = self == Framing::Live;
        broadcast
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
            Framing::Live => connection.send_frame(message, compress),
        }
    }
}
