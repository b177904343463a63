//! What waits for the broker: a bounded queue, and the numbers of what went into it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engines::link::{Capabilities, Frame, LinkError, Receipt, Sent};
use crate::envelope::{Draft, Envelope, Kind, NodeId};
use crate::node::sequences::{Number, Sequences};
use crate::topic::Topic;

/// Envelopes that go to the broker in one round trip at most.
const BATCH_LEN_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Topics that are looked at before publishers get their turn.
const LOOKS_PER_LOCK: usize = 256;

/// Why nothing more is sent.
pub(crate) const ENDED: &str = "it ended before the message was sent";

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

pub(crate) struct Outgoing {
    node: NodeId,
    namespace: Arc<str>,
    limits: Limits,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Frame>,
    bytes: usize,
    sequences: Sequences,
    capabilities: Capabilities,
    closed: bool,
}

impl Outgoing {
    pub(crate) fn new(node: NodeId, namespace: Arc<str>, limits: Limits) -> Self {
        Outgoing { node, namespace, limits, state: Mutex::default(), filled: Notify::new() }
    }

    /// Queues an envelope; where there is no room it is refused. It has used a number all the
    /// same, so that other nodes see that they miss one.
    pub(crate) fn push(&self, topic: &Topic, draft: Draft, receipt: Option<Receipt>, now: Instant) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let full = state.queue.len() >= self.limits.messages || state.bytes + draft.len() > self.limits.bytes;
        let too_long = draft.len() > state.capabilities.envelope_bytes_max;
        let is_counted = state.sequences.has_room_for(topic) || self.make_room(state, topic);
        let number = is_counted.then(|| state.sequences.take(topic, &self.namespace, now));
        if !is_counted {
            state.sequences.refused_uncounted(now);
        }
        let Some(Number { channel, number, began }) = number.filter(|_| !(state.closed || full || too_long)) else {
            let why = match (state.closed, too_long) {
                (true, _) => ENDED.to_owned(),
                (_, true) => {
                    format!("longer than the {} bytes that this broker takes", state.capabilities.envelope_bytes_max)
                }
                _ => "too much is waiting for the broker".to_owned(),
            };
            // Nobody waits any more.
            let _ = receipt.map(|receipt| receipt.send(Err(LinkError::Refused(why))));
            return false;
        };
        let bytes = draft.finish(number, began);
        let frame = Frame { channel, bytes, sent: Sent::No, receipt };
        enqueue(&mut state.queue, &mut state.bytes, frame);
        self.filled.notify_one();
        true
    }

    /// The next batch, as soon as there is one; `None` when all is sent and nothing more comes.
    pub(crate) async fn batch(&self) -> Option<Vec<Frame>> {
        loop {
            {
                let mut state = self.state.lock();
                if !state.queue.is_empty() {
                    return Some(state.take_batch());
                }
                if state.closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// The broker has taken these.
    pub(crate) fn confirmed(&self, frames: &[Frame]) {
        for frame in frames.iter().filter(|frame| Envelope::tells_beginning(&frame.bytes)) {
            let Ok(Envelope { topic, began, .. }) = Envelope::parse(&frame.bytes) else { continue };
            self.state.lock().sequences.beginning_is_known(&topic, began);
        }
    }

    /// Queues marks for topics that have become silent, as far as there is room; publishers get their turn meanwhile.
    pub(crate) fn mark_silent(&self, now: Instant) {
        loop {
            let mut state = self.state.lock();
            let waiting = state.queue.len();
            let state = &mut *state;
            let has_more = (0..LOOKS_PER_LOCK).all(|_| self.has_room(state) && self.look(state, now));
            if state.queue.len() > waiting {
                self.filled.notify_one();
            }
            if !has_more {
                return;
            }
        }
    }

    fn look(&self, state: &mut State, now: Instant) -> bool {
        let State { sequences, queue, bytes, .. } = state;
        sequences.look(now, |topic, number| enqueue(queue, bytes, self.mark(topic, number)))
    }

    /// Makes room for another topic to be counted: marks the one that waits for its mark for longest, and forgets it.
    fn make_room(&self, state: &mut State, topic: &Topic) -> bool {
        if self.has_room(state) {
            self.mark_first(state);
        }
        state.sequences.has_room_for(topic)
    }

    fn mark_first(&self, state: &mut State) {
        let State { sequences, queue, bytes, .. } = state;
        sequences.mark_first(|topic, number| enqueue(queue, bytes, self.mark(topic, number)));
    }

    fn has_room(&self, state: &State) -> bool {
        state.queue.len() < self.limits.messages
    }

    fn mark(&self, topic: &Topic, number: Number) -> Frame {
        let bytes = Draft::mark(self.node, topic).finish(number.number, number.began);
        Frame { channel: number.channel, bytes, sent: Sent::No, receipt: None }
    }

    /// Forgets the numbers of topics that nobody has used for long; publishers get their turn meanwhile.
    pub(crate) fn forget_idle(&self, now: Instant) {
        let forget = || {
            let mut state = self.state.lock();
            (0..LOOKS_PER_LOCK).all(|_| state.sequences.forget_idle(now))
        };
        while forget() {}
    }

    /// What the broker that is connected now can do.
    pub(crate) fn limit_to(&self, capabilities: Capabilities) {
        self.state.lock().capabilities = capabilities;
    }

    /// Refuses whatever comes from now on, and marks the end of what came.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        if !state.closed {
            for _ in 0..state.sequences.unmarked() {
                if self.has_room(&state) {
                    self.mark_first(&mut state);
                }
            }
        }
        state.closed = true;
        drop(state);
        self.filled.notify_one();
    }

    /// Sends nothing any more: what still waits was never sent.
    pub(crate) fn abandon(&self) {
        let queue = {
            let mut state = self.state.lock();
            state.closed = true;
            state.bytes = 0;
            std::mem::take(&mut state.queue)
        };
        queue.into_iter().for_each(|frame| frame.conclude(Err(LinkError::Refused(ENDED.to_owned()))));
    }

    /// Takes all that waits.
    pub(crate) fn take(&self) -> Vec<Frame> {
        let mut state = self.state.lock();
        state.bytes = 0;
        std::mem::take(&mut state.queue).into()
    }

    /// Has the topics of these marks marked again: the broker has not taken them.
    pub(crate) fn mark_again(&self, frames: &[Frame], now: Instant) {
        for frame in frames {
            if let Ok(Envelope { kind: Kind::Mark, topic, .. }) = Envelope::parse(&frame.bytes) {
                self.state.lock().sequences.owes_mark(&topic, now);
            }
        }
    }

    /// Locks it, as a thread does that is not there after a fork.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Sized + '_ {
        self.state.lock()
    }

    /// How many envelopes wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().queue.len()
    }
}

