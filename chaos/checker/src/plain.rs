//! Rooms without history: at most once, in order for each publisher, loss declared.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;

use crate::report::{Report, Violation};
use crate::{Client, Fate, Record, Seen};

pub(crate) fn check(record: &Record, report: &mut Report) {
    for client in record.clients.iter().filter(|client| !client.has_history) {
        let fates: HashMap<_, _> = record
            .published
            .iter()
            .filter(|message| message.room == client.room)
            .map(|message| ((message.publisher, message.number), message.fate))
            .collect();
        let seen = order(client, &fates, report);
        complete(client, &fates, &seen, report);
    }
}

/// Each publisher's messages rise, each comes once, and nothing comes that nobody sent.
fn order(client: &Client, fates: &HashMap<(u64, u64), Fate>, report: &mut Report) -> HashSet<(u64, u64)> {
    let mut last = HashMap::<u64, u64>::new();
    let mut seen = HashSet::new();
    for message in &client.seen {
        let Seen::Message { publisher, number } = *message else { continue };
        report.delivered += 1;
        let client = client.name.clone();
        if !seen.insert((publisher, number)) {
            report.violations.push(Violation::Duplicate { client, publisher, number });
        } else if let Some(after) = last.get(&publisher).copied().filter(|last| *last > number) {
            report.violations.push(Violation::OutOfOrder { client, after, came: number });
        } else if fates.get(&(publisher, number)).is_none_or(|fate| *fate == Fate::Refused) {
            report.violations.push(Violation::Unheard { client, publisher, number });
        }
        last.insert(publisher, number);
    }
    seen
}

/// What a client did not get, it was told of.
fn complete(client: &Client, fates: &HashMap<(u64, u64), Fate>, seen: &HashSet<(u64, u64)>, report: &mut Report) {
    let mut unseen = HashMap::<u64, BTreeSet<u64>>::new();
    let accepted = fates.iter().filter(|(message, fate)| **fate == Fate::Accepted && !seen.contains(*message));
    accepted.for_each(|((publisher, number), _)| _ = unseen.entry(*publisher).or_default().insert(*number));
    let stays: Vec<&[Seen]> = client.seen.split(|seen| *seen == Seen::Away).collect();
    for (at, stay) in stays.iter().enumerate() {
        let declared = declared(stay);
        report.declared += declared;
        let lost = unseen.iter().flat_map(|(publisher, unseen)| {
            let owed = owed(stay, *publisher, at == 0, at + 1 == stays.len());
            owed.map(|owed| unseen.range(owed)).into_iter().flatten()
        });
        let (missing, first) = lost.fold((0, u64::MAX), |(missing, first), number| (missing + 1, first.min(*number)));
        if missing > declared {
            let client = client.name.clone();
            report.violations.push(Violation::Lost { client, missing, declared, first });
        }
    }
}

/// What a client is owed of a publisher: whatever came between two messages that it saw without
/// having been away, and from the first on or up to the last where it was there then.
fn owed(stay: &[Seen], publisher: u64, is_first: bool, is_last: bool) -> Option<RangeInclusive<u64>> {
    let numbers = || {
        stay.iter().filter_map(move |seen| match *seen {
            Seen::Message { publisher: by, number } if by == publisher => Some(number),
            _ => None,
        })
    };
    let since = if is_first { Some(0) } else { numbers().min() }?;
    let until = if is_last { Some(u64::MAX) } else { numbers().max() }?;
    Some(since..=until)
}

fn declared(stay: &[Seen]) -> u64 {
    let missed = stay.iter().filter_map(|seen| match seen {
        Seen::Gap { missed } => *missed,
        _ => None,
    });
    missed.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Published;

    /// Four messages of one publisher, the third refused, the last lost sight of, and a client that saw this.
    fn check(seen: &[Seen]) -> Report {
        let fates = [Fate::Accepted, Fate::Accepted, Fate::Refused, Fate::Unknown];
        let message = |(number, fate)| Published { room: "x".into(), publisher: 1, number, fate };
        let published = (0..).zip(fates).map(message).collect();
        let mut record = Record { published, ..Record::default() };
        record.client("ann", "x", false).seen.extend(seen);
        crate::check(&record)
    }

    fn message(number: u64) -> Seen {
        Seen::Message { publisher: 1, number }
    }

    #[test]
    fn what_is_missing_is_declared() {
        assert_eq!(check(&[message(0), message(1)]).violations, []);
        assert_eq!(check(&[message(0), message(1), message(3)]).violations, []);
        assert_eq!(check(&[message(0), Seen::Gap { missed: Some(1) }]).violations, []);
        assert_eq!(check(&[message(0), Seen::Away]).violations, []);
        assert_eq!(check(&[Seen::Away, message(1)]).violations, []);
        let lost = Violation::Lost { client: "ann".into(), missing: 1, declared: 0, first: 0 };
        assert_eq!(check(&[message(1), Seen::Gap { missed: None }]).violations, [lost]);
    }

    #[test]
    fn a_hole_between_two_times_away_is_lost() {
        let published = (0..5).map(|number| Published { room: "x".into(), publisher: 1, number, fate: Fate::Accepted });
        let mut record = Record { published: published.collect(), ..Record::default() };
        record.client("ann", "x", false).seen.extend([Seen::Away, message(1), message(3), Seen::Away]);
        let lost = Violation::Lost { client: "ann".into(), missing: 1, declared: 0, first: 2 };
        assert_eq!(crate::check(&record).violations, [lost]);
    }

    #[test]
    fn what_a_publisher_does_not_know_of_is_not_owed() {
        let published = vec![Published { room: "x".into(), publisher: 1, number: 0, fate: Fate::Unknown }];
        let mut record = Record { published, ..Record::default() };
        record.client("ann", "x", false);
        record.client("bob", "x", false).seen.push(message(0));
        assert_eq!(crate::check(&record).violations, []);
    }

    #[test]
    fn twice_backwards_and_refused_are_seen() {
        assert!(matches!(check(&[message(0), message(1), message(1)]).violations[..], [Violation::Duplicate { .. }]));
        assert!(matches!(check(&[message(1), message(0)]).violations[..], [Violation::OutOfOrder { .. }]));
        assert!(matches!(check(&[message(0), message(1), message(2)]).violations[..], [Violation::Unheard { .. }]));
    }
}
