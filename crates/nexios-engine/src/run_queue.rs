//! The run queue of one shard: woken tasks by their keys.
//!
//! Modelled by loom in `tests/wake_ups.rs`, which compiles this very file.

use std::sync::Arc;

use crate::notifier::Notifier;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// Names a task; a slot that is used again gets another serial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskKey {
    pub(crate) table: Table,
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

/// Where a task is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Table {
    /// In its connection.
    Connections,
    /// Among those that stand on their own.
    Tasks,
}

/// The woken tasks, in the order of their wakes; any thread may push.
pub(crate) struct RunQueue {
    woken: Mutex<Vec<TaskKey>>,
    /// Whether there are any, without a lock.
    any: AtomicBool,
    notifier: Arc<Notifier>,
}

/// Set from a task's wake until its next poll, so that it is in the queue once.
#[derive(Default)]
pub(crate) struct Scheduled(AtomicBool);

impl RunQueue {
    pub(crate) fn new(notifier: Arc<Notifier>) -> Arc<Self> {
        Arc::new(RunQueue { woken: Mutex::default(), any: AtomicBool::new(false), notifier })
    }

    pub(crate) fn push(&self, key: TaskKey) {
        let mut woken = self.woken.lock();
        woken.push(key);
        self.any.store(true, Ordering::Release);
        drop(woken);
        self.notifier.notify();
    }

    /// Takes all out, into an empty list.
    pub(crate) fn take(&self, batch: &mut Vec<TaskKey>) {
        let mut woken = self.woken.lock();
        std::mem::swap(batch, &mut *woken);
        self.any.store(false, Ordering::Release);
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(crate) fn notifier(&self) -> &Notifier {
        &self.notifier
    }
}

impl Scheduled {
    /// Returns true if the task has to be pushed: no wake before this one waits for a poll.
    pub(crate) fn set(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Has the next wake push again. The poll looks at what it waits for *after* this; the swap
    /// makes it see what a wake before said, which pushed nothing.
    pub(crate) fn clear(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
}
