//! Runs the woken tasks of one shard, and lends them their wakers.
//!
//! A waker may be cloned to any thread, woken there, and dropped there long after the
//! shard is gone: it never owns a future, so nothing of a task can be dropped off its thread.
//!
//! Idle tasks hold no waker: each poll is lent the same one, and a task keeps it only where
//! somebody has cloned it. What lives on the shard wakes a task by its key.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use crate::run_queue::{RunQueue, Scheduled, TaskKey};

/// Runs what was woken, wherever it is kept.
pub(crate) struct Runner {
    queue: Arc<RunQueue>,
    spare_batch: RefCell<Vec<TaskKey>>,
    /// Lent to the next poll; nobody else holds it.
    spare_waker: Cell<Option<KeptWaker>>,
    polling: RefCell<Polling>,
}

/// A waker that its task keeps while there are clones of it: two polls of one task then see the same one.
pub(crate) struct KeptWaker(Arc<TaskWaker>);

struct TaskWaker {
    key: TaskKey,
    scheduled: Scheduled,
    queue: Arc<RunQueue>,
}

/// The poll under way, if there is one.
struct Polling {
    key: Option<TaskKey>,
    waker: Waker,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.scheduled.set() {
            self.queue.push(self.key);
        }
    }
}

impl Runner {
    pub(crate) fn new(queue: Arc<RunQueue>) -> Self {
        Runner {
            queue,
            spare_batch: RefCell::default(),
            spare_waker: Cell::default(),
            polling: RefCell::new(Polling::nothing()),
        }
    }

    /// Wakes a task; nothing happens where it has ended.
    pub(crate) fn wake(&self, key: TaskKey) {
        self.queue.push(key);
    }

    /// Whether this is the waker of this task's poll under way: [`wake`](Self::wake) is then as
    /// good as a clone of it. Not so for the waker of a `select!` or a `FuturesUnordered` inside
    /// the task, which has to learn which of its parts was woken.
    pub(crate) fn is_polling(&self, key: TaskKey, waker: &Waker) -> bool {
        let polling = self.polling.borrow();
        polling.key == Some(key) && polling.waker.will_wake(waker)
    }

    /// Runs every task that was woken so far, each once, by `run`; says whether there was any.
    ///
    /// Tasks woken meanwhile wait for the next run, so that one that always wakes itself
    /// cannot keep the others or the sockets waiting.
    pub(crate) fn run(&self, run: impl FnMut(TaskKey)) -> bool {
        // Called by a task: the run that polls it goes on afterwards.
        if self.polling.try_borrow_mut().is_err() {
            return false;
        }
        let mut batch = std::mem::take(&mut *self.spare_batch.borrow_mut());
        self.queue.take(&mut batch);
        let any = !batch.is_empty();
        batch.drain(..).for_each(run);
        *self.spare_batch.borrow_mut() = batch;
        any
    }

    /// One poll, with the waker that the task has kept, else a lent one; returns the one to keep.
    pub(crate) fn poll<R>(
        &self,
        key: TaskKey,
        kept: Option<KeptWaker>,
        poll: impl FnOnce(&mut Context<'_>) -> R,
    ) -> (R, Option<KeptWaker>) {
        let KeptWaker(waker) = kept.unwrap_or_else(|| self.lend_waker(key));
        // From here on a wake counts again.
        waker.scheduled.clear();
        self.polling.replace(Polling { key: Some(key), waker: waker.clone().into() });
        let polled = poll(&mut Context::from_waker(&self.polling.borrow().waker));
        self.polling.replace(Polling::nothing());
        (polled, self.take_back_waker(waker))
    }

    fn lend_waker(&self, key: TaskKey) -> KeptWaker {
        if let Some(KeptWaker(mut waker)) = self.spare_waker.take()
            && let Some(unshared) = Arc::get_mut(&mut waker)
        {
            unshared.key = key;
            return KeptWaker(waker);
        }
        KeptWaker(Arc::new(TaskWaker { key, scheduled: Scheduled::default(), queue: self.queue.clone() }))
    }

    /// Takes the waker for the next poll of any task; gives it back where somebody has a clone.
    fn take_back_waker(&self, mut waker: Arc<TaskWaker>) -> Option<KeptWaker> {
        if Arc::get_mut(&mut waker).is_none() {
            return Some(KeptWaker(waker));
        }
        self.spare_waker.set(Some(KeptWaker(waker)));
        None
    }
}

impl Polling {
    fn nothing() -> Self {
        Polling { key: None, waker: Waker::noop().clone() }
    }
}
