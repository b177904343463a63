//! What the application sends.

use std::rc::Rc;
use std::task::{Context, Poll};

use nexios_protocol::{CloseCode, ContextDeflater, OpCode, write_frame};

use super::waiters::add;
use super::{Connection, Inner, Phase, SendError, State};
use crate::group::{Audience, Group};
use crate::message::{Message, MessageRef};
use crate::settings::SlowClient;

/// Payloads from here on are written straight from the caller's memory.
const DIRECT_BYTES_MIN: usize = 16 << 10;
/// Longest payload of a control frame (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: usize = 125;

impl Connection {
    /// Queues a message; it goes out at the latest at the end of the turn.
    /// `compress: Some(false)` leaves it uncompressed.
    ///
    /// # Errors
    /// [`SendError`]; `OutboxFull` only above the limit, which awaiting
    /// [`poll_send_ready`](Self::poll_send_ready) before each send never meets.
    pub fn send(&self, message: MessageRef<'_>, compress: Option<bool>) -> Result<(), SendError> {
        let mut state = self.0.state.borrow_mut();
        let state = &mut *state;
        self.0.check_room(state)?;
        self.0.queue_message(state, message, compress);
        Ok(())
    }

    /// [`poll_send_ready`](Self::poll_send_ready), then [`send`](Self::send), in one step.
    ///
    /// # Errors
    /// [`SendError`]
    #[inline]
    pub fn poll_send(
        &self,
        cx: &mut Context<'_>,
        message: MessageRef<'_>,
        compress: Option<bool>,
    ) -> Poll<Result<(), SendError>> {
        if self.send_at_once(message) {
            return Poll::Ready(Ok(()));
        }
        self.poll_send_queued(cx, message, compress)
    }

    /// The hot path of [`poll_send`](Self::poll_send): queues a small message behind others of this turn, where
    /// nothing else is to be heeded. `false`: go on with [`poll_send_queued`](Self::poll_send_queued).
    #[inline]
    pub fn send_at_once(&self, message: MessageRef<'_>) -> bool {
        self.0.cork(&mut self.0.state.borrow_mut(), message)
    }

    /// The rest of [`poll_send`](Self::poll_send), behind [`send_at_once`](Self::send_at_once).
    #[inline(never)]
    pub fn poll_send_queued(
        &self,
        cx: &mut Context<'_>,
        message: MessageRef<'_>,
        compress: Option<bool>,
    ) -> Poll<Result<(), SendError>> {
        self.0.poll_queue(&mut self.0.state.borrow_mut(), cx, message, compress)
    }

