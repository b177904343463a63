//! Rooms, as a client sees them.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use crate::client::Client;
use crate::error::RequestError;
use crate::frame::{Message, ToServer};
use crate::position::Position;
use crate::queue::{Full, Queue};

/// A room: what happens in it, and what can be done there.
///
/// All handles of one room take from one queue. The client's place in a room is behind the last
/// message that was handled: one is handled when the next is asked for.
#[derive(Clone)]
pub struct Room {
    client: Client,
    shared: Arc<RoomShared>,
}

/// Something that happened in a room.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum RoomEvent {
    /// The client is in the room.
    Joined {
        /// In rooms that remember: whether the client goes on where it was. Where not, what it has
        /// of the room may be stale.
        recovered: Option<bool>,
        /// In rooms that remember: where it stands.
        position: Option<Position>,
    },
    /// A message to the room.
    Message {
        /// What was sent.
        message: Message,
        /// Its number, in rooms that remember.
        offset: Option<u64>,
    },
    /// Messages are lost that the server could not get back; the client stands here now.
    Reset {
        /// Where it stands.
        position: Position,
    },
    /// Messages are lost in a room that does not remember.
    Gap {
        /// How many, where that is known.
        missed: Option<u64>,
    },
    /// A user has come, or gone; after [`Room::presence`].
    Presence {
        /// Come, else gone.
        joined: bool,
        /// Who.
        user: String,
        /// What the user said of itself.
        data: Value,
    },
    /// The client is not in the room any more.
    Left,
}

/// Where to begin in a room that remembers: [`Room::join_since`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Since {
    /// At the oldest message that the room remembers.
    Start,
    /// Behind a message.
    Position(Position),
}

impl From<Position> for Since {
    fn from(position: Position) -> Self {
        Since::Position(position)
    }
}

/// A user in a room.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Present {
    /// Who.
    pub user: String,
    /// What the user said of itself.
    #[serde(default)]
    pub data: Value,
}

/// What a publish earned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ack {
    /// Where it is stored, in rooms that remember.
    pub position: Option<Position>,
    /// A message with this key was stored before, perhaps by an attempt whose answer was lost; `position` is that of
    /// the first.
    pub duplicate: bool,
}

/// What the session and all handles of a room share.
#[derive(Default)]
pub(crate) struct RoomShared {
    pub(crate) name: String,
    pub(crate) queue: Queue<(RoomEvent, Option<Position>)>,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    /// Behind the last message that is in the queue, or came out of it.
    received: Option<Position>,
    /// Behind the last that came out of it.
    taken: Option<Position>,
    /// Behind the last that was handled.
    handled: Option<Position>,
    /// Messages did not fit: what comes is not taken until the connection is another.
    behind: bool,
}

impl Room {
    pub(crate) fn new(client: Client, shared: Arc<RoomShared>) -> Self {
        Room { client, shared }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What happens next in the room; `None` once the client is closed. Asking for it says that
    /// what came before is handled.
    pub async fn next(&self) -> Option<RoomEvent> {
        self.shared.handled();
        let (event, position) = self.shared.queue.pop().await?;
        self.shared.taken(position);
        if self.shared.is_behind() && self.shared.queue.is_empty() {
            self.client.come_back();
        }
        Some(event)
    }

    /// Behind the last message that was handled, in rooms that remember: to be kept for
    /// [`Connector::position`](crate::Connector::position).
    pub fn position(&self) -> Option<Position> {
        self.shared.places.lock().handled.clone()
    }

    /// Asks to be let in. Most rooms are entered by the server: then there is nothing to do.
    ///
    /// # Errors
    /// [`RequestError`]: the application said no, say.
    pub async fn join(&self) -> Result<(), RequestError> {
        let position = self.shared.places.lock().received.as_ref().map(ToString::to_string);
        self.ask_in(position).await
    }

    /// Asks to be let in, and to begin at a position that the server has given, or at the start of what the room
    /// remembers; both instead of where this client was.
    ///
    /// ```no_run
    /// # async fn join(room: nexios_client::Room) -> Result<(), nexios_client::RequestError> {
    /// room.join_since(nexios_client::Since::Start).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`RequestError`]: the application does not permit to begin at the start, say.
    pub async fn join_since(&self, since: impl Into<Since>) -> Result<(), RequestError> {
        let position = match since.into() {
            Since::Start => "start".to_owned(),
            Since::Position(position) => position.to_string(),
        };
        self.ask_in(Some(position)).await
    }

    async fn ask_in(&self, position: Option<String>) -> Result<(), RequestError> {
        let room = self.shared.name.clone();
        self.client.ask(|id| ToServer::Join { id, room, position }, Message::empty(), false).await.map(drop)
    }

    /// Leaves.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn leave(&self) -> Result<(), RequestError> {
        let room = self.shared.name.clone();
        self.client.ask(|id| ToServer::Leave { id, room }, Message::empty(), false).await.map(drop)
    }

