//! Counters of a node.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::node::gap::{Gap, GapCause};

/// What a node's broker has done, at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BrokerMetrics {
    /// Whether the broker is connected now.
    pub connected: bool,
    /// How often a lost connection came back.
    pub reconnects: u64,
    /// Messages that the broker has taken.
    pub published: u64,
    /// Messages that it has not, or for which there was no room.
    pub refused: u64,
    /// Messages that came from other nodes.
    pub received: u64,
    /// Messages that came twice and were left out.
    pub duplicates: u64,
    /// What came and is no message.
    pub unreadable: u64,
    /// Gaps by cause.
    pub gaps: Vec<(GapCause, u64)>,
    /// Messages that are known to be missing.
    pub missed: u64,
    /// Messages that the broker has stored: of rooms with history.
    pub stored: u64,
    /// Messages that were read from what it has stored.
    pub read: u64,
    /// How often a room with history was brought up to date after a loss.
    pub resyncs: u64,
    /// How often that could not be done, and the room's clients miss messages.
    pub resets: u64,
}

const CAUSES: [GapCause; 5] =
    [GapCause::Reconnect, GapCause::Late, GapCause::Hole, GapCause::Overflow, GapCause::Reset];

#[derive(Default)]
pub(crate) struct Counters {
    connected: AtomicBool,
    reconnects: AtomicU64,
    published: AtomicU64,
    refused: AtomicU64,
    received: AtomicU64,
    duplicates: AtomicU64,
    unreadable: AtomicU64,
    gaps: [AtomicU64; CAUSES.len()],
    missed: AtomicU64,
    stored: AtomicU64,
    read: AtomicU64,
    resyncs: AtomicU64,
    resets: AtomicU64,
}

impl Counters {
    pub(crate) fn connected(&self, now: bool) {
        self.connected.store(now, Ordering::Relaxed);
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn published(&self, messages: usize) {
        self.published.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, messages: usize) {
        self.refused.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn duplicate(&self) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stored(&self, messages: usize) {
        self.stored.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, messages: usize) {
        self.read.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(crate) fn resync(&self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were so far.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn gap(&self, gap: &Gap) {
        self.missed.fetch_add(gap.missed.unwrap_or(0), Ordering::Relaxed);
        for (cause, count) in CAUSES.iter().zip(&self.gaps) {
            if *cause == gap.cause {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn snapshot(&self) -> BrokerMetrics {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BrokerMetrics {
            connected: self.connected.load(Ordering::Relaxed),
            reconnects: value(&self.reconnects),
            published: value(&self.published),
            refused: value(&self.refused),
            received: value(&self.received),
            duplicates: value(&self.duplicates),
            unreadable: value(&self.unreadable),
            gaps: CAUSES.into_iter().zip(self.gaps.iter().map(value)).collect(),
            missed: value(&self.missed),
            stored: value(&self.stored),
            read: value(&self.read),
            resyncs: value(&self.resyncs),
            resets: value(&self.resets),
        }
    }
}
