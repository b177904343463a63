//! Puts entries of a room back into the order of their stream.
//!
//! NATS 2.9 publishes what several clients store at the same time in an order of its own: an entry can
//! come a few places late. Each says which one was before it, so those behind a hole wait a moment. Without this
//! file the contract's `all_see_one_order_the_appender_too` fails in one of three runs with NATS 2.9.10: every
//! inversion would be a hole, and every node with members would read the log again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::history::log::Entry;

/// How long entries wait for one before them; then they go on without it, and the node sees a hole.
const WAIT: Duration = Duration::from_millis(100);
/// What waits at most.
const WAITING_MAX: usize = 256;
const WAITING_BYTES_MAX: usize = 4 << 20;

/// The entries of one channel.
#[derive(Default)]
pub(super) struct Order {
    /// Epoch and offset of the last that went on.
    last: Option<(u64, u64)>,
    waiting: BTreeMap<u64, Entry>,
    bytes: usize,
    until: Option<Instant>,
}

impl Order {
    /// An entry has come; those whose turn it is.
    pub(super) fn push(&mut self, entry: Entry, now: Instant) -> Vec<Entry> {
        let (epoch, offset) = (entry.epoch, entry.offset);
        if self.last.is_none_or(|(last, _)| last != epoch) {
            // Offsets of another epoch have nothing to do with these.
            let mut ready = self.give_up();
            self.last = Some((epoch, offset));
            ready.push(entry);
            return ready;
        }
        if self.last.is_some_and(|(_, last)| offset <= last) {
            // It was here, or nobody waits for it any more.
            return vec![entry];
        }
        self.bytes += entry.envelope.len();
        self.waiting.insert(offset, entry);
        let ready = self.ready();
        self.until = (!self.waiting.is_empty()).then(|| self.until.filter(|_| ready.is_empty()).unwrap_or(now + WAIT));
        if self.waiting.len() > WAITING_MAX || self.bytes > WAITING_BYTES_MAX {
            return self.give_up();
        }
        ready
    }

    /// When those that wait go on without what is missing.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// All that waits, in order.
    pub(super) fn give_up(&mut self) -> Vec<Entry> {
        (self.bytes, self.until) = (0, None);
        let ready: Vec<_> = std::mem::take(&mut self.waiting).into_values().collect();
        self.last = ready.last().map(|entry| (entry.epoch, entry.offset)).or(self.last);
        ready
    }

    fn ready(&mut self) -> Vec<Entry> {
        let mut ready = Vec::new();
        while let (Some((epoch, last)), Some(first)) = (self.last, self.waiting.first_entry()) {
            if first.get().previous > last {
                break;
            }
            let entry = first.remove();
            self.bytes -= entry.envelope.len();
            self.last = Some((epoch, entry.offset));
            ready.push(entry);
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::log::Nonce;

    fn entry(epoch: u64, previous: u64, offset: u64) -> Entry {
        Entry { epoch, offset, previous, time_ms: 0, nonce: Nonce::default(), envelope: vec![0; 10].into() }
    }

    fn push(order: &mut Order, epoch: u64, previous: u64, offset: u64) -> Vec<u64> {
        let ready = order.push(entry(epoch, previous, offset), Instant::now());
        ready.iter().map(|entry| entry.offset).collect()
    }

    #[test]
    fn what_comes_late_takes_its_place() {
        let mut order = Order::default();
        assert_eq!(push(&mut order, 1, 3, 7), [7]);
        assert_eq!(push(&mut order, 1, 9, 12), [0; 0]);
        assert_eq!(push(&mut order, 1, 12, 13), [0; 0]);
        assert!(order.until().is_some());
        assert_eq!(push(&mut order, 1, 7, 9), [9, 12, 13]);
        assert_eq!((order.until(), order.bytes), (None, 0));
        assert_eq!(push(&mut order, 1, 9, 12), [12], "what comes twice is for the node to see");
    }

    #[test]
    fn what_never_comes_is_waited_for_once() {
        let mut order = Order::default();
        push(&mut order, 1, 0, 1);
        let start = Instant::now();
        order.push(entry(1, 2, 3), start);
        order.push(entry(1, 4, 5), start + WAIT / 2);
        assert_eq!(order.until(), Some(start + WAIT));
        assert_eq!(order.give_up().iter().map(|entry| entry.offset).collect::<Vec<_>>(), [3, 5]);
        assert_eq!(push(&mut order, 1, 5, 6), [6]);
        assert_eq!(push(&mut order, 1, 1, 2), [2], "late");
    }

    #[test]
    fn another_epoch_waits_for_nothing_of_the_last() {
        let mut order = Order::default();
        push(&mut order, 1, 0, 10);
        push(&mut order, 1, 11, 12);
        assert_eq!(push(&mut order, 2, 0, 1), [12, 1]);
        assert_eq!(push(&mut order, 2, 1, 2), [2]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut order = Order::default();
        push(&mut order, 1, 0, 1);
        let counts: Vec<_> = (3..1000).map(|offset| push(&mut order, 1, offset - 1, offset).len()).collect();
        assert_eq!(counts.iter().position(|count| *count > 0), Some(WAITING_MAX));
        assert_eq!(counts.iter().sum::<usize>(), 997);
        let mut long = entry(1, 2000, 2001);
        long.envelope = vec![0; WAITING_BYTES_MAX + 1].into();
        assert_eq!(order.push(long, Instant::now()).len(), 1);
    }

    proptest! {
        #[test]
        fn any_order_comes_out_in_the_one_order(shuffled in Just((2..50_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut order = Order::default();
            let mut got = push(&mut order, 1, 0, 1);
            shuffled.into_iter().for_each(|offset| got.extend(push(&mut order, 1, offset - 1, offset)));
            prop_assert_eq!(got, (1..50).collect::<Vec<_>>());
        }
    }
}
