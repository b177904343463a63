//! What this node says, and when.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::repair::ANSWER_MAX;
use super::replica::{Command, Job, Replica};
use super::room::{Progress, Transfer};
use super::wire::{Announcement, Told};
use crate::envelope::NodeId;
use crate::topic::Topic;

/// The largest piece of a state or delta, about; and of a digest.
const PIECE_BYTES_MAX: usize = 48 << 10;
const DIGEST_ROOMS_MAX: usize = 2048;
/// Between two pieces of a state, and the pieces of all rooms that go at once.
const PACE: Duration = Duration::from_millis(10);
const PIECES_MAX: usize = 64;

impl Replica {
    /// Does what is due, and says what the caller has to do.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Command> {
        let mut pieces = 0;
        while let Some(job) = self.schedule.take(now) {
            match job {
                Job::Flush => self.flush(),
                Job::Alive => {
                    self.announce(Topic::Nodes, Announcement::Alive { ttl: self.settings.ttl });
                    self.schedule.set(Job::Alive, now + self.settings.ttl / 3);
                }
                Job::Digest => self.digest(now),
                Job::Hello => self.greet(),
                Job::Check(name, node) => self.check(&name, node, now),
                Job::Transfer(name) if pieces >= PIECES_MAX => self.schedule.set(Job::Transfer(name), now + PACE),
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

    fn announce(&mut self, topic: Topic, announcement: Announcement) {
        self.commands.push(Command::Publish(topic, announcement));
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
                let announcement = Announcement::Delta { base, version, users: std::mem::replace(&mut told, rest) };
                self.commands.push(Command::Publish(Topic::Presence(name.clone()), announcement));
            }
            if !room.is_mine() {
                room.base = 0;
            }
        }
    }

    /// A digest goes out soon, however many ask for it.
    pub(super) fn promise_digest(&mut self, now: Instant) {
        let soonest = self.digested.map_or(now, |before| before + self.patience());
        let at = soonest.max(now) + self.within(self.settings.ttl / 60);
        self.schedule.set_by(Job::Digest, at);
    }

    fn digest(&mut self, now: Instant) {
        self.digested = Some(now);
        self.schedule.set(Job::Digest, now + self.settings.ttl);
        let mine = self.by_hash.iter().filter_map(|(hash, name)| {
            let room = self.rooms.get(name).filter(|room| room.is_mine() && room.version > 0)?;
            Some((*hash, room.version))
        });
        let rooms: Vec<(u128, u64)> = mine.collect();
        let mut first = 0;
        let mut chunks = rooms.chunks(DIGEST_ROOMS_MAX).peekable();
        loop {
            let rooms = chunks.next().unwrap_or(&[]).to_vec();
            let last = match (chunks.peek(), rooms.last()) {
                (Some(_), Some((hash, _))) => *hash,
                _ => u128::MAX,
            };
            self.announce(Topic::Nodes, Announcement::Digest { counter: self.counter, first, last, rooms });
            match last.checked_add(1) {
                Some(next) => first = next,
                None => return,
            }
        }
    }

    fn greet(&mut self) {
        let nodes = std::mem::take(&mut self.greet);
        let nodes = if std::mem::take(&mut self.greet_all) { Vec::new() } else { nodes.into_iter().collect() };
        self.announce(Topic::Nodes, Announcement::Hello { nodes });
    }

    /// Asks a node for what is still not known of it.
    fn check(&mut self, name: &Arc<str>, node: NodeId, now: Instant) {
        let Some(wanted) = self.wanted.get(&(name.clone(), node)).copied() else { return };
        let record = self.record(name, node);
        let is_known = record.is_some_and(|record| record.version >= wanted && record.progress == Progress::Whole);
        if is_known || !self.peers.contains_key(&node) {
            return self.settled(name, node);
        }
        self.announce(Topic::Presence(name.clone()), Announcement::Query { node: Some(node) });
        let again = now + self.patience() + self.within(self.patience() / 4);
        self.schedule.set(Job::Check(name.clone(), node), again);
    }

    /// The state of a room goes out soon, however many ask for it.
    pub(super) fn promise_state(&mut self, name: &Arc<str>, even_of_nobody: bool, now: Instant) {
        let at = now + self.within((self.settings.ttl / 300).min(ANSWER_MAX / 3));
        let Some(room) = self.rooms.get_mut(name).filter(|room| even_of_nobody || room.is_mine()) else { return };
        match &mut room.transfer {
            // Who asks now has not heard the beginning.
            Some(transfer) => transfer.again = transfer.after.is_some(),
            none => {
                *none = Some(Transfer::default());
                self.schedule.set(Job::Transfer(name.clone()), at);
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
        self.announce(Topic::Presence(name.clone()), Announcement::State { version, after, upto, users });
        if !is_over {
            self.schedule.set(Job::Transfer(name.clone()), now + PACE);
        }
    }
}
