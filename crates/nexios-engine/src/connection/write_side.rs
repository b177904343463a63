//! The write side of a connection: whether its output waits, for whom, and in which form.

use nexios_protocol::Agreed;

use super::bits::Bits;

/// What is so with a connection's output, in three bytes. The output itself is in the outbox.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct WriteSide {
    output: Bits,
    deflate: Option<Deflate>,
}

/// How our messages are compressed, as it was agreed on (RFC 7692 §7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deflate {
    window_bits: u8,
    keeps_context: bool,
}

/// On the shard's list of connections with output.
const DIRTY: u8 = 1;
/// The last write met a full socket.
const BLOCKED: u8 = 1 << 1;
/// The function that runs the task right now flushes the outbox behind it.
const ATTENDED: u8 = 1 << 2;
/// The outbox is above its mark, and its groups know.
const OVER_MARK: u8 = 1 << 3;
/// The connection's own task waits for a free outbox.
const TASK_SENDS: u8 = 1 << 4;
/// Outbound compression was switched on.
const COMPRESSING: u8 = 1 << 5;
/// The connection is of another variant than the plain one: its messages have a form of their own.
const FORMED: u8 = 1 << 6;

impl WriteSide {
    /// Puts the connection among those with output. Returns true if it has to be put on the shard's list: it was not
    /// there, and nobody flushes it without.
    #[inline]
    pub(super) fn mark_dirty(&mut self) -> bool {
        let on_no_list = !self.output.has(DIRTY | ATTENDED);
        self.output.set(DIRTY, true);
        on_no_list
    }

    #[inline]
    pub(super) fn clear_dirty(&mut self) {
        self.output.set(DIRTY, false);
    }

    #[inline]
    pub(super) fn is_dirty(self) -> bool {
        self.output.has(DIRTY)
    }

    /// Begins and ends a run of the task behind which the outbox is flushed.
    #[inline]
    pub(super) fn attend(&mut self, on: bool) {
        self.output.set(ATTENDED, on);
    }

    pub(super) fn block(&mut self) {
        self.output.set(BLOCKED, true);
    }

    /// Ends a block. Returns true if the socket was full.
    pub(super) fn unblock(&mut self) -> bool {
        self.output.take(BLOCKED)
    }

    #[inline]
    pub(crate) fn is_blocked(self) -> bool {
        self.output.has(BLOCKED)
    }

    pub(super) fn set_over_mark(&mut self, over: bool) {
        self.output.set(OVER_MARK, over);
    }

    pub(super) fn is_over_mark(self) -> bool {
        self.output.has(OVER_MARK)
    }

    /// The connection's own task waits until the outbox is below its mark.
    pub(super) fn task_waits(&mut self) {
        self.output.set(TASK_SENDS, true);
    }

    /// Returns true if the connection's own task waited for room: it is to be woken.
    pub(super) fn take_waiting_task(&mut self) -> bool {
        self.output.take(TASK_SENDS)
    }

    /// Returns true if somebody has to learn that the outbox is below its mark.
    #[inline]
    pub(super) fn is_watched(self) -> bool {
        self.output.has(OVER_MARK | TASK_SENDS)
    }

    /// Returns true if output waits for the end of the turn, and nothing but its place in the line matters to what is
    /// sent next.
    #[inline]
    pub(super) fn is_corking(self) -> bool {
        self.output.among(DIRTY | BLOCKED | COMPRESSING | FORMED | OVER_MARK | TASK_SENDS) == DIRTY
    }

    pub(super) fn set_formed(&mut self, formed: bool) {
        self.output.set(FORMED, formed);
    }

    #[inline]
    pub(crate) fn is_formed(self) -> bool {
        self.output.has(FORMED)
    }

    /// Notes what the handshake has agreed on.
    pub(super) fn agree(&mut self, agreed: Option<&Agreed>) {
        self.deflate = agreed.map(Deflate::of_server);
    }

    /// Compresses messages from now on. Returns false if the client has not agreed to it.
    pub(super) fn compress(&mut self) -> bool {
        self.output.set(COMPRESSING, self.deflate.is_some());
        self.deflate.is_some()
    }

    #[inline]
    pub(super) fn is_compressing(self) -> bool {
        self.output.has(COMPRESSING)
    }

    /// Returns how messages are compressed; `None` while they are not.
    #[inline]
    pub(crate) fn deflate(self) -> Option<Deflate> {
        self.deflate.filter(|_| self.is_compressing())
    }
}

impl Deflate {
    fn of_server(agreed: &Agreed) -> Self {
        Deflate { window_bits: agreed.server_max_window_bits, keeps_context: !agreed.server_no_context_takeover }
    }

    /// Returns what tells two compressed forms of one broadcast apart: window bits and level.
    pub(crate) fn form(self, level: u8) -> (u8, u8) {
        (self.window_bits, level)
    }

    /// Returns true if our messages build on earlier ones (RFC 7692 §7.1.1).
    pub(crate) fn keeps_context(self) -> bool {
        self.keeps_context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_corked_only_where_nothing_else_matters() {
        let mut side = WriteSide::default();
        assert!(!side.is_corking());
        assert!(side.mark_dirty() && !side.mark_dirty() && side.is_corking());
        side.block();
        assert!(!side.is_corking() && side.unblock() && side.is_corking());
        side.task_waits();
        assert!(!side.is_corking() && side.take_waiting_task() && side.is_corking());
        side.attend(true);
        assert!(side.is_corking());
        side.clear_dirty();
        assert!(!side.mark_dirty(), "it is flushed behind the task");
    }

    #[test]
    fn nothing_is_compressed_without_an_agreement() {
        let mut side = WriteSide::default();
        assert!(!side.compress() && !side.is_compressing());
        let agreed = Agreed {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: 12,
            client_max_window_bits: 15,
        };
        side.agree(Some(&agreed));
        assert_eq!(side.deflate(), None, "it is not switched on");
        assert!(side.compress());
        assert!(side.deflate().is_some_and(|deflate| deflate.form(3) == (12, 3) && !deflate.keeps_context()));
    }
}
