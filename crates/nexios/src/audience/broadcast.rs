//! Broadcasts: one message to all clients of a router or a room, or to named ones.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use nexios_engine::{Audience, Connection, ConnectionId, Message, Shard};

use crate::audience::client_ids;
use crate::audience::switchboard::{Plan, Switchboard, Target};
use crate::broker::{ClientRef, History, Kind, LinkError, Options, Position, key_of_application, key_of_client};
use crate::connection::websocket::WebSocket;
use crate::live;

/// What a broadcast earned when it was sent: the counts are of this node.
///
/// ```
/// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
/// let outcome = ws.router().broadcast("Hello, everyone!").await;
/// println!("{} clients, {} too slow", outcome.count, outcome.dropped);
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// How many clients it goes to.
    pub count: usize,
    /// How many are left out because they are too slow: those of routers under
    /// [`SlowClient::DropNewest`](crate::SlowClient::DropNewest) that are above their marks at the call. What
    /// this turn's broadcasts do to the others is known at its end only: see
    /// [`on_drop`](crate::WsRouter::on_drop) and the metrics.
    pub dropped: usize,
    /// Whether it went on its way: without a broker to the clients here, with one also into the
    /// queue of what other nodes get. `false` where that is full, because the broker is away, and
    /// where the broker of a room with history says no.
    pub accepted: bool,
    /// The position in the room's history: the broker has stored it. `None` of a message that is not stored,
    /// and where the broker has not said so within five seconds; what was accepted is stored once it is back.
    pub stored: Option<Position>,
    /// How many other servers of the broker have it, as far as the broker says so.
    pub replicated: u32,
    /// Whether a message with the same [`idempotency_key`](Broadcasting::idempotency_key) was stored before: then this
    /// one is not, and `stored` is the position of the first.
    pub duplicate: bool,
    /// The ids that nobody has: only of `broadcast_to`, and without a broker.
    pub unknown: Vec<String>,
    /// The ids that are looked for on other nodes: only with a broker.
    pub forwarded: Vec<String>,
}

impl PartialEq<usize> for Outcome {
    fn eq(&self, count: &usize) -> bool {
        self.count == *count
    }
}

/// A broadcast that is sent when it is awaited.
///
/// ```
/// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
/// // to everybody else, and only the newest of its key to slow clients under `Conflate`
/// ws.router().broadcast("price: 17").exclude([&ws]).key("price").await;
/// # Ok(()) }
/// ```
#[must_use = "a broadcast is sent when it is awaited"]
pub struct Broadcasting {
    to: Option<(Arc<Switchboard>, Target)>,
    message: Message,
    exclude: Vec<ClientRef>,
    key: Option<Arc<str>>,
    idempotency_key: Option<Arc<str>>,
    compress: Option<bool>,
}

/// A message to named clients that is sent when it is awaited.
#[must_use = "a broadcast is sent when it is awaited"]
pub struct BroadcastingTo {
    to: Option<(Arc<Switchboard>, Target)>,
    message: Message,
    clients: Vec<ClientRef>,
    compress: Option<bool>,
}

impl Broadcasting {
    pub(crate) fn new(to: Option<(Arc<Switchboard>, Target)>, message: Message) -> Self {
        Broadcasting { to, message, exclude: Vec::new(), key: None, idempotency_key: None, compress: None }
    }

    /// Leaves these clients out.
    pub fn exclude<I: IntoIterator<Item: Into<ClientRef>>>(mut self, clients: I) -> Self {
        self.exclude.extend(clients.into_iter().map(Into::into));
        self
    }

