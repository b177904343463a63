//! Which rooms have members here, or soon will, and the groups of their members.

use std::collections::HashMap;
use std::sync::Arc;

use nexios_engine::{Audience, Group};
use parking_lot::Mutex;

use crate::audience::framing::Framing;

/// Room groups are numbered from here, two for each; below are the routers, in preorder.
pub(crate) const ROOM_IDS: u32 = 1 << 31;
/// So many rooms have numbers of their own.
const ROOMS_MAX: u32 = (1 << 30) - 1;

/// The rooms of an app.
#[derive(Default)]
pub(crate) struct Rooms(Mutex<State>);

#[derive(Default)]
struct State {
    by_name: HashMap<Arc<str>, Entry>,
    created: u32,
}

/// A room that has members, or soon will.
struct Entry {
    groups: RoomGroups,
    /// How many are on their way into it, plain and framed: what is published meanwhile is for them, too.
    expected: [usize; 2],
}

/// The members of a room: plain connections, and those that are told which room a message is of.
#[derive(Clone, Debug)]
pub(crate) struct RoomGroups {
    pub(crate) plain: Group,
    pub(crate) framed: Group,
}

impl Rooms {
    /// The groups of a room; a room without members has none.
    pub(crate) fn get(&self, room: &str) -> Option<RoomGroups> {
        self.0.lock().by_name.get(room).map(|entry| entry.groups.clone())
    }

    /// The groups of a room that have members, or soon will, and how an entry looks to each.
    pub(crate) fn framings(&self, room: &str) -> Vec<(Group, Framing)> {
        let state = self.0.lock();
        let Some(Entry { groups, expected }) = state.by_name.get(room) else { return Vec::new() };
        let kinds = [(&groups.plain, expected[0], Framing::Plain), (&groups.framed, expected[1], Framing::Live)];
        let concerned = kinds.into_iter().filter(|(group, expected, _)| group.members() + expected > 0);
        concerned.map(|(group, _, framing)| (group.clone(), framing)).collect()
    }

    /// Makes the groups of a room for a connection that will enter it, until it is no longer
    /// [expected](Self::unexpect).
    pub(crate) fn expect(&self, room: &Arc<str>, framed: bool) {
        let mut state = self.0.lock();
        if !state.by_name.contains_key(room) {
            let entry = state.create();
            state.by_name.insert(room.clone(), entry);
        }
        if let Some(entry) = state.by_name.get_mut(room) {
            entry.expected[usize::from(framed)] += 1;
        }
    }

    /// It is in the room, or has given up.
    pub(crate) fn unexpect(&self, room: &str, framed: bool) {
        if let Some(entry) = self.0.lock().by_name.get_mut(room) {
            let expected = &mut entry.expected[usize::from(framed)];
            *expected = expected.saturating_sub(1);
        }
    }

    /// Lets `join` enter one of the room's groups; the room exists from the first member on.
    pub(crate) fn join(
        &self,
        room: &str,
        framed: bool,
        join: impl FnOnce(&Group) -> bool,
    ) -> Option<(Arc<str>, Group)> {
        let mut state = self.0.lock();
        if let Some((name, entry)) = state.by_name.get_key_value(room) {
            let group = entry.groups.of(framed);
            return join(group).then(|| (name.clone(), group.clone()));
        }
        let entry = state.create();
        let group = entry.groups.of(framed).clone();
        if !join(&group) {
            return None;
        }
        let name: Arc<str> = room.into();
        state.by_name.insert(name.clone(), entry);
        Some((name, group))
    }

    /// Forgets a room that nobody is in or will be; returns its name.
    pub(crate) fn forget_if_over(&self, room: &str) -> Option<Arc<str>> {
        let mut state = self.0.lock();
        let is_over = state.by_name.get(room).is_some_and(Entry::is_over);
        let forgotten = if is_over { state.by_name.remove_entry(room) } else { None };
        forgotten.map(|(name, _)| name)
    }
}

impl State {
    fn create(&mut self) -> Entry {
        let groups = RoomGroups::new(self.created);
        self.created = (self.created + 1) % ROOMS_MAX;
        Entry { groups, expected: [0, 0] }
    }
}

impl Entry {
    fn is_over(&self) -> bool {
        self.groups.members() == 0 && self.expected == [0, 0]
    }
}

impl RoomGroups {
    /// Those of the room with this number.
    pub(crate) fn new(number: u32) -> Self {
        let first = ROOM_IDS + 2 * number;
        RoomGroups { plain: Group::new(first), framed: Group::new(first + 1) }
    }

    pub(crate) fn of(&self, framed: bool) -> &Group {
        if framed { &self.framed } else { &self.plain }
    }

    pub(crate) fn members(&self) -> usize {
        self.plain.members() + self.framed.members()
    }

    /// All of them.
    pub(crate) fn audience(&self) -> Audience {
        Audience::Range(self.plain.id()..self.framed.id() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_there_from_its_first_member_to_its_last() {
        let rooms = Rooms::default();
        assert!(rooms.get("lobby").is_none());
        assert!(rooms.join("lobby", false, |_| false).is_none());
        assert!(rooms.get("lobby").is_none());
        let join = |name, framed| rooms.join(name, framed, |_| true).unwrap().1;
        let (first, again) = (join("lobby", false), join("lobby", false));
        assert_eq!(first.id(), again.id());
        assert_eq!(join("lobby", true).id(), first.id() + 1);
        let other = join("other", false);
        assert!(other.id() > first.id() + 1);
        assert!(first.id() >= ROOM_IDS);
        assert_eq!(rooms.forget_if_over("lobby").as_deref(), Some("lobby"));
        assert!(rooms.get("lobby").is_none());
    }

    #[test]
    fn a_room_is_there_for_whoever_is_on_the_way_into_it() {
        let (rooms, name) = (Rooms::default(), Arc::<str>::from("lobby"));
        rooms.expect(&name, false);
        rooms.expect(&name, true);
        let group = rooms.get("lobby").unwrap();
        rooms.unexpect("lobby", false);
        assert_eq!(rooms.forget_if_over("lobby"), None);
        let is_live = |(_, framing): &(Group, Framing)| *framing == Framing::Live;
        assert!(rooms.framings("lobby").iter().all(is_live) && rooms.framings("lobby").len() == 1);
        let (_, joined) = rooms.join("lobby", false, |_| true).unwrap();
        assert_eq!(joined.id(), group.plain.id());
        rooms.unexpect("lobby", true);
        assert!(rooms.forget_if_over("lobby").is_some());
    }
}
