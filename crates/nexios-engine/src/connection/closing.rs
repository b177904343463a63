//! The end: closing handshake in every order, cuts, and what is given back when.

use std::rc::Rc;

use nexios_protocol::{CloseCode, CloseFrame, OpCode, truncate_reason, write_frame};

use super::{CloseInfo, Inner, Phase, State};
use crate::service::Step;

impl Inner {
    /// Our Close frame (RFC 6455 §5.5.1); idempotent. The peer has the close timeout to answer.
    pub(crate) fn start_close(self: &Rc<Self>, state: &mut State, code: CloseCode, reason: &str) {
        if !state.is_connected() {
            return;
        }
        self.settle(state);
        let reason = truncate_reason(reason);
        let mut frame = self.farewell(state, code, reason);
        if let Phase::Open(protocol) = &mut state.phase {
            protocol.send_close(&mut frame, Some(CloseFrame { code, reason }));
        }
        state.ending.close();
        self.end_input(state, CloseInfo::new(code.get(), reason));
        if let Some(inbox) = state.inbox_mut() {
            inbox.clear();
        }
        self.note_held(state);
        self.shard.buffers.outbox_of(&mut state.busy).tail().extend_from_slice(&frame);
        self.output_grew(state);
        let timeout = self.settings().close_timeout;
        self.arm_deadline(state, timeout);
        // Reading goes on for the peer's Close, also where it was paused.
        if state.read.is_paused() {
            self.mark_ready(state);
        }
    }

    /// Returns the service's last message before our Close frame, as a frame.
    fn farewell(&self, state: &State, code: CloseCode, reason: &str) -> Vec<u8> {
        let mut frame = Vec::new();
        let service = self.shard.service().filter(|_| state.write.is_formed());
        let farewell =
            self.profile.get().and_then(|profile| service?.farewell(self.variant.get(), profile, code, reason));
        if let Some(text) = farewell {
            write_frame(&mut frame, OpCode::Text, true, false, text.as_bytes(), None);
        }
        frame
    }

    /// The peer's Close frame, or our failing of the connection; `answer` is the frame to send.
    pub(super) fn on_close_frame(self: &Rc<Self>, state: &mut State, info: CloseInfo, answer: &[u8]) {
        self.settle(state);
        if !answer.is_empty() {
            self.shard.buffers.outbox_of(&mut state.busy).tail().extend_from_slice(answer);
        }
        self.finish_with_last_word(state, info);
        self.output_grew(state);
        let timeout = self.settings().close_timeout;
        self.arm_deadline(state, timeout);
    }

    /// The peer hung up while reading was paused: it is gone for everybody who waits or sends,
    /// but what had arrived is still handed out.
    pub(super) fn hang_up(self: &Rc<Self>, state: &mut State) {
        if state.ending.is_open() {
            state.ending.hang_up();
            let info = state.take_last_word();
            state.set_close_info(info);
            state.clock.stop();
            self.drop_output(state);
            self.note(Step::Closed);
            self.leave_groups(state);
            self.wake_all(state);
        }
    }

    /// No more input for the application, and no more broadcasts.
    fn end_input(self: &Rc<Self>, state: &mut State, info: CloseInfo) {
        state.set_close_info(info);
        self.leave_groups(state);
        self.wake_all(state);
    }

    /// Both sides are done: `closed()` resolves.
    pub(crate) fn finish(self: &Rc<Self>, state: &mut State, info: CloseInfo) {
        state.ending.cut();
        self.end_input(state, info);
        self.note(Step::Closed);
    }

    /// Both sides are done with the last word, which is queued or will be at once: we hang up behind it.
    pub(super) fn finish_with_last_word(self: &Rc<Self>, state: &mut State, info: CloseInfo) {
        state.ending.last_word();
        self.end_input(state, info);
        self.note(Step::Closed);
    }

    /// Notes a step for the access log, if there is one.
    pub(crate) fn note(self: &Rc<Self>, step: Step) {
        self.shard.lists.push_step(self, step);
    }

    /// No handshake any more: the connection broke, died of silence or refused to end.
    pub(crate) fn cut(self: &Rc<Self>, state: &mut State) {
        let reset = state.outbox_len() > 0;
        let info = state.take_last_word();
        self.finish(state, info);
        self.release(state, reset);
    }

    /// Gives the descriptor back; what had arrived can still be received.
    pub(crate) fn release(self: &Rc<Self>, state: &mut State, reset: bool) {
        if matches!(state.phase, Phase::Gone) {
            return;
        }
        if let Phase::Http(http) = &mut state.phase {
            http.reader.take().into_iter().for_each(std::task::Waker::wake);
            http.writer.take().into_iter().for_each(std::task::Waker::wake);
        }
        self.drop_output(state);
        state.stream.close(self.shard.io.registry(), reset);
        state.end_frames(Phase::Gone);
        self.note_held(state);
        self.shard.lists.push_gone(self.token());
    }

    fn drop_output(self: &Rc<Self>, state: &mut State) {
        self.shard.buffers.pool().give_back_outbox(&mut state.busy);
        self.mark_changed(state);
    }

    fn leave_groups(self: &Rc<Self>, state: &mut State) {
        if state.write.is_over_mark() {
            self.tell_over_mark(state, false);
        }
        if let Some(remote) = state.rare_if_any().and_then(|rare| rare.remote.clone()) {
            remote.disconnected(state.close_info());
        }
        match self.shard.fanout.try_members_mut() {
            Ok(mut fanout) => fanout.leave_all(self, &self.shard.connections.borrow()),
            // A broadcast is walking the groups just now.
            Err(_) => self.shard.lists.push_leaving(self.clone()),
        }
    }
}

impl State {
    /// How a connection that is cut has ended: as the peer said in a Close frame whose messages
    /// are not handed out yet, else 1006.
    fn take_last_word(&mut self) -> CloseInfo {
        let last_word = self.rare_if_any().and_then(|rare| rare.last_word.take());
        last_word.map_or_else(CloseInfo::cut, |(info, _)| info)
    }

    /// How it ends; the first word counts.
    fn set_close_info(&mut self, info: CloseInfo) {
        self.busy().close.get_or_insert_with(|| Box::new(info));
    }
}
