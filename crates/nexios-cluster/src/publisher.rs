//! Publishing without serving: from a script, a task queue, another service.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::Thread;
use std::time::{Duration, Instant};

use nexios_engine::Message;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::broker::{Broker, BrokerError};
use crate::client_ref::ClientRef;
use crate::engines::link::LinkError;
use crate::envelope::{Kind, Options};
use crate::history::keys;
use crate::history::log::{Appended, History, Position};
use crate::node::{Node, NodeThread};
use crate::topic::Topic;

/// Sends to the clients of an app without being a node of it.
///
/// ```
/// # use nexios::{App, broker::Memory};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), nexios::broker::BrokerError> {
/// # let broker = &Memory::new();
/// use nexios::broker::Publisher;
/// let publisher = Publisher::connect(broker).await?; // or "redis://…", "nats://…", "unix:/…"
/// publisher.room("lobby").broadcast("The doors are open").await?;
/// publisher.router("/chat").broadcast("Maintenance at noon").await?;
/// publisher.clients(["ann"]).broadcast("Your report is done").await?;
/// # Ok(())
/// # }
/// ```
///
/// A message is on its way when its future resolves: the broker has it. In a room with history it
/// is stored: [`Audience::with_history`]. Where the broker is
/// away that takes until it is back; the queue is bounded, and past its limit a message is
/// refused at once. Any number of futures may be under way; they are sent in the order in which
/// they were made. Dropping the publisher sends what is left, for a second at most.
///
/// [`BrokerError::Refused`] says that a message was not sent; [`BrokerError::Unconfirmed`] that nobody knows. A process
/// that was forked has to connect by itself: messages of the publisher that it was left are refused.
#[derive(Clone)]
pub struct Publisher(Arc<NodeThread>);

/// Why a process that was forked publishes nothing.
const FORKED: &str = "this process was forked from the one that connected the publisher: connect another one here";

/// Whom a [`Publisher`] sends to.
#[derive(Clone)]
pub struct Audience {
    node: Arc<Node>,
    /// Whose thread sends.
    process: u32,
    topic: Topic,
    clients: Option<Vec<String>>,
    exclude: Vec<String>,
    key: Option<Arc<str>>,
    compress: Option<bool>,
    history: Option<History>,
    idempotency_key: Option<Arc<str>>,
}

/// A message on its way to the broker.
pub struct Publishing(Pin<Box<dyn Future<Output = Result<Published, LinkError>> + Send>>);

/// What a message earned that a [`Publisher`] has sent: the broker has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Published {
    /// Its position in the room's history; `None` of a message that is not stored.
    pub stored: Option<Position>,
    /// How many other servers of the broker have it, as far as the broker says so.
    pub replicated: u32,
    /// Whether a message with the same [`idempotency_key`](Audience::idempotency_key) was stored before: then this one
    /// is not, and `stored` is the position of the first.
    pub duplicate: bool,
}

impl Publisher {
    /// Connects to a broker, at most for its [`connect_timeout`](Broker::connect_timeout).
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn connect(broker: impl Into<Broker>) -> Result<Self, BrokerError> {
        let broker = broker.into();
        let (sender, connected) = oneshot::channel();
        let url = broker.display_url();
        let connect = move || {
            // Who asked may have given up; then the connection ends here.
            let _ = sender.send(Publisher::connect_blocking(broker));
        };
        let unreachable = |reason: String| BrokerError::Unreachable { url, reason };
        match std::thread::Builder::new().name("nexios-connect".into()).spawn(connect) {
            Ok(_) => connected.await.unwrap_or_else(|error| Err(unreachable(error.to_string()))),
            Err(error) => Err(unreachable(error.to_string())),
        }
    }

    /// The same for a program without a runtime; it blocks.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub fn connect_blocking(broker: impl Into<Broker>) -> Result<Self, BrokerError> {
        Ok(Publisher(Arc::new(NodeThread::start(&broker.into(), None, None)?)))
    }

    /// All clients of the app.
    pub fn app(&self) -> Audience {
        self.audience(Topic::App)
    }

    /// The clients of a router and of those below it: by its name, else by its full prefix.
    pub fn router(&self, name: impl AsRef<str>) -> Audience {
        self.audience(Topic::Router(name.as_ref().into()))
    }

    /// The members of a room.
    pub fn room(&self, name: impl AsRef<str>) -> Audience {
        self.audience(Topic::Room(name.as_ref().into()))
    }

    /// These clients, named by connection id or client id.
    pub fn clients<I: IntoIterator<Item: Into<ClientRef>>>(&self, clients: I) -> Audience {
        self.app().only(clients)
    }

    fn audience(&self, topic: Topic) -> Audience {
        Audience { process: self.0.process, ..Audience::of(&self.0.node, topic) }
    }
}

