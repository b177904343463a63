//! Rooms that do not remember: at most once, in order for each publisher, loss declared.

use std::collections::{HashMap, HashSet};

use crate::report::{Report, Violation};
use crate::{Client, Fate, Record, Seen};

pub(crate) fn check(record: &Record, report: &mut Report) {
    for client in record.clients.iter().filter(|client| !client.remembers) {
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

/// What a client that was never away did not get, it was told of.
fn complete(client: &Client, fates: &HashMap<(u64, u64), Fate>, seen: &HashSet<(u64, u64)>, report: &mut Report) {
    let declared: u64 = client
        .seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Gap { missed } => *missed,
            _ => None,
        })
        .sum();
    report.declared += declared;
    if client.seen.contains(&Seen::Away) {
        return;
    }
    let owed = fates.iter().filter(|(message, fate)| **fate != Fate::Refused && !seen.contains(*message));
    let (missing, first) =
        owed.fold((0, u64::MAX), |(missing, first), ((_, number), _)| (missing + 1, first.min(*number)));
    if missing > declared {
        let client = client.name.clone();
        report.violations.push(Violation::Lost { client, missing, declared, first });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Published;

    /// Three messages of one publisher, the last refused, and a client that saw this.
    fn check(seen: &[Seen]) -> Report {
        let fates = [Fate::Accepted, Fate::Accepted, Fate::Refused];
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
        assert_eq!(check(&[message(0), Seen::Gap { missed: Some(1) }]).violations, []);
        assert_eq!(check(&[message(0), Seen::Away]).violations, []);
        let lost = Violation::Lost { client: "ann".into(), missing: 1, declared: 0, first: 0 };
        assert_eq!(check(&[message(1), Seen::Gap { missed: None }]).violations, [lost]);
    }

    #[test]
    fn twice_backwards_and_refused_are_seen() {
        assert!(matches!(check(&[message(0), message(1), message(1)]).violations[..], [Violation::Duplicate { .. }]));
        assert!(matches!(check(&[message(1), message(0)]).violations[..], [Violation::OutOfOrder { .. }]));
        assert!(matches!(check(&[message(0), message(1), message(2)]).violations[..], [Violation::Unheard { .. }]));
    }
}
