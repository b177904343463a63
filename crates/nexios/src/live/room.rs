//! Rooms for framed members: their messages say which room they are of.

use std::sync::Arc;

use nexios_engine::{Audience, Broadcast, Message, MessageRef};

use super::VARIANT;
pub(crate) use super::answer::ready;
use super::answer::tell;
use super::frame::{ServerFrame, escape_mistakable};
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

/// A message to a target, as the shards get it: where clients that speak `nexios.v1` are among the members, it has
/// another form for them, so that all members see one order.
pub(crate) fn forms(target: &Target, message: Message, finish: impl Fn(&mut Broadcast)) -> Arc<Broadcast> {
    let (audience, message, form) = match target {
        Target::Room(_, Some(groups)) => {
            let form = member_form(target, message.as_ref()).filter(|_| groups.framed.members() > 0);
            match (groups.plain.members() > 0, form) {
                (true, Some(form)) => (target.audience(), message, Some(form)),
                (false, Some(form)) => (Audience::One(groups.framed.id()), form, None),
                (_, None) => (Audience::One(groups.plain.id()), message, None),
            }
        }
        Target::Room(_, None) | Target::Routers(_) => {
            let form = escape_mistakable(message.as_ref());
            (target.audience(), message, form)
        }
    };
    let mut broadcast = Broadcast::new(audience, message);
    finish(&mut broadcast);
    if let Some(form) = form {
        broadcast.set_form(VARIANT, form);
    }
    Arc::new(broadcast)
}