impl Audience {
    fn of(node: &Arc<Node>, topic: Topic) -> Self {
        let (clients, exclude, key, compress, history, idempotency_key) = Default::default();
        let (node, process) = (node.clone(), std::process::id());
        Audience { node, process, topic, clients, exclude, key, compress, history, idempotency_key }
    }

    /// Only these of them.
    #[must_use]
    pub fn only<I: IntoIterator<Item: Into<ClientRef>>>(mut self, clients: I) -> Self {
        self.clients = Some(names(clients));
        self
    }

    /// All but these.
    #[must_use]
    pub fn exclude<I: IntoIterator<Item: Into<ClientRef>>>(mut self, clients: I) -> Self {
        self.exclude.extend(names(clients));
        self
    }

    /// Under [`SlowClient::Conflate`](nexios_engine::SlowClient::Conflate) a slow client gets only the newest message of this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// `false` leaves messages uncompressed.
    #[must_use]
    pub fn compress(mut self, on: bool) -> Self {
        self.compress = Some(on);
        self
    }

    /// Gives the room a history, as on the app's nodes: a broadcast is stored, in one order
    /// with theirs, and [`Published::stored`] says where. What goes to [some](Self::only) of its
    /// members is not remembered, and nothing is where this is no room.
    ///
    /// ```
    /// # use nexios::broker::{Memory, Publisher};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), nexios::broker::BrokerError> {
    /// # let publisher = Publisher::connect(&Memory::new()).await?;
    /// use nexios::broker::History;
    /// let lobby = publisher.room("lobby").with_history(History::default());
    /// let order = lobby.clone().idempotency_key("order 17");
    /// let first = order.broadcast("Order 17 has arrived").await?;
    /// let retried = order.broadcast("Order 17 has arrived").await?;
    /// assert!(first.stored.is_some() && first.stored == retried.stored && retried.duplicate);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// A room with history stores only the first message of a key within five minutes;
    /// [`Published::stored`] is then the position of the first.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.idempotency_key = Some(keys::of_application(&key.into()));
        self
    }

    /// Sends a message; it is queued when this returns, and with the broker when what it returns
    /// resolves. A program without a runtime calls [`wait`](Publishing::wait).
    pub fn broadcast(&self, message: impl Into<Message>) -> Publishing {
        let message = message.into();
        if self.process != std::process::id() {
            // Its thread is not here, and may have held a lock when this process was forked.
            let refused = LinkError::Refused(FORKED.to_owned());
            return Publishing(Box::pin(std::future::ready(Err(refused))));
        }
        match (&self.topic, self.history, &self.clients) {
            (Topic::Room(room), Some(history), None) => self.store(room, history, &message),
            _ => self.send(&message),
        }
    }

    fn store(&self, room: &Arc<str>, history: History, message: &Message) -> Publishing {
        let options = self.options(&self.exclude);
        let stored = self.node.append(room, history, message, &options, self.idempotency_key.clone());
        Publishing(Box::pin(async move {
            let appended = stored?.done().await.unwrap_or_else(|| Err(ended()))?;
            let Appended { position, duplicate, replicas } = appended;
            Ok(Published { stored: Some(position), replicated: replicas, duplicate })
        }))
    }

    fn send(&self, message: &Message) -> Publishing {
        let (receipt, done) = oneshot::channel();
        let (kind, clients) = match &self.clients {
            Some(clients) => (Kind::ToClients, clients),
            None => (Kind::Broadcast, &self.exclude),
        };
        self.node.publish(kind, &self.topic, message, &self.options(clients), Some(receipt));
        Publishing(Box::pin(async move { done.await.unwrap_or_else(|_| Err(ended())).map(|()| Published::default()) }))
    }

    fn options(&self, clients: &[String]) -> Options<'_> {
        Options { key: self.key.as_deref(), compress: self.compress, clients: clients.to_vec() }
    }

    /// Sends a value as JSON, in a text message.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn broadcast_json(&self, value: &impl Serialize) -> serde_json::Result<Publishing> {
        Ok(self.broadcast(serde_json::to_string(value)?))
    }
}

