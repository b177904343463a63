//! What nodes say to each other, so that all come to know the same whatever was lost.
//!
//! Each room's changes at a node form a chain of versions, sent as deltas. Who misses a link asks
//! for the node's state of that room. What nobody notices by itself (a lost end of the chain, a
//! lost question, a node that was away) shows in the node's digest: all its rooms with their
//! versions, once in a TTL. So one digest that arrives after the last fault is enough.
//!
//! Here is what the broker's coming and going means, and how long things take; `apply` has what
//! others say, `announce` what this node does.

use std::time::Duration;

use tokio::time::Instant;

use super::replica::{Command, Job, Link, Replica};
use super::room::Progress;
use super::wire::Announcement;
use crate::envelope::NodeId;
use crate::topic::Topic;

/// How long who looks at a room for the first time waits for other nodes at most.
pub(super) const ANSWER_MAX: Duration = Duration::from_millis(250);

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
        // They have not left: it is this node that does.
        drop(self.events());
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.link = Link::Up;
        if self.begun.is_none() {
            return;
        }
        self.schedule.set(Job::Alive, now);
        self.promise_digest(now);
        self.greet_all = true;
        let hello = now + self.within(self.settings.ttl / 100);
        self.schedule.set(Job::Hello, hello);
        // Those who ended while nobody could say so are found out within another TTL.
        for (node, ttl) in &self.peers {
            self.schedule.set(Job::Expire(*node), now + *ttl);
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
        self.schedule.retain(|job| matches!(job, Job::Idle(_) | Job::Ready(_) | Job::Forget(_)));
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
            self.schedule.set_by(Job::Hello, hello);
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
                self.commands.push(Command::Publish(topic.clone(), Announcement::Query { node: None }));
                self.schedule.set(Job::Ready(name.clone()), now + ANSWER_MAX);
                self.ready_if_all_answered(name, now);
            }
            Topic::Presence(name) => self.ready(name),
            Topic::Nodes if self.link == Link::Up => {
                self.schedule.set(Job::Alive, now);
                self.promise_digest(now);
            }
            _ => {}
        }
    }

    /// What the end of this node is announced with.
    pub(super) fn farewell(&self) -> Option<Announcement> {
        self.begun.map(|_| Announcement::Gone)
    }

    // --- times, as parts of the TTL

    /// What is under way gets so long.
    pub(super) fn grace(&self) -> Duration {
        self.settings.ttl / 30
    }

    /// An answer gets so long.
    pub(super) fn patience(&self) -> Duration {
        self.settings.ttl / 15
    }

    /// So that many do not speak at once.
    pub(super) fn within(&mut self, max: Duration) -> Duration {
        max.mul_f64(self.random.f64())
    }
}
