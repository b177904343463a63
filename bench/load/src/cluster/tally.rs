//! What one client got of the messages of a run: each once, in order, or not.

use crate::report::Deliveries;

/// The numbers that one client has seen, from the first that counts.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    from: u64,
    /// One bit for each number.
    seen: Vec<u64>,
    distinct: u64,
    /// Behind the highest number so far.
    next: u64,
    duplicated: u64,
    out_of_order: u64,
}

impl Tally {
    /// Numbers below `from` do not count.
    pub(crate) fn new(from: u64) -> Self {
        Self { from, seen: Vec::new(), distinct: 0, next: from, duplicated: 0, out_of_order: 0 }
    }

    pub(crate) fn add(&mut self, number: u64) {
        let Some(index) = number.checked_sub(self.from) else { return };
        let (word, bit) = ((index / 64) as usize, 1 << (index % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            self.duplicated += 1;
            return;
        }
        self.seen[word] |= bit;
        self.distinct += 1;
        // One that comes behind a later one; a hole alone is no disorder.
        self.out_of_order += u64::from(number < self.next);
        self.next = self.next.max(number + 1);
    }

    /// Whether every number below this one is there.
    pub(crate) fn has_all_below(&self, end: u64) -> bool {
        self.next >= end && self.distinct == self.next - self.from
    }

    /// How it stands, if the numbers below `end` were sent.
    pub(crate) fn deliveries(&self, end: u64) -> Deliveries {
        let expected = end.saturating_sub(self.from);
        Deliveries {
            expected,
            lost: expected.saturating_sub(self.distinct),
            duplicated: self.duplicated,
            out_of_order: self.out_of_order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(numbers: &[u64]) -> Tally {
        let mut tally = Tally::new(100);
        numbers.iter().for_each(|number| tally.add(*number));
        tally
    }

    fn counts(numbers: &[u64]) -> (u64, u64, u64) {
        let Deliveries { lost, duplicated, out_of_order, .. } = tally(numbers).deliveries(104);
        (lost, duplicated, out_of_order)
    }

    #[test]
    fn lost_duplicated_and_out_of_order_are_told_apart() {
        assert_eq!(counts(&[100, 101, 102, 103]), (0, 0, 0));
        assert_eq!(counts(&[100, 102, 103]), (1, 0, 0), "a hole is no disorder");
        assert_eq!(counts(&[100, 102, 101, 103]), (0, 0, 1));
        assert_eq!(counts(&[100, 101, 101, 102, 103, 100]), (0, 2, 0), "a duplicate is no disorder");
        assert_eq!(counts(&[]), (4, 0, 0));
    }

    #[test]
    fn what_was_sent_before_does_not_count() {
        assert_eq!(counts(&[7, 99, 100, 101, 102, 103]), (0, 0, 0));
    }

    #[test]
    fn all_are_there_once_no_hole_is_left() {
        assert!(tally(&[100, 101, 102]).has_all_below(103));
        assert!(!tally(&[100, 101, 102]).has_all_below(104));
        assert!(!tally(&[100, 102]).has_all_below(103));
        assert!(tally(&[100, 102, 101]).has_all_below(103));
        assert!(tally(&[]).has_all_below(100));
    }

    #[test]
    fn many_numbers_are_no_more_than_bits() {
        let tally = tally(&(100..100_100).collect::<Vec<_>>());
        assert_eq!(tally.deliveries(100_100).lost, 0);
        assert!(tally.seen.len() <= 2000);
    }
}
