//! The commands that wait for a shard: a bounded list behind a lock. Each push notifies the host.
//!
//! Modelled by loom in `tests/wake_ups.rs`, which compiles this very file.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::notifier::Notifier;
use crate::sync::Mutex;

/// Commands that wait at most.
pub(crate) const COMMANDS_MAX: usize = 64 << 10;
/// Room behind these that messages cannot take: for what the shard is to do.
pub(crate) const JOBS_MAX: usize = 64 << 10;
/// Bytes of messages that wait at most.
const BYTES_MAX: usize = 64 << 20;
/// Bytes of broadcasts that are not written yet, over which publishers wait.
pub(crate) const UNFLUSHED_BYTES_MAX: usize = 256 << 10;

/// Something that can wait for a shard.
pub(crate) trait Mail {
    /// Returns how many bytes of the limit it takes.
    fn bytes(&self) -> usize;
    /// Returns the limit that it is under.
    fn kind(&self) -> Kind;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For one connection.
    Message,
    /// For many; publishers wait until it is written.
    Broadcast,
    /// Something that the shard is to do.
    Job,
    /// The end of a connection, of which each has one at most: it always has room.
    Close,
}

/// The queue is full, or the shard has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused;

pub(crate) struct MailQueue<M> {
    waiting: Mutex<Waiting<M>>,
    notifier: Arc<Notifier>,
}

struct Waiting<M> {
    list: Vec<M>,
    bytes: usize,
    closed: bool,
    /// Something that the shard was to do did not fit in.
    overflowed: bool,
    /// Bytes of broadcasts that are not written yet, whether taken or not.
    unflushed: usize,
    /// Of these, taken by the shard.
    taken: usize,
    /// They wait until less is unflushed.
    publishers: Vec<Waker>,
}

impl<M: Mail> MailQueue<M> {
    pub(crate) fn new(notifier: Arc<Notifier>) -> Self {
        let waiting = Waiting {
            list: Vec::new(),
            bytes: 0,
            closed: false,
            overflowed: false,
            unflushed: 0,
            taken: 0,
            publishers: Vec::new(),
        };
        MailQueue { waiting: Mutex::new(waiting), notifier }
    }

    pub(crate) fn push(&self, mail: M) -> Result<(), Refused> {
        let mut waiting = self.waiting.lock();
        let (bytes, kind) = (mail.bytes(), mail.kind());
        if waiting.closed {
            return Err(Refused);
        }
        if !waiting.has_room(kind, bytes) {
            waiting.overflowed |= kind == Kind::Job;
            return Err(Refused);
        }
        waiting.bytes += bytes;
        if kind == Kind::Broadcast {
            waiting.unflushed += bytes;
        }
        waiting.list.push(mail);
        drop(waiting);
        self.notifier.notify();
        Ok(())
    }

    pub(crate) fn take(&self) -> Vec<M> {
        let mut waiting = self.waiting.lock();
        waiting.bytes = 0;
        waiting.taken = waiting.unflushed;
        std::mem::take(&mut waiting.list)
    }

    /// Pending while more than [`UNFLUSHED_BYTES_MAX`] of broadcasts from other threads are not written.
    pub(crate) fn poll_broadcast_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting.lock();
        if waiting.closed || waiting.unflushed <= UNFLUSHED_BYTES_MAX {
            return Poll::Ready(());
        }
        if !waiting.publishers.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.publishers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Returns true once after something that the shard was to do did not fit in.
    pub(crate) fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.waiting.lock().overflowed)
    }

    /// Returns the bytes of broadcasts from other threads that are not reported as written yet.
    pub(crate) fn unflushed_bytes(&self) -> usize {
        self.waiting.lock().unflushed
    }

    /// Reports what was taken as written.
    pub(crate) fn broadcasts_flushed(&self) {
        let mut waiting = self.waiting.lock();
        waiting.unflushed -= std::mem::take(&mut waiting.taken);
        waiting.wake_publishers();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().list.is_empty()
    }

    /// Refuses everything from now on, and drops the commands that wait, so that the tasks which wait for their answers
    /// continue.
    pub(crate) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.wake_publishers();
        let list = std::mem::take(&mut waiting.list);
        // What is dropped may wake tasks of other shards.
        drop(waiting);
        drop(list);
    }
}

impl<M> Waiting<M> {
    fn has_room(&self, kind: Kind, bytes: usize) -> bool {
        match kind {
            Kind::Close => true,
            Kind::Job => self.list.len() < COMMANDS_MAX + JOBS_MAX,
            Kind::Message | Kind::Broadcast => self.list.len() < COMMANDS_MAX && self.bytes + bytes <= BYTES_MAX,
        }
    }

    fn wake_publishers(&mut self) {
        self.publishers.drain(..).for_each(Waker::wake);
    }
}