    /// Under [`SlowClient::Conflate`](crate::SlowClient::Conflate) a slow client gets only the newest message of this key.
    pub fn key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// A room with history stores only the first message of a key within five minutes, so that
    /// it does no harm to send one again of which nobody knows whether it was stored.
    /// [`Outcome::stored`] is then the position of the first, and [`Outcome::duplicate`] is `true`. Keys of clients
    /// that speak `nexios.v1` are others, whatever their text.
    pub fn idempotency_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.idempotency_key = Some(key_of_application(&key.into()));
        self
    }

    /// The same for a key that a client has said: it is apart from those of the application and of other clients.
    pub(crate) fn key_of(mut self, ws: &WebSocket, key: &str) -> Self {
        self.idempotency_key = Some(key_of_client(ws.client_id().as_deref(), key));
        self
    }

    /// `false` leaves this message uncompressed.
    pub fn compress(mut self, on: bool) -> Self {
        self.compress = Some(on);
        self
    }

    async fn run(mut self) -> Outcome {
        let Some((switchboard, target)) = self.to.take() else { return Outcome::default() };
        let plan = switchboard.plan(&target);
        if let (Target::Room(room, _), Some(history)) = (&target, plan.history) {
            return self.store(&switchboard, &plan, room, history).await;
        }
        let named = plan.elsewhere.as_ref().map_or_else(Vec::new, |_| self.exclude.clone());
        let exclude = find_all(&switchboard, &plan.audience, self.exclude).await;
        let named = elsewhere(&named, |client| exclude.iter().any(|found| Some(found.id) == client.id()));
        let excluded = exclude.iter().filter(|found| found.member).count();
        let dropped = plan.left_out.saturating_sub(exclude.iter().filter(|found| found.left_out).count());
        let exclude: Vec<ConnectionId> = exclude.into_iter().map(|found| found.id).collect();
        let broadcast = live::forms(&target, self.message.clone(), |form| {
            (form.exclude, form.key, form.compress) = (exclude.clone(), self.key.clone(), self.compress);
        });
        let missed = switchboard.shards.publish(&broadcast).await;
        let options = Options { key: self.key.as_deref(), compress: self.compress, clients: named };
        let accepted = publish_elsewhere(&plan, Kind::Broadcast, &self.message, &options);
        switchboard.shards.room_to_broadcast().await;
        let dropped = dropped + switchboard.shards.share_of(plan.members, missed);
        Outcome { count: plan.members.saturating_sub(excluded + dropped), dropped, accepted, ..Outcome::default() }
    }
}

impl Broadcasting {
    /// Members of all nodes, of this one too, get it from the broker: in one order.
    async fn store(self, switchboard: &Arc<Switchboard>, plan: &Plan, room: &Arc<str>, history: History) -> Outcome {
        let Some(node) = switchboard.history_node() else { return Outcome::default() };
        let clients = self.exclude.iter().map(ToString::to_string).collect();
        let options = Options { key: self.key.as_deref(), compress: self.compress, clients };
        let Ok(stored) = node.append(room, history, &self.message, &options, self.idempotency_key) else {
            return Outcome::default();
        };
        let excluded =
            find_all(switchboard, &plan.audience, self.exclude).await.iter().filter(|found| found.member).count();
        let count = plan.members.saturating_sub(excluded);
        let stored = stored.done().await;
        // It has been sent to the shards: what this client is sent next comes behind it.
        switchboard.shards.take_mail();
        match stored {
            Some(Ok(appended)) => Outcome {
                count,
                accepted: true,
                stored: Some(appended.position),
                replicated: appended.replicas,
                duplicate: appended.duplicate,
                ..Outcome::default()
            },
            // It may be stored.
            Some(Err(LinkError::Lost(_))) | None => Outcome { count, accepted: true, ..Outcome::default() },
            Some(Err(_)) => Outcome::default(),
        }
    }
}

impl BroadcastingTo {
    pub(crate) fn new(to: Option<(Arc<Switchboard>, Target)>, clients: Vec<ClientRef>, message: Message) -> Self {
        BroadcastingTo { to, message, clients, compress: None }
    }

    /// `false` leaves this message uncompressed.
    pub fn compress(mut self, on: bool) -> Self {
        self.compress = Some(on);
        self
    }

    async fn run(self) -> Outcome {
        let clients: Arc<[ClientRef]> = self.clients.into();
        let mut known = vec![false; clients.len()];
        let mut outcome = Outcome::default();
        let mut is_forwarded = false;
        if let Some((switchboard, target)) = self.to {
            let message = self.message.clone();
            for delivered in deliver_all(&switchboard, &target, clients.clone(), message, self.compress).await {
                outcome.count += delivered.sent;
                outcome.dropped += delivered.dropped;
                known.iter_mut().zip(delivered.known).for_each(|(all, here)| *all |= here);
            }
            let mut found = known.iter();
            let clients = elsewhere(&clients, |_| found.next().is_some_and(|found| *found));
            outcome.accepted = true;
            let plan = switchboard.plan(&target);
            if plan.elsewhere.is_some() && !clients.is_empty() {
                let options = Options { key: None, compress: self.compress, clients };
                outcome.accepted = publish_elsewhere(&plan, Kind::ToClients, &self.message, &options);
                is_forwarded = outcome.accepted;
            }
            switchboard.shards.room_to_broadcast().await;
        }
        let missing = clients.iter().zip(known).filter(|(_, known)| !known).map(|(client, _)| client.to_string());
        match is_forwarded {
            true => outcome.forwarded = missing.collect(),
            false => outcome.unknown = missing.collect(),
        }
        outcome
    }
}

