//! What nodes say to each other, so that all come to know the same whatever was lost.
//!
//! Each room's changes at a node form a chain of versions, sent as deltas. Who misses a link asks
//! for the node's state of that room. What nobody notices by itself (a lost end of the chain, a
//! lost question, a node that was away) shows in the node's digest: all its rooms with their
//! versions, once in a TTL. So one digest that arrives after the last fault is enough.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::replica::{Command, Job, Link, Progress, Record, Replica, Transfer};
use super::wire::{Told, Word};
use crate::broker::envelope::NodeId;
use crate::broker::topic::Topic;

/// How long who looks at a room for the first time waits for other nodes at most.
pub(super) const ANSWER_MAX: Duration = Duration::from_millis(250);
/// The largest piece of a state, delta or digest, about.
const PIECE_BYTES_MAX: usize = 48 << 10;
const DIGEST_ROOMS_MAX: usize = 2048;
const GREETED_MAX: usize = 1024;
/// Between two pieces of a state, and the pieces of all rooms that go at once.
const PACE: Duration = Duration::from_millis(10);
const PIECES_MAX: usize = 64;
/// Nodes that one believes in at most.
const NODES_MAX: usize = 4096;
/// A TTL that another node may have: from this to that.
const TTL_RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

impl Replica {
    // --- the broker

    /// This app is a node from now on.
    pub(super) fn attach(&mut self, node: NodeId, now: Instant) {
        (self.node, self.link) = (node, Link::Down);
        let names: Vec<_> = self.rooms.keys().cloned().collect();
        for name in names {
            self.skip(&name);
            self.begin(now);
            self.commands.push(Command::Enter(Topic::Presence(name)));
        }
    }

    /// This app is a node no more: others are forgotten.
    pub(super) fn detach(&mut self) {
        self.disconnected();
        self.link = Link::None;
        let peers: Vec<_> = self.peers.drain().map(|(node, _)| node).collect();
        peers.into_iter().for_each(|node| self.forget_node(node));
        let names: Vec<_> = self.rooms.keys().cloned().collect();
        names.iter().for_each(|name| self.ready(name));
        self.commands.clear();
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.link = Link::Up;
        if self.begun.is_none() {
            return;
        }
        self.agenda.set(Job::Alive, now);
        self.promise_digest(now);
        self.greet_all = true;
        let hello = now + self.within(self.settings.ttl / 100);
        self.agenda.set(Job::Hello, hello);
        // Those who ended while nobody could say so are found out within another TTL.
        for (node, ttl) in &self.peers {
            self.agenda.set(Job::Expire(*node), now + *ttl);
        }
    }

    /// What is known stays as it is: nobody can be heard.
    pub(super) fn disconnected(&mut self) {
        if self.link != Link::Up {
            return;
        }
        self.link = Link::Down;
        for name in std::mem::take(&mut self.dirty) {
            self.skip(&name);
        }
        self.wanted.clear();
        self.agenda.retain(|job| matches!(job, Job::Idle(_) | Job::Ready(_) | Job::Forget(_)));
        for room in self.rooms.values_mut() {
            room.transfer = None;
            // What was half said is not said again.
            for record in room.records.values_mut().filter(|record| record.progress != Progress::Whole) {
                record.progress = Progress::Broken;
            }
        }
    }

    /// More came than could be read: something may be missing anywhere.
    pub(super) fn overflowed(&mut self, now: Instant) {
        if self.begun.is_some() && self.link == Link::Up {
            self.greet_all = true;
            let hello = now + self.grace();
            self.agenda.set_by(Job::Hello, hello);
        }
    }

