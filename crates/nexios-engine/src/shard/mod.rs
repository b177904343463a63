//! A shard: one poller and all that lives on one thread. The host turns its crank.
//!
//! A turn has three phases, callable apart: [`Shard::collect`] polls, reads and parses,
//! [`Shard::deliver`] runs the handlers, [`Shard::flush`] writes. [`Shard::turn`] does all
//! three, and lets handlers run while what they received is still in the cache.
//! A host watches [`Shard::fd`] for input, calls `turn`, again at once as long as that returns
//! `true`, and otherwise comes back at [`Shard::next_timeout`] or when the notifier calls.
//! A host that watches by edges clears its edge before the turn, never after.

mod buffers;
mod io;
mod lists;
mod time;
mod turn;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use buffers::Buffers;
use io::Io;
use lists::TurnLists;
use mio::Token;
use time::Time;

use crate::connection::{Addresses, Clock, Connection, Inner, State};
use crate::connections::Connections;
use crate::fanout::Fanout;
use crate::id::ConnectionId;
use crate::listener::Listener;
use crate::mailbox::{Command, Mailbox, ShardHandle};
use crate::memory::{self, MemoryClient};
use crate::metrics::Cause;
use crate::notifier::Notifier;
use crate::run_queue::{RunQueue, TaskKey};
use crate::runner::Runner;
use crate::server::{Server, Shared};
use crate::service::Service;
use crate::socket::Socket;
use crate::stream::Stream;
use crate::tasks::{TaskFuture, Tasks};
use crate::timer::{Sleep, Sleeps, Tick};

const WAKER: Token = Token(usize::MAX);

/// A handle to a shard; cheap to clone, stays on its thread.
#[derive(Clone)]
pub struct Shard(pub(crate) Rc<ShardInner>);

/// All that lives on one thread, in parts.
pub(crate) struct ShardInner {
    pub(crate) index: u16,
    pub(crate) shared: Arc<Shared>,
    service: RefCell<Option<Rc<dyn Service>>>,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) mailbox: Arc<Mailbox>,
    /// Taken from it, and not carried out yet.
    mail: RefCell<VecDeque<Command>>,
    pub(crate) io: Io,
    pub(crate) time: Time,
    pub(crate) lists: TurnLists,
    pub(crate) buffers: Buffers,
    pub(crate) fanout: Fanout,
    run_queue: Arc<RunQueue>,
    pub(crate) runner: Runner,
    tasks: Tasks,
    /// Handlers run right behind the reads that wake them.
    pub(crate) runs_between: Cell<bool>,
    /// Those whose socket is open, and those whose task has not ended.
    pub(crate) connections: RefCell<Connections>,
    pub(crate) addresses: Addresses,
}

thread_local! {
    /// The shards of this thread, so that a handle knows when it is at home.
    static LOCAL: RefCell<Vec<std::rc::Weak<ShardInner>>> = const { RefCell::new(Vec::new()) };
}

impl ShardHandle {
    /// The shard itself, where this is its thread and it still lives.
    pub fn local(&self) -> Option<Shard> {
        LOCAL.with_borrow_mut(|local| {
            local.retain(|shard| shard.strong_count() > 0);
            let mut shards = local.iter().filter_map(std::rc::Weak::upgrade);
            shards.find(|shard| self.is_of(&shard.mailbox)).map(Shard)
        })
    }
}

impl Server {
    /// Makes a shard, to be cranked by this thread.
    ///
    /// # Errors
    /// What the operating system says to a new poller.
    pub fn shard(&self, now: Instant) -> std::io::Result<Shard> {
        let shared = self.shared();
        let shard = Shard::new(shared.clone(), shared.next_index(), now)?;
        shared.add_shard(shard.handle());
        Ok(shard)
    }
}