    /// Sends a message to the room, and waits until the server has it: stored, in rooms that
    /// remember. Where the connection is lost before that, it is sent again; rooms that remember
    /// take it once all the same.
    ///
    /// # Errors
    /// [`RequestError`]: the application said no, the client was closed, or 256 wait already.
    pub async fn publish(&self, message: impl Into<Message>) -> Result<Ack, RequestError> {
        self.publish_as(format!("{:032x}", fastrand::u128(..)), message).await
    }

    /// The same under a key of the application's own: within five minutes the room takes one
    /// message of each key.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_as(&self, key: impl Into<String>, message: impl Into<Message>) -> Result<Ack, RequestError> {
        let (room, key) = (self.shared.name.clone(), key.into());
        let answer = self.client.ask(|id| ToServer::Publish { id, room, key }, message.into(), true).await?;
        Ok(Ack { position: answer.position, duplicate: answer.duplicate })
    }

    /// Who is here. From now on [`RoomEvent::Presence`] tells of changes.
    ///
    /// # Errors
    /// [`RequestError`]
    pub async fn presence(&self) -> Result<Vec<Present>, RequestError> {
        let room = self.shared.name.clone();
        let answer = self.client.ask(|id| ToServer::Presence { id, room }, Message::empty(), false).await?;
        answer.payload.json().map_err(|error| RequestError::Malformed(error.to_string()))
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl RoomShared {
    pub(crate) fn new(name: &str, position: Option<Position>) -> Self {
        let places =
            Places { received: position.clone(), taken: position.clone(), handled: position, ..Places::default() };
        RoomShared { name: name.to_owned(), queue: Queue::default(), places: Mutex::new(places) }
    }

    /// What a `hello` says of this room.
    pub(crate) fn received(&self) -> Option<Position> {
        self.places.lock().received.clone()
    }

    /// The connection is another: what did not fit comes again.
    pub(crate) fn reconnected(&self) {
        self.places.lock().behind = false;
    }

    fn is_behind(&self) -> bool {
        self.places.lock().behind
    }

    fn handled(&self) {
        let mut places = self.places.lock();
        places.handled = places.taken.clone();
    }

    fn taken(&self, position: Option<Position>) {
        if position.is_some() {
            self.places.lock().taken = position;
        }
    }

    /// The server says where the client stands.
    pub(crate) fn stands(&self, event: RoomEvent, position: Option<Position>) {
        let mut places = self.places.lock();
        if places.behind {
            return;
        }
        if position.is_some() {
            places.received.clone_from(&position);
        }
        self.put(&mut places, event, position, 0);
    }

    /// A message has come; one that was here before is dropped.
    pub(crate) fn message(&self, message: Message, entry: Option<(u64, String)>) {
        let mut places = self.places.lock();
        if places.behind {
            return;
        }
        let (bytes, mut position) = (message.as_bytes().len(), None);
        if let (Some((offset, nonce)), Some(received)) = (&entry, &places.received) {
            if *offset <= received.offset() {
                return;
            }
            let mut next = received.clone();
            next.advance(*offset, nonce);
            position = Some(next);
        }
        let event = RoomEvent::Message { message, offset: entry.map(|(offset, _)| offset) };
        if self.put(&mut places, event, position.clone(), bytes) && position.is_some() {
            places.received = position;
        }
    }

    /// The server could not send all. In a room that remembers the rest comes with the next
    /// connection, unless later ones are here already; `true` where the application waits for it.
    pub(crate) fn gap(&self, missed: Option<u64>, first: Option<u64>) -> bool {
        let mut places = self.places.lock();
        let event = match places.received.clone() {
            _ if places.behind => return self.queue.is_empty(),
            Some(position) if first.is_some_and(|first| first <= position.offset()) => RoomEvent::Reset { position },
            Some(_) => {
                places.behind = true;
                return self.queue.is_empty();
            }
            None => RoomEvent::Gap { missed },
        };
        self.put(&mut places, event, None, 64);
        false
    }

    /// Something that no position belongs to.
    pub(crate) fn tell(&self, event: RoomEvent) {
        let mut places = self.places.lock();
        if !places.behind {
            self.put(&mut places, event, None, 64);
        }
    }

    fn put(&self, places: &mut Places, event: RoomEvent, position: Option<Position>, bytes: usize) -> bool {
        match self.queue.push((event, position), bytes) {
            Ok(()) => true,
            Err(Full) if places.received.is_some() => {
                places.behind = true;
                false
            }
            Err(Full) => {
                self.queue.merge(|last| match last {
                    Some((RoomEvent::Gap { missed: Some(missed) }, _)) => {
                        *missed += 1;
                        None
                    }
                    _ => Some((RoomEvent::Gap { missed: Some(1) }, None)),
                });
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::EVENTS_MAX;

    fn at(offset: u64) -> Position {
        format!("a-{offset}-0b").parse().unwrap()
    }

    fn entry(room: &RoomShared, offset: u64) {
        room.message(format!("{offset}").into(), Some((offset, "0b".into())));
    }

    async fn take(room: &RoomShared) -> Option<u64> {
        let (event, position) = room.queue.pop().await?;
        room.taken(position);
        match event {
            RoomEvent::Message { offset, .. } => offset,
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_message_that_was_here_before_is_dropped() {
        let room = RoomShared::new("x", Some(at(3)));
        [2, 3, 4, 4, 6].into_iter().for_each(|offset| entry(&room, offset));
        assert_eq!((take(&room).await, take(&room).await), (Some(4), Some(6)));
        assert!(room.queue.is_empty());
        assert_eq!(room.received(), Some(at(6)));
    }

    #[tokio::test]
    async fn the_place_of_the_application_moves_once_a_message_is_handled() {
        let room = RoomShared::new("x", Some(at(0)));
        entry(&room, 1);
        take(&room).await;
        assert_eq!(room.places.lock().handled, Some(at(0)));
        room.handled();
        assert_eq!(room.places.lock().handled, Some(at(1)));
    }

    #[tokio::test]
    async fn who_falls_behind_in_a_room_that_remembers_gets_the_rest_from_the_next_connection() {
        let room = RoomShared::new("x", Some(at(0)));
        let max = EVENTS_MAX as u64;
        (1..=max + 5).for_each(|offset| entry(&room, offset));
        assert!(room.is_behind());
        assert_eq!(room.received(), Some(at(max)));
        for offset in 1..=max {
            assert_eq!(take(&room).await, Some(offset));
        }
        room.reconnected();
        (max + 1..=max + 6).for_each(|offset| entry(&room, offset));
        for offset in max + 1..=max + 6 {
            assert_eq!(take(&room).await, Some(offset));
        }
    }

    #[tokio::test]
    async fn a_gap_in_a_room_that_remembers_is_made_good_by_the_next_connection() {
        let room = RoomShared::new("x", Some(at(0)));
        entry(&room, 1);
        assert!(!room.gap(None, Some(2)), "one waits still");
        entry(&room, 4);
        assert_eq!(take(&room).await, Some(1));
        assert!(room.gap(None, None) && room.queue.is_empty());
        assert_eq!(room.received(), Some(at(1)));
        room.reconnected();
        entry(&room, 2);
        assert_eq!(take(&room).await, Some(2));
    }

    #[tokio::test]
    async fn a_gap_before_what_is_here_already_is_a_reset() {
        let room = RoomShared::new("x", Some(at(0)));
        entry(&room, 3);
        assert!(!room.gap(None, Some(1)));
        entry(&room, 4);
        assert_eq!(take(&room).await, Some(3));
        assert!(matches!(room.queue.pop().await, Some((RoomEvent::Reset { position }, _)) if position == at(3)));
        assert_eq!(take(&room).await, Some(4));
    }

    #[tokio::test]
    async fn who_falls_behind_elsewhere_is_told_how_much_is_missing() {
        let room = RoomShared::new("x", None);
        (0..EVENTS_MAX + 3).for_each(|_| room.message("x".into(), None));
        for _ in 0..EVENTS_MAX {
            assert!(matches!(room.queue.pop().await, Some((RoomEvent::Message { .. }, _))));
        }
        assert_eq!(room.queue.pop().await, Some((RoomEvent::Gap { missed: Some(3) }, None)));
    }
}
