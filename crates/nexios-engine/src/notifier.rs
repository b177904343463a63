//! The way by which any thread has the host turn a shard's crank.
//!
//! Modelled by loom in `tests/wake_ups.rs`, which compiles this very file.

use std::sync::Arc;

use crate::sync::{AtomicBool, Mutex, Ordering};

/// Tells the host to turn the crank; quiet while the crank is turning anyway.
pub(crate) struct Notifier {
    /// Set while a turn is due or under way: another notification would tell nothing new.
    pending: AtomicBool,
    notify: Mutex<Arc<dyn Fn() + Send + Sync>>,
}

impl Notifier {
    pub(crate) fn new(notify: Arc<dyn Fn() + Send + Sync>) -> Self {
        Notifier { pending: AtomicBool::new(false), notify: Mutex::new(notify) }
    }

    /// Replaces how the host is told.
    pub(crate) fn set(&self, notify: Arc<dyn Fn() + Send + Sync>) {
        *self.notify.lock() = notify;
    }

    pub(crate) fn notify(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            let notify = self.notify.lock().clone();
            notify();
        }
    }

    /// Marks a turn as under way.
    pub(crate) fn turn_begins(&self) {
        self.pending.store(true, Ordering::Release);
    }

    /// Marks the turn as over: the next wake notifies again.
    ///
    /// The caller looks for work *after* this. A wake that came before, and so did not notify,
    /// is seen by that look: the swap reads what that wake's swap wrote. A plain store would let
    /// the look pass it, and the wake would be lost.
    pub(crate) fn turn_ends(&self) {
        self.pending.swap(false, Ordering::AcqRel);
    }
}
