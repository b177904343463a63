//! Events of a client and of its rooms.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::end::CloseKind;
use crate::error::{Closed, Error};
use crate::message::Message;
use crate::position::Position;

/// The state of a client.
///
/// ```
/// assert_eq!(nexios_client::State::Reconnecting.as_str(), "reconnecting");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum State {
    /// The client has not been open yet.
    Connecting,
    /// The server has sent its welcome.
    Open,
    /// The connection was lost; the client makes attempts.
    Reconnecting,
    /// The server wants no attempts; [`Client::reconnect`](crate::Client::reconnect) makes one.
    Parked,
    /// The application has closed the client.
    Closed,
}

impl State {
    /// Returns the word that all clients use.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Open => "open",
            State::Reconnecting => "reconnecting",
            State::Parked => "parked",
            State::Closed => "closed",
        }
    }
}

/// An event of a client, outside of rooms.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The connection is open: for the first time, or again.
    Open {
        /// The id that the server has given it.
        id: String,
    },
    /// A connection or an attempt has ended.
    Close(Closed),
    /// There will be another attempt.
    Reconnecting {
        /// Its number since the last connection that held.
        attempt: u32,
        /// The time until then.
        delay: Duration,
    },
    /// There will be no attempt until [`Client::reconnect`](crate::Client::reconnect). Rooms, positions and waiting
    /// calls are kept.
    Parked {
        /// As in [`Closed`].
        code: u16,
        /// As in [`Closed`].
        reason: String,
        /// As in [`Closed`].
        kind: CloseKind,
    },
    /// The server refuses the token, and a function had no better one. [`Event::Parked`] follows.
    Unauthorized {
        /// As in [`Closed`].
        code: u16,
        /// As in [`Closed`].
        reason: String,
    },
    /// A message of the server's handler to this connection, or a broadcast.
    Message(Message),
    /// The client is in a room, possibly one that the server put it into.
    Joined {
        /// The room's name.
        room: String,
    },
    /// Broadcasts were lost, between servers or because the application is too slow.
    Gap {
        /// Their number, if it is known.
        missed: Option<u64>,
    },
    /// A handler or the storage failed, or a function for a token or an address.
    Error(Error),
}

/// An event of a room.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum RoomEvent {
    /// The client is in the room.
    Joined {
        /// True if everything behind the client's position follows; otherwise there may be a hole.
        recovered: bool,
        /// True if the room has history.
        has_history: bool,
        /// The client's position, in rooms with history.
        position: Option<Position>,
    },
    /// A message to the room.
    Message {
        /// The message.
        message: Message,
        /// Its offset, in rooms with history.
        offset: Option<u64>,
    },
    /// The room's history started over: load the room again.
    Reset {
        /// The client's position.
        position: Position,
    },
    /// Messages were lost, in a room without history.
    Gap {
        /// Their number, if it is known.
        missed: Option<u64>,
    },
    /// The client is not in the room any more.
    Left {
        /// The code with which the server refused to let it in again, if it did.
        code: Option<String>,
        /// The message of the refusal.
        message: Option<String>,
    },
    /// The users of the room have changed; after [`Room::presence`](crate::Room::presence).
    Presence(PresenceChange),
}

/// A change of a room's users.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum PresenceChange {
    /// A user has joined, or has other data.
    Join(Member),
    /// A user has left.
    Leave(Member),
    /// All users, after a reconnect.
    State(Vec<Member>),
}

/// A user in a room.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Member {
    /// The user's name.
    pub user: String,
    /// The user's data.
    #[serde(default)]
    pub data: Value,
}

/// The answer to a publish.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Published {
    /// The key of the message.
    pub key: String,
    /// The position behind the message, in rooms with history.
    pub position: Option<Position>,
    /// True if a message with this key was stored before, perhaps by an attempt whose answer was lost; `position` is
    /// that of the first.
    pub duplicate: bool,
}

impl RoomEvent {
    /// Returns the bytes that it counts for in a queue.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            RoomEvent::Message { message, .. } => message.len(),
            _ => 0,
        }
    }
}
