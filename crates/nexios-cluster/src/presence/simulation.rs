//! Several nodes, a broker that loses, delays and parts them, and virtual time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use nexios_engine::ConnectionId;
use tokio::time::Instant;

use super::replica::{Command, Replica, Settings};
use super::users::Change;
use super::wire::Announcement;
use super::{BYTES_MAX, PresenceEvent};
use crate::envelope::NodeId;
use crate::topic::Topic;

pub(super) const TTL: Duration = Duration::from_secs(30);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) random: fastrand::Rng,
    pub(super) nodes: Vec<Node>,
    pub(super) faults: Faults,
    /// What is under way, by when it arrives.
    mail: BTreeMap<(Instant, u64), Mail>,
    /// A sender's messages on one topic stay in order.
    last: HashMap<(NodeId, NodeId, Topic), Instant>,
    /// Users by room, with their connections by the time at which they were tracked.
    truth: BTreeMap<(Arc<str>, Arc<str>), BTreeMap<Instant, Tracked>>,
    /// Connections that are gone and stay for a while.
    departed: Vec<(NodeId, Arc<str>, ConnectionId)>,
    count: u64,
    pub(super) sent: Vec<(NodeId, Topic, Announcement)>,
}

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) replica: Replica,
    topics: BTreeSet<Topic>,
    pub(super) is_up: bool,
    pub(super) events: Vec<(Change, PresenceEvent)>,
}

#[derive(Clone)]
struct Tracked {
    node: NodeId,
    connection: ConnectionId,
    data: Arc<str>,
}

enum Mail {
    Announcement { from: NodeId, to: NodeId, topic: Topic, bytes: Vec<u8> },
    Entered { node: NodeId, topic: Topic },
}

/// What happens to messages.
#[derive(Clone, Default)]
pub(super) struct Faults {
    pub(super) loss: f64,
    pub(super) delay_max: Duration,
    /// Nodes on different sides do not hear each other.
    pub(super) sides: HashMap<NodeId, u8>,
}

impl World {
    pub(super) fn new(seed: u64, nodes: usize) -> Self {
        let now = Instant::now();
        let mut world = World {
            now,
            start: now,
            random: fastrand::Rng::with_seed(seed),
            nodes: Vec::new(),
            faults: Faults::default(),
            mail: BTreeMap::new(),
            last: HashMap::new(),
            truth: BTreeMap::new(),
            departed: Vec::new(),
            count: 0,
            sent: Vec::new(),
        };
        (0..nodes).for_each(|_| world.start_node());
        world
    }

    pub(super) fn start_node(&mut self) {
        let mut id = [0; 16];
        self.random.fill(&mut id);
        let id = NodeId(id);
        let random = self.random.fork();
        let settings = Settings { ttl: TTL, bytes_max: BYTES_MAX };
        let mut replica = Replica::new(id, settings, random, (self.start, 1));
        replica.attach(id, self.now);
        replica.connected(self.now);
        self.nodes.push(Node { id, replica, topics: BTreeSet::new(), is_up: true, events: Vec::new() });
    }

    /// Ends a node: with a word, or as a machine fails.
    pub(super) fn end_node(&mut self, at: usize, with_a_word: bool) {
        let node = self.nodes.remove(at);
        if let Some(announcement) = node.replica.farewell().filter(|_| with_a_word && node.is_up) {
            self.publish(node.id, &Topic::Nodes, &announcement);
        }
        for connections in self.truth.values_mut() {
            connections.retain(|_, tracked| tracked.node != node.id);
        }
        self.truth.retain(|_, connections| !connections.is_empty());
    }

    pub(super) fn lose_broker(&mut self, at: usize) {
        if std::mem::take(&mut self.nodes[at].is_up) {
            self.nodes[at].replica.disconnected();
        }
    }

    pub(super) fn find_broker(&mut self, at: usize) {
        if !std::mem::replace(&mut self.nodes[at].is_up, true) {
            self.nodes[at].replica.connected(self.now);
        }
    }

    // --- clients

    pub(super) fn track(&mut self, at: usize, room: &str, user: &str, data: &str) -> ConnectionId {
        let connection: ConnectionId = format!("{:032x}", self.random.u128(..)).parse().unwrap();
        self.retrack(at, room, connection, user, data);
        connection
    }

