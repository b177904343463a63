//! What has come from the broker and waits for the clients here: a bounded queue.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use crate::envelope::{Envelope, NodeId, Unreadable};
use crate::history::log::Entry;
use crate::history::{Attach, Confirmation, ReadDone};
use crate::node::metrics::Counters;
use crate::topic::Topic;

/// Events other than messages that wait at most. Whoever has more to tell waits: clients that join, a session that begins,
/// a room that was read.
const TOLD_MAX: usize = 16 << 10;
/// Besides its bytes each envelope or entry costs about this much.
const ENVELOPE_COST: usize = 64;

pub(crate) struct Incoming {
    node: NodeId,
    bytes_max: usize,
    state: Mutex<State>,
    filled: Notify,
    /// Room for events other than messages.
    told: Semaphore,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Event>,
    bytes: usize,
    closed: bool,
    /// Clients wait to join rooms.
    awaited: bool,
}

/// What happened, in order.
#[derive(Debug)]
pub(crate) enum Event {
    Envelope(Bytes),
    /// Of a room with history.
    Entry(Entry),
    /// What came when the queue was full.
    Overflow(Overflow),
    /// A new subscription: what was counted on these topics before does not count any more.
    Subscribed(Vec<Topic>),
    /// What is published on these topics from now on arrives.
    Live {
        topics: Vec<Topic>,
        /// Where clients did not wait for it any longer, and have missed what came meanwhile.
        late: Vec<Topic>,
    },
    /// Another session after one that was lost: it subscribes to all topics again,
    Resuming,
    /// and has done so.
    Restored,
    /// A client joins a room with history.
    Attach(Attach),
    /// What the broker had of a room with history.
    Read(ReadDone),
    /// The broker has stored a message of this node.
    Stored(Confirmation),
    /// Time has passed while a client waited to join, or a publisher for its message.
    Tick,
}

/// What did not fit.
#[derive(Default, Debug)]
pub(crate) struct Overflow {
    /// Envelopes: their topics, nodes and numbers.
    pub(crate) envelopes: HashMap<(Topic, NodeId), Span>,
    /// Rooms with history: what did not fit is read from the broker.
    pub(crate) rooms: HashSet<Topic>,
}

/// Numbers from `first` to the one before `next`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) next: u64,
}

/// Where one session puts what happens to it.
#[derive(Clone)]
pub struct Sink {
    incoming: Arc<Incoming>,
    lost: Arc<Lost>,
}

#[derive(Default)]
struct Lost {
    reason: Mutex<Option<String>>,
    told: Notify,
}

impl Incoming {
    pub(crate) fn new(node: NodeId, bytes_max: usize, counters: Arc<Counters>) -> Arc<Self> {
        let (filled, told) = (Notify::new(), Semaphore::new(TOLD_MAX));
        Arc::new(Incoming { node, bytes_max, state: Mutex::default(), filled, told, counters })
    }

    /// A sink for a session to come.
    pub(crate) fn sink(self: &Arc<Self>) -> Sink {
        Sink { incoming: self.clone(), lost: Arc::default() }
    }

    /// The next event, as soon as there is one.
    pub(crate) async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Option<Event> {
        let mut state = self.state.lock();
        let event = state.queue.pop_front()?;
        state.bytes -= event.cost();
        drop(state);
        if event.is_told() {
            self.told.add_permits(1);
        }
        Some(event)
    }

    /// Queues something other than a message, as soon as there is room. Whoever is cancelled meanwhile has told nothing.
    pub(crate) async fn tell(&self, event: Event) {
        // Where nobody takes events any more there is no room, either.
        let Ok(permit) = self.told.acquire().await else { return };
        permit.forget();
        self.queue(event);
    }

    /// Queues something other than a message, if there is room now; else it is dropped.
    pub(crate) fn try_tell(&self, event: Event) {
        if let Ok(permit) = self.told.try_acquire() {
            permit.forget();
            self.queue(event);
        }
    }

