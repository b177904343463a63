//! No wake-up from another thread is lost, in any order that the memory model allows.
//!
//! The engine's own files are compiled here with loom's primitives in place of the real ones; loom then
//! tries every interleaving, including stores that are seen late.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::task::Context;

use loom::sync::atomic::AtomicUsize;
use loom::thread;
use mail_queue::{Kind, Mail, MailQueue, UNFLUSHED_BYTES_MAX};
use notifier::Notifier;
use run_queue::{RunQueue, Scheduled, Table, TaskKey};
use sync::{Mutex, Ordering};

#[path = "../src/mail_queue.rs"]
mod mail_queue;
#[path = "../src/notifier.rs"]
mod notifier;
#[path = "../src/run_queue.rs"]
mod run_queue;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};

    /// loom's mutex with the face of parking_lot's.
    #[derive(Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

const KEY: TaskKey = TaskKey { table: Table::Tasks, slot: 0, serial: 0 };

/// A notifier, and how often it has called the host.
fn counted() -> (Arc<Notifier>, Arc<AtomicUsize>) {
    let notified = Arc::new(AtomicUsize::new(0));
    let count = notified.clone();
    let notify = move || {
        count.fetch_add(1, Ordering::AcqRel);
    };
    (Arc::new(Notifier::new(Arc::new(notify))), notified)
}

#[test]
fn a_task_woken_while_a_turn_ends_is_seen_by_the_turn_or_notifies_the_host() {
    loom::model(|| {
        let (notifier, notified) = counted();
        let queue = RunQueue::new(notifier.clone());
        notifier.turn_begins();
        let waker = {
            let queue = queue.clone();
            thread::spawn(move || queue.push(KEY))
        };
        notifier.turn_ends();
        let seen = !queue.is_empty();
        waker.join().unwrap();
        assert!(seen || notified.load(Ordering::Acquire) == 1, "the task sleeps on");
    });
}

/// A broadcast of so many bytes.
struct Bytes(usize);

impl Mail for Bytes {
    fn bytes(&self) -> usize {
        self.0
    }

    fn kind(&self) -> Kind {
        Kind::Broadcast
    }
}

#[test]
fn mail_that_comes_while_a_turn_ends_is_seen_by_the_turn_or_notifies_the_host() {
    loom::model(|| {
        let (notifier, notified) = counted();
        let queue = Arc::new(MailQueue::new(notifier.clone()));
        notifier.turn_begins();
        let sender = {
            let queue = queue.clone();
            thread::spawn(move || queue.push(Bytes(1)).unwrap())
        };
        notifier.turn_ends();
        let seen = !queue.is_empty();
        sender.join().unwrap();
        assert!(seen || notified.load(Ordering::Acquire) == 1, "the mail waits on");
    });
}

#[test]
fn a_publisher_that_begins_to_wait_while_the_shard_writes_or_ends_is_let_go() {
    for ends in [false, true] {
        loom::model(move || {
            let (notifier, _) = counted();
            let queue = Arc::new(MailQueue::new(notifier));
            queue.push(Bytes(UNFLUSHED_BYTES_MAX + 1)).unwrap();
            let shard = {
                let queue = queue.clone();
                thread::spawn(move || {
                    if ends {
                        return queue.close();
                    }
                    queue.take();
                    queue.broadcasts_flushed();
                })
            };
            let woken = Arc::new(Woken(AtomicUsize::new(0)));
            let waker = woken.clone().into();
            let waits = queue.poll_broadcast_room(&Context::from_waker(&waker)).is_pending();
            shard.join().unwrap();
            assert_eq!(woken.0.load(Ordering::Acquire), usize::from(waits), "the publisher waits on");
        });
    }
}

#[test]
fn two_threads_that_push_at_once_lose_nothing_and_every_byte_is_written_in_the_end() {
    loom::model(|| {
        let (notifier, _) = counted();
        let queue = Arc::new(MailQueue::new(notifier));
        let push = {
            let queue = queue.clone();
            move || queue.push(Bytes(3)).unwrap()
        };
        let other = thread::spawn(push.clone());
        push();
        let first = queue.take().len();
        queue.broadcasts_flushed();
        other.join().unwrap();
        assert_eq!(first + queue.take().len(), 2);
        queue.broadcasts_flushed();
        assert_eq!(queue.unflushed_bytes(), 0);
    });
}

