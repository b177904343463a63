//! Tasks of one shard: futures stay in a slab on their thread, a waker holds only an id.
//!
//! A waker may be cloned to any thread, woken there, and dropped there long after the
//! shard is gone: it never owns a future, so nothing of a task can be dropped off its thread.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use slab::Slab;

pub(crate) type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Names a task; a key that is used again gets another serial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskKey {
    slot: u32,
    serial: u32,
}

/// The woken tasks, in the order of their wakes; any thread may push.
pub(crate) struct RunQueue {
    woken: Mutex<Vec<TaskKey>>,
    notifier: Arc<Notifier>,
}

/// Tells the host to turn the crank; quiet while the crank is turning anyway.
pub(crate) struct Notifier {
    /// Set while a turn is due or under way: another notification would tell nothing new.
    pending: AtomicBool,
    notify: Mutex<Arc<dyn Fn() + Send + Sync>>,
}

/// The tasks of one shard; each may have an owner, told about its end.
pub(crate) struct Tasks<O> {
    slots: RefCell<Slab<Slot<O>>>,
    next_serial: std::cell::Cell<u32>,
    queue: Arc<RunQueue>,
    spare: RefCell<Vec<TaskKey>>,
}

struct Slot<O> {
    serial: u32,
    /// Taken out while the task is being polled.
    body: Option<Body<O>>,
}

struct Body<O> {
    owner: O,
    future: TaskFuture,
    waker: Waker,
    /// The same object as behind `waker`, for its flag.
    task: Arc<TaskWaker>,
}

struct TaskWaker {
    key: TaskKey,
    scheduled: AtomicBool,
    queue: Arc<RunQueue>,
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
    pub(crate) fn turn_ends(&self) {
        self.pending.store(false, Ordering::Release);
    }
}

impl RunQueue {
    pub(crate) fn new(notifier: Arc<Notifier>) -> Arc<Self> {
        Arc::new(RunQueue { woken: Mutex::new(Vec::new()), notifier })
    }

    fn push(&self, key: TaskKey) {
        self.woken.lock().push(key);
        self.notifier.notify();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.woken.lock().is_empty()
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.scheduled.swap(true, Ordering::AcqRel) {
            self.queue.push(self.key);
        }
    }
}

impl<O> Tasks<O> {
    pub(crate) fn new(queue: Arc<RunQueue>) -> Self {
        Tasks {
            slots: RefCell::new(Slab::new()),
            next_serial: std::cell::Cell::new(0),
            queue,
            spare: RefCell::new(Vec::new()),
        }
    }

    /// Adds a task; its first poll comes with the next run. Returns its waker.
    pub(crate) fn spawn(&self, future: TaskFuture, owner: O) -> Waker {
        let serial = self.next_serial.get().wrapping_add(1);
        self.next_serial.set(serial);
        let mut slots = self.slots.borrow_mut();
        let entry = slots.vacant_entry();
        let key = TaskKey { slot: entry.key() as u32, serial };
        let task = TaskWaker { key, scheduled: AtomicBool::new(false), queue: self.queue.clone() };
        let task = Arc::new(task);
        task.wake_by_ref();
        let waker = Waker::from(task.clone());
        entry.insert(Slot { serial, body: Some(Body { owner, future, waker: waker.clone(), task }) });
        waker
    }

    /// Drops every future.
    pub(crate) fn cancel_all(&self) {
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        drop(slots);
    }

