//! The connection's own task: it lives in the connection and is woken by its key.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::{Connection, Inner, State};
use crate::run_queue::{Table, TaskKey};
use crate::runner::KeptWaker;
use crate::service::BoxedTask;

impl Connection {
    /// Has the connection's own task polled again; nothing happens where it has ended.
    pub fn wake_task(&self) {
        self.0.wake_task(&mut self.0.state.borrow_mut());
    }
}

impl Inner {
    fn task_key(&self) -> TaskKey {
        TaskKey { table: Table::Connections, slot: self.token(), serial: self.serial() }
    }

    /// Whether this key names the connection's task, of now or of earlier.
    pub(crate) fn has_key(&self, key: TaskKey) -> bool {
        self.task_key() == key
    }

    /// Starts the task; its first poll comes with the next run.
    pub(crate) fn start_task(&self, task: BoxedTask) {
        let mut state = self.state.borrow_mut();
        let State { task: slot, task_marks, .. } = &mut *state;
        slot.start(task_marks, task);
        self.wake_task(&mut state);
    }

    pub(super) fn wake_task(&self, state: &mut State) {
        if state.task_marks.wake() {
            self.shard.runner.wake(self.task_key());
        }
    }

    /// Whether it is the connection's own task that asks. It is woken by its key, so that an
    /// idle connection holds no waker.
    pub(super) fn is_task(&self, state: &State, cx: &Context<'_>) -> bool {
        state.task_marks.is_alive() && self.shard.runner.is_polling(self.task_key(), cx.waker())
    }

