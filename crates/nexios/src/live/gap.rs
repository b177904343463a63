//! Loss, as framed clients are told of it.

use std::collections::HashMap;
use std::sync::Arc;

use nexios_engine::{Audience, Broadcast, Connection, Message, MessageRef, Shard, SlowClient};

use super::frame::{self, ServerFrame};
use crate::audience::switchboard::{Switchboard, Target};
use crate::broker::{Gap, Topic};

/// Reports a gap to the clients that may have missed messages of other nodes.
pub(crate) fn report_gap(switchboard: &Switchboard, gap: &Gap) {
    let room = match &gap.topic {
        Some(Topic::Room(room)) => Some(&**room),
        _ => None,
    };
    // A room with history says `reset` instead, where messages cannot be had any more.
    if switchboard.framed() == 0 || room.is_some_and(|room| switchboard.history(room).is_some()) {
        return;
    }
    let frame: Message = ServerFrame::Gap { room, missed: gap.missed, offset: None }.to_text().into();
    let target = gap.topic.as_ref().map_or_else(|| Some(switchboard.everybody()), |topic| switchboard.find(topic));
    match target {
        Some(Target::Room(_, Some(groups))) => {
            let broadcast = Arc::new(Broadcast::new(Audience::One(groups.framed.id()), frame));
            switchboard.shards.run_on_each(move |shard| shard.publish(&broadcast));
        }
        Some(target) => {
            let audience = target.audience();
            switchboard.shards.run_on_each(move |shard| tell_members(shard, &audience, frame.as_ref()));
        }
        None => {}
    }
}

fn tell_members(shard: &Shard, audience: &Audience, frame: MessageRef<'_>) {
    for member in shard.members(audience).into_iter().filter(super::is_live) {
        // One whose outbox is full is about to be closed for it.
        let _ = member.send_formed(frame, None);
    }
}

/// Tells a client what it was too slow for, unless only the newest of a key is wanted anyway. The
/// messages are returned as the application sent them.
pub(crate) fn tell_dropped(connection: &Connection, mut messages: Vec<Message>) -> Vec<Message> {
    if connection.settings().slow_client != SlowClient::Conflate {
        tell_missed(connection, &mut messages);
    }
    messages.iter().map(frame::payload).collect()
}

fn tell_missed(connection: &Connection, messages: &mut Vec<Message>) {
    let mut missed = HashMap::<Option<String>, (u64, Option<u64>)>::new();
    for message in messages.iter() {
        let (room, offset) = frame::place(message).unzip();
        missed.entry(room).or_insert((0, offset.flatten())).0 += 1;
    }
    for (room, (missed, offset)) in missed {
        let later = room.as_deref().filter(|_| offset.is_some()).map(|room| withdraw_later(connection, room));
        let missed = missed + later.as_ref().map_or(0, |later| later.len() as u64);
        messages.extend(later.into_iter().flatten());
        let frame = ServerFrame::Gap { room: room.as_deref(), missed: Some(missed), offset }.to_text();
        // One whose outbox is full is about to be closed for it.
        let _ = connection.send_formed(MessageRef::Text(&frame), None);
    }
}

/// What waits of a room with history would come before the gap, and the client could not go back
/// to what is missing before it.
fn withdraw_later(connection: &Connection, room: &str) -> Vec<Message> {
    let prefix = frame::entry_prefix(room);
    connection.withdraw(|message| message.as_bytes().starts_with(prefix.as_bytes()))
}
