//! How much of one connection's input a turn takes: what is left waits, and the others get their turn.
//!
//! Bytes count as they come out of the protocol: a frame of a kilobyte may inflate to a megabyte.

use std::cell::Cell;
use std::time::Duration;

use crate::timer::coarse_now;

/// Messages of one connection in one turn.
const MESSAGES_MAX: u32 = 512;
/// Bytes of its messages; the one that goes beyond is still taken.
const BYTES_MAX: usize = 256 << 10;
/// Time that its handler may take for them, as far as the looks at the clock show.
const TIME_MAX: Duration = Duration::from_millis(8);
/// Messages between two looks at the clock. One message alone needs no look.
const LOOK_EVERY: u32 = 8;
const FIRST_LOOK: u32 = (MESSAGES_MAX - 2) % LOOK_EVERY;

/// The rest of a turn's allowance, for the connection whose input is being taken.
pub(crate) struct Allowance {
    messages: Cell<u32>,
    bytes: Cell<usize>,
    began: Cell<Option<Duration>>,
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance { messages: Cell::new(MESSAGES_MAX), bytes: Cell::new(BYTES_MAX), began: Cell::new(None) }
    }
}

impl Allowance {
    /// Begins a connection's turn.
    pub(crate) fn refill(&self) {
        self.messages.set(MESSAGES_MAX);
        self.bytes.set(BYTES_MAX);
        self.began.set(None);
    }

    /// Returns true if the rest has to wait for the next turn.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.messages.get() == 0 || self.bytes.get() == 0
    }

    /// Counts a message.
    #[inline]
    pub(crate) fn count(&self, message_bytes: usize) {
        let messages = self.messages.get().saturating_sub(1);
        self.messages.set(messages);
        self.count_bytes(message_bytes);
        if messages % LOOK_EVERY == FIRST_LOOK {
            self.look_at_clock();
        }
    }

    /// Counts bytes that have ended no message.
    #[inline]
    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// Counts the time that has passed.
    #[inline(never)]
    pub(crate) fn look_at_clock(&self) {
        let now = coarse_now();
        let began = self.began.get().unwrap_or(now);
        self.began.set(Some(began));
        if now.saturating_sub(began) > TIME_MAX {
            self.messages.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spent_by_messages_or_by_bytes_and_one_message_always_fits() {
        let allowance = Allowance::default();
        for _ in 0..MESSAGES_MAX {
            assert!(!allowance.is_spent());
            allowance.count(1);
        }
        assert!(allowance.is_spent());
        allowance.refill();
        allowance.count(64 << 20);
        assert!(allowance.is_spent());
        allowance.refill();
        allowance.count(BYTES_MAX - 1);
        assert!(!allowance.is_spent());
    }
}
