//! A node's position in one room with history, and the recent entries before it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::appends::Confirmation;
use super::attach::{Attach, Since};
use crate::history::log::{Entry, History, Position};

/// Recent entries of a room that a node keeps, for clients that come back.
const RECENT_BYTES_MAX: usize = 1 << 20;
/// The same of all rooms; beyond, a room keeps no new ones.
pub(super) const ALL_RECENT_BYTES_MAX: usize = 64 << 20;
/// Entries that wait for those before them; beyond, they are read once more.
const AHEAD_BYTES_MAX: usize = 1 << 20;
/// How long a publisher waits until the members here are sent what it has stored, and how many wait at most.
const CONFIRM_MAX: Duration = Duration::from_secs(1);
const CONFIRMATIONS_MAX: usize = 16 << 10;
/// Besides its envelope an entry costs about this much.
const ENTRY_COST: usize = 128;

/// One room, followed from some entry on.
pub(super) struct Follow {
    /// Tells what was asked for an earlier follow of the same room from what was asked for this one.
    pub(super) generation: u64,
    pub(super) history: History,
    /// Behind the last entry that was delivered here; `None` before the first.
    pub(super) cursor: Option<Position>,
    /// What was delivered last, without a hole.
    recent: VecDeque<(Instant, Entry)>,
    recent_bytes: usize,
    /// What came while something before it was being read.
    ahead: Vec<Entry>,
    ahead_bytes: usize,
    /// Something is being read, or waits for that.
    pub(super) reading: bool,
    /// What was being read is not all: more was lost meanwhile.
    pub(super) stale: bool,
    /// Clients that join when the node has caught up.
    pub(super) waiting: Vec<Attach>,
    /// Messages of this node that are stored and not delivered here yet, in the order in which they were stored.
    stored: VecDeque<(Instant, Confirmation)>,
}

/// What is to be done with an entry that has come.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Arrived {
    /// It is the next.
    Deliver(Entry),
    /// It is the first of a count that began while nobody had used the room.
    Begins(Entry),
    /// It was here before.
    Duplicate,
    /// It waits for what is being read.
    Waits,
    /// Something before it is missing, and it waits for that; or it cannot be true.
    Hole,
}

/// What the node has behind a client's position.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Cover {
    /// All, up to the cursor.
    Behind(Vec<Entry>),
    /// The client is further than the node.
    Ahead,
    /// Not all.
    Unknown,
}

impl Follow {
    pub(super) fn new(generation: u64, history: History) -> Self {
        Follow {
            generation,
            history,
            cursor: None,
            recent: VecDeque::new(),
            recent_bytes: 0,
            ahead: Vec::new(),
            ahead_bytes: 0,
            reading: false,
            stale: false,
            waiting: Vec::new(),
            stored: VecDeque::new(),
        }
    }

    /// Has a publisher wait until the cursor has passed its message; returns false if it need not.
    pub(super) fn confirm(&mut self, stored: Confirmation) -> bool {
        let waits = !self.has_passed(stored.position()) && self.stored.len() < CONFIRMATIONS_MAX;
        if waits {
            self.stored.push_back((Instant::now(), stored));
        }
        waits
    }

    fn has_passed(&self, position: Position) -> bool {
        self.cursor.is_some_and(|cursor| cursor.epoch == position.epoch && cursor.offset >= position.offset)
    }

    /// Lets publishers go on that have waited long enough.
    pub(super) fn release_publishers(&mut self, now: Instant) {
        let late = |since: Instant| now.saturating_duration_since(since) >= CONFIRM_MAX;
        while self.stored.front().is_some_and(|(since, _)| late(*since)) {
            self.stored.pop_front();
        }
    }

    /// Returns true if somebody waits for time to pass.
    pub(super) fn is_awaited(&self) -> bool {
        !self.waiting.is_empty() || !self.stored.is_empty()
    }

    /// The node is behind this entry: publishers of what came up to it go on.
    fn advance(&mut self, cursor: Position) {
        let before = self.cursor.replace(cursor);
        if before.is_none_or(|before| before.epoch != cursor.epoch) {
            // What was stored in another count does not come any more.
            self.stored.retain(|(_, stored)| stored.position().epoch == cursor.epoch);
        }
        while self.stored.front().is_some_and(|(_, stored)| self.has_passed(stored.position())) {
            self.stored.pop_front();
        }
    }

    /// An entry has come.
    pub(super) fn arrived(&mut self, entry: Entry) -> Arrived {
        if self.reading {
            self.keep_ahead(entry);
            return Arrived::Waits;
        }
        match self.place(&entry) {
            Place::Next => Arrived::Deliver(entry),
            Place::First => Arrived::Begins(entry),
            Place::Before => Arrived::Duplicate,
            Place::BehindHole => {
                self.keep_ahead(entry);
                Arrived::Hole
            }
            // What is read shows which of the two is there.
            Place::Contradicts => Arrived::Hole,
        }
    }

