//! Delivery of what other nodes have sent, and of the entries of rooms with history.

use std::sync::{Arc, Weak};

use nexios_engine::{Broadcast, ConnectionId};

use crate::audience::broadcast::{deliver_all, find_all};
use crate::audience::framing::Framing;
use crate::audience::switchboard::{Switchboard, Target};
use crate::broker::{ClientRef, Clients, Delivering, Entry, Envelope, Gap, History, Kind, Position, Topic};
use crate::live;

impl Clients for Switchboard {
    fn has_clients(&self, topic: &Topic) -> bool {
        self.find(topic).is_some()
    }

    fn history(&self, room: &str) -> Option<History> {
        Switchboard::history(self, room)
    }

    fn deliver<'a>(&'a self, envelope: &'a Envelope<'_>) -> Delivering<'a, bool> {
        Box::pin(deliver(self, envelope))
    }

    fn deliver_entry<'a>(
        &'a self,
        room: &'a Arc<str>,
        entry: &'a Entry,
        envelope: &'a Envelope<'_>,
    ) -> Delivering<'a, bool> {
        Box::pin(deliver_entry(self, room, entry, envelope))
    }

    fn deliver_reset<'a>(&'a self, room: &'a str, position: Position) -> Delivering<'a, ()> {
        Box::pin(deliver_reset(self, room, position))
    }

    fn report_gap(&self, gap: &Gap) {
        Switchboard::report_gap(self, gap);
    }
}

impl Switchboard {
    /// Returns the app's clients, for its node.
    pub(crate) fn clients(self: &Arc<Self>) -> Weak<dyn Clients> {
        // Of its own type first: only then it can be of the other.
        let clients: Weak<Self> = Arc::downgrade(self);
        clients
    }
}

async fn deliver(switchboard: &Switchboard, envelope: &Envelope<'_>) -> bool {
    let Some(target) = switchboard.find(&envelope.topic) else { return true };
    let message = envelope.message.to_message();
    if envelope.kind == Kind::ToClients {
        let clients: Vec<ClientRef> = envelope.clients.iter().map(|client| (*client).into()).collect();
        deliver_all(switchboard, &target, clients.into(), message, envelope.compress).await;
        switchboard.shards.room_to_broadcast().await;
        return true;
    }
    let exclude = excluded(switchboard, &target, envelope).await;
    let broadcast = live::forms(&target, message, |form| carry(form, envelope, &exclude));
    publish(switchboard, broadcast).await
}

async fn deliver_entry(switchboard: &Switchboard, room: &Arc<str>, entry: &Entry, envelope: &Envelope<'_>) -> bool {
    let exclude = excluded(switchboard, &Target::Room(room.clone(), switchboard.room(room)), envelope).await;
    let mut all = true;
    for (group, framing) in switchboard.groups(room) {
        let mut form = Framing::broadcast(&group, framing.message(room, entry, envelope));
        carry(&mut form, envelope, &exclude);
        all &= publish(switchboard, Arc::new(form)).await;
    }
    all
}

async fn deliver_reset(switchboard: &Switchboard, room: &str, position: Position) {
    for (group, framing) in switchboard.groups(room) {
        if let Some(message) = framing.reset(room, position) {
            // Those that it does not reach see that by the numbers of what follows.
            switchboard.shards.publish(&Arc::new(Framing::broadcast(&group, message))).await;
        }
    }
}

/// Returns the connections that an envelope leaves out.
async fn excluded(switchboard: &Switchboard, target: &Target, envelope: &Envelope<'_>) -> Vec<ConnectionId> {
    let clients: Vec<ClientRef> = envelope.clients.iter().map(|client| (*client).into()).collect();
    find_all(switchboard, &target.audience(), clients).await.into_iter().map(|found| found.id).collect()
}

fn carry(form: &mut Broadcast, envelope: &Envelope<'_>, exclude: &[ConnectionId]) {
    (form.exclude, form.key, form.compress) = (exclude.to_vec(), envelope.key.map(Into::into), envelope.compress);
}

async fn publish(switchboard: &Switchboard, broadcast: Arc<Broadcast>) -> bool {
    let missed = switchboard.shards.publish(&broadcast).await;
    switchboard.shards.room_to_broadcast().await;
    missed == 0
}
