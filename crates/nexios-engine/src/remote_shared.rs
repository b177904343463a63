//! What a connection and its handles on other threads both know.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::connection::{CloseInfo, SendError};
use crate::id::ConnectionId;

/// What both sides of a remote connection know.
pub(crate) struct RemoteShared {
    pub(crate) id: ConnectionId,
    limit: usize,
    connected: AtomicBool,
    /// A Close is on its way: one is enough.
    closes: AtomicBool,
    close: Mutex<Option<CloseInfo>>,
    /// Bytes in the connection's outbox.
    unsent: AtomicUsize,
    /// Bytes still in the mailbox.
    queued: AtomicUsize,
}

impl RemoteShared {
    pub(crate) fn new(id: ConnectionId, limit: usize, connected: bool, unsent: usize) -> Self {
        RemoteShared {
            id,
            limit,
            connected: AtomicBool::new(connected),
            closes: AtomicBool::new(false),
            close: Mutex::new(None),
            unsent: AtomicUsize::new(unsent),
            queued: AtomicUsize::new(0),
        }
    }

    pub(crate) fn set_unsent(&self, bytes: usize) {
        self.unsent.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self, info: Option<&CloseInfo>) {
        *self.close.lock() = info.cloned();
        self.connected.store(false, Ordering::Release);
    }

    /// Returns an error if messages no longer reach the connection.
    pub(crate) fn check(&self) -> Result<(), SendError> {
        if self.connected.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(self.close.lock().clone().map_or(SendError::NotAccepted, SendError::Closed))
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// Takes room for a message on its way to the shard. Returns an error if too much waits for this client.
    pub(crate) fn queue(&self, bytes: usize) -> Result<(), SendError> {
        if self.queued.load(Ordering::Relaxed) + self.unsent.load(Ordering::Relaxed) > self.limit {
            return Err(SendError::OutboxFull);
        }
        self.queued.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Returns true if nothing is on its way to the shard.
    pub(crate) fn has_nothing_queued(&self) -> bool {
        self.queued.load(Ordering::Relaxed) == 0
    }

    /// Notes that a Close is on its way. Returns true the first time.
    pub(crate) fn close(&self) -> bool {
        !self.closes.swap(true, Ordering::AcqRel)
    }
}