/// Something that somebody waits for the end of.
struct Question(#[expect(dead_code, reason = "its count is what is looked at")] Arc<()>);

impl Mail for Question {
    fn bytes(&self) -> usize {
        0
    }

    fn kind(&self) -> Kind {
        Kind::Job
    }
}

#[test]
fn nothing_waits_in_the_mail_of_a_shard_that_ends() {
    loom::model(|| {
        let (notifier, _) = counted();
        let queue = Arc::new(MailQueue::new(notifier));
        let asked = Arc::new(());
        let asker = {
            let (queue, asked) = (queue.clone(), asked.clone());
            thread::spawn(move || queue.push(Question(asked)).is_ok())
        };
        queue.close();
        asker.join().unwrap();
        assert_eq!(Arc::strong_count(&asked), 1, "a question that is never answered is still kept");
    });
}

/// Counts how often it was woken.
struct Woken(AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn a_wake_during_the_start_of_a_poll_is_seen_by_the_poll_or_pushes_the_task_again() {
    loom::model(|| {
        let scheduled = Arc::new(Scheduled::default());
        let condition = Arc::new(AtomicUsize::new(0));
        // Woken once already: the task is in the queue.
        assert!(scheduled.set());
        let waker = {
            let (scheduled, condition) = (scheduled.clone(), condition.clone());
            thread::spawn(move || {
                condition.store(1, Ordering::Relaxed);
                scheduled.set()
            })
        };
        scheduled.clear();
        let seen = condition.load(Ordering::Relaxed) == 1;
        let pushed_again = waker.join().unwrap();
        assert!(seen || pushed_again, "the task waits for what has come");
    });
}

/// The bell of a host that watches a pipe, as the one for asyncio: a mark, so that one byte is in the pipe at most.
#[test]
fn a_bell_that_is_heard_by_its_own_callback_is_never_left_with_a_mark_and_no_byte() {
    loom::model(|| {
        let (mark, bytes) = (Arc::new(loom::sync::atomic::AtomicBool::new(false)), Arc::new(Mutex::new(0)));
        let work = Arc::new(AtomicUsize::new(0));
        let ring = {
            let (mark, bytes, work) = (mark.clone(), bytes.clone(), work.clone());
            move || {
                work.fetch_add(1, Ordering::AcqRel);
                if !mark.swap(true, Ordering::AcqRel) {
                    *bytes.lock() += 1;
                }
            }
        };
        let others = [thread::spawn(ring.clone()), thread::spawn(ring)];
        let mut done = 0;
        // The loop calls while there is a byte; the callback reads, takes the mark away, and turns.
        let hear = |done: &mut usize| {
            if *bytes.lock() > 0 {
                *bytes.lock() = 0;
                mark.swap(false, Ordering::AcqRel);
                *done = work.load(Ordering::Acquire);
            }
        };
        hear(&mut done);
        others.into_iter().for_each(|other| other.join().unwrap());
        (0..2).for_each(|_| hear(&mut done));
        assert_eq!(done, 2, "somebody's work is left and nothing wakes the loop");
    });
}

#[test]
fn two_threads_that_wake_one_task_put_it_into_the_queue_once_for_each_poll() {
    loom::model(|| {
        let (notifier, _) = counted();
        let queue = RunQueue::new(notifier.clone());
        let scheduled = Arc::new(Scheduled::default());
        let wake = {
            let (queue, scheduled) = (queue.clone(), scheduled.clone());
            move || {
                if scheduled.set() {
                    queue.push(KEY);
                }
            }
        };
        let other = thread::spawn(wake.clone());
        wake();
        other.join().unwrap();
        let mut batch = Vec::new();
        queue.take(&mut batch);
        assert_eq!(batch.len(), 1);
        assert!(queue.is_empty());
    });
}
