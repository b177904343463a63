//! Tasks that stand on their own: futures in a slab, polled where the run queue says so.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use slab::Slab;

use crate::run_queue::{Table, TaskKey};
use crate::runner::{KeptWaker, Runner};

pub(crate) type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// The tasks of one shard that belong to no connection, or not to one alone.
#[derive(Default)]
pub(crate) struct Tasks {
    slots: RefCell<Slab<Slot>>,
    next_serial: Cell<u32>,
}

struct Slot {
    serial: u32,
    /// Taken out while the task is being polled.
    body: Option<Body>,
}

struct Body {
    future: TaskFuture,
    waker: Option<KeptWaker>,
}

impl Tasks {
    /// Adds a task; its first poll comes with the next run.
    pub(crate) fn spawn(&self, runner: &Runner, future: TaskFuture) -> TaskKey {
        let serial = self.next_serial.get();
        self.next_serial.set(serial.wrapping_add(1));
        let mut slots = self.slots.borrow_mut();
        let entry = slots.vacant_entry();
        let key = TaskKey { table: Table::Tasks, slot: entry.key() as u32, serial };
        entry.insert(Slot { serial, body: Some(Body { future, waker: None }) });
        drop(slots);
        runner.wake(key);
        key
    }

    /// Drops every future.
    pub(crate) fn cancel_all(&self) {
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        drop(slots);
    }

    pub(crate) fn count(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Polls a task by `poll`, if it is still there.
    pub(crate) fn run(
        &self,
        runner: &Runner,
        key: TaskKey,
        poll: impl FnOnce(Pin<&mut dyn Future<Output = ()>>, &mut Context<'_>) -> Poll<()>,
    ) {
        let Some(mut body) = self.take_body(key) else { return };
        let (polled, waker) = runner.poll(key, body.waker.take(), |cx| poll(body.future.as_mut(), cx));
        body.waker = waker;
        self.put_back_body(key, body, polled.is_ready());
    }

    fn take_body(&self, key: TaskKey) -> Option<Body> {
        let mut slots = self.slots.borrow_mut();
        slots.get_mut(key.slot as usize).filter(|slot| slot.serial == key.serial)?.body.take()
    }

    fn put_back_body(&self, key: TaskKey, body: Body, finished: bool) {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use parking_lot::Mutex;

    use crate::notifier::Notifier;
    use crate::run_queue::RunQueue;

    /// Tasks with what runs them.
    struct Crank {
        tasks: Tasks,
        runner: Runner,
    }

    impl Crank {
        fn spawn(&self, future: TaskFuture) -> TaskKey {
            self.tasks.spawn(&self.runner, future)
        }
    }

    fn tasks() -> (Crank, Arc<RunQueue>, Arc<AtomicUsize>) {
        let notified = Arc::new(AtomicUsize::new(0));
        let count = notified.clone();
        let notifier = Notifier::new(Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let queue = RunQueue::new(Arc::new(notifier));
        (Crank { tasks: Tasks::default(), runner: Runner::new(queue.clone()) }, queue, notified)
    }

    fn run(Crank { tasks, runner }: &Crank) -> bool {
        runner.run(|key| tasks.run(runner, key, |future, context| future.poll(context)))
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
        tasks.spawn(Box::pin(std::future::poll_fn(move |cx| {
            p.set(p.get() + 1);
            *w.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })));
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
        tasks.spawn(Box::pin(std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        })));
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
        tasks.spawn(Box::pin(std::future::poll_fn(move |cx| {
            let _held = &guard;
            *w.lock() = Some(cx.waker().clone());
            Poll::Pending
        })));
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
        let (tasks, queue, notified) = tasks();
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let w = waker.clone();
        tasks.spawn(Box::pin(std::future::poll_fn(move |cx| {
            *w.lock() = Some(cx.waker().clone());
            Poll::Pending
        })));
        run(&tasks);
        queue.notifier().turn_ends();
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
            t.tasks.cancel_all();
            std::future::pending::<()>().await;
        };
        tasks.spawn(Box::pin(task));
        run(&tasks);
        assert_eq!(tasks.tasks.count(), 0);
    }

    type Seen = Rc<RefCell<Vec<&'static str>>>;

    /// A task that never ends: shows each poll to `look`, and notes it.
    fn spawn_noting(tasks: &Crank, seen: &Seen, name: &'static str, mut look: impl FnMut(&Waker) + 'static) -> TaskKey {
        let seen = seen.clone();
        let task = std::future::poll_fn(move |cx| {
            seen.borrow_mut().push(name);
            look(cx.waker());
            Poll::Pending
        });
        tasks.spawn(Box::pin(task))
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
            tasks.runner.wake(key);
        }
        assert_eq!(same.get(), 2);
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
                a.borrow_mut().push(t.runner.is_polling(own, waker));
                a.borrow_mut().push(t.runner.is_polling(own, &waker.clone()));
                a.borrow_mut().push(t.runner.is_polling(own, Waker::noop()));
            });
            own_key.set(own_key.get().or(Some(key)));
        }
        run(&tasks);
        assert_eq!(*answers.borrow(), [true, true, false, false, false, false]);
        assert!(!tasks.runner.is_polling(own_key.get().unwrap(), Waker::noop()));
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
