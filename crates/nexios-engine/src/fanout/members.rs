//! The members of each group on one shard: contiguous arrays, and what each connection is a member of.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use super::pending::Pending;
use crate::connection::Inner;
use crate::connections::Connections;
use crate::group::{Audience, Broadcast, Group};

/// The groups of one shard and the broadcasts of this turn.
#[derive(Default)]
pub(crate) struct Members {
    /// The members of each group, by their tokens.
    groups: HashMap<u32, Vec<u32>>,
    /// What connections are members of beside their routers, with their places there.
    rooms: HashMap<u32, Vec<(Group, u32)>>,
    pub(super) pending: Pending,
    /// Bytes published since all clients had room, or since publishers were held back for them.
    pub(super) pending_bytes: usize,
    /// Publishers are being held back.
    pub(super) holding: bool,
    pub(super) waiters: Vec<Waker>,
}

impl Members {
    /// Makes a connection a member; `false` where it is one already.
    pub(crate) fn join(&mut self, member: &Inner, group: &Group) -> bool {
        if self.groups_of(member).any(|other| other.id() == group.id()) {
            return false;
        }
        let place = self.add(member, group);
        self.rooms.entry(member.token()).or_default().push((group.clone(), place));
        true
    }

    /// The first membership: the router of the connection's route.
    pub(crate) fn join_router(&mut self, member: &Inner) {
        if let Some(group) = member.router() {
            member.membership.set_router_place(Some(self.add(member, group)));
        }
    }

    fn add(&mut self, member: &Inner, group: &Group) -> u32 {
        // What is pending was published before it joined.
        member.membership.set_seen(self.pending.next());
        group.joined();
        let members = self.groups.entry(group.id()).or_default();
        members.push(member.token());
        (members.len() - 1) as u32
    }

    /// Ends a membership; `false` where there was none.
    pub(crate) fn leave(&mut self, member: &Inner, id: u32, connections: &Connections) -> bool {
        let Some(rooms) = self.rooms.get_mut(&member.token()) else { return false };
        let Some(index) = rooms.iter().position(|(group, _)| group.id() == id) else { return false };
        let (group, place) = rooms.swap_remove(index);
        if rooms.is_empty() {
            self.rooms.remove(&member.token());
        }
        self.remove(&group, place, connections);
        true
    }

    /// Ends all memberships.
    pub(crate) fn leave_all(&mut self, member: &Inner, connections: &Connections) {
        if let Some((group, place)) = member.router_membership() {
            member.membership.set_router_place(None);
            self.remove(group, place, connections);
        }
        for (group, place) in self.rooms.remove(&member.token()).into_iter().flatten() {
            self.remove(&group, place, connections);
        }
    }

    fn remove(&mut self, group: &Group, place: u32, connections: &Connections) {
        group.left();
        let Some(members) = self.groups.get_mut(&group.id()) else { return };
        members.swap_remove(place as usize);
        let moved = members.get(place as usize).and_then(|&token| connections.get(token));
        if members.is_empty() {
            self.groups.remove(&group.id());
        } else if members.capacity() > 64 && members.len() < members.capacity() / 4 {
            members.shrink_to(members.len() * 2);
        }
        if let Some(moved) = moved {
            self.set_place(moved, group.id(), place);
        }
    }

    fn set_place(&mut self, member: &Inner, id: u32, place: u32) {
        if member.router_membership().is_some_and(|(group, _)| group.id() == id) {
            return member.membership.set_router_place(Some(place));
        }
        let rooms = self.rooms.get_mut(&member.token());
        if let Some((_, old)) = rooms.into_iter().flatten().find(|(group, _)| group.id() == id) {
            *old = place;
        }
    }

    /// Its router and its rooms.
    fn groups_of<'a>(&'a self, member: &'a Inner) -> impl Iterator<Item = &'a Group> + Clone {
        let rooms = self.rooms.get(&member.token());
        let router = member.router_membership().map(|(group, _)| group);
        router.into_iter().chain(rooms.into_iter().flatten().map(|(group, _)| group))
    }

    pub(crate) fn is_addressed(&self, member: &Inner, audience: &Audience) -> bool {
        self.groups_of(member).any(|group| audience.contains(group.id()))
    }

    /// Returns the pending broadcasts for a member; from now on they count as dealt with.
    pub(super) fn take_for(&self, member: &Inner) -> Vec<Arc<Broadcast>> {
        let seen = member.membership.seen();
        member.membership.set_seen(self.pending.next());
        if seen >= self.pending.next() {
            return Vec::new();
        }
        self.pending.addressed_to(self.groups_of(member).map(Group::id), seen)
    }

    pub(crate) fn tell_over_mark(&self, member: &Inner, over: bool) {
        for group in self.groups_of(member) {
            if over { group.rose_over_mark() } else { group.fell_under_mark() }
        }
    }

    pub(super) fn of<'a>(
        &'a self,
        audience: &Audience,
        connections: &'a Connections,
    ) -> impl Iterator<Item = &'a Rc<Inner>> {
        let range = match audience {
            Audience::Range(range) => range.clone(),
            Audience::One(id) => *id..id.saturating_add(1),
        };
        range.filter_map(|id| self.groups.get(&id)).flatten().filter_map(|&token| connections.get(token))
    }

    /// With nothing pending, all that was numbered is dealt with: the numbers may begin again.
    pub(super) fn renumber(&mut self, connections: &Connections) {
        if self.pending.renumber() {
            connections.iter().for_each(|inner| inner.membership.set_seen(0));
        }
    }
}

impl Inner {
    fn router_membership(&self) -> Option<(&Group, u32)> {
        Some((self.router()?, self.membership.router_place()?))
    }
}
