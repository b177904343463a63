//! The joins with which a client comes back to its rooms: to rate limits they are one message.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::BuildHasher;

use super::session::ROOMS_MAX;

/// The joins that directly follow `hello`.
pub(crate) struct Resume(RefCell<Option<Burst>>);

#[derive(Default)]
struct Burst {
    /// The first join was let through.
    admitted: bool,
    /// Hashes of the rooms that were joined. Names that a client chooses are not kept.
    rooms: HashSet<u64>,
}

impl Default for Resume {
    fn default() -> Self {
        Resume(RefCell::new(Some(Burst::default())))
    }
}

impl Resume {
    /// Returns true if the next message counts, with the room that it joins. One that counts and is not the first join
    /// ends the burst.
    pub(crate) fn counts(&self, joins: Option<&str>) -> bool {
        let mut state = self.0.borrow_mut();
        let belongs = match (&mut *state, joins) {
            (Some(burst), Some(_)) if !burst.admitted => return true,
            (Some(burst), Some(room)) => burst.rooms.len() < ROOMS_MAX && burst.add(room),
            _ => false,
        };
        if !belongs {
            *state = None;
        }
        !belongs
    }

    /// Notes that the limits have let a message through that counts.
    pub(crate) fn admitted(&self, joins: Option<&str>) {
        if let (Some(burst), Some(room)) = (&mut *self.0.borrow_mut(), joins) {
            burst.admitted = true;
            burst.add(room);
        }
    }
}

impl Burst {
    /// Returns true if the room is new.
    fn add(&mut self, room: &str) -> bool {
        let hash = self.rooms.hasher().hash_one(room);
        self.rooms.insert(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these messages count, each let through.
    fn counted<'a>(messages: impl IntoIterator<Item = Option<&'a str>>) -> usize {
        let resume = Resume::default();
        let counts = |joins: &Option<&str>| {
            let counts = resume.counts(*joins);
            if counts {
                resume.admitted(*joins);
            }
            counts
        };
        messages.into_iter().filter(counts).count()
    }

    #[test]
    fn the_first_joins_count_as_one_each_room_once_until_another_message() {
        assert_eq!(counted([Some("a"), Some("b"), Some("c")]), 1);
        assert_eq!(counted([Some("a"), Some("b"), Some("a"), Some("c")]), 3);
        assert_eq!(counted([Some("a"), None, Some("b"), Some("c")]), 4);
        assert_eq!(counted([None, Some("a"), Some("b")]), 3);
    }

    #[test]
    fn a_burst_has_a_thousand_rooms_at_most() {
        let rooms: Vec<String> = (0..ROOMS_MAX + 5).map(|room| room.to_string()).collect();
        assert_eq!(counted(rooms.iter().map(|room| Some(&**room))), 1 + 5);
    }

    #[test]
    fn a_first_join_that_was_not_let_through_does_not_stand_for_others() {
        let resume = Resume::default();
        assert!(resume.counts(Some("a")) && resume.counts(Some("a")) && resume.counts(Some("b")));
        resume.admitted(Some("b"));
        assert!(!resume.counts(Some("a")));
    }
}
