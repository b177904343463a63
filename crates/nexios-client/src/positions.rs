//! Positions of rooms, as they are stored and as a `hello` names them.

use std::collections::{BTreeMap, HashMap};

use crate::position::Position;

/// Positions kept at most: as many as a `hello` can name.
const POSITIONS_MAX: usize = 1000;

/// Positions by room, those that moved last at the end.
#[derive(Default)]
pub(crate) struct Positions {
    rooms: HashMap<String, (u64, Position)>,
    order: BTreeMap<u64, String>,
    moves: u64,
    /// Rooms whose stored position is another.
    changed: HashMap<String, Option<Position>>,
    is_stored: bool,
}

impl Positions {
    /// Creates positions from what a storage holds; `is_stored` if changes are to be noted for it.
    pub(crate) fn new(stored: Vec<(String, Position)>, is_stored: bool) -> Self {
        let mut positions = Positions::default();
        stored.into_iter().for_each(|(room, position)| positions.keep(&room, Some(position)));
        positions.changed.clear();
        positions.is_stored = is_stored;
        positions
    }

    pub(crate) fn get(&self, room: &str) -> Option<&Position> {
        self.rooms.get(room).map(|(_, position)| position)
    }

    /// Keeps the position of a room, or forgets it.
    pub(crate) fn keep(&mut self, room: &str, position: Option<Position>) {
        let had = self.rooms.remove(room);
        if let Some((moved, _)) = &had {
            self.order.remove(moved);
        }
        if had.is_some() || position.is_some() {
            self.note(room, position.clone());
        }
        let Some(position) = position else { return };
        self.moves += 1;
        self.order.insert(self.moves, room.to_owned());
        self.rooms.insert(room.to_owned(), (self.moves, position));
        self.limit();
    }

    fn limit(&mut self) {
        if self.rooms.len() > POSITIONS_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.rooms.remove(&oldest);
            self.note(&oldest, None);
        }
    }

    fn note(&mut self, room: &str, position: Option<Position>) {
        if self.is_stored {
            self.changed.insert(room.to_owned(), position);
        }
    }

    /// Takes the changes since the last call, for the storage: those that moved last at the end.
    pub(crate) fn take_changes(&mut self) -> Vec<(String, Option<Position>)> {
        let mut changes: Vec<_> = self.changed.drain().collect();
        changes.sort_by_key(|(room, _)| self.rooms.get(room).map(|(moved, _)| *moved));
        changes
    }

    /// Returns the positions that fit into `hello`: `received` first, then those that moved last.
    pub(crate) fn for_hello(
        &self,
        received: Vec<(String, Position)>,
        bytes_max: usize,
        rooms_max: usize,
    ) -> BTreeMap<String, String> {
        let newest = self.order.values().rev().filter_map(|room| Some((room.clone(), self.get(room)?.clone())));
        let (mut left, rooms_max) = (bytes_max, rooms_max.min(POSITIONS_MAX));
        let mut rooms = BTreeMap::new();
        for (room, position) in received.into_iter().chain(newest) {
            let position = position.to_string();
            if rooms.len() >= rooms_max || rooms.contains_key(&room) {
                continue;
            }
            // Quotes, a colon, a comma.
            let size = serde_json::to_string(&room).map_or(0, |name| name.len()) + position.len() + 4;
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => break,
            }
            rooms.insert(room, position);
        }
        rooms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        format!("a1-{offset}-0123456789abcdef0123456789abcdef").parse().unwrap()
    }

    #[test]
    fn those_that_moved_last_are_kept_and_fit_first() {
        let mut positions = Positions::new(Vec::new(), true);
        (0..1005).for_each(|room| positions.keep(&format!("r{room}"), Some(at(room))));
        assert!(positions.get("r4").is_none() && positions.get("r5").is_some());
        assert_eq!(positions.for_hello(Vec::new(), usize::MAX, usize::MAX).len(), 1000);
        let few = positions.for_hello(vec![("mine".into(), at(1))], 120, usize::MAX);
        assert_eq!(few.into_keys().collect::<Vec<_>>(), ["mine", "r1004"]);
    }

    #[test]
    fn changes_are_told_once() {
        let mut positions = Positions::new(vec![("r".into(), at(1))], true);
        assert!(positions.take_changes().is_empty());
        positions.keep("r", Some(at(2)));
        positions.keep("r", Some(at(3)));
        assert_eq!(positions.take_changes(), [("r".to_owned(), Some(at(3)))]);
        positions.keep("r", None);
        assert_eq!(positions.take_changes(), [("r".to_owned(), None)]);
        positions.keep("r", None);
        assert!(positions.take_changes().is_empty());
    }
}
