//! What each connection knows of its groups, in eight bytes.

use std::cell::Cell;

/// What each connection knows of its groups.
pub(crate) struct Membership {
    /// Its place among the members of its router, or nowhere.
    router_place: Cell<u32>,
    /// Broadcasts before this number are dealt with.
    seen: Cell<u32>,
}

const NOWHERE: u32 = u32::MAX;

impl Membership {
    /// Returns the connection's place among the members of its router; `None` if it is not one of them.
    pub(crate) fn router_place(&self) -> Option<u32> {
        Some(self.router_place.get()).filter(|place| *place != NOWHERE)
    }

    pub(crate) fn set_router_place(&self, place: Option<u32>) {
        self.router_place.set(place.unwrap_or(NOWHERE));
    }

    /// Returns the number of the first broadcast that is not dealt with.
    #[inline]
    pub(crate) fn seen(&self) -> u32 {
        self.seen.get()
    }

    /// Broadcasts before this number are dealt with.
    #[inline]
    pub(crate) fn set_seen(&self, number: u32) {
        self.seen.set(number);
    }
}

impl Default for Membership {
    fn default() -> Self {
        Membership { router_place: Cell::new(NOWHERE), seen: Cell::new(0) }
    }
}
