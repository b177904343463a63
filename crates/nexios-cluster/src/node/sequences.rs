//! The numbers of what a node sends, topic by topic, and which of the topics owe a mark.
//!
//! What is done under the publishers' lock depends on what is due, never on how many topics there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::topic::Topic;

/// Silence on a topic after which a mark says where it ended.
pub(super) const MARK_AFTER: Duration = Duration::from_millis(500);
/// Silence on a topic after which its numbers are forgotten.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(300);
/// Topics that are counted at the same time. One more takes the place of the one that is silent for longest.
pub(super) const TOPICS_MAX: usize = 64 << 10;

pub(super) struct Sequences {
    by_topic: HashMap<Topic, Sequence>,
    /// Topics that need a mark once they are silent, by when to look at them.
    unmarked: BTreeMap<Place, Topic>,
    /// The others, by when they were used.
    idle: BTreeMap<Place, Topic>,
    places: u64,
    /// A topic that is counted anew begins here: above all that it has ever counted.
    floor: u64,
    /// When a message was last refused on a topic that could not be counted any more.
    uncounted: Option<Instant>,
    topics_max: usize,
}

/// A time, and a number of its own.
type Place = (Instant, u64);

struct Sequence {
    channel: Arc<str>,
    next: u64,
    /// Where counting began; each envelope says so until the broker has taken one that does: what
    /// is refused before that would not be missed by anybody.
    began: Option<u64>,
    used: Instant,
    place: Place,
    is_unmarked: bool,
}

/// A number that an envelope gets.
pub(super) struct Number {
    pub(super) channel: Arc<str>,
    pub(super) number: u64,
    pub(super) began: Option<u64>,
}

impl Default for Sequences {
    fn default() -> Self {
        Sequences::new(TOPICS_MAX)
    }
}

impl Sequences {
    pub(super) fn new(topics_max: usize) -> Self {
        Sequences {
            by_topic: HashMap::new(),
            unmarked: BTreeMap::new(),
            idle: BTreeMap::new(),
            places: 0,
            floor: 0,
            uncounted: None,
            topics_max,
        }
    }

    /// Returns true if a topic can be counted: it is already, or a place is free or can be made so.
    pub(super) fn has_room_for(&mut self, topic: &Topic) -> bool {
        self.by_topic.contains_key(topic) || self.by_topic.len() < self.topics_max || self.forget_oldest()
    }

    /// Takes note that a message was refused on a topic that cannot be counted. Topics that are counted anew from now on
    /// say for a while that one is missing, since each of them may be this one.
    pub(super) fn refused_uncounted(&mut self, now: Instant) {
        self.uncounted = Some(now);
    }

    /// Takes the next number of a topic.
    pub(super) fn take(&mut self, topic: &Topic, namespace: &str, now: Instant) -> Number {
        self.places += 1;
        let place = (now, self.places);
        if !self.by_topic.contains_key(topic) {
            let since = |when: Instant| now.saturating_duration_since(when);
            self.uncounted = self.uncounted.filter(|when| since(*when) < FORGET_AFTER);
            let (began, missing) = (self.floor, u64::from(self.uncounted.is_some()));
            let channel = topic.channel(namespace);
            let sequence =
                Sequence { channel, next: began + missing, began: Some(began), used: now, place, is_unmarked: false };
            self.by_topic.insert(topic.clone(), sequence);
            self.idle.insert(place, topic.clone());
        }
        let Some(sequence) = self.by_topic.get_mut(topic) else {
            return Number { channel: topic.channel(namespace), number: self.floor, began: Some(self.floor) };
        };
        if !sequence.is_unmarked {
            self.idle.remove(&sequence.place);
            sequence.is_unmarked = !topic.is_presence();
            match sequence.is_unmarked {
                true => {
                    sequence.place = (now + MARK_AFTER, place.1);
                    self.unmarked.insert(sequence.place, topic.clone());
                }
                false => {
                    sequence.place = place;
                    self.idle.insert(place, topic.clone());
                }
            }
        }
        let number = sequence.next;
        sequence.next += 1;
        sequence.used = now;
        Number { channel: sequence.channel.clone(), number, began: sequence.began }
    }

    /// The broker has taken an envelope that says where counting began.
    pub(super) fn beginning_is_known(&mut self, topic: &Topic, began: Option<u64>) {
        if let Some(sequence) = self.by_topic.get_mut(topic).filter(|sequence| sequence.began == began) {
            sequence.began = None;
        }
    }

    /// Looks at one topic whose time has come; returns `false` if there is none. `mark` is called where it is silent.
    pub(super) fn look(&mut self, now: Instant, mark: impl FnOnce(&Topic, Number)) -> bool {
        let Some((&place, _)) = self.unmarked.first_key_value().filter(|(place, _)| place.0 <= now) else {
            return false;
        };
        let used = self.unmarked.get(&place).and_then(|topic| self.by_topic.get(topic)).map(|sequence| sequence.used);
        match used.map(|used| used + MARK_AFTER).filter(|due| *due > now) {
            Some(due) => self.look_again(place, due),
            None => self.mark_first(mark),
        }
        true
    }

    fn look_again(&mut self, place: Place, due: Instant) {
        let Some(topic) = self.unmarked.remove(&place) else { return };
        let place = (due, place.1);
        if let Some(sequence) = self.by_topic.get_mut(&topic) {
            sequence.place = place;
            self.unmarked.insert(place, topic);
        }
    }

    /// Has the topic marked that waits for its mark for longest, if there is one.
    pub(super) fn mark_first(&mut self, mark: impl FnOnce(&Topic, Number)) {
        let Some((_, topic)) = self.unmarked.pop_first() else { return };
        let Some(sequence) = self.by_topic.get_mut(&topic) else { return };
        (sequence.is_unmarked, sequence.place) = (false, (sequence.used, sequence.place.1));
        mark(&topic, Number { channel: sequence.channel.clone(), number: sequence.next, began: sequence.began });
        self.idle.insert(sequence.place, topic);
    }

    /// Has a topic marked once more: its mark was not taken.
    pub(super) fn owes_mark(&mut self, topic: &Topic, now: Instant) {
        let Some(sequence) = self.by_topic.get_mut(topic).filter(|sequence| !sequence.is_unmarked) else { return };
        self.idle.remove(&sequence.place);
        (sequence.is_unmarked, sequence.place) = (true, (now + MARK_AFTER, sequence.place.1));
        self.unmarked.insert(sequence.place, topic.clone());
    }

    /// How many topics need a mark.
    pub(super) fn unmarked(&self) -> usize {
        self.unmarked.len()
    }

    /// Forgets the numbers of a topic that was not used for long; returns `false` if there is none.
    pub(super) fn forget_idle(&mut self, now: Instant) -> bool {
        let is_over = |place: &Place| now.saturating_duration_since(place.0) >= FORGET_AFTER;
        self.idle.first_key_value().is_some_and(|(place, _)| is_over(place)) && self.forget_oldest()
    }

    /// Forgets the topic that is silent for longest, of those whose end is marked.
    fn forget_oldest(&mut self) -> bool {
        let Some((_, topic)) = self.idle.pop_first() else { return false };
        let Some(sequence) = self.by_topic.remove(&topic) else { return false };
        self.floor = sequence.next.max(self.floor);
        if self.by_topic.len() * 4 < self.by_topic.capacity() {
            self.by_topic.shrink_to(self.by_topic.len() * 2);
        }
        true
    }

    /// How many topics are counted.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.by_topic.len(), self.unmarked.len() + self.idle.len());
        self.by_topic.len()
    }
}
