//! From the outbox to the socket: one write per connection and turn.

use std::io::IoSlice;
use std::rc::Rc;

use nexios_protocol::{CloseCode, FrameHeader, OpCode};

use super::{Inner, Phase, State};
use crate::metrics::Cause;
use crate::outbox::Flushed;
use crate::settings::SlowClient;

impl Inner {
    /// Something was added to the outbox: it is flushed at the latest at the end of the turn.
    pub(crate) fn output_grew(self: &Rc<Self>, state: &mut State) {
        if state.write.mark_dirty() {
            self.shard.lists.push_dirty(self.clone());
            self.shard.notifier.notify();
        }
        self.mark_changed(state);
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.write.clear_dirty();
        if state.write.is_blocked() {
            return;
        }
        self.write_out(state);
    }

    pub(super) fn on_writable(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if let Phase::Http(http) = &mut state.phase {
            http.writer.take().into_iter().for_each(std::task::Waker::wake);
        }
        if state.write.unblock() {
            self.write_out(state);
        }
    }

    /// Tries to write although the socket was full when it was last asked.
    pub(super) fn retry_write(self: &Rc<Self>, state: &mut State) {
        state.write.unblock();
        self.write_out(state);
    }

    fn write_out(self: &Rc<Self>, state: &mut State) {
        let State { busy, stream, .. } = state;
        let Some(outbox) = busy.as_mut().and_then(|busy| busy.outbox.as_mut()) else {
            return self.after_flush(state);
        };
        match outbox.flush(stream, self.settings().step_bytes_max()) {
            Ok(Flushed::All) => {
                self.shard.buffers.pool().give_back_outbox(&mut state.busy);
                self.after_flush(state);
            }
            Ok(Flushed::Blocked { progress }) => self.block(state, progress),
            Err(error) => {
                tracing::debug!(connection = %self.id(), %error, "write failed");
                return self.cut(state);
            }
        }
        self.mark_changed(state);
    }

    /// The socket is full: the drain deadline runs from the last byte that went out.
    pub(crate) fn block(self: &Rc<Self>, state: &mut State, progress: bool) {
        state.write.block();
        if progress || !state.busy().blocked.is_set() {
            state.busy().blocked = self.shard.tick();
            self.arm(state);
        }
    }

    fn after_flush(self: &Rc<Self>, state: &mut State) {
        if state.ending.output_is_out() {
            state.stream.shutdown_write();
            state.end_frames(Phase::Lingering);
            let timeout = self.settings().close_timeout;
            self.arm_deadline(state, timeout);
            // The peer's FIN may have come before: no edge will tell again.
            self.mark_ready(state);
        }
    }

    /// A large payload goes out from where it lies, behind what is corked before it.
    pub(super) fn write_direct(self: &Rc<Self>, state: &mut State, opcode: OpCode, payload: &[u8]) {
        let header = FrameHeader { fin: true, rsv1: false, opcode, payload_len: payload.len() as u64, mask: None };
        let (header, header_len) = header.encode();
        self.write_own(state, |tail| tail.extend_from_slice(&header[..header_len]));
        let outbox = self.shard.buffers.outbox_of(&mut state.busy);
        if state.write.is_blocked() || outbox.has_backlog() || state.stream.is_tls() {
            outbox.tail().extend_from_slice(payload);
        } else {
            let corked = outbox.tail().len();
            let written = {
                let tail = outbox.tail();
                state.stream.write_vectored(&[IoSlice::new(&tail), IoSlice::new(payload)])
            };
            match written {
                Ok(n) if n >= corked => {
                    outbox.tail().clear();
                    if n - corked < payload.len() {
                        outbox.push_rest(&payload[n - corked..]);
                    }
                }
                Ok(n) => {
                    outbox.cork_written(n);
                    outbox.tail().extend_from_slice(payload);
                }
                // A real error comes again with the flush, and is handled there.
                Err(_) => outbox.tail().extend_from_slice(payload),
            }
        }
        self.mark_changed(state);
    }

    /// Keeps the groups' counts, waiting senders and remote handles in step with the outbox.
    #[inline]
    pub(crate) fn mark_changed(self: &Rc<Self>, state: &mut State) {
        let len = state.outbox_len();
        let over = len > self.settings().outbox_mark_bytes;
        // Below the mark, and nobody waits for that: what nearly every message finds.
        if over || state.write.is_watched() || state.has_rare() {
            self.tell_changed(state, len, over);
        }
    }

    fn tell_changed(self: &Rc<Self>, state: &mut State, len: usize, over: bool) {
        if over != state.write.is_over_mark() {
            self.tell_over_mark(state, over);
        }
        if !over && state.write.take_waiting_task() {
            self.wake_task(state);
        }
        let Some(rare) = state.rare_if_any() else { return };
        if !over {
            rare.send_waiters.drain(..).for_each(std::task::Waker::wake);
        }
        if let Some(remote) = &rare.remote {
            remote.set_unsent(len);
        }
    }

    /// Keeps the counts of those above their marks: the groups', and the shard's of those that
    /// would be closed for it.
    pub(super) fn tell_over_mark(&self, state: &mut State, over: bool) {
        state.write.set_over_mark(over);
        self.shard.fanout.members().tell_over_mark(self, over);
        if self.settings().slow_client == SlowClient::Close && self.shard.fanout.crowd_changed(over) == 0 {
            // Publishers that wait for it continue at the end of the turn.
            self.shard.fanout.set_pending();
            self.shard.notifier.notify();
        }
    }

    /// The client has not taken a byte for the drain timeout, or its outbox is at the limit.
    pub(crate) fn close_slow_client(self: &Rc<Self>, state: &mut State) {
        self.shard.shared.metrics.closed(Cause::SlowClient);
        tracing::debug!(connection = %self.id(), unsent = state.outbox_len(), "closing a slow client");
        if let Some(outbox) = state.outbox_mut() {
            outbox.drop_unwritten();
        }
        self.start_close(state, CloseCode::TRY_AGAIN_LATER, "client too slow");
    }
}