    fn place(&self, entry: &Entry) -> Place {
        let Some(cursor) = self.cursor else { return Place::Next };
        if cursor.epoch != entry.epoch {
            // Nobody had used the room, and its count began later than was said.
            let is_first = cursor.offset == 0 && entry.previous == 0;
            return if is_first { Place::First } else { Place::BehindHole };
        }
        match (entry.offset <= cursor.offset, entry.previous <= cursor.offset) {
            (true, _) if self.contradicts(entry) => Place::Contradicts,
            (true, _) => Place::Before,
            (false, true) => Place::Next,
            (false, false) => Place::BehindHole,
        }
    }

    /// Returns true if another entry was delivered under this offset, or if that is not known of the first of a count:
    /// somebody may have deleted the log.
    fn contradicts(&self, entry: &Entry) -> bool {
        let mut recent = self.recent.iter().rev().map(|(_, recent)| recent);
        let known = recent.find(|recent| recent.offset <= entry.offset).filter(|known| known.offset == entry.offset);
        known.map_or(entry.previous == 0, |known| known.nonce != entry.nonce)
    }

    fn keep_ahead(&mut self, entry: Entry) {
        let cost = cost(&entry);
        if self.ahead_bytes + cost > AHEAD_BYTES_MAX {
            self.stale = true;
            return;
        }
        self.ahead_bytes += cost;
        self.ahead.push(entry);
    }

    /// What came first while the newest was asked for, if that is not newer still.
    pub(super) fn first_ahead(&self, top: Position) -> Option<Entry> {
        self.ahead.first().filter(|entry| entry.epoch == top.epoch && entry.offset <= top.offset).cloned()
    }

    /// What came meanwhile, in order.
    pub(super) fn take_ahead(&mut self) -> Vec<Entry> {
        self.ahead_bytes = 0;
        std::mem::take(&mut self.ahead)
    }

    /// An entry is on its way to the members; `others` is what all other rooms keep.
    pub(super) fn delivered(&mut self, entry: Entry, others: usize) {
        self.advance(entry.position());
        self.recent_bytes += cost(&entry);
        self.recent.push_back((Instant::now(), entry));
        self.prune(RECENT_BYTES_MAX.min(ALL_RECENT_BYTES_MAX.saturating_sub(others)));
    }

    /// The node goes on from here; what it had is of no use any more.
    pub(super) fn jump(&mut self, position: Position) {
        self.advance(position);
        self.recent.clear();
        self.recent_bytes = 0;
    }

    /// The broker has nothing behind the cursor, up to this position.
    pub(super) fn settle(&mut self, top: Position) {
        let is_further = |cursor: Position| cursor.epoch == top.epoch && top.offset > cursor.offset;
        if self.cursor.is_some_and(is_further) {
            self.advance(top);
        }
    }

    pub(super) fn recent_bytes(&self) -> usize {
        self.recent_bytes
    }

    /// Keeps to the limits, and hands nothing out that the room does not remember any more.
    fn prune(&mut self, bytes_max: usize) {
        let (now, history) = (Instant::now(), self.history);
        while let Some((since, entry)) = self.recent.front() {
            let is_over = self.recent.len() > history.size || now - *since >= history.ttl;
            if self.recent_bytes <= bytes_max && !is_over {
                return;
            }
            self.recent_bytes -= cost(entry);
            self.recent.pop_front();
        }
    }

    /// What the node has behind a position.
    pub(super) fn cover(&mut self, since: Since) -> Cover {
        self.prune(RECENT_BYTES_MAX);
        let (Since { position, reached, trusted }, Some(cursor)) = (since, self.cursor) else { return Cover::Unknown };
        if position == cursor {
            return Cover::Behind(Vec::new());
        }
        if position.epoch != cursor.epoch || position.offset >= cursor.offset {
            return if trusted { Cover::Ahead } else { Cover::Unknown };
        }
        // Where nothing was delivered here yet, nothing is known of what was before the cursor.
        let previous = self.recent.front().map_or(cursor.offset, |(_, first)| first.previous);
        let covered =
            trusted && previous <= reached || self.recent.iter().any(|(_, entry)| entry.position() == position);
        if !covered {
            return Cover::Unknown;
        }
        let missed = self.recent.iter().map(|(_, entry)| entry).filter(|entry| entry.offset > position.offset);
        Cover::Behind(missed.cloned().collect())
    }
}