impl Publishing {
    /// Blocks until the broker has the message.
    ///
    /// # Errors
    /// [`BrokerError::Refused`], [`BrokerError::Unconfirmed`]
    pub fn wait(self) -> Result<Published, BrokerError> {
        self.block(None)
    }

    /// Blocks until the broker has the message, at most for this long. A program with a runtime takes the
    /// runtime's own timeout.
    ///
    /// ```
    /// # use nexios::broker::{Memory, Publisher};
    /// # fn main() -> Result<(), nexios::broker::BrokerError> {
    /// use std::time::Duration;
    /// let publisher = Publisher::connect_blocking(&Memory::new())?;
    /// publisher.room("lobby").broadcast("The doors are open").wait_for(Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BrokerError::Refused`]; [`BrokerError::Unconfirmed`], also if the time is over: the message may still be sent.
    pub fn wait_for(self, timeout: Duration) -> Result<Published, BrokerError> {
        self.block(Some(timeout))
    }

    fn block(mut self, timeout: Option<Duration>) -> Result<Published, BrokerError> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Poll::Ready(result) = Pin::new(&mut self).poll(&mut context) {
                return result;
            }
            match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(Duration::ZERO) => {
                    let seconds = timeout.unwrap_or_default().as_secs_f64();
                    return Err(BrokerError::Unconfirmed(format!("no answer within {seconds} s")));
                }
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }
}

impl Future for Publishing {
    type Output = Result<Published, BrokerError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.0.as_mut().poll(cx));
        Poll::Ready(result.map_err(|error| match error {
            LinkError::Refused(reason) => BrokerError::Refused(reason),
            error => BrokerError::Unconfirmed(error.to_string()),
        }))
    }
}

fn ended() -> LinkError {
    LinkError::Lost("the publisher has ended".to_owned())
}

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn names<I: IntoIterator<Item: Into<ClientRef>>>(clients: I) -> Vec<String> {
    clients.into_iter().map(|client| client.into().to_string()).collect()
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("waiting", &self.0.node.outgoing.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Publishing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publishing").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Audience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audience").field("topic", &self.topic).field("clients", &self.clients).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::memory::Memory;
    use crate::node::driver::Driver;

    #[test]
    fn a_process_that_was_forked_is_refused_and_waits_for_nobody() {
        let memory = Memory::new();
        let mut publisher = Publisher::connect_blocking(&memory).unwrap();
        let node = publisher.0.node.clone();
        // What the process that was forked has: all but the thread.
        Arc::get_mut(&mut publisher.0).unwrap().process ^= 1;
        let _locked = node.outgoing.hold();
        for audience in [publisher.room("x"), publisher.room("x").with_history(History::default())] {
            let refused = audience.broadcast("x").wait().unwrap_err();
            assert_eq!(refused, BrokerError::Refused(FORKED.to_owned()));
        }
        drop(publisher);
    }

    /// A publisher has no members who wait, and so its messages are given up by nobody.
    #[test]
    fn a_message_is_stored_and_sent_once_the_broker_is_back_however_long_that_takes() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let memory = Memory::new();
            let driver = Driver::new(&Broker::from(&memory), Box::new(memory.clone()), None, None);
            let node = driver.node.clone();
            let (ready, connected) = std::sync::mpsc::channel();
            tokio::task::spawn_local(async move { driver.work(&ready).await });
            while connected.try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            memory.stop();
            let room = Audience::of(&node, Topic::Room("x".into()));
            let (stored, sent) = (room.clone().with_history(History::default()).broadcast("x"), room.broadcast("x"));
            let both = tokio::task::spawn_local(async move { (stored.await, sent.await) });
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert!(!both.is_finished());
            memory.start();
            let (stored, sent) = both.await.unwrap();
            assert!(stored.unwrap().stored.is_some() && sent.is_ok());
        });
    }

    #[test]
    fn a_wait_ends_in_time_and_says_that_the_message_may_be_sent() {
        let memory = Memory::new();
        let publisher = Publisher::connect_blocking(&memory).unwrap();
        memory.stop();
        for audience in [publisher.room("x"), publisher.room("x").with_history(History::default())] {
            let unknown = audience.broadcast("x").wait_for(Duration::from_millis(20)).unwrap_err();
            assert_eq!(unknown, BrokerError::Unconfirmed("no answer within 0.02 s".to_owned()));
        }
        memory.start();
        publisher.room("x").broadcast("x").wait_for(Duration::from_secs(60)).unwrap();
    }
}
