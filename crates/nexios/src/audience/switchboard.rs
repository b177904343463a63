//! The switchboard of an app: what its shards share, and the way from one shard to all of them.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use nexios_engine::{Audience, Group, SlowClient};
use nexios_protocol::escaped;
use parking_lot::Mutex;

use crate::audience::framing::Framing;
use crate::audience::rooms::{ROOM_IDS, RoomGroups, Rooms};
use crate::audience::shards::Shards;
use crate::broker::{
    Broker, BrokerError, Declarations, Declared, Entering, Gap, History, Listened, Memory, Node, NodeThread, Presence,
    PresenceEvents, PresenceKind, Topic,
};
use crate::connection::proxy::TrustedProxies;
use crate::live;
use crate::routing::event::{GapListener, PresenceListeners};

/// The groups, rooms and shards of an app; one for each app, made by `App::build`.
pub(crate) struct Switchboard {
    /// By router id.
    routers: Vec<RouterGroup>,
    rooms: Rooms,
    /// Number of `nexios.v1` connections.
    framed: AtomicUsize,
    pub(crate) shards: Arc<Shards>,
    state: AppState,
    pub(crate) proxies: TrustedProxies,
    /// The way to other nodes, if the app has a broker.
    node: OnceLock<Arc<Node>>,
    /// The rooms with history.
    declarations: Declarations,
    /// Rooms with history declared before the app was built. They are never forgotten.
    declared_first: Mutex<Vec<Arc<Declared>>>,
    /// Stores their messages where there is no broker.
    own_node: Mutex<OwnNode>,
    presence: Arc<Presence>,
}

impl Default for Switchboard {
    fn default() -> Self {
        Switchboard::new(Vec::new(), AppState::default(), TrustedProxies::default(), PresenceListeners::default())
    }
}

/// A node whose broker is in this process; started with the first room with history.
#[derive(Default)]
enum OwnNode {
    #[default]
    Idle,
    Running(NodeThread),
    Ended,
}

/// The app's own values, by type.
#[derive(Default)]
pub(crate) struct AppState(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

/// A router's connections, and what happens to slow ones.
pub(crate) struct RouterGroup {
    pub(crate) group: Group,
    pub(crate) slow_client: SlowClient,
    /// The ids of this router and of those below it.
    pub(crate) ids: Range<u32>,
    /// Its topics on other nodes; the first is used for sending.
    pub(crate) topics: Vec<Topic>,
    pub(crate) gap: Vec<GapListener>,
}

/// A router's position among the others: the ids of itself and of those below it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) switchboard: Arc<Switchboard>,
    pub(crate) ids: Range<u32>,
}

/// The target of a broadcast.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A router and those below it.
    Routers(Range<u32>),
    /// A room; without members here it has no group.
    Room(Arc<str>, Option<RoomGroups>),
}

/// Everything that a broadcast needs to know of its target, at one moment.
pub(crate) struct Plan {
    pub(crate) audience: Audience,
    /// How many connections of this node it reaches,
    pub(crate) members: usize,
    /// and how many of them it would leave out now.
    pub(crate) left_out: usize,
    /// The limits of the history that stores it, if the target is a room with history.
    pub(crate) history: Option<History>,
    /// The way to other nodes, if the app has a broker, and the topic that they know the target by.
    pub(crate) elsewhere: Option<(Arc<Node>, Topic)>,
}

/// Keeps a room's group for a connection that will enter it.
pub(crate) struct Expected {
    switchboard: Arc<Switchboard>,
    room: Arc<str>,
    framed: bool,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.switchboard.rooms.unexpect(&self.room, self.framed);
        self.switchboard.left_room(&self.room);
    }
}

impl Target {
    pub(crate) fn audience(&self) -> Audience {
        match self {
            Target::Routers(ids) => Audience::Range(ids.clone()),
            Target::Room(_, Some(groups)) => groups.audience(),
            Target::Room(_, None) => Audience::Range(0..0),
        }
    }
}

impl AppState {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Arc::new(value));
    }
}

impl Switchboard {
    pub(crate) fn new(
        routers: Vec<RouterGroup>,
        state: AppState,
        proxies: TrustedProxies,
        listeners: PresenceListeners,
    ) -> Self {
        let shards = Arc::<Shards>::default();
        Switchboard {
            routers,
            rooms: Rooms::default(),
            framed: AtomicUsize::new(0),
            presence: presence(listeners, shards.clone()),
            shards,
            state,
            proxies,
            node: OnceLock::new(),
            declarations: Declarations::default(),
            declared_first: Mutex::default(),
            own_node: Mutex::default(),
        }
    }

