//! How much of one connection's input a turn takes: what is left waits, and the others get their turn.
//!
//! Bytes count as they come out of the protocol: a frame of a kilobyte may inflate to a megabyte.

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

/// What is left for the connection whose input is being taken.
#[derive(Clone, Copy)]
pub(crate) struct Allowance {
    messages: u32,
    bytes: usize,
    began: Option<Duration>,
}

impl Allowance {
    /// For a connection whose turn begins.
    pub(crate) const FULL: Self = Allowance { messages: MESSAGES_MAX, bytes: BYTES_MAX, began: None };

    /// Returns true if the rest has to wait for the next turn.
    #[inline]
    pub(crate) fn is_spent(self) -> bool {
        self.messages == 0 || self.bytes == 0
    }

    /// Accounts for a message.
    #[inline]
    #[must_use]
    pub(crate) fn after(mut self, message_bytes: usize) -> Self {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(message_bytes);
        if self.messages % LOOK_EVERY == FIRST_LOOK { self.after_a_look() } else { self }
    }

    /// Accounts for bytes that have ended no message.
    #[must_use]
    pub(crate) fn after_bytes(mut self, bytes: usize) -> Self {
        self.bytes = self.bytes.saturating_sub(bytes);
        self
    }

    /// Accounts for the time that has passed.
    #[inline(never)]
    #[must_use]
    pub(crate) fn after_a_look(mut self) -> Self {
        let now = coarse_now();
        let began = *self.began.get_or_insert(now);
        if now.saturating_sub(began) > TIME_MAX {
            self.messages = 0;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spent_by_messages_or_by_bytes_and_one_message_always_fits() {
        let mut allowance = Allowance::FULL;
        for _ in 0..MESSAGES_MAX {
            assert!(!allowance.is_spent());
            allowance = allowance.after(1);
        }
        assert!(allowance.is_spent());
        assert!(Allowance::FULL.after(64 << 20).is_spent());
        assert!(!Allowance::FULL.after(BYTES_MAX - 1).is_spent());
    }
}
