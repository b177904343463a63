//! What a turn has to come back to: connections with input or output, and things to be told at its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::connection::{Connection, Inner, Opened};
use crate::group::Dropped;
use crate::service::Step;

/// The lists of one shard's turn. A connection's own state says whether it is on one, where that matters.
#[derive(Default)]
pub(crate) struct TurnLists {
    /// Connections with input that no event will tell of.
    ready: RefCell<Vec<Rc<Inner>>>,
    /// Connections with output.
    dirty: RefCell<Vec<Rc<Inner>>>,
    spare_dirty: RefCell<Vec<Rc<Inner>>>,
    /// Connections that end while the groups are being walked.
    leaving: RefCell<Vec<Rc<Inner>>>,
    /// Connections that end once their last messages were handed out.
    ending: RefCell<Vec<Rc<Inner>>>,
    /// Requests whose heads are complete.
    opened: RefCell<Vec<(u32, Opened)>>,
    /// Broadcasts dropped in this turn.
    drops: RefCell<Vec<(Connection, Dropped)>>,
    /// Those of this turn, for an access log.
    steps: RefCell<Vec<(Rc<Inner>, Step)>>,
    logs_access: Cell<bool>,
    /// Slots of ended connections; given back at the end of the turn, so that an event of
    /// this turn cannot meet their successors.
    gone: RefCell<Vec<u32>>,
}

impl TurnLists {
    pub(crate) fn push_ready(&self, inner: Rc<Inner>) {
        self.ready.borrow_mut().push(inner);
    }

    pub(super) fn take_ready(&self) -> Vec<Rc<Inner>> {
        self.ready.take()
    }

    /// Puts back what a turn has left of the list, before what has come since.
    pub(super) fn put_back_ready(&self, rest: impl Iterator<Item = Rc<Inner>>) {
        let newer = self.ready.take();
        self.ready.replace(rest.chain(newer).collect());
    }

    pub(crate) fn push_dirty(&self, inner: Rc<Inner>) {
        self.dirty.borrow_mut().push(inner);
    }

    /// Hands each connection with output to `flush`, also those that are added meanwhile.
    pub(super) fn drain_dirty(&self, flush: impl Fn(Rc<Inner>)) {
        while !self.dirty.borrow().is_empty() {
            let mut batch = self.dirty.replace(self.spare_dirty.take());
            batch.drain(..).for_each(&flush);
            self.spare_dirty.replace(batch);
        }
    }

    pub(crate) fn push_leaving(&self, inner: Rc<Inner>) {
        self.leaving.borrow_mut().push(inner);
    }

    pub(super) fn take_leaving(&self) -> Vec<Rc<Inner>> {
        self.leaving.take()
    }

    pub(crate) fn push_ending(&self, inner: Rc<Inner>) {
        self.ending.borrow_mut().push(inner);
    }

    #[inline]
    pub(super) fn has_ending(&self) -> bool {
        !self.ending.borrow().is_empty()
    }

    pub(super) fn take_ending(&self) -> Vec<Rc<Inner>> {
        self.ending.take()
    }

    pub(crate) fn push_opened(&self, token: u32, opened: Opened) {
        self.opened.borrow_mut().push((token, opened));
    }

    #[inline]
    pub(super) fn has_opened(&self) -> bool {
        !self.opened.borrow().is_empty()
    }

    pub(super) fn take_opened(&self) -> Vec<(u32, Opened)> {
        self.opened.take()
    }

    pub(crate) fn push_dropped(&self, connection: Connection, dropped: Dropped) {
        self.drops.borrow_mut().push((connection, dropped));
    }

    #[inline]
    pub(super) fn has_dropped(&self) -> bool {
        !self.drops.borrow().is_empty()
    }

    pub(super) fn take_dropped(&self) -> Vec<(Connection, Dropped)> {
        self.drops.take()
    }

    pub(super) fn log_access(&self, on: bool) {
        self.logs_access.set(on);
    }

    /// Notes a step for the access log, if there is one.
    pub(crate) fn push_step(&self, inner: &Rc<Inner>, step: Step) {
        if self.logs_access.get() {
            self.steps.borrow_mut().push((inner.clone(), step));
        }
    }

    #[inline]
    pub(super) fn has_steps(&self) -> bool {
        !self.steps.borrow().is_empty()
    }

    pub(super) fn take_steps(&self) -> Vec<(Rc<Inner>, Step)> {
        self.steps.take()
    }

    pub(crate) fn push_gone(&self, token: u32) {
        self.gone.borrow_mut().push(token);
    }

    pub(super) fn take_gone(&self) -> Vec<u32> {
        self.gone.take()
    }

    /// Returns true if the next turn has something to do here.
    pub(super) fn has_work(&self) -> bool {
        !self.ready.borrow().is_empty() || !self.dirty.borrow().is_empty() || !self.gone.borrow().is_empty()
    }
}
