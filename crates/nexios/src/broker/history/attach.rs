//! Joining a room that remembers without a hole: where the client is, and how it gets to where the node is.

use std::fmt;

use nexios_engine::{ConnectionId, Message, Shard, ShardHandle};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::follow::RoomName;
use super::framing::Framing;
use crate::broker::log::{Entry, Position};
use crate::connection::membership::Wish;
use crate::connection::websocket::WebSocket;

/// A client that wants to join, as the node's thread is told.
pub(crate) struct Attach {
    pub(crate) room: RoomName,
    /// Where it is; `None`: it wants what comes from now on.
    pub(crate) since: Option<Since>,
    pub(crate) member: Member,
    pub(crate) answer: oneshot::Sender<Attached>,
    pub(crate) asked: Instant,
    /// The node has looked for what is new because this client was further than itself.
    pub(crate) resynced: bool,
}

/// A client's position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Since {
    pub(crate) position: Position,
    /// No entry of the room has an offset above the position's and up to this one.
    pub(crate) reached: u64,
    /// The broker or this node has said that the entry there is the one that it was.
    pub(crate) trusted: bool,
}

/// The client, and what it is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) shard: ShardHandle,
    pub(crate) id: ConnectionId,
    pub(crate) framing: Framing,
    /// It has been told where it begins.
    pub(crate) greeted: bool,
    pub(crate) wish: Wish,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Attached {
    /// It is in the room, behind this position; what came after where it was is sent. `None` where
    /// the broker is away and the node does not know where it is itself.
    Joined(Option<Position>),
    /// First it has to be sent these, at its own pace; it may have been told where it begins.
    Behind { entries: Vec<Entry>, greeted: bool },
    /// The node has not all that it missed; the broker may.
    Unknown,
    /// It is not connected any more, or does not want to be let in.
    Gone,
}

impl Since {
    /// A position as a client says it.
    pub(crate) fn said(position: Position) -> Self {
        Since { position, reached: position.offset, trusted: false }
    }

    /// A position that is known to be right.
    pub(crate) fn trusted(position: Position) -> Self {
        Since { trusted: true, ..Since::said(position) }
    }

    /// The broker has found nothing between the position and this one.
    pub(crate) fn quiet_up_to(self, top: Position) -> Self {
        let reached = if top.epoch == self.position.epoch { top.offset.max(self.reached) } else { self.reached };
        Since { reached, ..self }
    }
}

impl Attach {
    /// Lets the client in: on its shard, in one step, in line with what is published there.
    pub(super) fn admit(self, missed: Vec<Entry>, position: Option<Position>) {
        let Attach { room, since, member, answer, .. } = self;
        let shard = member.shard.clone();
        let since = since.map(|since| since.position).filter(|_| position.is_some());
        let job = move |shard: &Shard| {
            if answer.is_closed() {
                return;
            }
            let attached = match shard.connection(&member.id) {
                Some(connection) => WebSocket::of(&connection).enter_behind(&room, missed, since, position, &member),
                None => Attached::Gone,
            };
            // Nobody waits any more.
            let _ = answer.send(attached);
        };
        // On the shard's own thread what is published does not wait in its mailbox either.
        match shard.local() {
            Some(shard) => job(&shard),
            None if shard.run(Box::new(job)).is_err() => {
                tracing::warn!(shard = shard.index(), "a shard's mailbox is full: a client that joins tries again");
            }
            None => {}
        }
    }

    pub(super) fn answer(self, attached: Attached) {
        // Nobody waits any more.
        let _ = self.answer.send(attached);
    }
}

impl Member {
    /// What it is told before its first message, or instead of those that are lost.
    pub(crate) fn greeting(&self, room: &str, since: Option<Position>, node: Position) -> Option<Message> {
        match (self.greeted, since) {
            (false, Some(position)) => self.framing.joined(room, position, true),
            (false, None) => self.framing.joined(room, node, false),
            (true, None) => self.framing.reset(room, node),
            (true, Some(_)) => None,
        }
    }
}

impl fmt::Debug for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attach").field("room", &self.room).field("since", &self.since).finish_non_exhaustive()
    }
}