    fn retrack(&mut self, at: usize, room: &str, connection: ConnectionId, user: &str, data: &str) {
        // One thing at a time, so that there is a newest.
        self.advance(ms(1));
        let (node, data) = (&mut self.nodes[at], Arc::<str>::from(data));
        node.replica.track(room, connection, user, &data, self.now).unwrap();
        let id = node.id;
        let (key, tracked) = ((room.into(), user.into()), Tracked { node: id, connection, data });
        self.forget(room, connection);
        self.come_back(id, &key);
        self.truth.entry(key).or_default().insert(self.now, tracked);
    }

    pub(super) fn untrack(&mut self, at: usize, room: &str, connection: ConnectionId) {
        assert!(self.nodes[at].replica.untrack(room, connection, self.now));
        self.forget(room, connection);
    }

    /// A connection is gone, and its user stays.
    pub(super) fn depart(&mut self, at: usize, room: &Arc<str>, connection: ConnectionId) {
        let node = &mut self.nodes[at];
        node.replica.depart(room, connection);
        self.departed.push((node.id, room.clone(), connection));
    }

    /// A user is tracked again on a node: it stands for its connections there that are gone.
    fn come_back(&mut self, node: NodeId, key: &(Arc<str>, Arc<str>)) {
        let Some(connections) = self.truth.get_mut(key) else { return };
        self.departed.retain(|(other, room, gone)| {
            let before = connections.len();
            if (other, room) == (&node, &key.0) {
                connections.retain(|_, tracked| tracked.connection != *gone);
            }
            connections.len() == before
        });
    }

    /// The time of one that is gone is over, if its user has not come back.
    fn end_departed(&mut self) {
        if self.departed.is_empty() {
            return;
        }
        let (node, room, connection) = self.departed.swap_remove(self.random.usize(..self.departed.len()));
        let Some(node) = self.nodes.iter_mut().find(|other| other.id == node) else { return };
        node.replica.untrack(&room, connection, self.now);
        self.forget(&room, connection);
    }

    fn forget(&mut self, room: &str, connection: ConnectionId) {
        for (_, connections) in self.truth.iter_mut().filter(|((name, _), _)| **name == *room) {
            connections.retain(|_, tracked| tracked.connection != connection);
        }
        self.truth.retain(|_, connections| !connections.is_empty());
    }

    /// Somebody comes, goes, or changes, anywhere.
    pub(super) fn stir(&mut self, rooms: u32, users: u32) {
        let at = self.random.usize(..self.nodes.len());
        let id = self.nodes[at].id;
        let (room, user) = (format!("room {}", self.random.u32(..rooms)), format!("user {}", self.random.u32(..users)));
        let data = self.random.u32(..100).to_string();
        if self.random.u32(..4) == 0 {
            self.end_departed();
        }
        let is_gone = |connection| self.departed.iter().any(|(_, _, gone)| *gone == connection);
        let here: Vec<(Arc<str>, Arc<str>, ConnectionId)> = self
            .truth
            .iter()
            .flat_map(|((room, user), all)| all.values().map(move |tracked| (room, user, tracked)))
            .filter(|(_, _, tracked)| tracked.node == id && !is_gone(tracked.connection))
            .map(|(room, user, tracked)| (room.clone(), user.clone(), tracked.connection))
            .collect();
        match self.random.u32(..10) {
            0..5 => _ = self.track(at, &room, &user, &data),
            _ if here.is_empty() => {}
            5 => {
                let (room, user, connection) = here[self.random.usize(..here.len())].clone();
                self.retrack(at, &room, connection, &user, &data);
            }
            6 => {
                let (room, _, connection) = here[self.random.usize(..here.len())].clone();
                self.depart(at, &room, connection);
            }
            _ => {
                let (room, _, connection) = here[self.random.usize(..here.len())].clone();
                self.untrack(at, &room, connection);
            }
        }
    }

