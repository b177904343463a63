//! A node: what one served app, or one publisher, has of its broker.

pub(crate) mod clients;
mod deliver;
pub(crate) mod driver;
pub(crate) mod gap;
pub(crate) mod incoming;
pub(crate) mod metrics;
mod outage;
pub(crate) mod outgoing;
mod patience;
mod sequences;
mod subscribing;
mod subscriptions;

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use nexios_engine::Message;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::broker::{Broker, BrokerError};
use crate::engines::link::{LinkError, Receipt};
use crate::envelope::{Draft, Kind, NodeId, Options};
use crate::history::log::{Append, History, Log, Nonce, Page, Span};
use crate::history::{Admit, Appends, Attach, Attached, Reads, Since, Stored};
use crate::node::clients::Clients;
use crate::node::driver::Driver;
use crate::node::incoming::{Event, Incoming};
use crate::node::metrics::{BrokerMetrics, Counters};
use crate::node::outgoing::{Limits, Outgoing};
use crate::node::subscriptions::Subscriptions;
use crate::presence::Presence;
use crate::topic::Topic;

/// What handlers and the node's own thread share.
pub struct Node {
    id: NodeId,
    namespace: Arc<str>,
    pub(crate) outgoing: Outgoing,
    /// Of rooms with history: what waits to be stored, and what is asked.
    pub(crate) appends: Appends,
    pub(crate) reads: Reads,
    pub(crate) incoming: Arc<Incoming>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stopping: Notify,
}

/// The node's thread; dropped, it sends what waits and ends within a second.
pub struct NodeThread {
    /// What handlers share with the thread.
    pub node: Arc<Node>,
    /// Other nodes learn at its end that its users are gone.
    presence: Option<Arc<Presence>>,
    thread: Option<JoinHandle<()>>,
    /// The process that started it.
    pub(crate) process: u32,
}

impl Node {
    pub(crate) fn new(broker: &Broker) -> Arc<Self> {
        let id = NodeId::random();
        let counters = Arc::<Counters>::default();
        let limits = Limits { messages: broker.outgoing_messages_max, bytes: broker.outgoing_bytes_max };
        Arc::new(Node {
            id,
            namespace: broker.namespace.clone(),
            appends: Appends::new(limits),
            reads: Reads::default(),
            outgoing: Outgoing::new(id, broker.namespace.clone(), limits),
            incoming: Incoming::new(id, broker.incoming_bytes_max, counters.clone()),
            subscriptions: Subscriptions::new(broker.namespace.clone()),
            counters,
            stopping: Notify::new(),
        })
    }

    /// What other nodes know it by.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Hands a message to the broker; `false` where it is not taken.
    pub fn publish(
        &self,
        kind: Kind,
        topic: &Topic,
        message: &Message,
        options: &Options<'_>,
        receipt: Option<Receipt>,
    ) -> bool {
        let draft = Draft::new(kind, self.id, topic, message, options);
        let accepted = self.outgoing.push(topic, draft, receipt, Instant::now());
        if !accepted && kind != Kind::Presence {
            self.counters.refused(1);
        }
        accepted
    }

    /// Hands a message of a room with history to the broker.
    ///
    /// # Errors
    /// It is not taken.
    pub fn append(
        &self,
        room: &Arc<str>,
        history: History,
        message: &Message,
        options: &Options<'_>,
        key: Option<Arc<str>>,
    ) -> Result<Stored, LinkError> {
        let draft = Draft::new(Kind::Broadcast, self.id, &Topic::Room(room.clone()), message, options);
        let (log, nonce, envelope) = (self.log(room, history), Nonce::random(), draft.finish(0, None));
        let stored = self.appends.push(room.clone(), Append { log, nonce, key, again: false, envelope });
        if stored.is_err() {
            self.counters.refused(1);
        }
        stored
    }

    /// A room's log.
    pub fn log(&self, room: &Arc<str>, history: History) -> Log {
        Log { channel: Topic::Room(room.clone()).channel(&self.namespace), history }
    }

