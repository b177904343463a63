//! The state of a room: the wish of the application, and the answers of the server.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::Error;
use crate::event::RoomEvent;
use crate::feed::Feed;
use crate::position::Position;

/// A place to begin in a room with history: [`Room::join_since`](crate::Room::join_since).
///
/// ```
/// use nexios_client::{Position, Since};
/// let position: Position = "1-7-000102030405060708090a0b0c0d0e0f".parse().unwrap();
/// assert_eq!(Since::from(position.clone()), Since::Position(position));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Since {
    /// The oldest message of the history.
    Start,
    /// Behind a message.
    Position(Position),
}

impl From<Position> for Since {
    fn from(position: Position) -> Self {
        Since::Position(position)
    }
}

impl std::fmt::Display for Since {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Since::Start => f.write_str("start"),
            Since::Position(position) => position.fmt(f),
        }
    }
}

/// One room. The application's wish is in or out; one frame at a time makes it so.
pub(crate) struct RoomState {
    /// Position in the order in which rooms are joined again.
    pub(crate) number: u64,
    pub(crate) feed: Arc<Feed<RoomEvent>>,
    /// A `join()` has succeeded, and no `leave()` came since.
    is_held: bool,
    pub(crate) subscriptions: usize,
    /// The server has refused to let the client in: the wish is out until it is made again.
    is_refused: bool,
    waiters: Vec<Waiter>,
    /// The frame that is on its way.
    pub(crate) asked: Option<Asked>,
    /// The client is in the room, by the last frame of the server.
    pub(crate) is_inside: bool,
    /// The application has received `joined`, and no `left` since.
    pub(crate) is_known: bool,
    /// A message came while the client waited for its leave, and was dropped.
    pub(crate) has_dropped: bool,
    /// The position behind the last message received, in rooms with history.
    pub(crate) at: Option<Position>,
    /// Messages did not fit: another connection brings them, once the waiting ones are handled.
    pub(crate) is_behind: bool,
    /// The application has called `presence()`.
    pub(crate) is_watching: bool,
    pub(crate) retry_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) id: u64,
    pub(crate) is_join: bool,
}

struct Waiter {
    ticket: u64,
    is_join: bool,
    /// No `leave()` came since.
    counts: bool,
    /// The place to begin.
    since: Option<Since>,
    reply: oneshot::Sender<Result<(), Error>>,
}

/// The receiving end of a `join` or `leave`.
pub(crate) type Settled = oneshot::Receiver<Result<(), Error>>;

impl RoomState {
    pub(crate) fn new(number: u64, position: Option<Position>) -> Self {
        RoomState {
            number,
            feed: Arc::new(Feed::new(position)),
            is_held: false,
            subscriptions: 0,
            is_refused: false,
            waiters: Vec::new(),
            asked: None,
            is_inside: false,
            is_known: false,
            has_dropped: false,
            at: None,
            is_behind: false,
            is_watching: false,
            retry_at: None,
        }
    }

    /// Returns true if the wish is in.
    pub(crate) fn wish(&self) -> bool {
        let is_joining = self.waiters.iter().any(|waiter| waiter.is_join && waiter.counts);
        !self.is_refused && (self.is_held || self.subscriptions > 0 || is_joining)
    }

    /// Returns true if events of the room reach the application.
    pub(crate) fn is_joined(&self) -> bool {
        self.is_inside && self.is_known && !self.is_leaving()
    }

    /// Returns true if the server counts the room among those of the client, or will.
    pub(crate) fn is_counted(&self) -> bool {
        self.asked.map_or(self.is_inside, |asked| asked.is_join)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.asked.is_some_and(|asked| !asked.is_join)
    }

    /// Returns true if the application does not know of the room.
    pub(crate) fn is_unasked(&self) -> bool {
        !self.wish() && Arc::strong_count(&self.feed) == 1 && !self.feed.has_consumers()
    }

    /// Returns true if the room can be forgotten.
    pub(crate) fn is_idle(&self) -> bool {
        !self.wish() && !self.is_known && self.asked.is_none() && Arc::strong_count(&self.feed) == 1
    }

    pub(crate) fn has_joins(&self) -> bool {
        self.waiters.iter().any(|waiter| waiter.is_join)
    }

    /// Notes a `join()`.
    pub(crate) fn wish_in(&mut self, ticket: u64, since: Option<Since>) -> Settled {
        self.is_refused = false;
        self.wait(ticket, true, since)
    }

    /// Notes a `leave()`. Subscriptions may still hold the client in the room.
    pub(crate) fn wish_out(&mut self, ticket: u64) -> Settled {
        self.is_held = false;
        self.waiters.iter_mut().for_each(|waiter| waiter.counts = false);
        self.wait(ticket, false, None)
    }

    fn wait(&mut self, ticket: u64, is_join: bool, since: Option<Since>) -> Settled {
        let (reply, settled) = oneshot::channel();
        self.waiters.push(Waiter { ticket, is_join, counts: is_join, since, reply });
        settled
    }

    /// Returns the place to begin of the last `join()` that waits, if it has one.
    pub(crate) fn since(&self) -> Option<&Since> {
        self.waiters.iter().rev().filter(|waiter| waiter.counts).find_map(|waiter| waiter.since.as_ref())
    }

    pub(crate) fn subscribed(&mut self) {
        self.is_refused = false;
        self.subscriptions += 1;
    }

    /// Takes back a call that was given up.
    pub(crate) fn give_up(&mut self, ticket: u64) {
        self.waiters.retain(|waiter| waiter.ticket != ticket);
    }

    /// Ends all calls: the wish is fulfilled.
    pub(crate) fn settle(&mut self, is_in: bool) {
        for waiter in self.waiters.drain(..) {
            self.is_held |= is_in && waiter.counts;
            let result = if waiter.is_join && !is_in { Err(Error::left()) } else { Ok(()) };
            // The caller may have given up.
            let _ = waiter.reply.send(result);
        }
    }

    /// Handles the refusal of a join: the client is out, which fulfils a `leave()` made meanwhile.
    pub(crate) fn refused(&mut self, error: &Error) {
        self.is_held = false;
        self.is_refused = true;
        for waiter in self.waiters.drain(..) {
            // The caller may have given up.
            let _ = waiter.reply.send(if waiter.is_join { Err(error.clone()) } else { Ok(()) });
        }
    }

    /// Rejects the joins that wait: the server refused their frame.
    pub(crate) fn reject_joins(&mut self, error: &Error) {
        for waiter in self.waiters.extract_if(.., |waiter| waiter.is_join) {
            // The caller may have given up.
            let _ = waiter.reply.send(Err(if waiter.counts { error.clone() } else { Error::left() }));
        }
    }

    /// Fails all calls.
    pub(crate) fn fail(&mut self, error: &Error) {
        for waiter in self.waiters.drain(..) {
            // The caller may have given up.
            let _ = waiter.reply.send(Err(error.clone()));
        }
    }

    /// Handles the refusal of a leave: `leave()` fails, and a `join()` made meanwhile succeeds.
    pub(crate) fn leave_refused(&mut self, error: &Error) {
        for waiter in self.waiters.drain(..) {
            self.is_held |= waiter.counts;
            let _ = waiter.reply.send(if waiter.is_join { Ok(()) } else { Err(error.clone()) });
        }
    }
}