    // --- time and messages

    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            (0..self.nodes.len()).for_each(|at| self.poll(at));
            let due = self.nodes.iter().filter_map(|node| node.replica.due()).min();
            let next = due.into_iter().chain(self.mail.keys().next().map(|(at, _)| *at)).min();
            match next.filter(|next| *next <= end) {
                Some(next) => self.now = next.max(self.now),
                None => break,
            }
            while let Some(entry) = self.mail.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let mail = entry.remove();
                self.deliver(mail);
            }
        }
        self.now = end;
    }

    fn poll(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let id = node.id;
        let commands = node.replica.poll(self.now);
        node.events.extend(node.replica.events());
        for command in commands {
            match command {
                Command::Enter(topic) => {
                    let delay = self.delay();
                    self.post(self.now + delay, Mail::Entered { node: id, topic });
                }
                Command::Leave(topic) => {
                    self.nodes[at].topics.remove(&topic);
                    // Whoever looks again is told anew.
                    self.nodes[at].events.retain(|(_, event)| *event.room != *topic.name());
                }
                Command::Publish(topic, announcement) if self.nodes[at].is_up => {
                    self.publish(id, &topic, &announcement)
                }
                Command::Publish(..) => {}
            }
        }
    }

    fn post(&mut self, at: Instant, mail: Mail) {
        self.count += 1;
        self.mail.insert((at, self.count), mail);
    }

    fn delay(&mut self) -> Duration {
        ms(1) + self.faults.delay_max.mul_f64(self.random.f64())
    }

    fn publish(&mut self, from: NodeId, topic: &Topic, announcement: &Announcement) {
        self.sent.push((from, topic.clone(), announcement.clone()));
        let receivers: Vec<NodeId> = self.nodes.iter().map(|node| node.id).filter(|id| *id != from).collect();
        for to in receivers {
            let is_parted = self.faults.sides.get(&from) != self.faults.sides.get(&to);
            if is_parted || self.random.f64() < self.faults.loss {
                continue;
            }
            let delay = self.delay();
            let last = self.last.entry((from, to, topic.clone())).or_insert(self.now);
            *last = (self.now + delay).max(*last);
            let at = *last;
            self.post(at, Mail::Announcement { from, to, topic: topic.clone(), bytes: announcement.encode() });
        }
    }

    fn deliver(&mut self, mail: Mail) {
        let now = self.now;
        match mail {
            Mail::Entered { node, topic } => {
                let Some(node) = self.nodes.iter_mut().find(|other| other.id == node) else { return };
                if node.replica.needs(&topic) {
                    node.topics.insert(topic.clone());
                }
                node.replica.entered(&topic, now);
            }
            Mail::Announcement { from, to, topic, bytes } => {
                let receiver = self.nodes.iter_mut().find(|node| node.id == to && node.is_up);
                if let Some(node) = receiver.filter(|node| node.topics.contains(&topic)) {
                    node.replica.receive(from, &topic, Announcement::decode(&bytes).unwrap(), now);
                }
            }
        }
    }

    // --- the truth

    /// Who is in a room: user, newest data, connections.
    pub(super) fn truth(&self, room: &str) -> Vec<(String, String, usize)> {
        let of_room = self.truth.iter().filter(|((name, _), _)| **name == *room);
        let newest =
            |all: &BTreeMap<Instant, Tracked>| all.last_key_value().map(|(_, tracked)| tracked.data.to_string());
        of_room.map(|((_, user), all)| (user.to_string(), newest(all).unwrap(), all.len())).collect()
    }

    pub(super) fn seen(&self, at: usize, room: &str) -> Vec<(String, String, usize)> {
        let list = self.nodes[at].replica.list(room);
        assert_eq!(list.len(), self.nodes[at].replica.count(room));
        list.into_iter()
            .map(|present| (present.user.to_string(), present.data.to_string(), present.connections))
            .collect()
    }

    /// All nodes know the truth of all rooms that they need.
    pub(super) fn check(&self, what: &str) {
        for (at, node) in self.nodes.iter().enumerate() {
            for room in node.replica.rooms.keys() {
                assert_eq!(self.seen(at, room), self.truth(room), "{what}: node {at} of {}, {room}", self.nodes.len());
            }
            self.check_events(at, what);
        }
    }

    /// A join, then perhaps updates, then a leave; and what was told last is what is seen.
    fn check_events(&self, at: usize, what: &str) {
        let node = &self.nodes[at];
        let mut present = BTreeMap::<(Arc<str>, Arc<str>), Arc<str>>::new();
        for (change, event) in &node.events {
            let key = (event.room.clone(), event.user.clone());
            let before = match change {
                Change::Leave => present.remove(&key),
                Change::Join | Change::Update => present.insert(key, event.data.0.clone()),
            };
            assert_eq!(before.is_none(), *change == Change::Join, "{what}: node {at}, {change:?} {event:?}");
        }
        for room in node.replica.rooms.keys() {
            let told = present.iter().filter(|((name, _), _)| name == room);
            let told: Vec<_> = told.map(|((_, user), data)| (user.to_string(), data.to_string())).collect();
            let seen: Vec<_> = self.seen(at, room).into_iter().map(|(user, data, _)| (user, data)).collect();
            assert_eq!(told, seen, "{what}: node {at}, {room}: told and seen");
        }
    }
}