    pub(crate) fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.state.0.get(&TypeId::of::<T>())?.clone().downcast().ok()
    }

    /// Returns the node, if the app has a broker.
    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.node.get()
    }

    /// Returns the app's presence.
    pub(crate) fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }

    /// Sends broadcasts to other nodes from now on, too. Only the first call has an effect.
    pub(crate) fn connect(&self, node: Arc<Node>) {
        self.node.get_or_init(|| node);
    }

    /// Declares a room with history.
    pub(crate) fn declare(&self, room: &Arc<str>, declared: &Arc<Declared>) -> Arc<Declared> {
        self.declarations.declare(room, declared, |name| self.room(name).is_some())
    }

    /// Declares a room with history of an app that was not built yet.
    pub(crate) fn declare_first(&self, room: &Arc<str>, declared: Arc<Declared>) {
        let shared = self.declare(room, &declared);
        self.declared_first.lock().push(shared);
    }

    /// Returns the limits of a room's history, if it has one.
    pub(crate) fn history(&self, room: &str) -> Option<History> {
        self.declarations.find(room)
    }

    /// Returns the node that stores history: the broker's, else one in this process.
    pub(crate) fn history_node(self: &Arc<Self>) -> Option<Arc<Node>> {
        if let Some(node) = self.node() {
            return Some(node.clone());
        }
        let mut own = self.own_node.lock();
        if matches!(*own, OwnNode::Idle) {
            match NodeThread::start(&Broker::from(&Memory::new()), Some(self.clients()), None) {
                Ok(thread) => *own = OwnNode::Running(thread),
                Err(error) => tracing::error!(error = %escaped(&error), "rooms cannot have a history"),
            }
        }
        match &*own {
            OwnNode::Running(thread) => Some(thread.node.clone()),
            OwnNode::Idle | OwnNode::Ended => None,
        }
    }

    /// Returns the node that was started in this process for rooms with history, if one was.
    pub(crate) fn own_node(&self) -> Option<Arc<Node>> {
        match &*self.own_node.lock() {
            OwnNode::Running(thread) => Some(thread.node.clone()),
            OwnNode::Idle | OwnNode::Ended => None,
        }
    }

    /// Ends the node of this process: the app is not served any more.
    pub(crate) fn end(&self) {
        let ended = std::mem::replace(&mut *self.own_node.lock(), OwnNode::Ended);
        drop(ended);
    }

    /// Returns the groups of a room that have members here, or soon will, and the framing of each.
    pub(crate) fn groups(&self, room: &str) -> Vec<(Group, Framing)> {
        self.rooms.framings(room)
    }

    /// Returns an error if two routers have one name: other nodes could not tell them apart.
    pub(crate) fn check_topics(&self) -> Result<(), BrokerError> {
        let mut seen = HashSet::new();
        let mut topics = self.routers.iter().flat_map(|router| &router.topics);
        match topics.find(|topic| !seen.insert(*topic)) {
            Some(topic) => Err(BrokerError::SameName(topic.name().to_owned())),
            None => Ok(()),
        }
    }

    /// Returns the topic of a target on other nodes.
    fn topic(&self, target: &Target) -> Option<Topic> {
        match target {
            Target::Routers(ids) => self.routers.get(ids.start as usize)?.topics.first().cloned(),
            Target::Room(name, _) => Some(Topic::Room(name.clone())),
        }
    }

    /// Returns the target of a topic; `None` where it has no clients here.
    pub(crate) fn find(&self, topic: &Topic) -> Option<Target> {
        let target = match topic {
            Topic::Room(name) => Target::Room(name.clone(), Some(self.room(name)?)),
            _ => Target::Routers(self.routers.iter().find(|router| router.topics.contains(topic))?.ids.clone()),
        };
        (self.count(&target).0 > 0).then_some(target)
    }

    /// Subscribes to the topics of a router, which a client has connected to, and of those around it.
    pub(crate) fn enter_router(&self, id: u32) -> Option<Entering> {
        let around = self.routers.iter().take(id as usize + 1).filter(|router| router.ids.contains(&id));
        self.node()?.enter(around.flat_map(|router| &router.topics))
    }

    /// Reports a gap to `nexios.v1` clients, and runs the listeners of all routers whose clients may have
    /// missed something.
    pub(crate) fn report_gap(&self, gap: &Gap) {
        live::report_gap(self, gap);
        let concerned = match &gap.topic {
            Some(topic @ Topic::Router(_)) => self.routers.iter().find(|router| router.topics.contains(topic)),
            _ => self.routers.first(),
        };
        let Some(ids) = concerned.map(|router| router.ids.clone()) else { return };
        let overlaps = |router: &&RouterGroup| router.ids.start < ids.end && ids.start < router.ids.end;
        let listeners: Vec<_> = self.routers.iter().filter(overlaps).flat_map(|router| router.gap.clone()).collect();
        if listeners.is_empty() {
            return;
        }
        let gap = gap.clone();
        if !self.shards.run_on_first(move |shard| shard.spawn(run_gap_listeners(listeners, gap))) {
            tracing::warn!("a shard's mailbox is full: gap listeners were not called");
        }
    }

    fn routers(&self, ids: &Range<u32>) -> &[RouterGroup] {
        self.routers.get(ids.start as usize..ids.end as usize).unwrap_or(&[])
    }

    /// Returns how many connections a broadcast would reach, and how many of them it would leave out now.
    pub(crate) fn count(&self, target: &Target) -> (usize, usize) {
        match target {
            Target::Routers(ids) => self.routers(ids).iter().fold((0, 0), |(members, dropped), router| {
                let drops = router.slow_client == SlowClient::DropNewest;
                (members + router.group.members(), dropped + if drops { router.group.over_mark() } else { 0 })
            }),
            Target::Room(_, groups) => (groups.as_ref().map_or(0, RoomGroups::members), 0),
        }
    }

    /// Returns the plan of a broadcast to a target.
    pub(crate) fn plan(&self, target: &Target) -> Plan {
        let (members, left_out) = self.count(target);
        let history = match target {
            Target::Room(room, _) => self.history(room),
            Target::Routers(_) => None,
        };
        let elsewhere = self.node().and_then(|node| Some((node.clone(), self.topic(target)?)));
        Plan { audience: target.audience(), members, left_out, history, elsewhere }
    }

    /// Returns the target of all connections.
    pub(crate) fn everybody(&self) -> Target {
        Target::Routers(0..u32::try_from(self.routers.len()).unwrap_or(ROOM_IDS))
    }

    /// Returns the number of connections.
    pub(crate) fn connections(&self) -> usize {
        self.count(&self.everybody()).0
    }

    /// Returns the number of `nexios.v1` connections.
    pub(crate) fn framed(&self) -> usize {
        self.framed.load(Ordering::Relaxed)
    }

    pub(crate) fn framed_began(&self) {
        self.framed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn framed_ended(&self) {
        self.framed.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the groups of a room; a room without members has none.
    pub(crate) fn room(&self, name: &str) -> Option<RoomGroups> {
        self.rooms.get(name)
    }

    /// Makes the groups of a room for a connection that will enter it.
    pub(crate) fn expect(self: &Arc<Self>, room: &Arc<str>, framed: bool) -> Expected {
        self.rooms.expect(room, framed);
        Expected { switchboard: self.clone(), room: room.clone(), framed }
    }

    /// Lets `join` enter one of the room's groups; the room exists from the first member on.
    pub(crate) fn join_room(
        &self,
        name: &str,
        framed: bool,
        join: impl FnOnce(&Group) -> bool,
    ) -> Option<(Arc<str>, Group)> {
        self.rooms.join(name, framed, join)
    }

    /// Forgets a room whose last member has left.
    pub(crate) fn left_room(&self, name: &str) {
        // Not under its lock: the broker's thread asks for rooms while it looks at its subscriptions.
        let Some(name) = self.rooms.forget_if_over(name) else { return };
        if let Some(node) = self.node().cloned().or_else(|| self.own_node()) {
            node.left_room(&name);
        }
    }
}

/// Returns the presence of an app, whose listeners run on the first shard.
fn presence(listeners: PresenceListeners, shards: Arc<Shards>) -> Arc<Presence> {
    let listened = Listened { join: !listeners.join.is_empty(), leave: !listeners.leave.is_empty() };
    let listeners = Arc::new(listeners);
    Presence::new(listened, move |events| {
        let listeners = listeners.clone();
        if !shards.run_on_first(move |shard| shard.spawn(run_presence_listeners(listeners, events))) {
            tracing::warn!("a shard's mailbox is full: presence listeners are called later");
        }
    })
}

async fn run_presence_listeners(listeners: Arc<PresenceListeners>, events: PresenceEvents) {
    for event in events {
        for listener in if event.kind == PresenceKind::Join { &listeners.join } else { &listeners.leave } {
            if let Err(error) = listener(event.clone()).await {
                tracing::error!(error = %escaped(&error), "a presence listener failed");
            }
        }
    }
}

async fn run_gap_listeners(listeners: Vec<GapListener>, gap: Gap) {
    for listener in listeners {
        if let Err(error) = listener(gap.clone()).await {
            tracing::error!(error = %escaped(&error), "a gap listener failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switchboard() -> Switchboard {
        let group = |id| RouterGroup {
            group: Group::new(id),
            slow_client: SlowClient::default(),
            ids: id..id + 1,
            topics: Vec::new(),
            gap: Vec::new(),
        };
        Switchboard::new(
            vec![group(0), group(1)],
            AppState::default(),
            TrustedProxies::default(),
            PresenceListeners::default(),
        )
    }

    #[test]
    fn an_audience_before_the_server_runs_is_empty() {
        let switchboard = switchboard();
        assert_eq!(switchboard.count(&Target::Routers(0..2)), (0, 0));
        assert_eq!(switchboard.count(&Target::Routers(5..9)), (0, 0));
        assert_eq!(switchboard.count(&Target::Room("x".into(), Some(RoomGroups::new(7)))), (0, 0));
        assert_eq!(switchboard.count(&Target::Room("x".into(), None)), (0, 0));
        let plan = switchboard.plan(&Target::Room("x".into(), None));
        assert_eq!((plan.audience, plan.members, plan.left_out), (Audience::Range(0..0), 0, 0));
        assert!(plan.history.is_none() && plan.elsewhere.is_none());
        assert!(!switchboard.shards.has_remote());
    }
}
