//! Who is in which room, and what was said there last. Shared by all threads of the server.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::wire::Said;

/// Messages that a newcomer sees.
const HISTORY_MAX: usize = 50;

#[derive(Default)]
pub(crate) struct People(Mutex<HashMap<String, Room>>);

#[derive(Default)]
struct Room {
    /// Names, each with the number of its tabs.
    tabs: BTreeMap<String, usize>,
    said: VecDeque<Said>,
}

impl People {
    /// Counts a tab; whether it is the first of its name.
    pub(crate) fn enter(&self, room: &str, name: &str) -> bool {
        let mut rooms = self.lock();
        let tabs = rooms.entry(room.to_owned()).or_default().tabs.entry(name.to_owned()).or_default();
        *tabs += 1;
        *tabs == 1
    }

    /// Counts a tab less; whether it was the last of its name. An empty room is forgotten.
    pub(crate) fn leave(&self, room: &str, name: &str) -> bool {
        let mut rooms = self.lock();
        let Some(here) = rooms.get_mut(room) else { return false };
        let Some(tabs) = here.tabs.get_mut(name) else { return false };
        *tabs -= 1;
        if *tabs > 0 {
            return false;
        }
        here.tabs.remove(name);
        if here.tabs.is_empty() {
            rooms.remove(room);
        }
        true
    }

    pub(crate) fn remember(&self, room: &str, said: Said) {
        if let Some(room) = self.lock().get_mut(room) {
            if room.said.len() == HISTORY_MAX {
                room.said.pop_front();
            }
            room.said.push_back(said);
        }
    }

    /// The names in a room, and what was said there last.
    pub(crate) fn picture(&self, room: &str) -> (Vec<String>, Vec<Said>) {
        let rooms = self.lock();
        rooms.get(room).map_or_else(Default::default, |room| {
            (room.tabs.keys().cloned().collect(), room.said.iter().cloned().collect())
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        // No code panics while it holds the lock; what it guards is whole in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
