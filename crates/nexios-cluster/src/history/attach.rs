//! Joining a room with history without a hole: the client's position, and its way to the node's.

use std::fmt;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::follow::RoomName;
use crate::history::log::{Entry, Position};

/// A client's request to join, for the node's thread.
pub(crate) struct Attach {
    pub(crate) room: RoomName,
    /// Its position; `None`: it wants what comes from now on.
    pub since: Option<Since>,
    /// It was sent where it begins.
    pub(crate) greeted: bool,
    pub(crate) admit: Admit,
    pub answer: oneshot::Sender<Attached>,
    pub(crate) asked: Instant,
    /// The node has looked for what is new because this client was further than itself.
    pub(crate) resynced: bool,
}

/// A client's position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Since {
    /// The position.
    pub position: Position,
    /// No entry of the room has an offset above the position's and up to this one.
    pub reached: u64,
    /// The broker or this node has confirmed that the entry there is still the one that the client knows.
    pub trusted: bool,
}

/// Lets a client into a room, or answers why not.
pub type Admit = Box<dyn FnOnce(Admission) + Send>;

/// The terms on which a client enters a room.
pub struct Admission {
    /// The entries that it is sent first.
    pub missed: Vec<Entry>,
    /// The position before them; `None`: the client begins with what comes from now on.
    pub since: Option<Position>,
    /// The position of the node, which the client has when it was sent these entries.
    pub position: Option<Position>,
    /// Receives what became of it.
    pub answer: oneshot::Sender<Attached>,
}

/// The answer to a client that wants to join.
#[derive(Debug)]
pub enum Attached {
    /// It is in the room, behind this position; what came after where it was is sent. `None` where
    /// the broker is away and the node does not know where it is itself.
    Joined(Option<Position>),
    /// It has missed too much to be sent in one step.
    Behind {
        /// It is sent these first, at its own pace.
        entries: Vec<Entry>,
        /// It was sent where it begins.
        greeted: bool,
    },
    /// The node has not all that it missed; the broker may.
    Unknown,
    /// It is not connected any more, or does not want to be let in.
    Gone,
}

impl Since {
    /// Returns a position as a client sent it.
    pub fn said(position: Position) -> Self {
        Since { position, reached: position.offset, trusted: false }
    }

    /// Returns a position that is known to be right.
    pub fn trusted(position: Position) -> Self {
        Since { trusted: true, ..Since::said(position) }
    }

    /// Returns the position, with nothing between it and this one, as the broker has found.
    pub fn quiet_up_to(self, top: Position) -> Self {
        let reached = if top.epoch == self.position.epoch { top.offset.max(self.reached) } else { self.reached };
        Since { reached, ..self }
    }
}

impl Attach {
    /// Lets the client in.
    pub(super) fn admit(self, missed: Vec<Entry>, position: Option<Position>) {
        let since = self.since.map(|since| since.position).filter(|_| position.is_some());
        (self.admit)(Admission { missed, since, position, answer: self.answer });
    }

    /// Answers that the client is not let in yet.
    pub(super) fn answer(self, attached: Attached) {
        // Nobody waits any more.
        let _ = self.answer.send(attached);
    }
}

impl fmt::Debug for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attach").field("room", &self.room).field("since", &self.since).finish_non_exhaustive()
    }
}