    /// As [`send`](Self::send), for a message that has the form of the connection's variant already.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_formed(&self, message: MessageRef<'_>, compress: Option<bool>) -> Result<(), SendError> {
        let mut state = self.0.state.borrow_mut();
        let state = &mut *state;
        self.0.check_room(state)?;
        self.0.queue_formed(state, message, compress);
        Ok(())
    }

    /// Queues what a handle was told that it would be sent: the limit was looked at there.
    pub(crate) fn send_admitted(&self, message: MessageRef<'_>, compress: Option<bool>) -> Result<(), SendError> {
        let mut state = self.0.state.borrow_mut();
        state.check_open()?;
        self.0.queue_message(&mut state, message, compress);
        Ok(())
    }

    /// Pending while the outbox is above its mark; ready at once where the connection is over.
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.borrow_mut();
        if self.0.may_send(&state) {
            return Poll::Ready(());
        }
        self.0.await_room(&mut state, cx);
        Poll::Pending
    }

    /// Queues a ping (RFC 6455 §5.5.2).
    ///
    /// # Errors
    /// [`SendError`]; a payload over 125 bytes is `ControlTooLong`.
    pub fn send_ping(&self, payload: &[u8]) -> Result<(), SendError> {
        self.0.write_ping(payload)?;
        self.0.note_ping(payload);
        Ok(())
    }

    /// Queues an unasked pong (RFC 6455 §5.5.3); pings are answered by the engine.
    ///
    /// # Errors
    /// [`SendError`]; a payload over 125 bytes is `ControlTooLong`.
    pub fn send_pong(&self, payload: &[u8]) -> Result<(), SendError> {
        self.0.write_control(OpCode::Pong, payload)
    }

    /// Queues the Close frame. Does nothing where the connection is closing already.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.0.start_close(&mut self.0.state.borrow_mut(), code, reason);
    }

    /// Compresses messages from now on; says whether the client agreed to it in the handshake.
    pub fn enable_compression(&self) -> bool {
        let mut state = self.0.state.borrow_mut();
        matches!(state.phase, Phase::Open(_)) && state.write.compress()
    }

    /// Takes back the broadcasts that wait in the outbox, no byte of them written, for which this
    /// says yes. They count as dropped.
    pub fn withdraw(&self, mut is_withdrawn: impl FnMut(&Message) -> bool) -> Vec<Message> {
        let mut withdrawn = Vec::new();
        let mut state = self.0.state.borrow_mut();
        if let Some(outbox) = state.outbox_mut() {
            outbox.drop_where(&mut withdrawn, |message, _| is_withdrawn(message));
        }
        self.0.shard.shared.metrics.dropped(withdrawn.len());
        withdrawn
    }

    /// Makes it a member; `false` where it was one, or is not connected.
    pub fn join(&self, group: &Group) -> bool {
        self.0.settle(&mut self.0.state.borrow_mut());
        self.0.state.borrow().is_connected() && self.0.shard.fanout.members_mut().join(&self.0, group)
    }

    /// Ends its membership; `false` where it was none.
    pub fn leave(&self, group: &Group) -> bool {
        self.0.settle(&mut self.0.state.borrow_mut());
        self.0.shard.fanout.members_mut().leave(&self.0, group.id(), &self.0.shard.connections.borrow())
    }

    /// Whether it is connected and a member of one of these groups.
    pub fn is_in(&self, audience: &Audience) -> bool {
        self.0.state.borrow().is_connected() && self.0.shard.fanout.members().is_addressed(&self.0, audience)
    }

    /// Whether a broadcast would leave it out now: it is above its mark, under
    /// [`SlowClient::DropNewest`].
    pub fn is_left_out(&self) -> bool {
        let over_mark = self.0.state.borrow().write.is_over_mark();
        over_mark && self.0.settings().slow_client == SlowClient::DropNewest
    }
}

impl State {
    pub(crate) fn check_open(&self) -> Result<(), SendError> {
        match &self.phase {
            Phase::Open(_) if self.ending.is_open() => Ok(()),
            _ => Err(self.close_info().map_or(SendError::NotAccepted, |info| SendError::Closed(info.clone()))),
        }
    }
}

impl Inner {
    /// See [`Connection::send_at_once`].
    #[inline]
    fn cork(&self, state: &mut State, message: MessageRef<'_>) -> bool {
        let plain = state.write.is_corking() && state.is_connected() && !state.has_rare();
        if !plain || self.shard.fanout.is_pending() {
            return false;
        }
        let Some(outbox) = state.outbox_mut() else { return false };
        outbox.cork(message.opcode(), message.as_bytes(), self.settings().outbox_mark_bytes.min(DIRECT_BYTES_MIN))
    }

    fn poll_queue(
        self: &Rc<Self>,
        state: &mut State,
        cx: &mut Context<'_>,
        message: MessageRef<'_>,
        compress: Option<bool>,
    ) -> Poll<Result<(), SendError>> {
        if !self.may_send(state) {
            self.await_room(state, cx);
            return Poll::Pending;
        }
        state.check_open()?;
        self.queue_message(state, message, compress);
        Poll::Ready(Ok(()))
    }

    /// Whether the outbox is not above its mark, or the connection over.
    #[inline]
    fn may_send(&self, state: &State) -> bool {
        state.outbox_len() <= self.settings().outbox_mark_bytes || !state.is_connected()
    }

