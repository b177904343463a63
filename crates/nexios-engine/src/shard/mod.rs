//! A shard: one poller and all that lives on one thread. The host turns its crank.
//!
//! A turn has three phases, callable apart: [`Shard::collect`] polls, reads and parses,
//! [`Shard::deliver`] runs the handlers, [`Shard::flush`] writes. [`Shard::turn`] does all
//! three, and lets handlers run while what they received is still in the cache.
//! A host watches [`Shard::fd`] for input, calls `turn`, again at once as long as that returns
//! `true`, and otherwise comes back at [`Shard::next_timeout`] or when the notifier calls.
//! A host that watches by edges clears its edge before the turn, never after.

mod turn;

pub(crate) use turn::coarse_now;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Registry, Token};
use nexios_protocol::Codec;

use crate::connection::{Allowance, Clock, Connection, Inner, Opened, Pool, State};
use crate::connections::Connections;
use crate::fanout::{Dropped, Fanout};
use crate::hosts::Host;
use crate::id::ConnectionId;
use crate::input::Input;
use crate::listener::{Listener, Listeners};
use crate::mailbox::{Command, Mailbox, ShardHandle};
use crate::memory::{self, MemoryClient};
use crate::metrics::Cause;
use crate::notifier::Notifier;
use crate::run_queue::{RunQueue, TaskKey};
use crate::runner::Runner;
use crate::server::Shared;
use crate::service::{Service, Step};
use crate::stream::{Socket, Stream};
use crate::tasks::{TaskFuture, Tasks};
use crate::timer::{Sleep, Sleeps, Tick, Timers};

/// Events taken from the poller at once.
const EVENTS_PER_POLL: usize = 1024;
/// Boxes of one kind kept for reuse.
pub(crate) const POOL_MAX: usize = 128;

const WAKER: Token = Token(usize::MAX);
pub(crate) const FIRST_LISTENER: usize = usize::MAX / 2;

/// A handle to a shard; cheap to clone, stays on its thread.
#[derive(Clone)]
pub struct Shard(pub(crate) Rc<ShardInner>);

/// What happened to a socket.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_closed: bool,
    pub(crate) error: bool,
}

pub(crate) struct ShardInner {
    pub(crate) index: u16,
    pub(crate) shared: Arc<Shared>,
    service: RefCell<Option<Rc<dyn Service>>>,
    poll: RefCell<mio::Poll>,
    events: RefCell<Events>,
    pub(crate) registry: Registry,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) mailbox: Arc<Mailbox>,
    /// Taken from it, and not carried out yet.
    mail: RefCell<VecDeque<Command>>,
    run_queue: Arc<RunQueue>,
    pub(crate) runner: Runner,
    tasks: Tasks,
    /// Those whose socket is open, and those whose task has not ended.
    pub(crate) connections: RefCell<Connections>,
    open_sockets: Cell<usize>,
    listeners: RefCell<Listeners>,
    pub(crate) fanout: RefCell<Fanout>,
    pub(crate) broadcasts_pending: Cell<bool>,
    /// Connections above their marks whose policy is to close them.
    pub(crate) crowd: Cell<usize>,
    pub(crate) timers: RefCell<Timers>,
    sleeps: Sleeps,
    now: Cell<Instant>,
    /// When the last poll of a task in this turn ended.
    last_poll_ended: Cell<Option<Duration>>,
    /// Handlers run right behind the reads that wake them.
    pub(crate) runs_between: Cell<bool>,
    tick: Cell<Tick>,
    pub(crate) input: RefCell<Input>,
    pub(crate) codec: RefCell<Codec>,
    /// The protocol's answers to control frames, on their way to an outbox.
    pub(crate) control_out: RefCell<Vec<u8>>,
    /// A compressed payload, on its way to an outbox.
    pub(crate) packed: RefCell<Vec<u8>>,
    pub(crate) pool: RefCell<Pool>,
    /// Addresses that are too long for their connections.
    pub(crate) peers_v6: RefCell<HashMap<(u32, u32), SocketAddrV6>>,
    /// Hosts that some connections are counted for, where they are not their peers.
    pub(crate) hosts_behind: RefCell<HashMap<(u32, u32), Host>>,
    /// What this turn still takes of the connection whose input is being read.
    pub(crate) allowance: Cell<Allowance>,
    /// Bytes that incomplete and waiting messages hold, of all connections.
    pub(crate) held: Cell<usize>,
    /// Connections with input that no event will tell of.
    ready: RefCell<Vec<Rc<Inner>>>,
    /// Connections with output.
    pub(crate) dirty: RefCell<Vec<Rc<Inner>>>,
    spare_dirty: RefCell<Vec<Rc<Inner>>>,
    /// Connections that end while the groups are being walked.
    pub(crate) leaving: RefCell<Vec<Rc<Inner>>>,
    /// Connections that end once their last messages were handed out.
    pub(crate) ending: RefCell<Vec<Rc<Inner>>>,
    /// Requests whose heads are complete.
    pub(crate) opened: RefCell<Vec<(u32, Opened)>>,
    /// Readiness of in-memory connections.
    injected: RefCell<Vec<(u32, Readiness)>>,
    /// Broadcasts dropped in this turn.
    pub(crate) drops: RefCell<Vec<(Connection, Dropped)>>,
    /// Those of this turn, for an access log.
    pub(crate) steps: RefCell<Vec<(Rc<Inner>, Step)>>,
    pub(crate) logs_access: Cell<bool>,
    /// Slots of ended connections; given back at the end of the turn, so that an event of
    /// this turn cannot meet their successors.
    pub(crate) gone: RefCell<Vec<u32>>,
    /// The poller or a listener has more than one turn takes.
    again: Cell<bool>,
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

