//! Broadcast: contiguous arrays of members, walked once at the end of the turn.
//!
//! No subscriber's task is woken. Broadcasts of one turn go to each member in one write.
//! A member's own send takes along what was broadcast to it before ([`Inner::settle`]),
//! so that both form one FIFO.

mod members;
mod pending;
mod publishing;
mod queueing;
mod round;

use std::cell::{BorrowMutError, Cell, Ref, RefCell, RefMut};

pub(crate) use members::Members;

/// The way of broadcasts to the connections of one shard.
#[derive(Default)]
pub(crate) struct Fanout {
    members: RefCell<Members>,
    is_pending: Cell<bool>,
    /// Connections above their marks whose policy is to close them.
    crowd: Cell<usize>,
}

impl Fanout {
    pub(crate) fn members(&self) -> Ref<'_, Members> {
        self.members.borrow()
    }

    pub(crate) fn members_mut(&self) -> RefMut<'_, Members> {
        self.members.borrow_mut()
    }

    /// Returns an error while a broadcast is walking the groups.
    pub(crate) fn try_members_mut(&self) -> Result<RefMut<'_, Members>, BorrowMutError> {
        self.members.try_borrow_mut()
    }

    /// Returns true if something is to be done at the end of the turn.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.is_pending.get()
    }

    pub(crate) fn set_pending(&self) {
        self.is_pending.set(true);
    }

    /// Returns true if something was to be done at the end of the turn: now is the time.
    fn take_pending(&self) -> bool {
        self.is_pending.replace(false)
    }

    /// Returns true if there are connections above their marks whose policy is to close them.
    fn is_crowded(&self) -> bool {
        self.crowd.get() > 0
    }

    /// One more or one less connection is above its mark and would be closed for it; returns how many are.
    pub(crate) fn crowd_changed(&self, one_more: bool) -> usize {
        let crowd = self.crowd.get();
        self.crowd.set(if one_more { crowd + 1 } else { crowd.saturating_sub(1) });
        self.crowd.get()
    }
}
