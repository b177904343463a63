//! What other nodes say, and what it changes here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::replica::{Job, Link, Replica};
use super::room::{Progress, Record, Room};
use super::wire::{Announcement, Told};
use crate::envelope::NodeId;
use crate::topic::Topic;

const GREETED_MAX: usize = 1024;
/// Nodes that one believes in at most.
const NODES_MAX: usize = 4096;
/// A TTL that another node may have: from this to that.
const TTL_RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

impl Replica {
    /// Another node has said something.
    pub(super) fn receive(&mut self, node: NodeId, topic: &Topic, announcement: Announcement, now: Instant) {
        if self.begun.is_none() || self.link != Link::Up || node == self.node || self.ended.contains(&node) {
            return;
        }
        if announcement == Announcement::Gone {
            return self.gone(node, now);
        }
        if !self.note_alive(node, &announcement, now) {
            return;
        }
        match (topic, announcement) {
            (Topic::Nodes, Announcement::Hello { nodes }) if nodes.is_empty() || nodes.contains(&self.node) => {
                self.promise_digest(now);
            }
            (Topic::Nodes, Announcement::Digest { counter, first, last, rooms }) => {
                self.compare(node, counter, first, last, &rooms, now);
            }
            (Topic::Presence(name), announcement) => {
                let Some((name, _)) = self.rooms.get_key_value(name) else { return };
                let name = name.clone();
                self.apply_in(&name, node, announcement, now);
            }
            _ => {}
        }
    }

    fn apply_in(&mut self, name: &Arc<str>, node: NodeId, announcement: Announcement, now: Instant) {
        match announcement {
            Announcement::Delta { base, version, users } => self.delta(name, node, base, version, &users, now),
            Announcement::State { version, after, upto, users } => {
                self.state(name, node, version, (after, upto), &users, now);
            }
            Announcement::Query { node: asked } if asked.is_none_or(|asked| asked == self.node) => {
                // Who asks everybody does so at the beginning, and has nothing to learn from nobody.
                self.promise_state(name, asked.is_some(), now);
            }
            _ => {}
        }
    }

    /// Notes that a node is there; `false` if there are too many.
    fn note_alive(&mut self, node: NodeId, announcement: &Announcement, now: Instant) -> bool {
        let mut ttl = self.peers.get(&node).copied();
        if ttl.is_none() && self.peers.len() >= NODES_MAX {
            return false;
        }
        let is_new = ttl.is_none();
        if let Announcement::Alive { ttl: said } = announcement {
            ttl = Some((*said).clamp(TTL_RANGE.0, TTL_RANGE.1));
        }
        let ttl = ttl.unwrap_or(self.settings.ttl);
        self.peers.insert(node, ttl);
        self.schedule.set(Job::Expire(node), now + ttl);
        // A node that has just begun asks in each room as it enters it.
        if is_new && !self.is_fresh(now) && self.greet.len() < GREETED_MAX {
            self.greet.insert(node);
            let hello = now + self.within(self.settings.ttl / 100);
            self.schedule.set_by(Job::Hello, hello);
        }
        true
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.begun.is_none_or(|begun| now < begun + self.settings.ttl / 3)
    }

    fn gone(&mut self, node: NodeId, now: Instant) {
        if self.ended.len() < NODES_MAX {
            self.ended.insert(node);
            self.schedule.set(Job::Forget(node), now + self.settings.ttl);
        }
        self.expire(node);
    }

    pub(super) fn expire(&mut self, node: NodeId) {
        self.schedule.remove(&Job::Expire(node));
        self.greet.remove(&node);
        if self.peers.remove(&node).is_some() {
            self.forget_node(node);
        }
    }

    pub(super) fn forget_node(&mut self, node: NodeId) {
        let knows = |(_, room): &(&Arc<str>, &Room)| room.records.contains_key(&node);
        let names: Vec<_> = self.rooms.iter().filter(knows).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.forget(name, node));
        let wanted: Vec<_> = self.wanted.keys().filter(|(_, of)| *of == node).map(|(name, _)| name.clone()).collect();
        wanted.iter().for_each(|name| self.settled(name, node));
    }

    /// Compares a part of a node's digest with what is known of it.
    fn compare(&mut self, node: NodeId, counter: u64, first: u128, last: u128, rooms: &[(u128, u64)], now: Instant) {
        if first > last {
            return;
        }
        let listed: HashMap<u128, u64> = rooms.iter().copied().collect();
        let mine: Vec<(u128, Arc<str>)> =
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

    pub(super) fn record(&self, name: &Arc<str>, node: NodeId) -> Option<Record> {
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
            self.ready_if_all_answered(name, now);
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
            Some(Record { progress: Progress::Upto(_), .. }) => self.schedule.set(job, at),
            _ => self.schedule.set_by(job, at),
        }
    }

    pub(super) fn ready_if_all_answered(&mut self, name: &Arc<str>, now: Instant) {
        let Some(room) = self.rooms.get(name).filter(|room| !room.is_ready) else { return };
        let is_said = |node| room.records.get(node).is_some_and(|record| record.progress == Progress::Whole);
        if !self.is_fresh(now) && self.peers.keys().all(is_said) {
            self.ready(name);
        }
    }
}
