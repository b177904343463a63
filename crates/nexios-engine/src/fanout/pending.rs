//! The broadcasts of one turn, in order, and which of them are for a group.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::group::{Audience, Broadcast};

/// From here on the numbers of broadcasts begin again.
pub(super) const NUMBERS_MAX: u32 = u32::MAX / 2;
/// So many are looked through one by one: an index would cost more.
const UNINDEXED_MAX: usize = 16;

/// The broadcasts of this turn that have not gone out.
#[derive(Default)]
pub(super) struct Pending {
    broadcasts: Vec<Arc<Broadcast>>,
    /// The number that the next broadcast gets.
    next: u32,
    index: RefCell<Index>,
}

/// Places among the pending broadcasts, for as many of them as it has been asked about.
#[derive(Default)]
struct Index {
    indexed: usize,
    of_group: HashMap<u32, Vec<u32>>,
    of_ranges: Vec<u32>,
}

impl Pending {
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    #[cfg(test)]
    pub(super) fn set_next(&mut self, next: u32) {
        self.next = next;
    }

    fn first(&self) -> u32 {
        self.next - self.broadcasts.len() as u32
    }

    pub(super) fn push(&mut self, broadcast: Arc<Broadcast>) {
        self.next += 1;
        self.broadcasts.push(broadcast);
    }

    /// Takes all, and the number of the first.
    pub(super) fn take(&mut self) -> (u32, Vec<Arc<Broadcast>>) {
        let first = self.first();
        *self.index.get_mut() = Index::default();
        (first, std::mem::take(&mut self.broadcasts))
    }

    /// Begins again with the numbers where they have run high and nothing is pending; returns true if it did.
    pub(super) fn renumber(&mut self) -> bool {
        let renumbered = self.next >= NUMBERS_MAX && self.broadcasts.is_empty();
        if renumbered {
            self.next = 0;
        }
        renumbered
    }

    /// The broadcasts from this number on that are for one of the groups, in order.
    pub(super) fn addressed_to(&self, groups: impl Iterator<Item = u32> + Clone, from: u32) -> Vec<Arc<Broadcast>> {
        let skip = from.saturating_sub(self.first()) as usize;
        let rest = self.broadcasts.get(skip..).unwrap_or(&[]);
        if rest.len() <= UNINDEXED_MAX {
            let is_for = |broadcast: &&Arc<Broadcast>| groups.clone().any(|id| broadcast.audience.contains(id));
            return rest.iter().filter(is_for).cloned().collect();
        }
        let mut index = self.index.borrow_mut();
        index.extend(&self.broadcasts);
        let mut places: Vec<u32> = groups.clone().flat_map(|id| index.of_group(id)).collect();
        let of_ranges = index.of_ranges.iter().copied();
        places.extend(
            of_ranges.filter(|&place| groups.clone().any(|id| self.broadcasts[place as usize].audience.contains(id))),
        );
        places.sort_unstable();
        places.dedup();
        let new = places.into_iter().filter(|&place| place as usize >= skip);
        new.map(|place| self.broadcasts[place as usize].clone()).collect()
    }
}

impl Index {
    fn extend(&mut self, broadcasts: &[Arc<Broadcast>]) {
        for (place, broadcast) in broadcasts.iter().enumerate().skip(self.indexed) {
            match &broadcast.audience {
                Audience::One(id) => self.of_group.entry(*id).or_default().push(place as u32),
                // A room has two groups: it is found as fast as one.
                Audience::Range(range) if range.len() <= 2 => {
                    range.clone().for_each(|id| self.of_group.entry(id).or_default().push(place as u32));
                }
                Audience::Range(_) => self.of_ranges.push(place as u32),
            }
        }
        self.indexed = broadcasts.len();
    }

    fn of_group(&self, id: u32) -> impl Iterator<Item = u32> {
        self.of_group.get(&id).into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(audiences: &[Audience]) -> Pending {
        let mut pending = Pending::default();
        for (number, audience) in audiences.iter().enumerate() {
            pending.push(Arc::new(Broadcast::new(audience.clone(), number.to_string().into())));
        }
        pending
    }

    fn texts(broadcasts: &[Arc<Broadcast>]) -> Vec<&str> {
        broadcasts.iter().filter_map(|broadcast| broadcast.message.as_text()).collect()
    }

    #[test]
    fn few_or_many_a_member_gets_what_is_for_its_groups_once_and_in_order() {
        let audiences =
            [Audience::One(1), Audience::Range(0..3), Audience::One(2), Audience::One(9), Audience::Range(8..9)];
        let few = pending(&audiences);
        assert_eq!(texts(&few.addressed_to([1, 2].into_iter(), 0)), ["0", "1", "2"]);
        assert_eq!(texts(&few.addressed_to([1, 2].into_iter(), 2)), ["2"]);
        let mut many = pending(&[&audiences[..]; 10].concat());
        let expected: Vec<String> = (0..50).filter(|n| n % 5 < 3).map(|n| n.to_string()).collect();
        assert_eq!(texts(&many.addressed_to([1, 2].into_iter(), 0)), expected);
        many.push(Arc::new(Broadcast::new(Audience::One(2), "last".into())));
        assert_eq!(texts(&many.addressed_to([2].into_iter(), 25)).last(), Some(&"last"));
    }

    #[test]
    fn numbers_go_on_over_what_was_taken() {
        let mut pending = pending(&[Audience::One(1), Audience::One(1)]);
        assert_eq!(pending.take().0, 0);
        pending.push(Arc::new(Broadcast::new(Audience::One(1), "2".into())));
        assert_eq!(texts(&pending.addressed_to([1].into_iter(), 0)), ["2"]);
        assert!(pending.addressed_to([1].into_iter(), 3).is_empty());
        assert_eq!((pending.take().0, pending.next()), (2, 3));
    }
}