    /// Polls the task, if it is still there and not being polled.
    pub(crate) fn run_task(self: &Rc<Self>) {
        let Some((mut task, kept)) = self.take_task() else { return };
        let connection = Connection(self.clone());
        let poll = |cx: &mut Context<'_>| {
            self.shard.guarded(Some(self), || {
                while let Some(next) = ready!(task.as_mut().poll(&connection, cx)) {
                    task = next;
                }
                Poll::Ready(())
            })
        };
        let (polled, kept) = self.shard.runner.poll(self.task_key(), kept, poll);
        match polled {
            Poll::Pending => self.put_back_task(task, kept),
            Poll::Ready(panicked) => {
                self.state.borrow_mut().task_marks.end();
                self.task_ended(panicked);
                self.bury(task);
            }
        }
    }

    fn take_task(&self) -> Option<(BoxedTask, Option<KeptWaker>)> {
        let mut state = self.state.borrow_mut();
        let State { task: slot, task_marks, .. } = &mut *state;
        let task = slot.take(task_marks)?;
        Some((task, state.busy.as_mut().and_then(|busy| busy.waker.take())))
    }

    fn put_back_task(self: &Rc<Self>, task: BoxedTask, kept: Option<KeptWaker>) {
        let mut state = self.state.borrow_mut();
        let marks = state.task_marks;
        if let Some(cancelled) = state.task.put_back(marks, task) {
            drop(state);
            return self.bury(cancelled);
        }
        if kept.is_some() {
            state.busy().waker = kept;
        }
    }

    /// Drops the task, unless it is being polled: then its poll does it.
    pub(crate) fn cancel_task(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let State { task: slot, task_marks, .. } = &mut *state;
        let task = slot.cancel(task_marks);
        drop(state);
        if let Some(task) = task {
            self.bury(task);
        }
    }

    /// What a task does when it is dropped may need the connection: nothing is borrowed.
    fn bury(self: &Rc<Self>, task: BoxedTask) {
        drop(task);
        if let Some(service) = self.shard.service() {
            service.ended(&Connection(self.clone()));
        }
        self.shard.free_if_over(self);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::time::Instant;

    use super::*;
    use crate::{MemoryClient, Server, ServerSettings, Service, Shard};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// What a task does at each poll.
    type Step = Box<dyn Fn(&Connection) -> Poll<()>>;

    /// Its connections' tasks do as they are told, and are counted.
    struct Told {
        step: Rc<Step>,
        polls: Rc<Cell<usize>>,
        connection: RefCell<Option<Connection>>,
        ended: Cell<usize>,
    }

    impl Service for Told {
        fn websocket(self: Rc<Self>, connection: &Connection) -> Option<BoxedTask> {
            self.connection.replace(Some(connection.clone()));
            let (step, polls, connection) = (self.step.clone(), self.polls.clone(), connection.clone());
            Some(Box::pin(poll_fn(move |_| {
                polls.update(|polls| polls + 1);
                step(&connection)
            })))
        }

        fn ended(self: Rc<Self>, _: &Connection) {
            self.ended.update(|ended| ended + 1);
        }

        fn has_websocket(&self, _: &str) -> bool {
            true
        }
    }

    /// A shard with one connection whose task has begun.
    fn open(step: impl Fn(&Connection) -> Poll<()> + 'static) -> (Shard, Rc<Told>, MemoryClient) {
        let shard = Server::new(ServerSettings::default()).shard(Instant::now()).unwrap();
        let step: Rc<Step> = Rc::new(Box::new(step));
        let told = Told { step, polls: Rc::default(), connection: RefCell::default(), ended: Cell::default() };
        let told = Rc::new(told);
        shard.set_service(told.clone());
        let client = shard.connect_memory(1 << 16);
        client.write(REQUEST);
        shard.turn(Instant::now());
        (shard, told, client)
    }

    fn wake(connection: &Connection) {
        connection.0.wake_task(&mut connection.0.state.borrow_mut());
    }

    #[test]
    fn a_key_wakes_once() {
        let (shard, told, _client) = open(|_| Poll::Pending);
        assert_eq!(told.polls.get(), 1);
        let connection = told.connection.take().unwrap();
        wake(&connection);
        wake(&connection);
        shard.turn(Instant::now());
        assert_eq!(told.polls.get(), 2);
        shard.cancel_all();
    }

    #[test]
    fn a_wake_during_the_poll_counts() {
        let woken = Cell::new(false);
        let (shard, told, _client) = open(move |connection| {
            if !woken.replace(true) {
                wake(connection);
            }
            Poll::Pending
        });
        assert_eq!(told.polls.get(), 2);
        shard.cancel_all();
    }

    #[test]
    fn a_task_that_has_ended_is_not_woken_any_more() {
        let (shard, told, _client) = open(|_| Poll::Ready(()));
        assert_eq!(told.ended.get(), 1);
        wake(&told.connection.take().unwrap());
        shard.turn(Instant::now());
        assert_eq!((told.polls.get(), told.ended.get()), (1, 1));
    }

    #[test]
    fn a_task_may_cancel_itself() {
        let (shard, told, _client) = open(|connection| {
            connection.shard().cancel_all();
            Poll::Pending
        });
        assert_eq!(told.ended.get(), 1);
        assert!(shard.is_idle());
    }

    #[test]
    fn a_task_may_outlive_its_socket_and_keeps_the_place_but_not_the_count() {
        let over = Rc::new(Cell::new(false));
        let told_over = over.clone();
        let (shard, told, client) = open(move |_| if told_over.get() { Poll::Ready(()) } else { Poll::Pending });
        let id = told.connection.borrow().as_ref().unwrap().id();
        drop(client);
        shard.turn(Instant::now());
        assert_eq!(shard.connection_count(), 0);
        assert!(shard.connection(&id).is_none() && !shard.is_idle());
        over.set(true);
        wake(&told.connection.take().unwrap());
        shard.turn(Instant::now());
        assert!(shard.is_idle());
        assert_eq!(told.ended.get(), 1);
    }

    #[test]
    fn a_place_is_taken_again_only_when_the_task_has_ended() {
        let (shard, told, client) = open(|_| Poll::Pending);
        let first = told.connection.take().unwrap();
        drop(client);
        shard.turn(Instant::now());
        let second = shard.connect_memory(1 << 16);
        second.write(REQUEST);
        shard.turn(Instant::now());
        let second_connection = told.connection.take().unwrap();
        assert_ne!(first.0.token(), second_connection.0.token());
        shard.cancel_all();
    }
}