enum Place {
    Next,
    First,
    Before,
    BehindHole,
    Contradicts,
}

fn cost(entry: &Entry) -> usize {
    entry.envelope.len() + ENTRY_COST
}

/// The name of a room, shared by all who follow it.
pub(super) type RoomName = Arc<str>;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engines::link::LinkError;
    use crate::history::log::{Appended, Nonce};

    fn entry(epoch: u64, offset: u64) -> Entry {
        let nonce = Nonce([offset as u8; 16]);
        Entry { epoch, offset, previous: offset - 1, time_ms: 0, nonce, envelope: vec![0; 100].into() }
    }

    fn follow(size: usize) -> Follow {
        Follow::new(1, History::new(size, Duration::from_secs(60)))
    }

    fn deliver(follow: &mut Follow, offsets: std::ops::RangeInclusive<u64>) {
        for offset in offsets {
            assert_eq!(follow.arrived(entry(7, offset)), Arrived::Deliver(entry(7, offset)));
            follow.delivered(entry(7, offset), 0);
        }
    }

    fn covered(follow: &mut Follow, position: Position, trusted: bool) -> Option<Vec<u64>> {
        match follow.cover(Since { trusted, ..Since::said(position) }) {
            Cover::Behind(entries) => Some(entries.iter().map(|entry| entry.offset).collect()),
            Cover::Ahead | Cover::Unknown => None,
        }
    }

    #[test]
    fn each_entry_comes_once_and_a_hole_is_seen() {
        let mut follow = follow(100);
        deliver(&mut follow, 5..=7);
        assert_eq!(follow.arrived(entry(7, 6)), Arrived::Duplicate);
        assert_eq!(follow.arrived(entry(7, 9)), Arrived::Hole);
        follow.reading = true;
        assert_eq!(follow.arrived(entry(7, 8)), Arrived::Waits);
        assert_eq!(follow.take_ahead(), [entry(7, 9), entry(7, 8)]);
        follow.reading = false;
        assert_eq!(follow.arrived(entry(8, 8)), Arrived::Hole, "another epoch");
    }

    #[test]
    fn offsets_need_not_be_dense() {
        let mut follow = follow(100);
        deliver(&mut follow, 5..=5);
        let sparse = Entry { previous: 5, ..entry(7, 12) };
        assert_eq!(follow.arrived(sparse.clone()), Arrived::Deliver(sparse.clone()));
        follow.delivered(sparse, 0);
        assert_eq!(follow.arrived(entry(7, 20)), Arrived::Hole);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut follow = follow(100);
        follow.reading = true;
        let long = Entry { envelope: vec![0; AHEAD_BYTES_MAX / 2].into(), ..entry(7, 1) };
        for _ in 0..3 {
            follow.arrived(long.clone());
        }
        assert!(follow.stale && follow.take_ahead().len() == 1);
    }

    #[test]
    fn a_client_is_covered_from_an_entry_that_the_node_still_has() {
        let mut follow = follow(3);
        deliver(&mut follow, 1..=9);
        assert_eq!(covered(&mut follow, entry(7, 7).position(), false), Some(vec![8, 9]));
        assert_eq!(covered(&mut follow, entry(7, 9).position(), false), Some(vec![]));
        assert_eq!(covered(&mut follow, entry(7, 6).position(), false), None, "its entry is not here");
        assert_eq!(covered(&mut follow, entry(7, 6).position(), true), Some(vec![7, 8, 9]));
        assert_eq!(covered(&mut follow, entry(7, 5).position(), true), None);
        let wrong = Position { nonce: Nonce([1; 16]), ..entry(7, 7).position() };
        assert_eq!(covered(&mut follow, wrong, false), None, "another nonce");
        let ahead = Since::trusted(entry(7, 12).position());
        assert_eq!(follow.cover(ahead), Cover::Ahead);
        assert_eq!(follow.cover(Since { trusted: false, ..ahead }), Cover::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_handed_out_that_is_past_its_time() {
        let mut follow = follow(100);
        deliver(&mut follow, 1..=2);
        tokio::time::advance(Duration::from_secs(30)).await;
        deliver(&mut follow, 3..=3);
        assert_eq!(covered(&mut follow, entry(7, 1).position(), false), Some(vec![2, 3]));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(covered(&mut follow, entry(7, 1).position(), false), None);
        assert_eq!(follow.recent_bytes(), cost(&entry(7, 3)));
    }

    #[test]
    fn what_a_node_keeps_is_bounded_by_bytes() {
        let mut follow = follow(1 << 20);
        deliver(&mut follow, 1..=10_000);
        assert!(follow.recent_bytes() <= RECENT_BYTES_MAX);
        follow.delivered(entry(7, 10_001), ALL_RECENT_BYTES_MAX);
        assert_eq!(follow.recent_bytes(), 0);
    }

    #[test]
    fn a_log_that_was_not_there_begins_with_its_first_entry() {
        let mut follow = follow(10);
        follow.jump(Position::default());
        assert_eq!(follow.arrived(entry(7, 1)), Arrived::Begins(entry(7, 1)));
        assert_eq!(follow.arrived(entry(7, 2)), Arrived::Hole);
    }

    #[test]
    fn a_count_that_somebody_deleted_and_that_begins_with_the_same_epoch_is_seen() {
        let mut follow = follow(3);
        deliver(&mut follow, 1..=5);
        let other = |offset| Entry { nonce: Nonce([99; 16]), ..entry(7, offset) };
        assert_eq!(follow.arrived(entry(7, 4)), Arrived::Duplicate);
        assert_eq!(follow.arrived(entry(7, 2)), Arrived::Duplicate, "it is not kept here any more");
        assert_eq!([follow.arrived(other(1)), follow.arrived(other(4))], [Arrived::Hole, Arrived::Hole]);
        assert_eq!(follow.take_ahead(), [], "what is read says which it is");
    }

    #[test]
    fn the_place_before_the_first_entry_is_covered_where_it_is_trusted() {
        let mut follow = follow(10);
        let origin = |nonce| Position { epoch: 7, offset: 0, nonce: Nonce([nonce; 16]) };
        follow.jump(origin(9));
        assert_eq!(covered(&mut follow, origin(9), false), Some(vec![]), "nothing has come yet");
        assert_eq!(covered(&mut follow, origin(0), false), None, "a client made it up");
        deliver(&mut follow, 1..=3);
        assert_eq!(covered(&mut follow, origin(9), true), Some(vec![1, 2, 3]));
        assert_eq!(covered(&mut follow, origin(9), false), None);
    }

    #[test]
    fn where_other_rooms_count_on_a_silent_room_is_covered_from_anywhere_in_its_silence() {
        let mut follow = follow(10);
        follow.jump(entry(7, 20).position());
        let since = Since::trusted(entry(7, 10).position());
        assert_eq!(follow.cover(since), Cover::Unknown);
        assert_eq!(follow.cover(since.quiet_up_to(entry(7, 19).position())), Cover::Unknown);
        assert_eq!(follow.cover(since.quiet_up_to(entry(7, 25).position())), Cover::Behind(vec![]));
        follow.settle(entry(7, 30).position());
        assert_eq!(follow.cursor, Some(entry(7, 30).position()));
        follow.settle(entry(7, 29).position());
        follow.settle(entry(8, 31).position());
        assert_eq!(follow.cursor, Some(entry(7, 30).position()));
    }

    /// A message that is stored, and what its publisher learns.
    fn stored(epoch: u64, offset: u64) -> (Confirmation, tokio::sync::oneshot::Receiver<Result<Appended, LinkError>>) {
        let (receipt, learns) = tokio::sync::oneshot::channel();
        let appended = Appended { position: entry(epoch, offset).position(), duplicate: false, replicas: 0 };
        (Confirmation::new("x".into(), appended, receipt), learns)
    }

    #[test]
    fn a_publisher_goes_on_once_its_message_is_passed() {
        let mut follow = follow(100);
        deliver(&mut follow, 1..=2);
        let (before, mut learns) = stored(7, 2);
        assert!(!follow.confirm(before));
        assert_eq!(learns.try_recv().unwrap().unwrap().position, entry(7, 2).position());
        let [mut third, mut fourth, mut other] = [(7, 3), (7, 4), (8, 1)].map(|(epoch, offset)| {
            let (confirmation, learns) = stored(epoch, offset);
            assert!(follow.confirm(confirmation));
            learns
        });
        deliver(&mut follow, 3..=3);
        assert!(third.try_recv().is_ok() && fourth.try_recv().is_err() && other.try_recv().is_err());
        // Another count: what was stored in the last one does not come any more.
        follow.jump(Position { offset: 0, ..entry(8, 1).position() });
        assert!(fourth.try_recv().is_ok() && other.try_recv().is_err() && follow.is_awaited());
        follow.release_publishers(Instant::now() + CONFIRM_MAX);
        assert!(other.try_recv().is_ok() && !follow.is_awaited());
    }

    #[test]
    fn a_publisher_of_a_room_that_is_forgotten_learns_what_is_stored() {
        let (confirmation, mut learns) = stored(7, 1);
        let mut follow = follow(100);
        assert!(follow.confirm(confirmation));
        drop(follow);
        assert!(learns.try_recv().unwrap().is_ok());
    }
}