    fn queue(&self, event: Event) {
        let mut state = self.state.lock();
        if !state.closed {
            state.queue.push_back(event);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Nobody takes events any more: those who wait for an answer to one get none.
    pub(crate) fn close(&self) {
        self.told.close();
        let mut state = self.state.lock();
        state.closed = true;
        state.bytes = 0;
        let events = std::mem::take(&mut state.queue);
        drop(state);
        drop(events);
    }

    /// Whether somebody waits for time to pass.
    pub(crate) fn is_awaited(&self) -> bool {
        self.state.lock().awaited
    }

    pub(crate) fn set_awaited(&self, awaited: bool) {
        self.state.lock().awaited = awaited;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// An envelope or an entry has come.
    fn push(&self, event: Event) {
        let mut state = self.state.lock();
        let cost = event.cost();
        // Behind a first that is lost all are, until there is room for some.
        let overflowing = matches!(state.queue.back(), Some(Event::Overflow(_))) && state.bytes > self.bytes_max / 2;
        if state.bytes + cost <= self.bytes_max && !overflowing && !state.closed {
            state.bytes += cost;
            state.queue.push_back(event);
        } else if let Err(error) = state.overflow(&event) {
            self.unreadable(error);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Counts and logs what is no envelope.
    pub(crate) fn unreadable(&self, error: Unreadable) {
        if self.counters.unreadable() == 1 {
            let version = if let Unreadable::Version(version) = error { Some(version) } else { None };
            tracing::warn!(
                version,
                "something on the broker is no envelope that this version can read; more are counted"
            );
        }
    }
}

impl Event {
    /// Returns true if it is not a message, nor stands for some.
    fn is_told(&self) -> bool {
        !matches!(self, Event::Envelope(_) | Event::Entry(_) | Event::Overflow(_))
    }

    fn cost(&self) -> usize {
        match self {
            Event::Envelope(bytes) => bytes.len() + ENVELOPE_COST,
            Event::Entry(entry) => entry.envelope.len() + ENVELOPE_COST,
            _ => 0,
        }
    }
}

impl State {
    fn overflow(&mut self, event: &Event) -> Result<(), Unreadable> {
        let (bytes, is_entry) = match event {
            Event::Envelope(bytes) => (bytes, false),
            Event::Entry(entry) => (&entry.envelope, true),
            _ => return Ok(()),
        };
        let envelope = Envelope::parse(bytes)?;
        if self.closed {
            return Ok(());
        }
        if !matches!(self.queue.back(), Some(Event::Overflow(_))) {
            self.queue.push_back(Event::Overflow(Overflow::default()));
        }
        let Some(Event::Overflow(lost)) = self.queue.back_mut() else { return Ok(()) };
        if is_entry {
            lost.rooms.insert(envelope.topic);
            return Ok(());
        }
        // What was refused before the first that came is missing, too, where the envelope says where counting began.
        let first = envelope.began.map_or(envelope.sequence, |began| began.min(envelope.sequence));
        let span = Span { first, next: envelope.next() };
        lost.envelopes
            .entry((envelope.topic, envelope.node))
            .and_modify(|lost| *lost = Span { first: lost.first.min(span.first), next: lost.next.max(span.next) })
            .or_insert(span);
        Ok(())
    }
}

impl Sink {
    /// Something has come on a channel: an entry of a log, else an envelope.
    pub fn message(&self, bytes: Bytes) {
        match Entry::decode(&bytes) {
            Some(entry) => self.entry(entry),
            None => self.envelope(bytes),
        }
    }

    /// An envelope has come. What the node itself has sent is left out.
    pub fn envelope(&self, bytes: Bytes) {
        if !self.incoming.node.sent(&bytes) {
            self.incoming.push(Event::Envelope(bytes));
        }
    }

    /// An entry of a log has come, the node's own among them.
    pub fn entry(&self, entry: Entry) {
        self.incoming.push(Event::Entry(entry));
    }

    /// The session is over.
    pub fn lost(&self, reason: impl ToString) {
        self.lost.reason.lock().get_or_insert_with(|| reason.to_string());
        self.lost.told.notify_one();
    }

    /// Resolves when the session is over, with the reason.
    pub(crate) async fn ended(&self) -> String {
        loop {
            if let Some(reason) = self.lost.reason.lock().clone() {
                return reason;
            }
            self.lost.told.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use nexios_engine::Message;

    use super::*;
    use crate::envelope::{Draft, Kind, Options};

    fn envelope(node: NodeId, sequence: u64) -> Bytes {
        let message = Message::from("x".repeat(100));
        Draft::new(Kind::Broadcast, node, &Topic::App, &message, &Options::default()).finish(sequence, None)
    }

    #[test]
    fn what_overflows_is_told_in_its_place_with_its_numbers() {
        let (here, there) = (NodeId::random(), NodeId::random());
        let cost = envelope(there, 0).len() + ENVELOPE_COST;
        let incoming = Incoming::new(here, 2 * cost, Arc::default());
        let sink = incoming.sink();
        (0..5).for_each(|sequence| sink.envelope(envelope(there, sequence)));
        assert!(matches!(incoming.take(), Some(Event::Envelope(_))));
        sink.envelope(envelope(there, 5));
        assert!(matches!(incoming.take(), Some(Event::Envelope(_))));
        match incoming.take() {
            Some(Event::Overflow(lost)) => {
                assert_eq!(lost.envelopes[&(Topic::App, there)], Span { first: 2, next: 5 });
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(incoming.take(), Some(Event::Envelope(_))));
        assert!(incoming.take().is_none());
        assert_eq!(incoming.state.lock().bytes, 0);
    }

    #[test]
    fn what_was_refused_before_an_envelope_that_overflows_is_missing_with_it() {
        let there = NodeId::random();
        let incoming = Incoming::new(NodeId::random(), 0, Arc::default());
        let draft = Draft::new(Kind::Broadcast, there, &Topic::App, &Message::from("x"), &Options::default());
        incoming.sink().envelope(draft.finish(2, Some(0)));
        match incoming.take() {
            Some(Event::Overflow(lost)) => {
                assert_eq!(lost.envelopes[&(Topic::App, there)], Span { first: 0, next: 3 });
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn entries_that_overflow_leave_their_room_and_those_of_a_node_that_has_ended_nothing() {
        let there = NodeId::random();
        let incoming = Incoming::new(NodeId::random(), 300, Arc::default());
        let topic = Topic::Room("x".into());
        let draft = Draft::new(Kind::Broadcast, there, &topic, &Message::from("x".repeat(100)), &Options::default());
        let entry = Entry {
            epoch: 1,
            offset: 1,
            previous: 0,
            time_ms: 0,
            nonce: crate::history::log::Nonce::default(),
            envelope: draft.finish(0, None),
        };
        let sink = incoming.sink();
        (0..3).for_each(|_| sink.entry(entry.clone()));
        assert!(matches!(incoming.take(), Some(Event::Entry(_))));
        assert!(matches!(incoming.take(), Some(Event::Overflow(lost)) if lost.rooms.contains(&topic)));
        assert!(incoming.take().is_none());
        sink.entry(entry.clone());
        incoming.close();
        (0..2).for_each(|_| sink.entry(entry.clone()));
        incoming.try_tell(Event::Tick);
        assert!(incoming.is_closed() && incoming.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_is_bounded_and_waits_for_room() {
        let incoming = Incoming::new(NodeId::random(), 1 << 20, Arc::default());
        for _ in 0..TOLD_MAX + 100 {
            incoming.try_tell(Event::Tick);
        }
        assert_eq!(incoming.state.lock().queue.len(), TOLD_MAX);
        let telling = incoming.clone();
        let waits = tokio::spawn(async move { telling.tell(Event::Restored).await });
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert!(!waits.is_finished());
        // A message has its own limit, and frees no room for what is told.
        incoming.sink().envelope(envelope(NodeId::random(), 0));
        assert_eq!(incoming.state.lock().queue.len(), TOLD_MAX + 1);
        assert!(matches!(incoming.take(), Some(Event::Tick)));
        waits.await.unwrap();
        let last = std::iter::from_fn(|| incoming.take()).last();
        assert!(matches!(last, Some(Event::Restored)));
        // Whoever waits at the end is not kept.
        (0..TOLD_MAX).for_each(|_| incoming.try_tell(Event::Tick));
        let telling = incoming.clone();
        let waits = tokio::spawn(async move { telling.tell(Event::Restored).await });
        incoming.close();
        waits.await.unwrap();
        assert!(incoming.take().is_none());
    }

    #[test]
    fn what_the_node_itself_has_sent_is_left_out() {
        let here = NodeId::random();
        let incoming = Incoming::new(here, 1 << 20, Arc::default());
        incoming.sink().envelope(envelope(here, 0));
        assert!(incoming.take().is_none());
    }

    #[test]
    fn garbage_that_overflows_is_counted() {
        let counters = Arc::<Counters>::default();
        let incoming = Incoming::new(NodeId::random(), 0, counters.clone());
        incoming.sink().envelope(Bytes::from_static(b"garbage"));
        assert!(incoming.take().is_none());
        assert_eq!(counters.snapshot().unreadable, 1);
    }
}
