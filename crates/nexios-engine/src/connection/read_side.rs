//! The read side of a connection: whether its input is read, and who waits for what comes of it.

use super::bits::Bits;

/// What is so with a connection's input, in two bytes. The messages themselves are in the inbox.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct ReadSide {
    input: Bits,
    application: Bits,
}

/// On the shard's list of connections with unread input.
const READY: u8 = 1;
/// Reading is paused: the inbox is full.
const PAUSED: u8 = 1 << 1;
/// The handler may take messages straight from the input.
const LENT: u8 = 1 << 2;
/// Listeners look at each message before it is received.
const OBSERVED: u8 = 1 << 3;
/// A receive waits.
const RECEIVING: u8 = 1 << 4;
/// It is the connection's own task that waits for a message,
const TASK_RECEIVES: u8 = 1 << 5;
/// or for one to listen to.
const TASK_LISTENS: u8 = 1 << 6;

/// The application has received, or tried to.
const RECEIVED: u8 = 1;
/// The handler has received, waited for the end, or ended.
const ENGAGED: u8 = 1 << 1;
/// Received messages are thrown away,
const DISCARDING: u8 = 1 << 2;
/// as long as nobody receives.
const DISCARDING_UNRECEIVED: u8 = 1 << 3;

impl ReadSide {
    /// Puts the connection among those with unread input. Returns true if it was not there.
    #[inline]
    pub(crate) fn mark_ready(&mut self) -> bool {
        self.input.raise(READY)
    }

    pub(super) fn clear_ready(&mut self) {
        self.input.set(READY, false);
    }

    #[inline]
    pub(super) fn is_ready(self) -> bool {
        self.input.has(READY)
    }

    pub(super) fn pause(&mut self) {
        self.input.set(PAUSED, true);
    }

    /// Ends a pause. Returns true if reading was paused.
    pub(super) fn resume(&mut self) -> bool {
        self.input.take(PAUSED)
    }

    #[inline]
    pub(super) fn is_paused(self) -> bool {
        self.input.has(PAUSED)
    }

    /// Lets the handler take messages straight from the input.
    #[inline]
    pub(super) fn lend(&mut self) {
        self.input.set(LENT, true);
    }

    #[inline]
    pub(super) fn take_back(&mut self) {
        self.input.set(LENT, false);
    }

    /// Returns true if a receive may take a message straight from the input; `waits` is that it waited before.
    #[inline]
    pub(super) fn lends_to(self, waits: bool) -> bool {
        self.input.has(LENT) && (waits || !self.input.has(RECEIVING))
    }

    /// Returns true if a message that arrives now may go to the handler by no detour.
    #[inline]
    pub(super) fn may_be_lent(self) -> bool {
        self.input.among(TASK_RECEIVES | OBSERVED) == TASK_RECEIVES
    }

    /// From now on listeners look at each message before it is received.
    pub(super) fn observe(&mut self) {
        self.input.set(OBSERVED, true);
    }

    #[inline]
    pub(super) fn is_observed(self) -> bool {
        self.input.has(OBSERVED)
    }

    /// A receive waits from now on, of the connection's own task or of another.
    #[inline]
    pub(super) fn begin_receive(&mut self, by_task: bool) {
        self.input.set(RECEIVING, true);
        self.input.set(TASK_RECEIVES, by_task);
    }

    #[inline]
    pub(super) fn end_receive(&mut self) {
        self.input.set(RECEIVING | TASK_RECEIVES, false);
    }

    #[inline]
    pub(super) fn is_receiving(self) -> bool {
        self.input.has(RECEIVING)
    }

    #[inline]
    pub(super) fn task_receives(self) -> bool {
        self.input.has(TASK_RECEIVES)
    }

    /// A listener waits from now on, of the connection's own task or of another.
    pub(super) fn listen(&mut self, by_task: bool) {
        self.input.set(TASK_LISTENS, by_task);
    }

    #[inline]
    pub(super) fn task_listens(self) -> bool {
        self.input.has(TASK_LISTENS)
    }

    /// The application asks for a message. Returns true the first time.
    #[inline]
    pub(super) fn receive(&mut self) -> bool {
        self.application.set(DISCARDING_UNRECEIVED, false);
        self.application.raise(RECEIVED)
    }

    /// The application has done what comes before its first receive. Returns true the first time.
    pub(super) fn engage(&mut self) -> bool {
        self.application.raise(ENGAGED)
    }

    pub(super) fn is_engaged(self) -> bool {
        self.application.has(ENGAGED)
    }

    pub(super) fn discard(&mut self, on: bool) {
        self.application.set(DISCARDING, on);
    }

    /// Throws messages away until somebody receives; what a receive waits for is not thrown away.
    pub(super) fn discard_unreceived(&mut self, on: bool) {
        let on = on && !self.is_receiving();
        self.application.set(DISCARDING_UNRECEIVED, on);
    }

    /// Returns true if messages that listeners have seen are thrown away; `is_full` says so of the inbox.
    pub(super) fn discards(self, is_full: impl FnOnce() -> bool) -> bool {
        let unreceived = || !self.application.has(RECEIVED) || self.is_paused() || is_full();
        self.application.has(DISCARDING) || (self.application.has(DISCARDING_UNRECEIVED) && unreceived())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_is_lent_to_the_receive_that_waits_or_to_the_first() {
        let mut side = ReadSide::default();
        assert!(!side.lends_to(false));
        side.lend();
        assert!(side.lends_to(false) && side.lends_to(true));
        side.begin_receive(true);
        assert!(!side.lends_to(false) && side.lends_to(true) && side.may_be_lent());
        side.observe();
        assert!(!side.may_be_lent());
        side.end_receive();
        side.take_back();
        assert!(!side.lends_to(true) && !side.task_receives());
    }

    #[test]
    fn messages_that_nobody_receives_are_thrown_away_until_somebody_does() {
        let mut side = ReadSide::default();
        side.discard_unreceived(true);
        assert!(side.discards(|| false));
        assert!(side.receive() && !side.receive());
        assert!(!side.discards(|| true));
        side.discard_unreceived(true);
        assert!(!side.discards(|| false) && side.discards(|| true), "somebody may receive again");
        side.begin_receive(false);
        side.discard_unreceived(true);
        assert!(!side.discards(|| true));
        side.discard(true);
        assert!(side.discards(|| false));
    }
}
