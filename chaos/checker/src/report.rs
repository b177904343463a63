//! What a check found.

use std::fmt;

/// Counts of a run, and what is wrong with it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Messages that publishers sent.
    pub published: u64,
    /// Messages that clients saw, each client's counted.
    pub delivered: u64,
    /// Messages that were declared missing to clients in rooms without history.
    pub declared: u64,
    /// Times that a client came back to a room with history and missed nothing.
    pub recovered: u64,
    /// Times that it was told that messages are lost: by `recovered = false` after it had been
    /// there before, or by a reset.
    pub resets: u64,
    /// Broken promises.
    pub violations: Vec<Violation>,
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Violation {
    /// Two messages, `(publisher, number)`, have one offset.
    TwoAtOneOffset {
        /// Of which room.
        room: String,
        /// The count of the broker.
        epoch: u64,
        /// The number in it.
        offset: u64,
        /// Both messages.
        messages: [(u64, u64); 2],
    },
    /// A client saw a message twice.
    Duplicate {
        /// Who.
        client: String,
        /// The message's publisher.
        publisher: u64,
        /// Which of that publisher's.
        number: u64,
    },
    /// A client saw a message behind a later one.
    OutOfOrder {
        /// Who.
        client: String,
        /// What it had seen, and what came then: offsets, or numbers of one publisher.
        after: u64,
        /// What came.
        came: u64,
    },
    /// A client was never told of messages that it did not get.
    Lost {
        /// Who.
        client: String,
        /// How many.
        missing: u64,
        /// How many of them were declared.
        declared: u64,
        /// The first of them: an offset, or a publisher's number.
        first: u64,
    },
    /// A client was told that nothing is missing, and something is.
    FalseRecovery {
        /// Who.
        client: String,
        /// The epoch and offset that it had been at.
        was_at: (u64, u64),
        /// The epoch and offset that it was told.
        told: (u64, u64),
    },
    /// A message came that was not published, or was refused.
    Unheard {
        /// Who saw it.
        client: String,
        /// The message's publisher.
        publisher: u64,
        /// Which of that publisher's.
        number: u64,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { published, delivered, declared, recovered, resets, violations } = self;
        write!(
            f,
            "published {published}, delivered {delivered}, declared missing {declared}, recovered {recovered}, \
             resets {resets}, violations {}",
            violations.len()
        )?;
        violations.iter().take(10).try_for_each(|violation| write!(f, "\n  {violation:?}"))
    }
}
