//! What a node knows of who is where: its own part, and what other nodes say of theirs.
//!
//! It does no I/O and owns no clock. Calls change it; [`Replica::poll`] says what is to be done,
//! [`Replica::due`] when to poll again, and [`Replica::events`] has what listeners are told.
//! `repair` and what is beside it have what nodes say to each other.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use nexios_engine::ConnectionId;
use nexios_protocol::escaped;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::room::{Mine, Room, hash};
use super::schedule::Schedule;
use super::users::{Change, Changed, User, cost};
use super::wire::{Announcement, Told};
use super::{DATA_BYTES_MAX, PresenceData, PresenceError, PresenceEvent, PresenceKind, Present, USER_BYTES_MAX};
use crate::envelope::NodeId;
use crate::topic::Topic;

/// How long a room is looked after when nobody here needs it.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How many such rooms there are at most.
const IDLE_ROOMS_MAX: usize = 10_000;

pub(super) struct Replica {
    pub(super) node: NodeId,
    pub(super) settings: Settings,
    pub(super) random: fastrand::Rng,
    pub(super) link: Link,
    /// Since when this node takes part in what others say.
    pub(super) begun: Option<Instant>,
    pub(super) rooms: HashMap<Arc<str>, Room>,
    pub(super) by_hash: BTreeMap<u128, Arc<str>>,
    pub(super) peers: HashMap<NodeId, Duration>,
    pub(super) ended: HashSet<NodeId>,
    /// Counts the changes that this node has made.
    pub(super) counter: u64,
    pub(super) schedule: Schedule<Job>,
    pub(super) commands: Vec<Command>,
    pub(super) dirty: BTreeSet<Arc<str>>,
    /// Whom to ask for digests; all if `greet_all`.
    pub(super) greet: BTreeSet<NodeId>,
    pub(super) greet_all: bool,
    pub(super) digested: Option<Instant>,
    /// The versions that were said to be there and are not known here.
    pub(super) wanted: HashMap<(Arc<str>, NodeId), u64>,
    bytes: usize,
    is_full: bool,
    idle: usize,
    events: Vec<(Change, PresenceEvent)>,
    /// An instant and the milliseconds since 1970 then: stamps of all nodes are compared.
    clock: (Instant, u64),
    stamp: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) ttl: Duration,
    pub(crate) bytes_max: usize,
}

/// Whether there are other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Link {
    /// There is no broker.
    None,
    /// It is away.
    Down,
    Up,
}

/// What is to be done at its time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Job {
    Flush,
    Alive,
    Digest,
    Hello,
    Check(Arc<str>, NodeId),
    Transfer(Arc<str>),
    Ready(Arc<str>),
    Idle(Arc<str>),
    Expire(NodeId),
    /// Messages of a node that has ended may still be under way until then.
    Forget(NodeId),
}

/// What the caller has to do, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Command {
    /// Subscribe; [`Replica::entered`] once that is live.
    Enter(Topic),
    Leave(Topic),
    Publish(Topic, Announcement),
}

impl Replica {
    pub(super) fn new(node: NodeId, settings: Settings, random: fastrand::Rng, clock: (Instant, u64)) -> Self {
        Replica {
            node,
            settings,
            random,
            link: Link::None,
            begun: None,
            rooms: HashMap::new(),
            by_hash: BTreeMap::new(),
            peers: HashMap::new(),
            ended: HashSet::new(),
            counter: 0,
            schedule: Schedule::new(),
            commands: Vec::new(),
            dirty: BTreeSet::new(),
            greet: BTreeSet::new(),
            greet_all: false,
            digested: None,
            wanted: HashMap::new(),
            bytes: 0,
            is_full: false,
            idle: 0,
            events: Vec::new(),
            clock,
            stamp: 0,
        }
    }

    // --- this node's clients

