//! From what other nodes have sent to the clients here.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use nexios_protocol::escaped;
use tokio::time::Instant;

use crate::envelope::{Envelope, Kind, NodeId};
use crate::history::Following;
use crate::node::Node;
use crate::node::clients::Clients;
use crate::node::gap::{Arrival, Gap, GapCause, Tracker};
use crate::node::incoming::{Event, Overflow, Span};
use crate::presence::Presence;
use crate::topic::Topic;

/// Events after which the thread's other work gets its turn.
const EVENTS_PER_TURN: usize = 64;
const CLEAN_EVERY: Duration = Duration::from_secs(60);

/// Passes on what arrives, as fast as the clients here take it.
pub(crate) async fn receive(node: Arc<Node>, clients: Weak<dyn Clients>, presence: Option<Arc<Presence>>) {
    let following = Following::new(node.clone());
    let mut receiver = Receiver { node, presence, tracker: Tracker::default(), resuming: None, following };
    let mut cleaned = Instant::now();
    loop {
        for _ in 0..EVENTS_PER_TURN {
            let event = receiver.node.incoming.next().await;
            let Some(clients) = clients.upgrade() else { return };
            receiver.take(&*clients, event).await;
        }
        if cleaned.elapsed() > CLEAN_EVERY {
            cleaned = Instant::now();
            let subscriptions = &receiver.node.subscriptions;
            receiver.tracker.sweep(|topic| subscriptions.contains(topic), cleaned);
            receiver.following.sweep(|topic| subscriptions.contains(topic));
        }
        tokio::task::yield_now().await;
    }
}

struct Receiver {
    node: Arc<Node>,
    presence: Option<Arc<Presence>>,
    tracker: Tracker,
    /// Another session is beginning: the topics of which something has come already.
    resuming: Option<HashSet<Topic>>,
    following: Following,
}

impl Receiver {
    async fn take(&mut self, clients: &dyn Clients, event: Event) {
        match event {
            Event::Envelope(bytes) => match Envelope::parse(&bytes) {
                Ok(envelope) => self.envelope(clients, &envelope).await,
                Err(error) => self.node.incoming.unreadable(error),
            },
            Event::Entry(entry) => self.following.entry(clients, entry).await,
            Event::Overflow(Overflow { envelopes, rooms }) => {
                self.overflow(clients, envelopes);
                self.following.lost(clients, &rooms);
            }
            Event::Subscribed(topics) => {
                // Members of a room that were let in all the same are owed what is in between.
                let is_new = |topic: &&Topic| !topic.is_of_room() || !clients.has_clients(topic);
                topics.iter().filter(is_new).for_each(|topic| self.tracker.forget(topic));
                self.following.subscribed(clients, &topics);
            }
            Event::Live { topics, late } => {
                self.following.lost(clients, &topics);
                let missed = late.iter().filter(|topic| is_owed(clients, topic));
                missed.for_each(|topic| self.gap(clients, Some(topic), None, GapCause::Late));
            }
            Event::Resuming => self.resuming = Some(HashSet::new()),
            Event::Restored => {
                self.resuming = None;
                self.gap(clients, None, None, GapCause::Reconnect);
                self.following.restored(clients);
            }
            Event::Attach(attach) => self.following.attach(clients, attach),
            Event::Read(done) => self.following.read_done(clients, done).await,
            Event::Stored(stored) => self.following.stored(clients, stored),
            Event::Tick => self.following.tick(Instant::now()),
        }
    }

    async fn envelope(&mut self, clients: &dyn Clients, envelope: &Envelope<'_>) {
        if envelope.kind == Kind::Presence {
            let received = self.presence.as_ref().map_or(Ok(()), |presence| presence.receive(envelope));
            return received.unwrap_or_else(|error| self.node.incoming.unreadable(error));
        }
        // All are told once everything is subscribed to; whoever gets something earlier is told before it.
        let is_first = self.resuming.as_mut().is_some_and(|topics| topics.insert(envelope.topic.clone()));
        if is_first && is_owed(clients, &envelope.topic) {
            self.gap(clients, Some(&envelope.topic), None, GapCause::Reconnect);
        }
        match self.tracker.arrived(envelope, Instant::now()) {
            Arrival::Duplicate if envelope.kind == Kind::Mark => return,
            Arrival::Duplicate => return self.node.counters.duplicate(),
            Arrival::New { missed: 0 } => {}
            Arrival::New { missed } => self.gap(clients, Some(&envelope.topic), Some(missed), GapCause::Hole),
        }
        if envelope.kind == Kind::Mark {
            return;
        }
        self.node.counters.received();
        if !clients.deliver(envelope).await {
            self.gap(clients, Some(&envelope.topic), Some(1), GapCause::Overflow);
        }
    }

    fn overflow(&mut self, clients: &dyn Clients, lost: HashMap<(Topic, NodeId), Span>) {
        let mut missed = HashMap::<Topic, u64>::new();
        if lost.keys().any(|(topic, _)| topic.is_presence()) {
            self.presence.iter().for_each(Presence::overflowed);
        }
        for ((topic, node), span) in lost.into_iter().filter(|((topic, _), _)| !topic.is_presence()) {
            let count = self.tracker.skipped(&topic, node, span.first, span.next, Instant::now());
            *missed.entry(topic).or_default() += count;
        }
        for (topic, count) in missed.into_iter().filter(|(_, count)| *count > 0) {
            self.gap(clients, Some(&topic), Some(count), GapCause::Overflow);
        }
    }

    fn gap(&self, clients: &dyn Clients, topic: Option<&Topic>, missed: Option<u64>, cause: GapCause) {
        let gap = Gap { topic: topic.cloned(), missed, cause };
        tracing::warn!(gap = %escaped(&gap), "messages of other nodes are missing");
        self.node.counters.gap(&gap);
        clients.report_gap(&gap);
    }
}

/// Returns true if clients of this node miss a message that is not passed on. The history of a room is read instead.
fn is_owed(clients: &dyn Clients, topic: &Topic) -> bool {
    let remembers = matches!(topic, Topic::Room(room) if clients.history(room).is_some());
    !topic.is_presence() && !remembers && clients.has_clients(topic)
}