    pub(crate) fn count(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Polls every task that was woken so far, each once, by `poll`; says whether there was any.
    ///
    /// Tasks woken meanwhile wait for the next run, so that one that always wakes itself
    /// cannot keep the others or the sockets waiting.
    pub(crate) fn run(
        &self,
        mut poll: impl FnMut(&O, Pin<&mut dyn Future<Output = ()>>, &mut Context<'_>) -> Poll<()>,
    ) -> bool {
        let mut batch = std::mem::take(&mut *self.spare.borrow_mut());
        std::mem::swap(&mut batch, &mut *self.queue.woken.lock());
        let any = !batch.is_empty();
        for key in batch.drain(..) {
            self.run_one(key, &mut poll);
        }
        *self.spare.borrow_mut() = batch;
        any
    }

    fn run_one(
        &self,
        key: TaskKey,
        poll: &mut impl FnMut(&O, Pin<&mut dyn Future<Output = ()>>, &mut Context<'_>) -> Poll<()>,
    ) {
        let body = {
            let mut slots = self.slots.borrow_mut();
            match slots.get_mut(key.slot as usize) {
                Some(slot) if slot.serial == key.serial => slot.body.take(),
                _ => None,
            }
        };
        let Some(mut body) = body else { return };
        // From here on a wake counts again.
        body.task.scheduled.store(false, Ordering::Release);
        let finished = poll(&body.owner, body.future.as_mut(), &mut Context::from_waker(&body.waker)).is_ready();
        let mut slots = self.slots.borrow_mut();
        match slots.get_mut(key.slot as usize) {
            // Cancelled during its own poll: nothing to put back.
            Some(slot) if slot.serial == key.serial => {
                if finished {
                    slots.remove(key.slot as usize);
                } else {
                    slot.body = Some(body);
                    return;
                }
            }
            _ => {}
        }
        drop(slots);
        drop(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use std::sync::atomic::AtomicUsize;

    fn tasks() -> (Tasks<()>, Arc<RunQueue>, Arc<AtomicUsize>) {
        let notified = Arc::new(AtomicUsize::new(0));
        let count = notified.clone();
        let notifier = Notifier::new(Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let queue = RunQueue::new(Arc::new(notifier));
        (Tasks::new(queue.clone()), queue, notified)
    }

    fn run(tasks: &Tasks<()>) -> bool {
        tasks.run(|(), future, context| future.poll(context))
    }

    /// Says on drop in which thread that was.
    struct DropsOn(Arc<Mutex<Option<std::thread::ThreadId>>>);
    impl Drop for DropsOn {
        fn drop(&mut self) {
            *self.0.lock() = Some(std::thread::current().id());
        }
    }

    #[test]
    fn a_task_woken_twice_is_polled_once() {
        let (tasks, _, _) = tasks();
        let polls = Rc::new(std::cell::Cell::new(0));
        let waker = Rc::new(RefCell::new(None::<Waker>));
        let (p, w) = (polls.clone(), waker.clone());
        tasks.spawn(
            Box::pin(std::future::poll_fn(move |cx| {
                p.set(p.get() + 1);
                *w.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })),
            (),
        );
        run(&tasks);
        let waker = waker.borrow().clone().unwrap();
        waker.wake_by_ref();
        waker.wake_by_ref();
        run(&tasks);
        assert_eq!(polls.get(), 2);
        assert!(!run(&tasks));
    }

    #[test]
    fn a_task_that_always_wakes_itself_does_not_hold_the_run() {
        let (tasks, queue, _) = tasks();
        tasks.spawn(
            Box::pin(std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Pending
            })),
            (),
        );
        assert!(run(&tasks));
        assert!(!queue.is_empty());
    }

    #[test]
    fn wakes_after_the_shard_is_gone_drop_nothing_elsewhere() {
        let (tasks, _, _) = tasks();
        let dropped = Arc::new(Mutex::new(None));
        let guard = DropsOn(dropped.clone());
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let w = waker.clone();
        tasks.spawn(
            Box::pin(std::future::poll_fn(move |cx| {
                let _held = &guard;
                *w.lock() = Some(cx.waker().clone());
                Poll::Pending
            })),
            (),
        );
        run(&tasks);
        drop(tasks);
        assert_eq!(*dropped.lock(), Some(std::thread::current().id()));
        let waker = waker.lock().take().unwrap();
        std::thread::spawn(move || {
            waker.wake_by_ref();
            drop(waker);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_wake_from_another_thread_notifies_the_host_once() {
        let (tasks, _, notified) = tasks();
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let w = waker.clone();
        tasks.spawn(
            Box::pin(std::future::poll_fn(move |cx| {
                *w.lock() = Some(cx.waker().clone());
                Poll::Pending
            })),
            (),
        );
        run(&tasks);
        tasks.queue.notifier.turn_ends();
        let before = notified.load(Ordering::SeqCst);
        let waker = waker.lock().clone().unwrap();
        let other = std::thread::spawn(move || {
            waker.wake_by_ref();
            waker.wake();
        });
        other.join().unwrap();
        assert_eq!(notified.load(Ordering::SeqCst), before + 1);
    }

    #[test]
    fn a_task_may_cancel_all_tasks_and_itself() {
        let (tasks, _, _) = tasks();
        let tasks = Rc::new(tasks);
        let t = tasks.clone();
        let task = async move {
            t.cancel_all();
            std::future::pending::<()>().await;
        };
        tasks.spawn(Box::pin(task), ());
        run(&tasks);
        assert_eq!(tasks.count(), 0);
    }
}