impl Shard {
    pub(crate) fn new(shared: Arc<Shared>, index: u16, now: Instant) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = mio::Waker::new(&registry, WAKER)?;
        let notifier = Arc::new(Notifier::new(Arc::new(move || {
            if let Err(error) = waker.wake() {
                tracing::error!(%error, "cannot wake the poller");
            }
        })));
        let run_queue = RunQueue::new(notifier.clone());
        let timers = Timers::new(now);
        let tick = timers.tick(now);
        let input = Input::new(shared.settings.read_buffer_bytes.max(4096));
        let inner = Rc::new(ShardInner {
            index,
            service: RefCell::new(None),
            poll: RefCell::new(poll),
            events: RefCell::new(Events::with_capacity(EVENTS_PER_POLL)),
            registry,
            mailbox: Mailbox::new(index, notifier.clone()),
            mail: RefCell::default(),
            runner: Runner::new(run_queue.clone()),
            run_queue,
            tasks: Tasks::default(),
            connections: RefCell::default(),
            open_sockets: Cell::new(0),
            listeners: RefCell::default(),
            fanout: RefCell::default(),
            broadcasts_pending: Cell::new(false),
            crowd: Cell::new(0),
            timers: RefCell::new(timers),
            sleeps: Sleeps::new(notifier.clone()),
            notifier,
            now: Cell::new(now),
            last_poll_ended: Cell::new(None),
            runs_between: Cell::new(false),
            tick: Cell::new(tick),
            input: RefCell::new(input),
            codec: RefCell::new(Codec::new()),
            control_out: RefCell::default(),
            packed: RefCell::default(),
            pool: RefCell::default(),
            peers_v6: RefCell::default(),
            hosts_behind: RefCell::default(),
            allowance: Cell::new(Allowance::FULL),
            held: Cell::new(0),
            ready: RefCell::default(),
            dirty: RefCell::default(),
            spare_dirty: RefCell::default(),
            leaving: RefCell::default(),
            ending: RefCell::default(),
            opened: RefCell::default(),
            injected: RefCell::default(),
            drops: RefCell::default(),
            steps: RefCell::default(),
            logs_access: Cell::new(false),
            gone: RefCell::default(),
            again: Cell::new(false),
            shared,
        });
        LOCAL.with_borrow_mut(|local| local.push(Rc::downgrade(&inner)));
        Ok(Shard(inner))
    }

    /// Sets what answers requests; the first call wins.
    pub fn set_service(&self, service: Rc<dyn Service>) {
        self.0.service.borrow_mut().get_or_insert(service);
        self.0.logs_access.set(self.0.service().is_some_and(|service| service.logs_access()));
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
    pub fn listen(&self, listener: Listener) -> io::Result<()> {
        if self.0.index == 0 && listener.is_unix() && self.0.limits_no_host_of_a_unix_socket() {
            tracing::warn!(
                "connections_per_host_max does not apply to clients on the Unix socket: name \"unix\" among the \
                 trusted proxies"
            );
        }
        self.0.listeners.borrow_mut().add(&self.0.registry, listener)
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
        client(Rc::downgrade(&self.0), token, id)
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
        self.0.open_sockets.get()
    }

    /// The time of this turn.
    pub fn now(&self) -> Instant {
        self.0.now()
    }

    /// Resolves at an instant of the shard's clock.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.0.sleeps.until(deadline)
    }

    /// The poller's descriptor: readable when a turn is due.
    pub fn fd(&self) -> RawFd {
        self.0.poll.borrow().as_raw_fd()
    }

    /// Sets how the host is told, from any thread, that a turn is due for another reason
    /// than the descriptor. Without it the descriptor becomes readable.
    pub fn set_notifier(&self, notify: Arc<dyn Fn() + Send + Sync>) {
        self.0.notifier.set(notify);
    }

    /// When the next turn is due at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        let timers = self.0.timers.borrow().next();
        let sleeps = self.0.sleeps.next();
        let listeners = self.0.listeners.borrow().next_timeout();
        [timers, sleeps, listeners].into_iter().flatten().min()
    }

    /// Stops accepting and closes connections with 1012, spread over `jitter`.
    pub fn close_all(&self, jitter: Duration) {
        crate::shutdown::close_all(&self.0, jitter);
    }

    /// Counts what the framework caught before the engine could see it.
    pub fn count(&self, cause: Cause) {
        self.0.shared.metrics.closed(cause);
    }

    /// Drops every task and cuts every connection.
    pub fn cancel_all(&self) {
        crate::shutdown::cancel_all(&self.0);
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
        self.now.get()
    }

    pub(crate) fn tick(&self) -> Tick {
        self.tick.get()
    }

    pub(crate) fn sleeps(&self) -> &Sleeps {
        &self.sleeps
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

    pub(crate) fn listeners(&self) -> &RefCell<Listeners> {
        &self.listeners
    }

    /// Watches a new connection's socket.
    pub(crate) fn register(&self, token: u32) -> io::Result<()> {
        let inner = self.connections.borrow().get(token).cloned();
        let Some(inner) = inner else { return Ok(()) };
        let mut state = inner.state.borrow_mut();
        state.stream.register(&self.registry, Token(token as usize))
    }

    fn limits_no_host_of_a_unix_socket(&self) -> bool {
        let is_proxy = self.service().is_some_and(|service| service.is_proxy(None));
        self.shared.settings.connections_per_host_max.is_some() && !is_proxy
    }

    pub(crate) fn notify_again(&self) {
        self.again.set(true);
    }

    pub(crate) fn begin_closing(&self) {
        self.listeners.borrow_mut().close(&self.registry);
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
        self.open_sockets.update(|open| open + 1);
        inner.set_peer(peer);
        inner.arm_first();
        inner.token()
    }

    pub(crate) fn inject(&self, token: u32, readiness: Readiness) {
        self.injected.borrow_mut().push((token, readiness));
        self.notifier.notify();
    }
}

impl Inner {
    /// Puts the connection on the list of those with input that no event will tell of.
    pub(crate) fn mark_ready(self: &Rc<Self>, state: &mut State) {
        if state.read.mark_ready() {
            self.shard.ready.borrow_mut().push(self.clone());
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