    /// These topics have a client here; resolves as soon as what is published on them arrives,
    /// or after a second.
    pub fn enter<'a>(&self, topics: impl Iterator<Item = &'a Topic>) -> Option<Entering> {
        let now = Instant::now();
        let waiting: Vec<_> = topics.filter_map(|topic| self.subscriptions.enter(topic, now)).collect();
        (!waiting.is_empty()).then_some(Entering(waiting))
    }

    /// A client is on its way into a room: the room stays subscribed to until the first of these
    /// is dropped. The second resolves as that of [`enter`](Self::enter) does.
    pub fn hold(self: &Arc<Self>, room: &Arc<str>) -> (Held, Option<Entering>) {
        let topic = Topic::Room(room.clone());
        let waiting = self.subscriptions.hold(&topic, Instant::now());
        (Held { node: self.clone(), topic }, waiting.map(|waiting| Entering(vec![waiting])))
    }

    /// Asks the node's thread to let a client into a room; `None` where it has no answer. A client that is
    /// greeted was sent where it begins.
    pub async fn attach(&self, room: &Arc<str>, since: Option<Since>, greeted: bool, admit: Admit) -> Option<Attached> {
        let (answer, attached) = oneshot::channel();
        let (room, asked) = (room.clone(), Instant::now());
        let attach = Attach { room, since, greeted, admit, answer, asked, resynced: false };
        self.incoming.tell(Event::Attach(attach)).await;
        attached.await.ok()
    }

    /// Reads a part of a room's log.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub async fn read(&self, log: &Log, span: Span) -> Result<Arc<Page>, LinkError> {
        self.reads.ask(log, span).await
    }

    /// Counts entries that were read.
    pub fn count_read(&self, entries: usize) {
        self.counters.read(entries);
    }

    /// Returns the counters of now.
    pub fn metrics(&self) -> BrokerMetrics {
        self.counters.snapshot()
    }

    /// Whether nothing is received any more.
    pub fn has_ended(&self) -> bool {
        self.incoming.is_closed()
    }

    /// Takes nothing more; what waits is sent within a second.
    pub fn stop(&self) {
        self.outgoing.close();
        self.appends.close();
        self.stopping.notify_one();
    }

    /// The last member of a room has left.
    pub fn left_room(&self, name: &Arc<str>) {
        self.subscriptions.left(&Topic::Room(name.clone()), Instant::now());
    }
}

/// Keeps a room subscribed to.
pub struct Held {
    node: Arc<Node>,
    topic: Topic,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.node.subscriptions.release(&self.topic, Instant::now());
    }
}

/// Subscriptions that are being made.
pub struct Entering(Vec<oneshot::Receiver<()>>);

impl Entering {
    /// Waits until they are made, or have failed.
    pub async fn done(self) {
        for waiting in self.0 {
            // An error says that it took too long, or that the broker is gone.
            let _ = waiting.await;
        }
    }
}

impl NodeThread {
    /// Starts the thread, and waits until the broker is reached. What arrives goes to the clients, for as
    /// long as the app exists; the presence is shared with other nodes.
    pub fn start(
        broker: &Broker,
        clients: Option<Weak<dyn Clients>>,
        presence: Option<Arc<Presence>>,
    ) -> Result<Self, BrokerError> {
        let driver = Driver::new(broker, broker.engine()?, clients, presence.clone());
        let node = driver.node.clone();
        let (ready, connected) = std::sync::mpsc::channel();
        // What it logs goes to where its app's log goes.
        let log = tracing::dispatcher::get_default(Clone::clone);
        let run = move || tracing::dispatcher::with_default(&log, || driver.run(&ready));
        let thread = std::thread::Builder::new().name("nexios-broker".into()).spawn(run);
        let mut started = NodeThread { node, presence, thread: None, process: std::process::id() };
        let unreachable = |reason: String| BrokerError::Unreachable { url: broker.display_url(), reason };
        started.thread = Some(thread.map_err(|error| unreachable(error.to_string()))?);
        match connected.recv() {
            Ok(Ok(())) => Ok(started),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(unreachable("its thread ended".to_owned())),
        }
    }
}

impl Drop for NodeThread {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // The thread is in the process that was forked: nobody can be waited for here, nor a lock that it held.
            std::mem::forget(self.node.clone());
            return std::mem::forget(self.thread.take());
        }
        if let Some(presence) = &self.presence {
            presence.leave(&self.node);
        }
        self.node.stop();
        let Some(thread) = self.thread.take() else { return };
        // Where it has itself dropped the last that there was of its app, it ends by itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the broker's thread panicked");
        }
    }
}
