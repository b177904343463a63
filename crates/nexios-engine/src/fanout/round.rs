//! Broadcasts on their way through the members: each one audience at a time, its members walked once.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::connection::{Inner, State};
use crate::group::Broadcast;
use crate::mail_queue::UNFLUSHED_BYTES_MAX;
use crate::shard::ShardInner;

/// Returns the number of broadcasts that go out in one write: a blocked client holds no more of them.
pub(super) fn batch_len(pending: &[Arc<Broadcast>]) -> usize {
    let mut bytes = 0;
    let fits = |broadcast: &&Arc<Broadcast>| {
        bytes += broadcast.message.len();
        bytes <= UNFLUSHED_BYTES_MAX
    };
    pending.iter().take_while(fits).count().max(1)
}

impl ShardInner {
    pub(super) fn deliver_batch(&self, batch: &[Arc<Broadcast>], first: u32) {
        let (members, connections) = (self.fanout.members(), self.connections.borrow());
        let mut first = first;
        for run in batch.chunk_by(|one, next| one.audience == next.audience) {
            let mut round = Round::new(run, first, run.len() == batch.len());
            for member in members.of(&run[0].audience, &connections) {
                round.deliver(member);
            }
            first += run.len() as u32;
        }
    }
}

/// Broadcasts of one audience, one behind the other.
struct Round<'a> {
    broadcasts: &'a [Arc<Broadcast>],
    first: u32,
    /// They leave nobody out and have one form, and nothing else goes out with them: members get the same bytes.
    uniform: bool,
    bytes: usize,
    /// All frames in a row, for each deflate setting in use.
    batches: Vec<(BatchKey, Bytes)>,
}

/// Window bits, level and smallest message that is compressed; `None`: no compression.
pub(super) type BatchKey = Option<((u8, u8), usize)>;

impl<'a> Round<'a> {
    fn new(broadcasts: &'a [Arc<Broadcast>], first: u32, alone: bool) -> Self {
        let is_for_all = |broadcast: &Arc<Broadcast>| broadcast.exclude.is_empty() && broadcast.has_one_form();
        let uniform = alone && broadcasts.iter().all(is_for_all);
        let bytes = broadcasts.iter().map(|broadcast| broadcast.message.len()).sum();
        Round { broadcasts, first, uniform, bytes, batches: Vec::new() }
    }

    /// Delivers what the member has not seen: it may be in several groups of the audience, and may have joined since.
    fn deliver(&mut self, member: &Rc<Inner>) {
        let end = self.first + self.broadcasts.len() as u32;
        let start = member.membership.seen().max(self.first);
        if start >= end {
            return;
        }
        member.membership.set_seen(end);
        let mut state = member.state.borrow_mut();
        if !state.is_connected() {
            return;
        }
        if self.uniform && start == self.first && member.takes_direct_writes(&state, self.bytes) {
            let bytes = self.batch(member, &state);
            return member.write_shared(&mut state, &bytes);
        }
        for broadcast in &self.broadcasts[(start - self.first) as usize..] {
            // One of them may be what closes a client that is too slow.
            if state.is_connected() && !broadcast.exclude.contains(&member.id()) {
                member.queue_broadcast(&mut state, broadcast);
            }
        }
    }

    fn batch(&mut self, member: &Rc<Inner>, state: &State) -> Bytes {
        let key = member.batch_key(state);
        if let Some((_, bytes)) = self.batches.iter().find(|(other, _)| *other == key) {
            return bytes.clone();
        }
        let frames = self.broadcasts.iter().map(|broadcast| member.shared_frame(state, broadcast));
        let bytes = match self.broadcasts {
            [one] => member.shared_frame(state, one),
            _ => frames.collect::<Vec<Bytes>>().concat().into(),
        };
        self.batches.push((key, bytes.clone()));
        bytes
    }
}