impl Shard {
    fn new(shared: Arc<Shared>, index: u16, now: Instant) -> std::io::Result<Self> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = mio::Waker::new(&registry, WAKER)?;
        let notifier = Arc::new(Notifier::new(Arc::new(move || {
            if let Err(error) = waker.wake() {
                tracing::error!(%error, "cannot wake the poller");
            }
        })));
        let run_queue = RunQueue::new(notifier.clone());
        let inner = Rc::new(ShardInner {
            index,
            service: RefCell::new(None),
            mailbox: Mailbox::new(index, notifier.clone()),
            mail: RefCell::default(),
            io: Io::new(poll, registry, notifier.clone()),
            time: Time::new(now, notifier.clone()),
            lists: TurnLists::default(),
            buffers: Buffers::new(shared.settings.read_buffer_bytes.max(4096)),
            fanout: Fanout::default(),
            runner: Runner::new(run_queue.clone()),
            run_queue,
            tasks: Tasks::default(),
            runs_between: Cell::new(false),
            connections: RefCell::default(),
            addresses: Addresses::default(),
            notifier,
            shared,
        });
        LOCAL.with_borrow_mut(|local| local.push(Rc::downgrade(&inner)));
        Ok(Shard(inner))
    }

    /// Sets what answers requests; the first call wins.
    pub fn set_service(&self, service: Rc<dyn Service>) {
        self.0.service.borrow_mut().get_or_insert(service);
        self.0.lists.log_access(self.0.service().is_some_and(|service| service.logs_access()));
    }

    /// The service, if it is a `T`.
    pub fn service<T: 'static>(&self) -> Option<Rc<T>> {
        let service: Rc<dyn std::any::Any> = self.0.service()?;
        service.downcast().ok()
    }

    /// Accepts connections from a listener.
    ///
    /// # Errors
    /// What registering the listener with the poller returns.
    pub fn listen(&self, listener: Listener) -> std::io::Result<()> {
        if self.0.index == 0 && listener.is_unix() && self.0.limits_no_host_of_a_unix_socket() {
            tracing::warn!(
                "connections_per_host_max does not apply to clients on the Unix socket: name \"unix\" among the \
                 trusted proxies"
            );
        }
        self.0.io.listen(listener)
    }

    /// Opens an in-memory connection that holds `capacity` bytes on the way to the client.
    pub fn connect_memory(&self, capacity: usize) -> MemoryClient {
        self.connect_memory_from(None, capacity)
    }

    /// The same for a client that says where it is.
    pub fn connect_memory_from(&self, peer: Option<std::net::SocketAddr>, capacity: usize) -> MemoryClient {
        let (end, client) = memory::pair(capacity);
        let token = self.0.adopt(Stream::Plain(Socket::Memory(end)), peer, false);
        let id = self.0.connections.borrow().get(token).map(|inner| inner.id());
        client(Rc::downgrade(self.0.io.injected()), token, id)
    }

    /// Starts a task on this shard; a panic in it is caught and logged.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.0.spawn(Box::pin(future));
    }

    /// A handle for other threads.
    pub fn handle(&self) -> ShardHandle {
        self.0.handle()
    }

    /// Handles to all shards of the server, this one included.
    pub fn shards(&self) -> Vec<ShardHandle> {
        self.0.shared.shards()
    }

    /// This shard's index.
    pub fn index(&self) -> usize {
        usize::from(self.0.index)
    }

    /// The connection with this id, if it lives here and is not gone.
    pub fn connection(&self, id: &ConnectionId) -> Option<Connection> {
        let connections = self.0.connections.borrow();
        let inner = connections.get(id.token()).filter(|inner| inner.id() == *id)?;
        (!inner.is_reaped()).then(|| Connection(inner.clone()))
    }

    /// How many sockets are open on this shard.
    pub fn connection_count(&self) -> usize {
        self.0.connections.borrow().open_sockets()
    }

    /// The time of this turn.
    pub fn now(&self) -> Instant {
        self.0.now()
    }

    /// Resolves at an instant of the shard's clock.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.0.sleeps().until(deadline)
    }

    /// The poller's descriptor: readable when a turn is due.
    pub fn fd(&self) -> RawFd {
        self.0.io.fd()
    }

    /// Sets how the host is told, from any thread, that a turn is due for another reason
    /// than the descriptor. Without it the descriptor becomes readable.
    pub fn set_notifier(&self, notify: Arc<dyn Fn() + Send + Sync>) {
        self.0.notifier.set(notify);
    }

    /// When the next turn is due at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        [self.0.time.next(), self.0.io.next_timeout()].into_iter().flatten().min()
    }

    /// Counts what the framework caught before the engine could see it.
    pub fn count(&self, cause: Cause) {
        self.0.shared.metrics.closed(cause);
    }

    /// Whether anything still lives here.
    pub fn is_idle(&self) -> bool {
        self.0.connections.borrow().is_empty() && self.0.tasks.count() == 0
    }
}

