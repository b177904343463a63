//! A connection on its way into a room with history, as the node's thread lets it in.

use std::sync::Arc;

use nexios_engine::{ConnectionId, Message, Shard, ShardHandle};

use crate::audience::framing::Framing;
use crate::broker::{Admission, Admit, Attached, Position};
use crate::connection::membership::Wish;
use crate::connection::websocket::WebSocket;

/// A connection that will enter a room, and the form of its messages.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) shard: ShardHandle,
    pub(crate) id: ConnectionId,
    pub(crate) framing: Framing,
    /// It was sent where it begins.
    pub(crate) greeted: bool,
    pub(crate) wish: Wish,
}

impl Member {
    /// Returns what lets the connection into a room: on its shard, in one step, in line with what is
    /// published there.
    pub(crate) fn admit(&self, room: &Arc<str>) -> Admit {
        let (member, room) = (self.clone(), room.clone());
        Box::new(move |admission| {
            let shard = member.shard.clone();
            let job = move |shard: &Shard| member.enter(shard, &room, admission);
            // On the shard's own thread what is published does not wait in its mailbox either.
            match shard.local() {
                Some(shard) => job(&shard),
                None if shard.run(Box::new(job)).is_err() => {
                    tracing::warn!(shard = shard.index(), "a shard's mailbox is full: a client that joins tries again");
                }
                None => {}
            }
        })
    }

    fn enter(&self, shard: &Shard, room: &Arc<str>, admission: Admission) {
        let Admission { missed, since, position, answer } = admission;
        if answer.is_closed() {
            return;
        }
        let attached = match shard.connection(&self.id) {
            Some(connection) => WebSocket::of(&connection).enter_behind(room, missed, since, position, self),
            None => Attached::Gone,
        };
        // Nobody waits any more.
        let _ = answer.send(attached);
    }

    /// Returns what it is sent before its first message, or instead of those that are lost.
    pub(crate) fn greeting(&self, room: &str, since: Option<Position>, node: Position) -> Option<Message> {
        match (self.greeted, since) {
            (false, Some(position)) => self.framing.joined(room, position, true),
            (false, None) => self.framing.joined(room, node, false),
            (true, None) => self.framing.reset(room, node),
            (true, Some(_)) => None,
        }
    }
}