    fn await_room(&self, state: &mut State, cx: &Context<'_>) {
        if self.is_task(state, cx) {
            state.write.task_waits();
        } else {
            add(&mut state.rare().send_waiters, cx);
        }
    }

    /// Returns an error if a message may not be queued, however long its sender has waited.
    fn check_room(&self, state: &State) -> Result<(), SendError> {
        state.check_open()?;
        match state.outbox_len() > self.settings().outbox_bytes_max {
            true => Err(SendError::OutboxFull),
            false => Ok(()),
        }
    }

    /// Queues an application's message, in the form of the connection's variant.
    pub(crate) fn queue_message(self: &Rc<Self>, state: &mut State, message: MessageRef<'_>, compress: Option<bool>) {
        if state.write.is_formed()
            && let Some(form) = self.shard.service().and_then(|service| service.form(self.variant.get(), message))
        {
            return self.queue_formed(state, form.as_ref(), compress);
        }
        self.queue_formed(state, message, compress);
    }

    /// Queues a message that has the form of the connection's variant.
    pub(crate) fn queue_formed(self: &Rc<Self>, state: &mut State, message: MessageRef<'_>, compress: Option<bool>) {
        let payload = message.as_bytes();
        let opcode = message.opcode();
        if self.wants_compression(state, payload.len(), compress) {
            let mut packed = self.shard.buffers.take_packed();
            self.compress(state, payload, &mut packed);
            self.write_own(state, |tail| write_frame(tail, opcode, true, true, &packed, None));
            self.shard.buffers.give_back_packed(packed);
        } else if payload.len() >= DIRECT_BYTES_MIN {
            self.write_direct(state, opcode, payload);
        } else {
            self.write_own(state, |tail| write_frame(tail, opcode, true, false, payload, None));
        }
    }

    pub(crate) fn wants_compression(&self, state: &State, len: usize, compress: Option<bool>) -> bool {
        let min = self.settings().compression.map_or(usize::MAX, |compression| compression.message_bytes_min);
        state.write.is_compressing() && compress != Some(false) && len >= min
    }

    pub(crate) fn compress(&self, state: &mut State, payload: &[u8], out: &mut Vec<u8>) {
        let Some(deflate) = state.deflate() else { return };
        let level = self.settings().compression.unwrap_or_default().level;
        let (bits, level) = deflate.form(level);
        if deflate.keeps_context() {
            state
                .rare()
                .deflater
                .get_or_insert_with(|| Box::new(ContextDeflater::new(bits, level, 8)))
                .compress(payload, out);
        } else {
            self.shard.buffers.codec().compress(bits, level, payload, out);
        }
    }

    /// Appends own bytes to the outbox, behind the broadcasts that came before them.
    #[inline]
    pub(super) fn write_own(self: &Rc<Self>, state: &mut State, write: impl FnOnce(&mut Vec<u8>)) {
        if self.shard.fanout.is_pending() {
            self.settle(state);
        }
        let outbox = self.shard.buffers.outbox_of(&mut state.busy);
        write(&mut outbox.tail());
        self.output_grew(state);
    }

    pub(super) fn write_ping(self: &Rc<Self>, payload: &[u8]) -> Result<(), SendError> {
        self.write_control(OpCode::Ping, payload)
    }

    fn write_control(self: &Rc<Self>, opcode: OpCode, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > CONTROL_BYTES_MAX {
            return Err(SendError::ControlTooLong(payload.len()));
        }
        let mut state = self.state.borrow_mut();
        state.check_open()?;
        self.write_own(&mut state, |tail| write_frame(tail, opcode, true, false, payload, None));
        Ok(())
    }

    /// The answer to a ping, made by the protocol.
    pub(super) fn send_pong_frame(self: &Rc<Self>, state: &mut State, frame: &[u8]) {
        if !frame.is_empty() {
            self.shard.buffers.outbox_of(&mut state.busy).push_pong(frame);
            self.output_grew(state);
        }
    }
}