    /// A connection is in a room as a user; where it was already it has new data.
    pub(super) fn track(
        &mut self,
        name: &str,
        connection: ConnectionId,
        user: &str,
        data: &Arc<str>,
        now: Instant,
    ) -> Result<(), PresenceError> {
        if data.len() > DATA_BYTES_MAX {
            return Err(PresenceError::DataTooLong(data.len()));
        }
        if user.len() > USER_BYTES_MAX {
            return Err(PresenceError::UserTooLong(user.len()));
        }
        if self.bytes + cost(user, data) > self.settings.bytes_max {
            return Err(PresenceError::Full(self.settings.bytes_max));
        }
        let stamp = self.next_stamp(now);
        let name = self.enter(name, now);
        self.on_room(&name, |room| {
            let before = room.mine.insert(connection, Mine { user: user.into(), stamp });
            let user: Arc<str> = user.into();
            let mut changes = match before {
                Some(before) if before.user == user => {
                    vec![(room.users.put(&user, stamp, data, Some(before.stamp)), user.clone())]
                }
                Some(Mine { user: other, stamp: old }) => {
                    vec![
                        (room.users.take(&other, old), other),
                        (room.users.put(&user, stamp, data, None), user.clone()),
                    ]
                }
                None => vec![(room.users.put(&user, stamp, data, None), user.clone())],
            };
            // The user has come back: it stands for the connections that are gone.
            for gone in room.departed.remove(&user).unwrap_or_default() {
                let mine = room.mine.remove(&gone);
                changes.extend(mine.map(|mine| (room.users.take(&user, mine.stamp), user.clone())));
            }
            changes
        });
        self.changed(&name, now);
        Ok(())
    }

    /// A connection is not there any more; whether it was.
    pub(super) fn untrack(&mut self, name: &str, connection: ConnectionId, now: Instant) -> bool {
        let Some((name, room)) = self.rooms.get_key_value(name) else { return false };
        if !room.mine.contains_key(&connection) {
            return false;
        }
        let name = name.clone();
        self.on_room(&name, |room| match room.mine.remove(&connection) {
            Some(Mine { user, stamp }) => {
                room.forget_departed(&user, connection);
                vec![(room.users.take(&user, stamp), user)]
            }
            None => Vec::new(),
        });
        self.changed(&name, now);
        self.rest(&name, now);
        true
    }

