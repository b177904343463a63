//! Gaps: messages of other nodes that did not arrive, noticed and said.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::envelope::{Envelope, NodeId};
use crate::topic::Topic;

/// A node that has said nothing on a topic for so long is forgotten. A sender begins to count
/// anew before that.
const SOURCE_IDLE_MAX: Duration = Duration::from_secs(600);

/// Clients here may have missed messages that were sent on other nodes.
///
/// ```
/// use nexios::{WsRouter, broker::Gap};
/// let router = WsRouter::new().on_gap(async |gap: Gap| {
///     eprintln!("messages are missing: {gap}");
/// });
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Gap {
    /// Whose messages; `None` where it may be any that this node gets.
    pub topic: Option<Topic>,
    /// How many are missing, where that can be known.
    pub missed: Option<u64>,
    /// Why.
    pub cause: GapCause,
}

impl Gap {
    /// Returns a gap; for `nexios`, which sees some itself.
    #[doc(hidden)]
    pub fn new(topic: Option<Topic>, missed: Option<u64>, cause: GapCause) -> Self {
        Gap { topic, missed, cause }
    }
}

/// Why messages are missing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum GapCause {
    /// The connection to the broker was lost, or the broker cut it because this node read too
    /// slowly. What is known to be missing follows as holes.
    Reconnect,
    /// A room's or a router's first clients did not wait any longer for the broker, and have joined
    /// before what other nodes send arrived.
    Late,
    /// A sender's numbers have a hole.
    Hole,
    /// More arrived than this node could pass on to its clients.
    Overflow,
    /// A room with history could not be brought up to date: the broker has begun another epoch,
    /// or does not keep any more what is missing.
    Reset,
}

impl GapCause {
    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            GapCause::Reconnect => "reconnect",
            GapCause::Late => "late",
            GapCause::Hole => "hole",
            GapCause::Overflow => "overflow",
            GapCause::Reset => "reset",
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topic {
            Some(topic) => write!(f, "{topic}: ")?,
            None => f.write_str("all topics: ")?,
        }
        match self.missed {
            Some(missed) => write!(f, "{missed} missed")?,
            None => f.write_str("some may be missed")?,
        }
        write!(f, " ({})", self.cause.name())
    }
}

/// The sequence numbers of all nodes, as they arrive here.
#[derive(Default)]
pub(crate) struct Tracker(HashMap<Topic, HashMap<NodeId, Source>>);

struct Source {
    /// The number that comes next.
    next: u64,
    heard: Instant,
}

/// What a sequence number says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// It was here before.
    Duplicate,
    /// It is new; so many before it are missing.
    New { missed: u64 },
}

impl Tracker {
    /// Takes note of an envelope. The first from a node on a topic sets where counting begins,
    /// unless it says so itself.
    pub(crate) fn arrived(&mut self, envelope: &Envelope<'_>, now: Instant) -> Arrival {
        self.advance(&envelope.topic, envelope.node, envelope.sequence, envelope.next(), envelope.began, now)
    }

    /// Takes note that envelopes before `next` came and were not passed on; how many these are.
    pub(crate) fn skipped(&mut self, topic: &Topic, node: NodeId, first: u64, next: u64, now: Instant) -> u64 {
        let known = self.0.get(topic).and_then(|sources| sources.get(&node)).map_or(first, |source| source.next);
        self.advance(topic, node, first, next, None, now);
        next.saturating_sub(known)
    }

    fn advance(
        &mut self,
        topic: &Topic,
        node: NodeId,
        first: u64,
        next: u64,
        began: Option<u64>,
        now: Instant,
    ) -> Arrival {
        let sources = match self.0.get_mut(topic) {
            Some(sources) => sources,
            None => self.0.entry(topic.clone()).or_default(),
        };
        let begins = began.unwrap_or(first).min(first);
        let source = sources.entry(node).or_insert(Source { next: begins, heard: now });
        source.heard = now;
        if next < source.next || (next == source.next && first < next) {
            return Arrival::Duplicate;
        }
        let missed = first.saturating_sub(began.map_or(source.next, |began| source.next.max(began)));
        source.next = next;
        Arrival::New { missed }
    }

    /// Begins to count anew: what came while nobody listened is not missing.
    pub(crate) fn forget(&mut self, topic: &Topic) {
        self.0.remove(topic);
    }

    /// Forgets topics that are not subscribed to any more, and nodes that are silent for long.
    pub(crate) fn sweep(&mut self, is_subscribed: impl Fn(&Topic) -> bool, now: Instant) {
        self.0.retain(|topic, sources| {
            sources.retain(|_, source| now.saturating_duration_since(source.heard) < SOURCE_IDLE_MAX);
            !sources.is_empty() && is_subscribed(topic)
        });
    }
}

#[cfg(test)]
mod tests {
    use nexios_engine::MessageRef;

    use super::*;
    use crate::envelope::Kind;

    const NEW: Arrival = Arrival::New { missed: 0 };

    struct Sender(NodeId);

