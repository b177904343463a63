//! Tasks of one shard: futures stay in a slab on their thread, a waker holds only an id.
//!
//! A waker may be cloned to any thread, woken there, and dropped there long after the
//! shard is gone: it never owns a future, so nothing of a task can be dropped off its thread.
//!
//! Idle tasks hold no waker: each poll is lent the same one, and a task keeps it only where
//! somebody has cloned it. What lives on the shard wakes a task by its key.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::num::NonZeroU32;
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
    serial: NonZeroU32,
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
    next_serial: Cell<NonZeroU32>,
    queue: Arc<RunQueue>,
    spare_batch: RefCell<Vec<TaskKey>>,
    /// Lent to the next poll; nobody else holds it.
    spare_waker: Cell<Option<Arc<TaskWaker>>>,
    polling: RefCell<Polling>,
}

struct Slot<O> {
    serial: NonZeroU32,
    /// Woken by its key since it was last polled.
    woken: bool,
    /// Taken out while the task is being polled.
    body: Option<Body<O>>,
}

struct Body<O> {
    owner: O,
    future: TaskFuture,
    /// Kept while there are clones of it: two polls of one task then see the same waker.
    waker: Option<Arc<TaskWaker>>,
}

struct TaskWaker {
    key: TaskKey,
    scheduled: AtomicBool,
    queue: Arc<RunQueue>,
}

/// The poll under way, if there is one.
struct Polling {
    key: Option<TaskKey>,
    waker: Waker,
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
            next_serial: Cell::new(NonZeroU32::MIN),
            queue,
            spare_batch: RefCell::default(),
            spare_waker: Cell::default(),
            polling: RefCell::new(Polling::nothing()),
        }
    }

    /// Adds a task; its first poll comes with the next run.
    pub(crate) fn spawn(&self, future: TaskFuture, owner: O) -> TaskKey {
        let serial = self.next_serial.get();
        self.next_serial.set(serial.checked_add(1).unwrap_or(NonZeroU32::MIN));
        let mut slots = self.slots.borrow_mut();
        let entry = slots.vacant_entry();
        let key = TaskKey { slot: entry.key() as u32, serial };
        entry.insert(Slot { serial, woken: true, body: Some(Body { owner, future, waker: None }) });
        drop(slots);
        self.queue.push(key);
        key
    }

    /// Wakes a task; nothing happens where it has ended.
    pub(crate) fn wake(&self, key: TaskKey) {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(key.slot as usize).filter(|slot| slot.serial == key.serial);
        let asleep = slot.is_some_and(|slot| !std::mem::replace(&mut slot.woken, true));
        drop(slots);
        if asleep {
            self.queue.push(key);
        }
    }

    /// Whether this is the waker of this task's poll under way: [`wake`](Self::wake) is then as
    /// good as a clone of it. Not so for the waker of a `select!` or a `FuturesUnordered` inside
    /// the task, which has to learn which of its parts was woken.
    pub(crate) fn is_polling(&self, key: TaskKey, waker: &Waker) -> bool {
        let polling = self.polling.borrow();
        polling.key == Some(key) && polling.waker.will_wake(waker)
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
        // Called by a task: the run that polls it goes on afterwards.
        if self.polling.try_borrow_mut().is_err() {
            return false;
        }
        let mut batch = std::mem::take(&mut *self.spare_batch.borrow_mut());
        std::mem::swap(&mut batch, &mut *self.queue.woken.lock());
        let any = !batch.is_empty();
        for key in batch.drain(..) {
            self.run_one(key, &mut poll);
        }
        *self.spare_batch.borrow_mut() = batch;
        any
    }

    fn run_one(
        &self,
        key: TaskKey,
        poll: &mut impl FnMut(&O, Pin<&mut dyn Future<Output = ()>>, &mut Context<'_>) -> Poll<()>,
    ) {
        let Some(mut body) = self.take_body(key) else { return };
        let waker = body.waker.take().unwrap_or_else(|| self.lend_waker(key));
        // From here on a wake counts again.
        waker.scheduled.store(false, Ordering::Release);
        self.polling.replace(Polling { key: Some(key), waker: waker.clone().into() });
        let finished =
            poll(&body.owner, body.future.as_mut(), &mut Context::from_waker(&self.polling.borrow().waker)).is_ready();
        self.polling.replace(Polling::nothing());
        body.waker = self.take_back_waker(waker);
        self.put_back_body(key, body, finished);
    }

    fn take_body(&self, key: TaskKey) -> Option<Body<O>> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(key.slot as usize).filter(|slot| slot.serial == key.serial)?;
        slot.woken = false;
        slot.body.take()
    }

    fn put_back_body(&self, key: TaskKey, body: Body<O>, finished: bool) {
        let mut slots = self.slots.borrow_mut();
        match slots.get_mut(key.slot as usize) {
            Some(slot) if slot.serial == key.serial && !finished => {
                slot.body = Some(body);
                return;
            }
            Some(slot) if slot.serial == key.serial => drop(slots.remove(key.slot as usize)),
            // Cancelled during its own poll: nothing to put back.
            _ => {}
        }
        // What a future does when it is dropped may need the slots.
        drop(slots);
        drop(body);
    }

    fn lend_waker(&self, key: TaskKey) -> Arc<TaskWaker> {
        if let Some(mut waker) = self.spare_waker.take()
            && let Some(unshared) = Arc::get_mut(&mut waker)
        {
            unshared.key = key;
            return waker;
        }
        Arc::new(TaskWaker { key, scheduled: AtomicBool::new(false), queue: self.queue.clone() })
    }

    /// Keeps the waker for the next poll of any task; gives it back where somebody has a clone.
    fn take_back_waker(&self, mut waker: Arc<TaskWaker>) -> Option<Arc<TaskWaker>> {
        if Arc::get_mut(&mut waker).is_none() {
            return Some(waker);
        }
        self.spare_waker.set(Some(waker));
        None
    }
}