    /// A connection is gone, and stays until it is untracked, or its user is tracked again here.
    pub(super) fn depart(&mut self, name: &str, connection: ConnectionId) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        if let Some(mine) = room.mine.get(&connection) {
            room.departed.entry(mine.user.clone()).or_default().push(connection);
        }
    }

    /// Something was changed here; tells the others, or makes sure that they notice later.
    fn changed(&mut self, name: &Arc<str>, now: Instant) {
        if self.link == Link::Up {
            self.dirty.insert(name.clone());
            self.schedule.set_by(Job::Flush, now);
        } else {
            self.skip(name);
        }
    }

    /// A change that nobody is told of: who knows the version before it has missed something.
    pub(super) fn skip(&mut self, name: &Arc<str>) {
        self.counter += 1;
        let counter = self.counter;
        if let Some(room) = self.rooms.get_mut(name) {
            room.dirty.clear();
            (room.version, room.base) = (counter, if room.is_mine() { counter } else { 0 });
        }
    }

    fn next_stamp(&mut self, now: Instant) -> u64 {
        let (base, ms) = self.clock;
        let ms = ms + u64::try_from(now.saturating_duration_since(base).as_millis()).unwrap_or(0);
        self.stamp = ms.max(self.stamp + 1);
        self.stamp
    }

    // --- rooms

    /// All who are in a room.
    pub(super) fn list(&self, name: &str) -> Vec<Present> {
        let Some(room) = self.rooms.get(name) else { return Vec::new() };
        let present = |(user, entry): (&Arc<str>, &User)| {
            let (_, data) = entry.newest()?;
            Some(Present { user: user.clone(), data: PresenceData(data), connections: entry.connections() })
        };
        room.users.iter().filter_map(present).collect()
    }

    /// How many users are in a room.
    pub(super) fn count(&self, name: &str) -> usize {
        self.rooms.get(name).map_or(0, |room| room.users.len())
    }

    /// From now on what happens in a room is known here; something to wait for where it is
    /// not known yet.
    pub(super) fn look(&mut self, name: &str, now: Instant) -> Option<oneshot::Receiver<()>> {
        if self.link == Link::None {
            return None;
        }
        let name = self.enter(name, now);
        self.rest(&name, now);
        let room = self.rooms.get_mut(&name).filter(|room| !room.is_ready)?;
        let (sender, receiver) = oneshot::channel();
        room.waiting.push(sender);
        Some(receiver)
    }

    /// Somebody here wants to know of a room until [`Self::unwatch`].
    pub(super) fn watch(&mut self, name: &str, now: Instant) {
        let name = self.enter(name, now);
        self.on_room(&name, |room| {
            room.watchers += 1;
            Vec::new()
        });
    }

    pub(super) fn unwatch(&mut self, name: &str, now: Instant) {
        let Some((name, _)) = self.rooms.get_key_value(name) else { return };
        let name = name.clone();
        self.on_room(&name, |room| {
            room.watchers = room.watchers.saturating_sub(1);
            Vec::new()
        });
        self.rest(&name, now);
    }

    /// Whether a subscription is still needed.
    pub(super) fn needs(&self, topic: &Topic) -> bool {
        match topic {
            Topic::Presence(name) => self.rooms.contains_key(name),
            Topic::Nodes => self.begun.is_some(),
            _ => false,
        }
    }

    /// A room that is needed.
    fn enter(&mut self, name: &str, now: Instant) -> Arc<str> {
        if let Some((name, _)) = self.rooms.get_key_value(name) {
            let name = name.clone();
            if let Some(room) = self.rooms.get_mut(&name) {
                room.used = now;
            }
            return name;
        }
        let name: Arc<str> = name.into();
        let hash = hash(&name);
        self.rooms.insert(name.clone(), Room::new(hash, now, self.link != Link::Up));
        self.by_hash.insert(hash, name.clone());
        if self.link != Link::None {
            self.begin(now);
            self.commands.push(Command::Enter(Topic::Presence(name.clone())));
        }
        name
    }

    /// Where nobody here needs a room any more it is kept for a while.
    fn rest(&mut self, name: &Arc<str>, now: Instant) {
        let Some(room) = self.rooms.get_mut(name).filter(|room| room.is_idle()) else { return };
        room.used = now;
        if self.link == Link::None {
            return self.drop_room(name);
        }
        if self.schedule.contains(&Job::Idle(name.clone())) {
            return;
        }
        self.idle += 1;
        self.schedule.set(Job::Idle(name.clone()), now + IDLE_MAX);
        if self.idle > IDLE_ROOMS_MAX
            && let Some(Job::Idle(oldest)) = self.schedule.first(|job| matches!(job, Job::Idle(_)))
        {
            self.schedule.remove(&Job::Idle(oldest.clone()));
            self.end_idle(&oldest, now);
        }
    }

    /// Its time has come, unless somebody has needed it since.
    pub(super) fn end_idle(&mut self, name: &Arc<str>, now: Instant) {
        self.idle = self.idle.saturating_sub(1);
        let Some(room) = self.rooms.get(name).filter(|room| room.is_idle()) else { return };
        let end = room.used + IDLE_MAX;
        // Others have to hear of the last change first.
        if !room.dirty.is_empty() || (end > now && self.idle < IDLE_ROOMS_MAX) {
            self.idle += 1;
            return self.schedule.set(Job::Idle(name.clone()), end.max(now + Duration::from_millis(10)));
        }
        self.drop_room(name);
        self.commands.push(Command::Leave(Topic::Presence(name.clone())));
    }

    fn drop_room(&mut self, name: &Arc<str>) {
        let Some(room) = self.rooms.remove(name) else { return };
        self.bytes = self.bytes.saturating_sub(room.users.bytes());
        self.by_hash.remove(&room.hash);
        self.dirty.remove(name);
        for node in self.peers.keys() {
            if self.wanted.remove(&(name.clone(), *node)).is_some() {
                self.schedule.remove(&Job::Check(name.clone(), *node));
            }
        }
        for job in [Job::Transfer(name.clone()), Job::Ready(name.clone())] {
            self.schedule.remove(&job);
        }
    }

    /// Changes a room by something that happened to a client here.
    fn on_room(&mut self, name: &Arc<str>, act: impl FnOnce(&mut Room) -> Vec<(Option<Changed>, Arc<str>)>) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let before = room.users.bytes();
        let changes = act(room);
        self.bytes = (self.bytes + room.users.bytes()).saturating_sub(before);
        for (changed, user) in changes {
            room.dirty.insert(user.clone());
            push_event(&mut self.events, name, &user, changed, true);
        }
    }

    // --- what other nodes say, as far as it changes a room

    /// Takes what a node says of some users. What is too much is left out.
    pub(super) fn take_in(&mut self, name: &Arc<str>, node: NodeId, users: &[Told]) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        for told in users {
            let is_too_long = told.user.len() > USER_BYTES_MAX || told.data.len() > DATA_BYTES_MAX;
            let is_too_much = self.bytes + cost(&told.user, &told.data) > self.settings.bytes_max;
            if told.connections > 0 && (is_too_long || is_too_much) {
                if !std::mem::replace(&mut self.is_full, true) {
                    tracing::warn!(room = %escaped(name), "presence has no room for all users of other nodes: some are left out");
                }
                continue;
            }
            let before = room.users.bytes();
            let changed = room.users.tell(node, told);
            self.bytes = (self.bytes + room.users.bytes()).saturating_sub(before);
            push_event(&mut self.events, name, &told.user, changed, false);
        }
    }

    /// A node has these users in a part of a room, and no others.
    pub(super) fn replace(
        &mut self,
        name: &Arc<str>,
        node: NodeId,
        (after, upto): (Option<&str>, Option<&str>),
        users: &[Told],
    ) {
        let Some(room) = self.rooms.get(name) else { return };
        let known: HashSet<&Arc<str>> = users.iter().map(|told| &told.user).collect();
        let gone = room.users.told_by(node, after, upto).into_iter().filter(|user| !known.contains(user));
        let gone: Vec<_> = gone.map(|user| Told { user, connections: 0, stamp: 0, data: "".into() }).collect();
        self.take_in(name, node, &gone);
        self.take_in(name, node, users);
    }

    /// Nothing is known of a node's part of a room, and nothing is there.
    pub(super) fn forget(&mut self, name: &Arc<str>, node: NodeId) {
        let known = self.rooms.get_mut(name).and_then(|room| room.records.remove(&node));
        if known.is_some() {
            self.replace(name, node, (None, None), &[]);
        }
        self.settled(name, node);
    }

    /// Nothing more is wanted of a node's part of a room.
    pub(super) fn settled(&mut self, name: &Arc<str>, node: NodeId) {
        if self.wanted.remove(&(name.clone(), node)).is_some() {
            self.schedule.remove(&Job::Check(name.clone(), node));
        }
    }

    /// A room has heard whoever has something to say, or waits no longer.
    pub(super) fn ready(&mut self, name: &Arc<str>) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.is_ready = true;
            // Nobody waits any more.
            room.waiting.drain(..).for_each(|waiting| _ = waiting.send(()));
        }
        self.schedule.remove(&Job::Ready(name.clone()));
    }

    // --- what is to be done

    /// What has happened since the last call, in order.
    pub(super) fn events(&mut self) -> Vec<(Change, PresenceEvent)> {
        std::mem::take(&mut self.events)
    }

    /// When [`Self::poll`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.schedule.next()
    }

    pub(super) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }
}

fn push_event(
    events: &mut Vec<(Change, PresenceEvent)>,
    room: &Arc<str>,
    user: &Arc<str>,
    changed: Option<Changed>,
    here: bool,
) {
    if let Some((change, data)) = changed {
        let kind = if change == Change::Leave { PresenceKind::Leave } else { PresenceKind::Join };
        let event = PresenceEvent { room: room.clone(), user: user.clone(), data: PresenceData(data), here, kind };
        events.push((change, event));
    }
}