    /// Takes part from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.begun.is_none() {
            self.begun = Some(now);
            self.commands.push(Command::Enter(Topic::Nodes));
        }
    }

    /// What is published on a topic from now on arrives.
    pub(super) fn entered(&mut self, topic: &Topic, now: Instant) {
        match topic {
            Topic::Presence(name) if self.link == Link::Up && self.rooms.contains_key(name) => {
                self.commands.push(Command::Publish(topic.clone(), Word::Query { node: None }));
                self.agenda.set(Job::Ready(name.clone()), now + ANSWER_MAX);
                self.ready_if_all_said(name, now);
            }
            Topic::Presence(name) => self.ready(name),
            Topic::Nodes if self.link == Link::Up => {
                self.agenda.set(Job::Alive, now);
                self.promise_digest(now);
            }
            _ => {}
        }
    }

    /// What the end of this node is announced with.
    pub(super) fn farewell(&self) -> Option<Word> {
        self.begun.map(|_| Word::Gone)
    }

    // --- what others say

    /// Another node has said something.
    pub(super) fn receive(&mut self, node: NodeId, topic: &Topic, word: Word, now: Instant) {
        if self.begun.is_none() || self.link != Link::Up || node == self.node || self.ended.contains(&node) {
            return;
        }
        if word == Word::Gone {
            return self.gone(node, now);
        }
        if !self.heard(node, &word, now) {
            return;
        }
        match (topic, word) {
            (Topic::Nodes, Word::Hello { nodes }) if nodes.is_empty() || nodes.contains(&self.node) => {
                self.promise_digest(now);
            }
            (Topic::Nodes, Word::Digest { counter, first, last, rooms }) => {
                self.compare(node, counter, first, last, &rooms, now);
            }
            (Topic::Presence(name), word) => {
                let Some((name, _)) = self.rooms.get_key_value(name) else { return };
                let name = name.clone();
                self.receive_in(&name, node, word, now);
            }
            _ => {}
        }
    }

    fn receive_in(&mut self, name: &Arc<str>, node: NodeId, word: Word, now: Instant) {
        match word {
            Word::Delta { base, version, users } => self.delta(name, node, base, version, &users, now),
            Word::State { version, after, upto, users } => {
                self.state(name, node, version, (after, upto), &users, now);
            }
            Word::Query { node: asked } if asked.is_none_or(|asked| asked == self.node) => {
                // Who asks everybody does so at the beginning, and has nothing to learn from nobody.
                self.promise_state(name, asked.is_some(), now);
            }
            _ => {}
        }
    }

    /// Notes that a node is there; `false` if there are too many.
    fn heard(&mut self, node: NodeId, word: &Word, now: Instant) -> bool {
        let mut ttl = self.peers.get(&node).copied();
        if ttl.is_none() && self.peers.len() >= NODES_MAX {
            return false;
        }
        let is_new = ttl.is_none();
        if let Word::Alive { ttl: said } = word {
            ttl = Some((*said).clamp(TTL_RANGE.0, TTL_RANGE.1));
        }
        let ttl = ttl.unwrap_or(self.settings.ttl);
        self.peers.insert(node, ttl);
        self.agenda.set(Job::Expire(node), now + ttl);
        // A node that has just begun asks in each room as it enters it.
        if is_new && !self.is_fresh(now) && self.greet.len() < GREETED_MAX {
            self.greet.insert(node);
            let hello = now + self.within(self.settings.ttl / 100);
            self.agenda.set_by(Job::Hello, hello);
        }
        true
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.begun.is_none_or(|begun| now < begun + self.settings.ttl / 3)
    }

    fn gone(&mut self, node: NodeId, now: Instant) {
        if self.ended.len() < NODES_MAX {
            self.ended.insert(node);
            self.agenda.set(Job::Forget(node), now + self.settings.ttl);
        }
        self.expire(node);
    }

    fn expire(&mut self, node: NodeId) {
        self.agenda.remove(&Job::Expire(node));
        self.greet.remove(&node);
        if self.peers.remove(&node).is_some() {
            self.forget_node(node);
        }
    }

    fn forget_node(&mut self, node: NodeId) {
        let knows = |(_, room): &(&Arc<str>, &super::replica::Room)| room.records.contains_key(&node);
        let names: Vec<_> = self.rooms.iter().filter(knows).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.forget(name, node));
        let wanted: Vec<_> = self.wanted.keys().filter(|(_, of)| *of == node).map(|(name, _)| name.clone()).collect();
        wanted.iter().for_each(|name| self.settled(name, node));
    }

    /// Compares a part of a node's digest with what is known of it.
    fn compare(&mut self, node: NodeId, counter: u64, first: u64, last: u64, rooms: &[(u64, u64)], now: Instant) {
        if first > last {
            return;
        }
        let listed: std::collections::HashMap<u64, u64> = rooms.iter().copied().collect();
        let mine: Vec<(u64, Arc<str>)> =
            self.by_hash.range(first..=last).map(|(hash, name)| (*hash, name.clone())).collect();
        for (hash, name) in mine {
            let record = self.record(&name, node);
            let version = record.as_ref().map_or(0, |record| record.version);
            let is_whole = record.is_some_and(|record| record.progress == Progress::Whole);
            match listed.get(&hash) {
                // It may still be under way.
                Some(said) if version < *said || !is_whole => self.want(&name, node, *said, now + self.grace()),
                Some(_) => {}
                None if version.max(self.wanted_of(&name, node)) <= counter => self.forget(&name, node),
                None => {}
            }
        }
    }

    fn delta(&mut self, name: &Arc<str>, node: NodeId, base: u64, version: u64, users: &[Told], now: Instant) {
        let known = self.record(name, node).map_or(0, |record| record.version);
        if version <= known {
            return;
        }
        if base == 0 {
            self.replace(name, node, (None, None), users);
            return self.advance(name, node, version, Progress::Whole, now);
        }
        match self.record(name, node) {
            Some(Record { version: known, progress }) if known == base && progress != Progress::Broken => {
                self.take_in(name, node, users);
                self.advance(name, node, version, progress, now);
            }
            _ => self.broken(name, node, version, now),
        }
    }

    fn state(
        &mut self,
        name: &Arc<str>,
        node: NodeId,
        version: u64,
        (after, upto): (Option<Arc<str>>, Option<Arc<str>>),
        users: &[Told],
        now: Instant,
    ) {
        let is_next = match self.record(name, node) {
            Some(Record { version: known, .. }) if version < known => return,
            Some(Record { version: known, progress: Progress::Whole }) if version == known => {
                return self.advance(name, node, version, Progress::Whole, now);
            }
            Some(Record { version: known, progress: Progress::Upto(place) }) => {
                after.is_none() || (version == known && after == Some(place))
            }
            _ => after.is_none(),
        };
        if !is_next {
            return self.broken(name, node, version, now);
        }
        self.replace(name, node, (after.as_deref(), upto.as_deref()), users);
        self.advance(name, node, version, upto.map_or(Progress::Whole, Progress::Upto), now);
    }

    fn wanted_of(&self, name: &Arc<str>, node: NodeId) -> u64 {
        self.wanted.get(&(name.clone(), node)).copied().unwrap_or(0)
    }

    fn record(&self, name: &Arc<str>, node: NodeId) -> Option<Record> {
        self.rooms.get(name)?.records.get(&node).cloned()
    }

    /// So much is known of a node's part of a room.
    fn advance(&mut self, name: &Arc<str>, node: NodeId, version: u64, progress: Progress, now: Instant) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let is_whole = progress == Progress::Whole;
        room.records.insert(node, Record { version, progress });
        let wanted = self.wanted.get(&(name.clone(), node)).copied();
        if is_whole && wanted.is_some_and(|wanted| wanted <= version) {
            self.settled(name, node);
        } else if wanted.is_some() || !is_whole {
            // What goes on arriving need not be asked for again.
            self.want(name, node, version, now + self.patience());
        }
        if is_whole {
            self.ready_if_all_said(name, now);
        }
    }

    /// Something of a node was missed: asks for all of it.
    fn broken(&mut self, name: &Arc<str>, node: NodeId, version: u64, now: Instant) {
        if let Some(record) = self.rooms.get_mut(name).and_then(|room| room.records.get_mut(&node)) {
            record.progress = Progress::Broken;
        }
        let is_asked = self.wanted.contains_key(&(name.clone(), node));
        self.want(name, node, version, if is_asked { now + self.patience() } else { now });
    }

    /// A version of a node's part of a room is there; who does not have it by then asks.
    fn want(&mut self, name: &Arc<str>, node: NodeId, version: u64, at: Instant) {
        let wanted = self.wanted.entry((name.clone(), node)).or_default();
        *wanted = version.max(*wanted);
        let job = Job::Check(name.clone(), node);
        match self.record(name, node) {
            Some(Record { progress: Progress::Upto(_), .. }) => self.agenda.set(job, at),
            _ => self.agenda.set_by(job, at),
        }
    }

    fn ready_if_all_said(&mut self, name: &Arc<str>, now: Instant) {
        let Some(room) = self.rooms.get(name).filter(|room| !room.is_ready) else { return };
        let is_said = |node| room.records.get(node).is_some_and(|record| record.progress == Progress::Whole);
        if !self.is_fresh(now) && self.peers.keys().all(is_said) {
            self.ready(name);
        }
    }

    // --- what this node says

    /// Does what is due, and says what the caller has to do.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Command> {
        let mut pieces = 0;
        while let Some(job) = self.agenda.take(now) {
            match job {
                Job::Flush => self.flush(),
                Job::Alive => {
                    self.say(Topic::Nodes, Word::Alive { ttl: self.settings.ttl });
                    self.agenda.set(Job::Alive, now + self.settings.ttl / 3);
                }
                Job::Digest => self.digest(now),
                Job::Hello => self.greet(),
                Job::Check(name, node) => self.check(&name, node, now),
                Job::Transfer(name) if pieces >= PIECES_MAX => self.agenda.set(Job::Transfer(name), now + PACE),
                Job::Transfer(name) => {
                    pieces += 1;
                    self.send_piece(&name, now);
                }
                Job::Ready(name) => self.ready(&name),
                Job::Idle(name) => self.end_idle(&name, now),
                Job::Expire(node) => self.expire(node),
                Job::Forget(node) => _ = self.ended.remove(&node),
            }
        }
        std::mem::take(&mut self.commands)
    }

    fn say(&mut self, topic: Topic, word: Word) {
        self.commands.push(Command::Publish(topic, word));
    }

    /// Tells what has changed here since the last time.
    fn flush(&mut self) {
        for name in std::mem::take(&mut self.dirty) {
            let Some(room) = self.rooms.get_mut(&name) else { continue };
            let users = std::mem::take(&mut room.dirty);
            let mut told: Vec<Told> = users.iter().map(|user| room.users.said(user)).collect();
            while !told.is_empty() {
                let mut bytes = 0;
                let fits = |told: &&Told| {
                    bytes += told.len();
                    bytes <= PIECE_BYTES_MAX
                };
                let rest = told.split_off(told.iter().take_while(fits).count().max(1));
                self.counter += 1;
                let (base, version) = (room.base, self.counter);
                (room.version, room.base) = (version, version);
                let word = Word::Delta { base, version, users: std::mem::replace(&mut told, rest) };
                self.commands.push(Command::Publish(Topic::Presence(name.clone()), word));
            }
            if !room.is_mine() {
                room.base = 0;
            }
        }
    }

    /// A digest goes out soon, however many ask for it.
    fn promise_digest(&mut self, now: Instant) {
        let soonest = self.digested.map_or(now, |before| before + self.patience());
        let at = soonest.max(now) + self.within(self.settings.ttl / 60);
        self.agenda.set_by(Job::Digest, at);
    }

    fn digest(&mut self, now: Instant) {
        self.digested = Some(now);
        self.agenda.set(Job::Digest, now + self.settings.ttl);
        let mine = self.by_hash.iter().filter_map(|(hash, name)| {
            let room = self.rooms.get(name).filter(|room| room.is_mine() && room.version > 0)?;
            Some((*hash, room.version))
        });
        let rooms: Vec<(u64, u64)> = mine.collect();
        let mut first = 0;
        let mut chunks = rooms.chunks(DIGEST_ROOMS_MAX).peekable();
        loop {
            let rooms = chunks.next().unwrap_or(&[]).to_vec();
            let last = match (chunks.peek(), rooms.last()) {
                (Some(_), Some((hash, _))) => *hash,
                _ => u64::MAX,
            };
            self.say(Topic::Nodes, Word::Digest { counter: self.counter, first, last, rooms });
            match last.checked_add(1) {
                Some(next) => first = next,
                None => return,
            }
        }
    }

    fn greet(&mut self) {
        let nodes = std::mem::take(&mut self.greet);
        let nodes = if std::mem::take(&mut self.greet_all) { Vec::new() } else { nodes.into_iter().collect() };
        self.say(Topic::Nodes, Word::Hello { nodes });
    }

    /// Asks a node for what is still not known of it.
    fn check(&mut self, name: &Arc<str>, node: NodeId, now: Instant) {
        let Some(wanted) = self.wanted.get(&(name.clone(), node)).copied() else { return };
        let record = self.record(name, node);
        let is_known = record.is_some_and(|record| record.version >= wanted && record.progress == Progress::Whole);
        if is_known || !self.peers.contains_key(&node) {
            return self.settled(name, node);
        }
        self.say(Topic::Presence(name.clone()), Word::Query { node: Some(node) });
        let again = now + self.patience() + self.within(self.patience() / 4);
        self.agenda.set(Job::Check(name.clone(), node), again);
    }

    /// The state of a room goes out soon, however many ask for it.
    fn promise_state(&mut self, name: &Arc<str>, even_of_nobody: bool, now: Instant) {
        let at = now + self.within((self.settings.ttl / 300).min(ANSWER_MAX / 3));
        let Some(room) = self.rooms.get_mut(name).filter(|room| even_of_nobody || room.is_mine()) else { return };
        match &mut room.transfer {
            // Who asks now has not heard the beginning.
            Some(transfer) => transfer.again = transfer.after.is_some(),
            none => {
                *none = Some(Transfer::default());
                self.agenda.set(Job::Transfer(name.clone()), at);
            }
        }
    }

    /// Sends the next piece of a state. What has changed meanwhile is said before it.
    fn send_piece(&mut self, name: &Arc<str>, now: Instant) {
        self.flush();
        let counter = self.counter;
        let Some(room) = self.rooms.get_mut(name) else { return };
        let Some(transfer) = &mut room.transfer else { return };
        let after = transfer.after.clone();
        let (users, is_all) = room.users.said_behind(after.as_deref(), PIECE_BYTES_MAX);
        let upto = users.last().map(|told| told.user.clone()).filter(|_| !is_all);
        transfer.after.clone_from(&upto);
        let is_over = is_all && !std::mem::take(&mut transfer.again);
        if is_over {
            room.transfer = None;
        }
        // Of nobody all versions are the same: the newest.
        let version = if room.is_mine() { room.version } else { counter };
        self.say(Topic::Presence(name.clone()), Word::State { version, after, upto, users });
        if !is_over {
            self.agenda.set(Job::Transfer(name.clone()), now + PACE);
        }
    }

    // --- times, as parts of the TTL

    /// What is under way gets so long.
    fn grace(&self) -> Duration {
        self.settings.ttl / 30
    }

    /// An answer gets so long.
    fn patience(&self) -> Duration {
        self.settings.ttl / 15
    }

    /// So that many do not speak at once.
    fn within(&mut self, max: Duration) -> Duration {
        max.mul_f64(self.random.f64())
    }
}
