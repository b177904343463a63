//! Bytes of a connection's received messages: of those that are incomplete, of those that wait for its handler, and of
//! those that the front end keeps until it has answered them.
//!
//! The shard keeps the sum. Beyond its share of [`ServerSettings::waiting_bytes_max`] the connections that hold
//! most are ended, so that many small connections cannot fill the memory together.
//!
//! [`ServerSettings::waiting_bytes_max`]: crate::ServerSettings::waiting_bytes_max

use std::cmp::Reverse;
use std::rc::Rc;

use nexios_protocol::CloseCode;

use super::{CloseInfo, Connection, Inner, Phase, Refusal, State};
use crate::inbox::Inbox;
use crate::metrics::Cause;
use crate::shard::ShardInner;

const REASON: &str = "too many bytes wait for their handlers";

/// Bytes of a received message that the front end keeps. They count towards
/// [`ServerSettings::waiting_bytes_max`](crate::ServerSettings::waiting_bytes_max) until this is dropped.
#[must_use = "the bytes count as long as this exists"]
pub struct KeptBytes {
    inner: Rc<Inner>,
    bytes: usize,
}

impl Connection {
    /// Counts bytes of a message that was received and has to be kept, because it cannot be answered yet.
    pub fn keep_bytes(&self, bytes: usize) -> KeptBytes {
        let inner = &self.0;
        inner.update_kept(|kept| kept + bytes);
        KeptBytes { inner: inner.clone(), bytes }
    }
}

impl Drop for KeptBytes {
    fn drop(&mut self) {
        self.inner.update_kept(|kept| kept - self.bytes);
    }
}

impl Inner {
    fn update_kept(&self, update: impl FnOnce(usize) -> usize) {
        let mut state = self.state.borrow_mut();
        let kept = &mut state.busy().kept;
        *kept = update(*kept);
        self.note_held(&mut state);
        self.shard.buffers.pool().give_back_busy(&mut state.busy);
    }

    /// Brings the shard's sum up to date with what this connection holds now.
    pub(super) fn note_held(&self, state: &mut State) {
        let bytes = state.bytes_held();
        let Some(busy) = &mut state.busy else { return };
        let before = std::mem::replace(&mut busy.held, bytes);
        self.shard.buffers.holds(bytes, before);
    }

    /// Takes the connection out of the shard's sum: its place is given back.
    pub(crate) fn forget_held(&self) {
        let mut state = self.state.borrow_mut();
        let Some(busy) = &mut state.busy else { return };
        let before = std::mem::take(&mut busy.held);
        self.shard.buffers.holds(0, before);
    }

    /// Ends the connection and drops what it holds.
    fn give_up_held(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        self.shard.shared.metrics.closed(Cause::WaitingBytes);
        if matches!(state.phase, Phase::Connecting(_)) && state.ending.is_open() {
            let refusal = Refusal::new(503, format!("{REASON}\n")).header("Retry-After", "1");
            self.answer_and_hang_up(state, &refusal, CloseInfo::cut());
        }
        self.start_close(state, CloseCode::TRY_AGAIN_LATER, REASON);
        state.drop_held();
        self.note_held(state);
        self.shard.buffers.pool().give_back_inbox(&mut state.busy);
    }
}

impl State {
    fn bytes_held(&self) -> usize {
        let Some(busy) = &self.busy else { return 0 };
        let waiting = busy.inbox.as_deref().map_or(0, Inbox::bytes);
        let unread = busy.rare.as_deref().map_or(0, |rare| rare.unread.len());
        // Behind our Close frame it is thrown away in the next turn.
        let unread = if self.is_connected() || self.ending.has_hung_up() { unread } else { 0 };
        // Behind it nothing is answered, and what was kept for that is dropped.
        let kept = if self.is_connected() { busy.kept } else { 0 };
        waiting + unread + kept + self.bytes_in_phase()
    }

    fn bytes_in_phase(&self) -> usize {
        match &self.phase {
            Phase::Connecting(connecting) => connecting.early.len(),
            Phase::Open(protocol) => protocol.held_bytes(),
            _ => 0,
        }
    }

    fn drop_held(&mut self) {
        if let Some(inbox) = self.inbox_mut() {
            inbox.clear();
        }
        if let Phase::Connecting(connecting) = &mut self.phase {
            connecting.early = Vec::new();
        }
        if self.ending.has_hung_up()
            && let Some(rare) = self.rare_if_any()
        {
            rare.unread = Vec::new();
        }
    }
}

impl ShardInner {
    /// Ends the connections that hold most, until an eighth of the shard's share is free again.
    #[inline]
    pub(crate) fn keep_to_share(self: &Rc<Self>) {
        let held = self.buffers.held();
        if held == 0 {
            return;
        }
        let share = self.shared.waiting_bytes_share();
        if held > share {
            self.end_largest(share - share / 8);
        }
    }

    #[inline(never)]
    fn end_largest(self: &Rc<Self>, goal: usize) {
        let held = |inner: &Rc<Inner>| inner.state.borrow().busy.as_ref().map_or(0, |busy| busy.held);
        let mut holders: Vec<(usize, Rc<Inner>)> = self
            .connections
            .borrow()
            .iter()
            .map(|inner| (held(inner), inner.clone()))
            .filter(|(held, _)| *held > 0)
            .collect();
        holders.sort_by_key(|(held, _)| Reverse(*held));
        let before = self.buffers.held();
        let mut ended = 0;
        for (_, inner) in &holders {
            if self.buffers.held() <= goal {
                break;
            }
            inner.give_up_held();
            ended += 1;
        }
        tracing::warn!(
            bytes = before,
            ended,
            "too many bytes of received messages wait or are incomplete: the connections with most of them were ended \
             with 1013 (waiting_bytes_max)"
        );
    }
}
