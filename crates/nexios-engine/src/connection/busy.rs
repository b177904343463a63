//! State allocated only while a connection is busy, and the pool that such boxes come from.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use nexios_protocol::ContextDeflater;

use super::CloseInfo;
use super::control_queue::ControlQueue;
use super::sent_pings::SentPings;
use crate::inbox::Inbox;
use crate::outbox::Outbox;
use crate::remote_shared::RemoteShared;
use crate::runner::KeptWaker;
use crate::timer::Tick;

/// Boxes of one kind kept for reuse.
const POOL_MAX: usize = 128;

/// The messages and bytes under way of a connection, and what only some connections keep.
#[derive(Default)]
pub(crate) struct Busy {
    pub(super) inbox: Option<Box<Inbox>>,
    pub(super) outbox: Option<Box<Outbox>>,
    /// Since when the socket has taken nothing.
    pub(super) blocked: Tick,
    /// The last byte in, of a message that is not complete.
    pub(super) heard: Tick,
    /// When the message began that is not complete.
    pub(super) began: Tick,
    /// Its part of the shard's sum of bytes held.
    pub(super) held: usize,
    /// Bytes of messages that the front end has taken and keeps.
    pub(super) kept: usize,
    /// How it ended, or is ending.
    pub(super) close: Option<Box<CloseInfo>>,
    /// The own task's, as long as there are clones of it.
    pub(super) waker: Option<KeptWaker>,
    /// The front end's.
    pub(super) extension: Option<Rc<dyn Any>>,
    pub(super) rare: Option<Box<Rare>>,
}

/// What few connections need.
#[derive(Default)]
pub(crate) struct Rare {
    /// The peer's Close frame and our answer, behind messages that were not handed out yet.
    pub(super) last_word: Option<(CloseInfo, Vec<u8>)>,
    /// The window of our compressed messages, where it is kept between them.
    pub(super) deflater: Option<Box<ContextDeflater>>,
    /// Input that was read but not parsed, because the inbox was full.
    pub(super) unread: Vec<u8>,
    pub(super) pings: ControlQueue,
    pub(super) pongs: ControlQueue,
    /// Wakers of others than the connection's own task.
    pub(super) receiver: Option<Waker>,
    pub(super) listener: Option<Waker>,
    pub(super) closed_waiters: Vec<Waker>,
    pub(super) send_waiters: Vec<Waker>,
    pub(super) remote: Option<Arc<RemoteShared>>,
    pub(super) sent_pings: SentPings,
    pub(super) control_second: u32,
    pub(super) control_count: u32,
}

impl Rare {
    /// Returns what the connection shares with its handles on other threads.
    pub(crate) fn shared_with_remotes(&mut self, make: impl FnOnce() -> RemoteShared) -> Arc<RemoteShared> {
        self.remote.get_or_insert_with(|| Arc::new(make())).clone()
    }
}

impl Busy {
    fn is_empty(&self) -> bool {
        self.outbox.is_none() && self.is_empty_but_for_outbox()
    }

    fn is_empty_but_for_outbox(&self) -> bool {
        self.inbox.is_none()
            && !self.heard.is_set()
            && !self.began.is_set()
            && self.held == 0
            && self.kept == 0
            && self.close.is_none()
            && self.waker.is_none()
            && self.extension.is_none()
            && self.rare.is_none()
    }
}

/// The boxes that connections pass on to each other.
#[derive(Default)]
#[allow(clippy::vec_box, reason = "the boxes move between connections and the pool")]
pub(crate) struct Pool {
    busy: Vec<Box<Busy>>,
    /// With an outbox that is empty: what most connections need next.
    busy_with_outbox: Vec<Box<Busy>>,
    inboxes: Vec<Box<Inbox>>,
    outboxes: Vec<Box<Outbox>>,
}

impl Pool {
    fn busy_for_outbox(&mut self) -> Box<Busy> {
        self.busy_with_outbox.pop().or_else(|| self.busy.pop()).unwrap_or_default()
    }

    /// Returns the connection's inbox, from the pool where it has none.
    pub(crate) fn inbox_of<'a>(&mut self, busy: &'a mut Option<Box<Busy>>) -> &'a mut Inbox {
        let busy = busy.get_or_insert_with(|| self.busy.pop().unwrap_or_default());
        busy.inbox.get_or_insert_with(|| self.inboxes.pop().unwrap_or_default())
    }

    /// Returns the connection's outbox, from the pool where it has none.
    #[inline]
    pub(crate) fn outbox_of<'a>(pool: &RefCell<Self>, busy: &'a mut Option<Box<Busy>>) -> &'a mut Outbox {
        let busy = busy.get_or_insert_with(|| pool.borrow_mut().busy_for_outbox());
        busy.outbox.get_or_insert_with(|| pool.borrow_mut().outboxes.pop().unwrap_or_default())
    }

    /// Takes back an empty inbox.
    pub(super) fn give_back_inbox(&mut self, slot: &mut Option<Box<Busy>>) {
        let Some(busy) = slot else { return };
        if let Some(inbox) = busy.inbox.take_if(|inbox| inbox.is_empty()) {
            put(&mut self.inboxes, inbox);
            self.give_back_busy(slot);
        }
    }

    /// Takes back the outbox, and with it what is left in it.
    pub(super) fn give_back_outbox(&mut self, slot: &mut Option<Box<Busy>>) {
        let Some(busy) = slot else { return };
        let Some(outbox) = &mut busy.outbox else { return };
        outbox.recycle();
        busy.blocked = Tick::NEVER;
        if let Some(busy) = slot.take_if(|busy| busy.is_empty_but_for_outbox()) {
            put(&mut self.busy_with_outbox, busy);
        } else if let Some(outbox) = slot.as_mut().and_then(|busy| busy.outbox.take()) {
            put(&mut self.outboxes, outbox);
        }
    }

    /// Takes back what has nothing left in it.
    pub(super) fn give_back_busy(&mut self, slot: &mut Option<Box<Busy>>) {
        if let Some(busy) = slot.take_if(|busy| busy.is_empty()) {
            put(&mut self.busy, busy);
        }
    }
}

fn put<T>(pool: &mut Vec<T>, one: T) {
    if pool.len() < POOL_MAX {
        pool.push(one);
    }
}
