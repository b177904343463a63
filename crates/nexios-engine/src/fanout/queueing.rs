//! A broadcast into the outbox of one member, as its settings and its speed want it.

use std::io::IoSlice;
use std::rc::Rc;

use bytes::Bytes;
use nexios_protocol::escaped;

use super::round::BatchKey;
use crate::connection::{Connection, Deflate, Inner, State};
use crate::group::{Broadcast, Dropped};
use crate::message::Message;
use crate::outbox::Queued;
use crate::settings::SlowClient;

impl Inner {
    /// Queues the broadcasts that came before whatever this connection does next.
    pub(crate) fn settle(self: &Rc<Self>, state: &mut State) {
        if !self.shard.fanout.is_pending() {
            return;
        }
        let mine = self.shard.fanout.members().take_for(self);
        for broadcast in mine {
            if state.is_connected() && !broadcast.exclude.contains(&self.id()) {
                self.queue_broadcast(state, &broadcast);
            }
        }
    }

    /// Nothing waits before the broadcast, and everybody with the same settings gets the same bytes.
    pub(super) fn takes_direct_writes(&self, state: &State, bytes: usize) -> bool {
        state.outbox().is_none()
            && bytes <= self.settings().step_bytes_max()
            && !state.write.is_blocked()
            && !state.stream.is_tls()
            && !self.compresses_in_context(state)
    }

    fn compresses_in_context(&self, state: &State) -> bool {
        state.deflate().is_some_and(Deflate::keeps_context)
    }

    pub(super) fn batch_key(&self, state: &State) -> BatchKey {
        let configured = self.settings().compression?;
        let deflate = state.deflate()?;
        Some((deflate.form(configured.level), configured.message_bytes_min))
    }

    /// The frame for this connection, shared with all that have the same settings.
    pub(super) fn shared_frame(&self, state: &State, broadcast: &Broadcast) -> Bytes {
        let wanted = self.wants_compression(state, broadcast.message.len(), broadcast.compress);
        let (Some(deflate), true) = (state.deflate(), wanted) else {
            return broadcast.frame().clone();
        };
        let level = self.settings().compression.unwrap_or_default().level;
        let (bits, level) = deflate.form(level);
        broadcast.deflated((bits, level), |payload, out| {
            self.shard.buffers.codec().compress(bits, level, payload, out);
        })
    }

    /// One direct write; what is left over waits in the outbox.
    pub(super) fn write_shared(self: &Rc<Self>, state: &mut State, bytes: &Bytes) {
        let written = match state.stream.write_vectored(&[IoSlice::new(bytes)]) {
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                tracing::debug!(connection = %self.id(), error = %escaped(&error), "broadcast failed");
                return self.cut(state);
            }
        };
        if written < bytes.len() {
            self.shard.buffers.outbox_of(&mut state.busy).push_rest(&bytes[written..]);
            self.block(state, true);
            self.mark_changed(state);
        }
    }

    /// Queues a broadcast behind what waits; under backpressure the slow-client policy decides.
    pub(super) fn queue_broadcast(self: &Rc<Self>, state: &mut State, broadcast: &Broadcast) {
        let broadcast = broadcast.form_for(self.variant());
        let wanted = self.wants_compression(state, broadcast.message.len(), broadcast.compress);
        if wanted && self.compresses_in_context(state) {
            return self.queue_in_context(state, broadcast);
        }
        let frame = self.shared_frame(state, broadcast);
        let blocked = state.write.is_blocked();
        let outbox = self.shard.buffers.outbox_of(&mut state.busy);
        // What is corked goes out whatever comes after it: only as much as one step takes may do so.
        let corked = outbox.corked_bytes() + frame.len();
        let queued = if blocked || outbox.has_backlog() || corked > self.settings().step_bytes_max() {
            outbox.push_broadcast(self.settings(), blocked, frame, &broadcast.message, broadcast.key.as_ref())
        } else {
            outbox.tail().extend_from_slice(&frame);
            Queued::Kept
        };
        match queued {
            Queued::Kept => self.output_grew(state),
            Queued::Overflow => self.close_slow_client(state),
            Queued::Dropped(messages) => {
                self.tell_dropped(messages);
                self.output_grew(state);
            }
        }
    }

    /// With context takeover each message builds on the one before: it can neither be shared
    /// nor dropped once it is compressed, so the policy acts before that.
    fn queue_in_context(self: &Rc<Self>, state: &mut State, broadcast: &Broadcast) {
        let settings = self.settings();
        let over_mark = state.outbox_len() > settings.outbox_mark_bytes;
        match settings.slow_client {
            SlowClient::Close if state.outbox_len() > settings.outbox_bytes_max => self.close_slow_client(state),
            SlowClient::Close => self.queue_formed(state, broadcast.message.as_ref(), None),
            _ if over_mark => self.tell_dropped(vec![broadcast.message.clone()]),
            _ => self.queue_formed(state, broadcast.message.as_ref(), None),
        }
    }

    fn tell_dropped(self: &Rc<Self>, messages: Vec<Message>) {
        self.shard.shared.metrics.dropped(messages.len());
        self.shard.lists.push_dropped(Connection(self.clone()), Dropped { messages });
    }
}