fn enqueue(queue: &mut VecDeque<Frame>, bytes: &mut usize, frame: Frame) {
    *bytes += frame.bytes.len();
    queue.push_back(frame);
}

impl State {
    fn take_batch(&mut self) -> Vec<Frame> {
        let mut bytes = 0;
        let fits = |frame: &&Frame| {
            bytes += frame.bytes.len();
            bytes <= BATCH_BYTES_MAX
        };
        let count = self.queue.iter().take(BATCH_LEN_MAX).take_while(fits).count().max(1);
        let batch: Vec<Frame> = self.queue.drain(..count.min(self.queue.len())).collect();
        self.bytes -= batch.iter().map(|frame| frame.bytes.len()).sum::<usize>();
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nexios_engine::Message;

    use super::*;
    use crate::envelope::Options;
    use crate::node::sequences::FORGET_AFTER;

    struct Fixture {
        outgoing: Outgoing,
        node: NodeId,
        start: Instant,
    }

    /// Room, number and message, a mark's being `None`; where counting began, if it says so.
    type Sent = (String, u64, Option<String>, Option<u64>);

    impl Fixture {
        fn new(messages: usize, bytes: usize) -> Self {
            let node = NodeId::random();
            Fixture {
                outgoing: Outgoing::new(node, "n".into(), Limits { messages, bytes }),
                node,
                start: Instant::now(),
            }
        }

        fn push(&self, room: &str, message: &str, after_ms: u64) -> bool {
            let topic = Topic::Room(room.into());
            let draft = Draft::new(Kind::Broadcast, self.node, &topic, &Message::from(message), &Options::default());
            self.outgoing.push(&topic, draft, None, self.start + Duration::from_millis(after_ms))
        }

        fn mark(&self, after_ms: u64) {
            self.outgoing.mark_silent(self.start + Duration::from_millis(after_ms));
        }

        /// What waits, taken by the broker.
        fn take(&self) -> Vec<Sent> {
            let batch = self.outgoing.state.lock().take_batch();
            self.outgoing.confirmed(&batch);
            self.read(&batch)
        }

        /// What waits, refused by the broker.
        fn refuse(&self) -> Vec<Sent> {
            self.read(&self.outgoing.state.lock().take_batch())
        }

        fn read(&self, batch: &[Frame]) -> Vec<Sent> {
            let read = |frame: &Frame| {
                let envelope = Envelope::parse(&frame.bytes).unwrap();
                let text = String::from_utf8(envelope.message.as_bytes().to_vec()).unwrap();
                let message = (envelope.kind != Kind::Mark).then_some(text);
                (envelope.topic.name().to_owned(), envelope.sequence, message, envelope.began)
            };
            batch.iter().map(read).collect()
        }
    }

    fn sent(room: &str, number: u64, message: &str, began: Option<u64>) -> Sent {
        (room.into(), number, Some(message.into()), began)
    }

    #[test]
    fn each_topic_is_counted_by_itself_and_in_order() {
        let fixture = Fixture::new(100, 100_000);
        for (room, message) in [("a", "1"), ("b", "2"), ("a", "3")] {
            assert!(fixture.push(room, message, 0));
        }
        let expected = [sent("a", 0, "1", Some(0)), sent("b", 0, "2", Some(0)), sent("a", 1, "3", Some(0))];
        assert_eq!(fixture.take(), expected);
        fixture.push("a", "4", 0);
        assert_eq!(fixture.take(), [sent("a", 2, "4", None)]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_a_hole() {
        let fixture = Fixture::new(1, 100_000);
        assert!(fixture.push("a", "1", 0));
        assert!(!fixture.push("a", "2", 0));
        fixture.take();
        assert!(fixture.push("a", "3", 0));
        assert_eq!(fixture.take(), [sent("a", 2, "3", None)]);
        let fixture = Fixture::new(10, 100);
        assert!(!fixture.push("a", &"x".repeat(100), 0));
        assert!(fixture.push("a", "x", 0));
    }

    #[test]
    fn what_the_broker_does_not_take_is_refused() {
        let fixture = Fixture::new(10, 100_000);
        fixture.outgoing.limit_to(Capabilities { envelope_bytes_max: 100, ..Capabilities::default() });
        assert!(!fixture.push("a", &"x".repeat(100), 0));
        assert!(fixture.push("a", "x", 0));
    }

    #[test]
    fn a_mark_that_was_not_taken_is_made_again() {
        let fixture = Fixture::new(100, 100_000);
        fixture.push("a", "1", 0);
        fixture.mark(600);
        let frames = fixture.outgoing.take();
        assert_eq!((frames.len(), fixture.outgoing.len()), (2, 0));
        fixture.outgoing.mark_again(&frames, fixture.start + Duration::from_millis(700));
        fixture.mark(800);
        assert_eq!(fixture.take().len(), 0);
        fixture.mark(1300);
        assert_eq!(fixture.take(), [("a".into(), 1, None, Some(0))]);
    }

    #[test]
    fn silence_is_marked_once_with_the_number_that_comes_next() {
        let fixture = Fixture::new(100, 100_000);
        fixture.push("a", "1", 0);
        fixture.push("a", "2", 400);
        fixture.mark(600);
        assert_eq!(fixture.take().len(), 2);
        fixture.mark(900);
        assert_eq!(fixture.take(), [("a".into(), 2, None, None)]);
        fixture.mark(1500);
        assert_eq!(fixture.outgoing.len(), 0);
        fixture.push("a", "3", 1600);
        fixture.mark(2200);
        assert_eq!(fixture.take(), [sent("a", 2, "3", None), ("a".into(), 3, None, None)]);
    }

    #[test]
    fn a_topic_that_is_forgotten_counts_on_above_itself() {
        let fixture = Fixture::new(100, 100_000);
        fixture.push("a", "1", 0);
        fixture.push("a", "2", 0);
        fixture.mark(600);
        fixture.take();
        fixture.outgoing.forget_idle(fixture.start + FORGET_AFTER);
        assert_eq!(fixture.outgoing.state.lock().sequences.len(), 0);
        fixture.push("a", "3", 400_000);
        assert_eq!(fixture.take(), [sent("a", 2, "3", Some(2))]);
    }

    #[test]
    fn topics_that_are_counted_are_bounded_and_the_silent_ones_give_way() {
        let fixture = Fixture::new(100, 100_000);
        fixture.outgoing.state.lock().sequences = Sequences::new(2);
        for (room, at) in [("a", 0), ("b", 10), ("a", 20)] {
            fixture.push(room, "1", at);
        }
        fixture.mark(600);
        assert_eq!(fixture.take().len(), 5);
        // The one that is silent for longest is forgotten: its end was marked.
        fixture.push("c", "1", 700);
        assert_eq!(fixture.take(), [sent("c", 1, "1", Some(1))]);
        fixture.push("a", "2", 700);
        assert_eq!(fixture.take(), [sent("a", 2, "2", None)]);
        // None is silent: the end of one is marked first.
        fixture.push("b", "2", 710);
        assert_eq!(fixture.take(), [("c".into(), 2, None, None), sent("b", 2, "2", Some(2))]);
        assert_eq!(fixture.outgoing.state.lock().sequences.len(), 2);
    }

    #[test]
    fn what_is_refused_on_a_topic_that_is_not_counted_is_missed_all_the_same() {
        let fixture = Fixture::new(1, 100_000);
        fixture.outgoing.state.lock().sequences = Sequences::new(1);
        assert!(fixture.push("a", "1", 0) && !fixture.push("b", "1", 0));
        assert_eq!(fixture.outgoing.state.lock().sequences.len(), 1);
        assert_eq!(fixture.take(), [sent("a", 0, "1", Some(0))]);
        fixture.mark(600);
        assert_eq!(fixture.take().len(), 1);
        assert!(fixture.push("b", "2", 700));
        assert_eq!(fixture.take(), [sent("b", 2, "2", Some(1))], "it may be that one is missing");
        fixture.mark(1300);
        fixture.take();
        fixture.push("c", "1", 400_000);
        assert_eq!(fixture.take(), [sent("c", 3, "1", Some(3))], "and not for ever");
    }

    #[test]
    fn marks_wait_for_room_and_are_not_looked_for_in_vain() {
        let fixture = Fixture::new(3, 100_000);
        ["a", "b", "c"].iter().for_each(|room| assert!(fixture.push(room, "1", 0)));
        fixture.mark(600);
        assert_eq!(fixture.take().len(), 3);
        fixture.mark(600);
        assert_eq!(fixture.take().iter().filter(|(_, _, message, _)| message.is_none()).count(), 3);
    }

    #[test]
    fn the_end_is_marked_and_nothing_comes_after_it() {
        let fixture = Fixture::new(100, 100_000);
        fixture.push("a", "1", 0);
        fixture.outgoing.close();
        assert!(!fixture.push("a", "2", 0));
        assert_eq!(fixture.take(), [sent("a", 0, "1", Some(0)), ("a".into(), 1, None, Some(0))]);
    }

    #[test]
    fn envelopes_say_where_counting_began_until_the_broker_has_taken_one() {
        let fixture = Fixture::new(1, 100_000);
        assert!(fixture.push("a", "1", 0) && !fixture.push("a", "2", 0));
        assert_eq!(fixture.refuse(), [sent("a", 0, "1", Some(0))]);
        fixture.mark(600);
        assert_eq!(fixture.refuse(), [("a".into(), 2, None, Some(0))]);
        fixture.push("a", "3", 700);
        assert_eq!(fixture.take(), [sent("a", 2, "3", Some(0))]);
        fixture.push("a", "4", 700);
        assert_eq!(fixture.take(), [sent("a", 3, "4", None)]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let fixture = Fixture::new(10_000, 100 << 20);
        (0..BATCH_LEN_MAX + 1).for_each(|_| assert!(fixture.push("a", "x", 0)));
        assert_eq!(fixture.take().len(), BATCH_LEN_MAX);
        assert_eq!(fixture.take().len(), 1);
        let long = "x".repeat(BATCH_BYTES_MAX);
        (0..2).for_each(|_| assert!(fixture.push("a", &long, 0)));
        assert_eq!(fixture.take().len(), 1);
    }
}