impl ShardInner {
    pub(crate) fn handle(&self) -> ShardHandle {
        self.mailbox.handle()
    }

    pub(crate) fn service(&self) -> Option<Rc<dyn Service>> {
        self.service.borrow().clone()
    }

    pub(crate) fn now(&self) -> Instant {
        self.time.now()
    }

    pub(crate) fn tick(&self) -> Tick {
        self.time.tick()
    }

    pub(crate) fn sleeps(&self) -> &Sleeps {
        self.time.sleeps()
    }

    pub(crate) fn spawn(&self, future: TaskFuture) {
        self.tasks.spawn(&self.runner, future);
    }

    pub(crate) fn cancel_tasks(&self) {
        self.tasks.cancel_all();
        let all: Vec<Rc<Inner>> = self.connections.borrow().iter().cloned().collect();
        all.iter().for_each(Inner::cancel_task);
    }

    /// The connection whose task this key names.
    fn connection_of(&self, key: TaskKey) -> Option<Rc<Inner>> {
        self.connections.borrow().get(key.slot).filter(|inner| inner.has_key(key)).cloned()
    }

    /// Watches a new connection's socket.
    pub(crate) fn register(&self, token: u32) -> std::io::Result<()> {
        let inner = self.connections.borrow().get(token).cloned();
        let Some(inner) = inner else { return Ok(()) };
        let mut state = inner.state.borrow_mut();
        state.stream.register(self.io.registry(), Token(token as usize))
    }

    fn limits_no_host_of_a_unix_socket(&self) -> bool {
        let is_proxy = self.service().is_some_and(|service| service.is_proxy(None));
        self.shared.settings.connections_per_host_max.is_some() && !is_proxy
    }

    pub(crate) fn begin_closing(&self) {
        self.io.close_listeners();
        self.service().iter().for_each(|service| service.closing());
    }

    pub(crate) fn close_mailbox(&self) {
        self.mailbox.queue.close();
    }

    /// The connections at this moment whose sockets are open.
    pub(crate) fn all_connections(&self) -> Vec<Rc<Inner>> {
        let connections = self.connections.borrow();
        connections.iter().filter(|inner| !inner.is_reaped()).cloned().collect()
    }

    /// Gives the slot back once the socket is reaped and the task has ended. The socket was open
    /// in an earlier turn at the latest, so no event of this one can meet the slot's next owner.
    pub(crate) fn free_if_over(&self, inner: &Inner) {
        if inner.is_over() {
            inner.forget_held();
            self.connections.borrow_mut().remove(inner);
        }
    }

    /// Takes over a new stream; returns its slot. A counted one holds a place in the server's limits.
    pub(crate) fn adopt(self: &Rc<Self>, stream: Stream, peer: Option<SocketAddr>, counted: bool) -> u32 {
        let clock = Clock::new(self.tick(), self.shared.settings.head_timeout);
        let make = |token| Inner::new(self.clone(), token, stream, clock, counted);
        let inner = self.connections.borrow_mut().add(make);
        inner.set_peer(peer);
        inner.arm_first();
        inner.token()
    }
}

impl Inner {
    /// Puts the connection on the list of those with input that no event will tell of.
    pub(crate) fn mark_ready(self: &Rc<Self>, state: &mut State) {
        if state.read.mark_ready() {
            self.shard.lists.push_ready(self.clone());
            self.shard.notifier.notify();
        }
    }

    /// Whether the socket is gone and no longer counted.
    fn is_reaped(&self) -> bool {
        self.state.borrow().ending.is_reaped()
    }

    fn is_over(&self) -> bool {
        let state = self.state.borrow();
        state.ending.is_reaped() && !state.task_marks.is_alive()
    }
}