impl Polling {
    fn nothing() -> Self {
        Polling { key: None, waker: Waker::noop().clone() }
    }
}

/// What each task costs besides its future.
#[cfg(test)]
pub(crate) fn slot_bytes<O>() -> usize {
    size_of::<Slot<O>>()
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

    type Seen = Rc<RefCell<Vec<&'static str>>>;

    /// A task that never ends: shows each poll to `look`, and notes it.
    fn spawn_noting(
        tasks: &Tasks<()>,
        seen: &Seen,
        name: &'static str,
        mut look: impl FnMut(&Waker) + 'static,
    ) -> TaskKey {
        let seen = seen.clone();
        let task = std::future::poll_fn(move |cx| {
            seen.borrow_mut().push(name);
            look(cx.waker());
            Poll::Pending
        });
        tasks.spawn(Box::pin(task), ())
    }

    #[test]
    fn tasks_that_clone_no_waker_share_one() {
        let (tasks, _, _) = tasks();
        let wakers = Rc::new(RefCell::new(Vec::new()));
        for name in ["a", "b"] {
            let wakers = wakers.clone();
            spawn_noting(&tasks, &Seen::default(), name, move |waker| wakers.borrow_mut().push(waker.data()));
        }
        run(&tasks);
        assert_eq!(wakers.borrow()[0], wakers.borrow()[1]);
    }

    #[test]
    fn a_clone_wakes_the_task_that_made_it_whatever_was_polled_since() {
        let (tasks, _, _) = tasks();
        let (seen, clone) = (Seen::default(), Rc::new(RefCell::new(None::<Waker>)));
        let c = clone.clone();
        spawn_noting(&tasks, &seen, "a", move |waker| {
            c.borrow_mut().get_or_insert_with(|| waker.clone());
        });
        spawn_noting(&tasks, &seen, "b", |_| {});
        run(&tasks);
        let waker = clone.borrow().clone().unwrap();
        waker.wake_by_ref();
        run(&tasks);
        waker.wake();
        run(&tasks);
        assert_eq!(*seen.borrow(), ["a", "b", "a", "a"]);
    }

    #[test]
    fn a_wake_without_a_clone_during_the_poll_is_not_lost_to_the_next_task() {
        let (tasks, _, _) = tasks();
        let seen = Seen::default();
        spawn_noting(&tasks, &seen, "a", Waker::wake_by_ref);
        spawn_noting(&tasks, &seen, "b", |_| {});
        run(&tasks);
        run(&tasks);
        assert_eq!(*seen.borrow(), ["a", "b", "a"]);
    }

    #[test]
    fn a_task_sees_the_same_waker_as_long_as_somebody_holds_a_clone() {
        let (tasks, _, _) = tasks();
        let same = Rc::new(Cell::new(0));
        let (s, mut clone) = (same.clone(), None::<Waker>);
        let key = spawn_noting(&tasks, &Seen::default(), "a", move |waker| match &clone {
            Some(clone) => s.set(s.get() + u32::from(clone.will_wake(waker))),
            None => clone = Some(waker.clone()),
        });
        spawn_noting(&tasks, &Seen::default(), "b", |_| {});
        for _ in 0..3 {
            run(&tasks);
            tasks.wake(key);
        }
        assert_eq!(same.get(), 2);
    }

    #[test]
    fn a_key_wakes_once_also_during_the_poll_and_never_after_the_end() {
        let (tasks, _, _) = tasks();
        let tasks = Rc::new(tasks);
        let (seen, own_key) = (Seen::default(), Rc::new(Cell::new(None)));
        let (t, k) = (tasks.clone(), own_key.clone());
        let key = spawn_noting(&tasks, &seen, "a", move |_| k.take().into_iter().for_each(|key| t.wake(key)));
        own_key.set(Some(key));
        run(&tasks);
        run(&tasks);
        assert_eq!(seen.borrow().len(), 2);
        tasks.wake(key);
        tasks.wake(key);
        run(&tasks);
        assert_eq!(seen.borrow().len(), 3);
        tasks.cancel_all();
        spawn_noting(&tasks, &seen, "in the same slot", |_| {});
        run(&tasks);
        tasks.wake(key);
        assert!(!run(&tasks));
    }

    #[test]
    fn only_the_waker_of_the_poll_itself_stands_for_the_task() {
        let (tasks, _, _) = tasks();
        let tasks = Rc::new(tasks);
        let own_key = Rc::new(Cell::new(None));
        let answers = Rc::new(RefCell::new(Vec::new()));
        for name in ["own", "other"] {
            let (t, k, a) = (tasks.clone(), own_key.clone(), answers.clone());
            let key = spawn_noting(&tasks, &Seen::default(), name, move |waker| {
                let own: TaskKey = k.get().unwrap();
                a.borrow_mut().push(t.is_polling(own, waker));
                a.borrow_mut().push(t.is_polling(own, &waker.clone()));
                a.borrow_mut().push(t.is_polling(own, Waker::noop()));
            });
            own_key.set(own_key.get().or(Some(key)));
        }
        run(&tasks);
        assert_eq!(*answers.borrow(), [true, true, false, false, false, false]);
        assert!(!tasks.is_polling(own_key.get().unwrap(), Waker::noop()));
    }

    #[test]
    fn a_run_inside_a_task_leaves_the_others_to_the_run_outside() {
        let (tasks, _, _) = tasks();
        let tasks = Rc::new(tasks);
        let seen = Seen::default();
        let t = tasks.clone();
        spawn_noting(&tasks, &seen, "a", move |_| assert!(!run(&t)));
        spawn_noting(&tasks, &seen, "b", |_| {});
        run(&tasks);
        assert_eq!(*seen.borrow(), ["a", "b"]);
    }

    #[test]
    fn a_clone_dropped_on_another_thread_loses_no_wake() {
        let (tasks, _, _) = tasks();
        let seen = Seen::default();
        let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
        spawn_noting(&tasks, &seen, "a", move |waker| drop(sender.send(waker.clone())));
        run(&tasks);
        for polls in 2..200 {
            let waker = receiver.recv().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(move || waker.wake());
            });
            spawn_noting(&tasks, &Seen::default(), "b", |_| {});
            run(&tasks);
            assert_eq!(seen.borrow().len(), polls);
        }
    }
}