    impl Sender {
        fn envelope(&self, kind: Kind, sequence: u64) -> Envelope<'static> {
            let (topic, message) = (Topic::App, MessageRef::Text(""));
            let node = self.0;
            Envelope {
                kind,
                node,
                sequence,
                began: None,
                topic,
                key: None,
                compress: None,
                clients: Vec::new(),
                message,
            }
        }
    }

    fn check(arrivals: &[(Kind, u64, Arrival)]) {
        let (sender, mut tracker, now) = (Sender(NodeId::random()), Tracker::default(), Instant::now());
        for (kind, sequence, arrival) in arrivals {
            assert_eq!(tracker.arrived(&sender.envelope(*kind, *sequence), now), *arrival, "{sequence}");
        }
    }

    #[test]
    fn numbers_without_a_hole_are_no_gap() {
        check(&[(Kind::Broadcast, 5, NEW), (Kind::ToClients, 6, NEW), (Kind::Mark, 7, NEW), (Kind::Broadcast, 7, NEW)]);
    }

    #[test]
    fn a_hole_is_counted_once() {
        check(&[
            (Kind::Broadcast, 5, NEW),
            (Kind::Broadcast, 9, Arrival::New { missed: 3 }),
            (Kind::Broadcast, 10, NEW),
        ]);
    }

    #[test]
    fn a_mark_shows_a_lost_tail() {
        check(&[(Kind::Broadcast, 5, NEW), (Kind::Mark, 8, Arrival::New { missed: 2 }), (Kind::Broadcast, 8, NEW)]);
    }

    #[test]
    fn what_was_here_before_is_a_duplicate() {
        check(&[
            (Kind::Broadcast, 5, NEW),
            (Kind::Broadcast, 6, NEW),
            (Kind::Broadcast, 5, Arrival::Duplicate),
            (Kind::Broadcast, 6, Arrival::Duplicate),
            (Kind::Mark, 7, NEW),
            (Kind::Mark, 6, Arrival::Duplicate),
            (Kind::Broadcast, 7, NEW),
        ]);
    }

    #[test]
    fn a_sender_that_counts_anew_leaves_no_gap() {
        let (sender, mut tracker, now) = (Sender(NodeId::random()), Tracker::default(), Instant::now());
        assert_eq!(tracker.arrived(&sender.envelope(Kind::Broadcast, 5), now), NEW);
        let restarted = |sequence| Envelope { began: Some(90), ..sender.envelope(Kind::Broadcast, sequence) };
        assert_eq!(tracker.arrived(&restarted(90), now), NEW);
        assert_eq!(tracker.arrived(&restarted(91), now), NEW);
        assert_eq!(tracker.arrived(&restarted(93), now), Arrival::New { missed: 1 });
        assert_eq!(tracker.arrived(&sender.envelope(Kind::Broadcast, 94), now), NEW);
    }

    #[test]
    fn a_lost_beginning_is_a_gap_where_the_sender_says_where_it_was() {
        let (now, began) = (Instant::now(), Some(3));
        for kind in [Kind::Broadcast, Kind::Mark] {
            let (sender, mut tracker) = (Sender(NodeId::random()), Tracker::default());
            let first = Envelope { began, ..sender.envelope(kind, 5) };
            assert_eq!(tracker.arrived(&first, now), Arrival::New { missed: 2 });
        }
    }

    #[test]
    fn each_sender_counts_by_itself() {
        let (a, b) = (Sender(NodeId::random()), Sender(NodeId::random()));
        let (mut tracker, now) = (Tracker::default(), Instant::now());
        assert_eq!(tracker.arrived(&a.envelope(Kind::Broadcast, 5), now), NEW);
        assert_eq!(tracker.arrived(&b.envelope(Kind::Broadcast, 900), now), NEW);
        assert_eq!(tracker.arrived(&a.envelope(Kind::Broadcast, 6), now), NEW);
    }

    #[test]
    fn what_overflowed_is_counted_and_is_no_hole_later() {
        let (a, mut tracker, now) = (Sender(NodeId::random()), Tracker::default(), Instant::now());
        tracker.arrived(&a.envelope(Kind::Broadcast, 5), now);
        assert_eq!(tracker.skipped(&Topic::App, a.0, 6, 10, now), 4);
        assert_eq!(tracker.arrived(&a.envelope(Kind::Broadcast, 10), now), NEW);
        assert_eq!(tracker.skipped(&Topic::App, NodeId::random(), 3, 5, now), 2);
    }

    #[test]
    fn what_nobody_needs_is_forgotten() {
        let (a, mut tracker, now) = (Sender(NodeId::random()), Tracker::default(), Instant::now());
        tracker.arrived(&a.envelope(Kind::Broadcast, 5), now);
        tracker.sweep(|_| true, now);
        assert_eq!(tracker.0.len(), 1);
        tracker.sweep(|_| true, now + SOURCE_IDLE_MAX);
        assert_eq!(tracker.0.len(), 0);
        tracker.arrived(&a.envelope(Kind::Broadcast, 5), now);
        tracker.sweep(|_| false, now);
        assert_eq!(tracker.0.len(), 0);
    }
}