impl IntoFuture for Broadcasting {
    type Output = Outcome;
    type IntoFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl IntoFuture for BroadcastingTo {
    type Output = Outcome;
    type IntoFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Hands a message to the other nodes, if there are any.
fn publish_elsewhere(plan: &Plan, kind: Kind, message: &Message, options: &Options<'_>) -> bool {
    let elsewhere = plan.elsewhere.as_ref();
    elsewhere.is_none_or(|(node, topic)| node.publish(kind, topic, message, options, None))
}

/// What other nodes have to know of these clients: a client id may be there as well as here.
fn elsewhere(clients: &[ClientRef], mut is_here: impl FnMut(&ClientRef) -> bool) -> Vec<String> {
    let named = |client: &&ClientRef| !is_here(client) || client.client_id().is_some();
    clients.iter().filter(named).map(ToString::to_string).collect()
}

/// Sends a message to named clients of the audience.
pub(crate) async fn deliver_all(
    switchboard: &Switchboard,
    target: &Target,
    clients: Arc<[ClientRef]>,
    message: Message,
    compress: Option<bool>,
) -> Vec<Delivered> {
    let audience = target.audience();
    let framed = live::member_form(target, message.as_ref());
    let send = move |connection: &Connection| match framed.as_ref().filter(|_| live::is_live(connection)) {
        Some(frame) => connection.send_formed(frame.as_ref(), compress),
        None => connection.send(message.as_ref(), compress),
    };
    let deliver = move |shard: &Shard| deliver(shard, &audience, &clients, &send);
    switchboard.shards.ask(Arc::new(deliver)).await
}

/// A connection that a broadcast leaves out.
pub(crate) struct Found {
    pub(crate) id: ConnectionId,
    /// It is one of the audience,
    member: bool,
    /// and too slow for the message.
    left_out: bool,
}

/// The connections behind the references. Without references this is done at once, and so
/// it is where all are ids of connections on this thread.
pub(crate) async fn find_all(switchboard: &Switchboard, audience: &Audience, clients: Vec<ClientRef>) -> Vec<Found> {
    if clients.is_empty() {
        return Vec::new();
    }
    let local = switchboard.shards.ask_local(|shard| find(shard, audience, &clients));
    let all_here =
        clients.iter().all(|client| client.id().is_some() && local.iter().any(|found| Some(found.id) == client.id()));
    if all_here || !switchboard.shards.has_remote() {
        return local;
    }
    let audience = audience.clone();
    let answers = switchboard.shards.ask(Arc::new(move |shard: &Shard| find(shard, &audience, &clients))).await;
    answers.into_iter().flatten().collect()
}

fn find(shard: &Shard, audience: &Audience, clients: &[ClientRef]) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    for connection in clients.iter().flat_map(|client| connections(client, shard)) {
        let id = connection.id();
        if all.iter().all(|found| found.id != id) {
            let member = connection.is_in(audience);
            all.push(Found { id, member, left_out: member && connection.is_left_out() });
        }
    }
    all
}

/// What one shard made of a message to named clients.
pub(crate) struct Delivered {
    /// True for each reference that somebody here has.
    known: Vec<bool>,
    sent: usize,
    dropped: usize,
}

fn deliver(
    shard: &Shard,
    audience: &Audience,
    clients: &[ClientRef],
    send: &impl Fn(&Connection) -> Result<(), nexios_engine::SendError>,
) -> Delivered {
    let mut delivered = Delivered { known: Vec::with_capacity(clients.len()), sent: 0, dropped: 0 };
    let mut done = Vec::new();
    for client in clients {
        let mut known = false;
        for connection in connections(client, shard).into_iter().filter(|connection| connection.is_in(audience)) {
            known = true;
            if done.contains(&connection.id()) {
                continue;
            }
            done.push(connection.id());
            match send(&connection) {
                Ok(()) => delivered.sent += 1,
                Err(_) => delivered.dropped += 1,
            }
        }
        delivered.known.push(known);
    }
    delivered
}

/// Returns the connections of a shard that are meant.
fn connections(client: &ClientRef, shard: &Shard) -> Vec<Connection> {
    if let Some(connection) = client.id().and_then(|id| shard.connection(&id)) {
        return vec![connection];
    }
    client.client_id().map_or_else(Vec::new, |client_id| client_ids::connections(shard, client_id))
}

impl From<&WebSocket> for ClientRef {
    fn from(ws: &WebSocket) -> Self {
        ws.id().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broadcast_before_the_app_is_built_reaches_nobody() {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut future = Broadcasting::new(None, "x".into()).into_future();
        assert_eq!(future.as_mut().poll(&mut context), std::task::Poll::Ready(Outcome::default()));
        let mut future = BroadcastingTo::new(None, vec!["client1".into()], "x".into()).into_future();
        let std::task::Poll::Ready(outcome) = future.as_mut().poll(&mut context) else { panic!("waits") };
        assert_eq!(outcome.unknown, ["client1"]);
    }
}
