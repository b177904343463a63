//! From what other nodes have sent to the clients here.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::envelope::{Envelope, Kind, NodeId};
use super::gap::{Arrival, Gap, GapCause, Tracker};
use super::history::Following;
use super::incoming::{Event, Overflow, Span};
use super::node::Node;
use super::topic::Topic;
use crate::broadcast;
use crate::hub::Hub;

/// Events after which the thread's other work gets its turn.
const EVENTS_PER_TURN: usize = 64;
const CLEAN_EVERY: Duration = Duration::from_secs(60);

/// Passes on what arrives, as fast as the clients here take it.
pub(crate) async fn receive(node: Arc<Node>, hub: Weak<Hub>) {
    let following = Following::new(node.clone());
    let mut receiver = Receiver { node, tracker: Tracker::default(), following };
    let mut cleaned = Instant::now();
    loop {
        for _ in 0..EVENTS_PER_TURN {
            let event = receiver.node.incoming.next().await;
            let Some(hub) = hub.upgrade() else { return };
            receiver.take(&hub, event).await;
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
    tracker: Tracker,
    following: Following,
}

impl Receiver {
    async fn take(&mut self, hub: &Arc<Hub>, event: Event) {
        match event {
            Event::Envelope(bytes) => match Envelope::parse(&bytes) {
                Ok(envelope) => self.envelope(hub, &envelope).await,
                Err(error) => self.node.incoming.unreadable(error),
            },
            Event::Entry(entry) => self.following.entry(hub, entry).await,
            Event::Overflow(Overflow { envelopes, rooms }) => {
                self.overflow(hub, envelopes);
                self.following.lost(hub, &rooms);
            }
            Event::Subscribed(topics) => {
                topics.iter().for_each(|topic| self.tracker.forget(topic));
                self.following.subscribed(hub, &topics);
            }
            Event::Live(topics) => self.following.lost(hub, &topics),
            Event::Restored => {
                self.gap(hub, None, None, GapCause::Reconnect);
                self.following.restored(hub);
            }
            Event::Attach(attach) => self.following.attach(hub, attach),
            Event::Read(done) => self.following.read_done(hub, done).await,
            Event::Tick => self.following.tick(Instant::now()),
        }
    }

    async fn envelope(&mut self, hub: &Arc<Hub>, envelope: &Envelope<'_>) {
        if envelope.kind == Kind::Presence {
            let received = hub.presence().receive(hub, envelope);
            return received.unwrap_or_else(|error| self.node.incoming.unreadable(error));
        }
        match self.tracker.arrived(envelope, Instant::now()) {
            Arrival::Duplicate if envelope.kind == Kind::Mark => return,
            Arrival::Duplicate => return self.node.counters.duplicate(),
            Arrival::New { missed: 0 } => {}
            Arrival::New { missed } => self.gap(hub, Some(&envelope.topic), Some(missed), GapCause::Hole),
        }
        if envelope.kind == Kind::Mark {
            return;
        }
        self.node.counters.received();
        if !broadcast::receive(hub, envelope).await {
            self.gap(hub, Some(&envelope.topic), Some(1), GapCause::Overflow);
        }
    }

    fn overflow(&mut self, hub: &Hub, lost: HashMap<(Topic, NodeId), Span>) {
        let mut missed = HashMap::<Topic, u64>::new();
        if lost.keys().any(|(topic, _)| topic.is_presence()) {
            hub.presence().overflowed(hub);
        }
        for ((topic, node), span) in lost.into_iter().filter(|((topic, _), _)| !topic.is_presence()) {
            let count = self.tracker.skipped(&topic, node, span.first, span.next, Instant::now());
            *missed.entry(topic).or_default() += count;
        }
        for (topic, count) in missed.into_iter().filter(|(_, count)| *count > 0) {
            self.gap(hub, Some(&topic), Some(count), GapCause::Overflow);
        }
    }

    fn gap(&self, hub: &Hub, topic: Option<&Topic>, missed: Option<u64>, cause: GapCause) {
        let gap = Gap { topic: topic.cloned(), missed, cause };
        tracing::warn!(%gap, "messages of other nodes are missing");
        self.node.counters.gap(&gap);
        hub.tell_gap(&gap);
    }
}
