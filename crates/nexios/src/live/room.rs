//! Rooms for framed members: their messages say which room they are of.

use std::sync::Arc;

use nexios_engine::{Audience, Broadcast, Message, MessageRef};

pub(crate) use super::answer::ready;
use super::answer::tell;
use super::frame::ServerFrame;
use crate::audience::switchboard::Target;
use crate::broker::Position;
use crate::connection::websocket::WebSocket;

/// The connection has become a member; nothing of the room has been sent to it yet.
pub(crate) fn joined(ws: &WebSocket, room: &str) {
    tell(ws, &ServerFrame::Joined { room, position: None, recovered: None });
}

/// The same of a room with history.
pub(crate) fn joined_at(room: &str, position: Position, recovered: bool) -> Message {
    ServerFrame::Joined { room, position: Some(position), recovered: Some(recovered) }.to_text().into()
}

/// A message of a room with history.
pub(crate) fn entry(room: &str, position: Position, message: MessageRef<'_>) -> Message {
    let Position { offset, nonce, .. } = position;
    ServerFrame::Message { room, offset: Some(offset), nonce: Some(nonce) }.around(message)
}

/// Messages of a room with history are lost.
pub(crate) fn reset(room: &str, position: Position) -> Message {
    ServerFrame::Reset { room, position: Some(position) }.to_text().into()
}

/// The connection is no member any more.
pub(crate) fn left(ws: &WebSocket, room: &str) {
    tell(ws, &ServerFrame::Left { room });
}

/// What a framed client gets of a message to a target; `None`: the message as it is.
pub(crate) fn member_form(target: &Target, message: MessageRef<'_>) -> Option<Message> {
    match target {
        Target::Routers(_) => None,
        Target::Room(room, _) => Some(ServerFrame::Message { room, offset: None, nonce: None }.around(message)),
    }
}

/// A message to a target, as the shards get it: in a room with both kinds of members it has two
/// forms, which go out in one step, so that all members see one order.
pub(crate) fn forms(target: &Target, message: Message, finish: impl Fn(&mut Broadcast)) -> Arc<Broadcast> {
    let (plain, framed) = match target {
        Target::Room(_, Some(groups)) => (Audience::One(groups.plain.id()), Some(groups)),
        Target::Room(_, None) | Target::Routers(_) => (target.audience(), None),
    };
    let framed = framed.filter(|groups| groups.framed.members() > 0).and_then(|groups| {
        let mut form = Broadcast::new(Audience::One(groups.framed.id()), member_form(target, message.as_ref())?);
        form.framed = true;
        finish(&mut form);
        Some((form, groups.plain.members() > 0))
    });
    let also = match framed {
        Some((form, false)) => return Arc::new(form),
        framed => framed.map(|(form, _)| Arc::new(form)),
    };
    let mut form = Broadcast::new(plain, message);
    finish(&mut form);
    form.also = also;
    Arc::new(form)
}
