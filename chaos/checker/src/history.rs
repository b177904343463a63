//! Rooms with history: offsets, recovery, completeness.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::report::{Report, Violation};
use crate::{Client, Fate, Record, Seen};

/// What is known of each room's log: which message is where, `(epoch, offset)` first.
type Logs<'a> = HashMap<&'a str, BTreeMap<(u64, u64), (u64, u64)>>;

pub(crate) fn check(record: &Record, report: &mut Report) {
    let (logs, conflicts) = logs(record);
    report.violations.extend(conflicts);
    let refused = refused(record);
    let published: HashSet<_> =
        record.published.iter().map(|message| (&*message.room, message.publisher, message.number)).collect();
    let none = BTreeMap::new();
    for client in record.clients.iter().filter(|client| client.has_history) {
        let log = logs.get(&*client.room).unwrap_or(&none);
        Reader { client, log, at: None, was_at: None, seen: HashSet::new(), report }.read();
        for (publisher, number) in entries(client) {
            let message = (&*client.room, publisher, number);
            if !published.contains(&message) || refused.contains(&message) {
                report.violations.push(Violation::Unheard { client: client.name.clone(), publisher, number });
            }
        }
    }
}

/// What publishers were told and clients saw, put together.
fn logs(record: &Record) -> (Logs<'_>, Vec<Violation>) {
    let mut logs = Logs::new();
    let mut conflicts = Vec::new();
    let told = record.published.iter().filter_map(|message| match message.fate {
        Fate::Stored { epoch, offset } => Some((&*message.room, (epoch, offset), (message.publisher, message.number))),
        _ => None,
    });
    let saw = record.clients.iter().flat_map(|client| {
        client.seen.iter().filter_map(|seen| match *seen {
            Seen::Entry { epoch, offset, publisher, number } => {
                Some((&*client.room, (epoch, offset), (publisher, number)))
            }
            _ => None,
        })
    });
    for (room, place, message) in told.chain(saw) {
        let there = *logs.entry(room).or_default().entry(place).or_insert(message);
        if there != message {
            let (epoch, offset) = place;
            let messages = [there, message];
            conflicts.push(Violation::TwoAtOneOffset { room: room.into(), epoch, offset, messages });
        }
    }
    (logs, conflicts)
}

fn refused(record: &Record) -> HashSet<(&str, u64, u64)> {
    let refused = record.published.iter().filter(|message| message.fate == Fate::Refused);
    refused.map(|message| (&*message.room, message.publisher, message.number)).collect()
}

fn entries(client: &Client) -> impl Iterator<Item = (u64, u64)> {
    client.seen.iter().filter_map(|seen| match *seen {
        Seen::Entry { publisher, number, .. } => Some((publisher, number)),
        _ => None,
    })
}

/// Follows one client through the log.
struct Reader<'a> {
    client: &'a Client,
    log: &'a BTreeMap<(u64, u64), (u64, u64)>,
    /// Where it stands, while it is there.
    at: Option<(u64, u64)>,
    /// Where it stood when it was last there.
    was_at: Option<(u64, u64)>,
    /// Since the last reset.
    seen: HashSet<(u64, u64)>,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn read(mut self) {
        for seen in &self.client.seen {
            match *seen {
                Seen::Joined { epoch, offset, recovered } => self.joined((epoch, offset), recovered),
                Seen::Entry { epoch, offset, publisher, number } => self.entry((epoch, offset), (publisher, number)),
                Seen::Reset { epoch, offset } => {
                    self.report.resets += 1;
                    self.begin((epoch, offset));
                }
                Seen::Away => self.was_at = self.at.take().or(self.was_at),
                Seen::Message { .. } | Seen::Gap { .. } => {}
            }
        }
        // All that is stored in the epoch where it stands has arrived.
        if let Some(at) = self.at {
            self.owed(at, (at.0, u64::MAX));
        }
    }

    fn joined(&mut self, place: (u64, u64), recovered: bool) {
        let before = self.at.or(self.was_at);
        match (before, recovered) {
            (Some(was_at), true) if was_at == place => self.report.recovered += 1,
            (was_at, true) => {
                let was_at = was_at.unwrap_or_default();
                let client = self.client.name.clone();
                self.report.violations.push(Violation::FalseRecovery { client, was_at, told: place });
            }
            (Some(_), false) => self.report.resets += 1,
            (None, false) => {}
        }
        match recovered {
            true => self.at = Some(place),
            false => self.begin(place),
        }
    }

    /// It forgets what it had, and goes on from a place, or from wherever comes next.
    fn begin(&mut self, place: (u64, u64)) {
        self.seen.clear();
        self.at = Some(place).filter(|(epoch, _)| *epoch != 0);
    }

    fn entry(&mut self, place: (u64, u64), (publisher, number): (u64, u64)) {
        self.report.delivered += 1;
        let client = &self.client.name;
        if !self.seen.insert((publisher, number)) {
            self.report.violations.push(Violation::Duplicate { client: client.clone(), publisher, number });
        }
        if let Some(at) = self.at {
            if place.0 != at.0 || place.1 <= at.1 {
                let (after, came) = (at.1, place.1);
                self.report.violations.push(Violation::OutOfOrder { client: client.clone(), after, came });
            } else {
                self.owed(at, place);
            }
        }
        self.at = Some(place);
    }

    /// Everything in the log strictly between two places should have come.
    fn owed(&mut self, after: (u64, u64), before: (u64, u64)) {
        use std::ops::Bound::Excluded;
        let mut missing = self.log.range((Excluded(after), Excluded(before))).map(|((_, offset), _)| *offset);
        if let Some(first) = missing.next() {
            let missing = missing.count() as u64 + 1;
            let client = self.client.name.clone();
            self.report.violations.push(Violation::Lost { client, missing, declared: 0, first });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Published;

    /// Two messages, stored at 1 and 2 of epoch 7, and a client that saw this.
    fn check(seen: &[Seen]) -> Report {
        let message = |number, offset| Published {
            room: "x".into(),
            publisher: 1,
            number,
            fate: Fate::Stored { epoch: 7, offset },
        };
        let mut record = Record { published: vec![message(0, 1), message(1, 2)], ..Record::default() };
        record.client("ann", "x", true).seen.extend(seen);
        crate::check(&record)
    }

    fn joined(offset: u64, recovered: bool) -> Seen {
        Seen::Joined { epoch: 7, offset, recovered }
    }

    fn entry(offset: u64) -> Seen {
        Seen::Entry { epoch: 7, offset, publisher: 1, number: offset - 1 }
    }

    #[test]
    fn all_in_order_is_well() {
        for seen in [
            &[joined(0, false), entry(1), entry(2)][..],
            &[joined(0, false), entry(1), Seen::Away, joined(1, true), entry(2)],
            &[joined(0, false), entry(1), Seen::Away],
            &[joined(0, false), entry(1), Seen::Reset { epoch: 7, offset: 2 }],
            &[joined(2, false)],
            &[joined(0, false), entry(1), Seen::Away, joined(2, false)],
        ] {
            assert_eq!(check(seen).violations, [], "{seen:?}");
        }
    }

    #[test]
    fn counts_say_what_happened() {
        let report =
            check(&[joined(0, false), entry(1), Seen::Away, joined(1, true), entry(2), Seen::Away, joined(2, false)]);
        assert_eq!((report.delivered, report.recovered, report.resets), (2, 1, 1));
    }

    #[test]
    fn what_is_missing_in_the_middle_or_at_the_end_is_lost() {
        let lost = |first, missing| Violation::Lost { client: "ann".into(), missing, declared: 0, first };
        assert_eq!(check(&[joined(0, false), entry(2)]).violations, [lost(1, 1)]);
        assert_eq!(check(&[joined(0, false), entry(1)]).violations, [lost(2, 1)]);
        assert_eq!(check(&[joined(0, false)]).violations, [lost(1, 2)]);
    }

    #[test]
    fn twice_and_backwards_are_seen() {
        let violations = check(&[joined(0, false), entry(1), entry(2), entry(1), entry(2)]).violations;
        assert!(violations.contains(&Violation::Duplicate { client: "ann".into(), publisher: 1, number: 0 }));
        assert!(violations.contains(&Violation::OutOfOrder { client: "ann".into(), after: 2, came: 1 }));
    }

    #[test]
    fn after_a_reset_a_client_may_see_again_what_it_has_seen() {
        let again = Seen::Entry { epoch: 8, offset: 1, publisher: 1, number: 0 };
        let reset = Seen::Reset { epoch: 8, offset: 0 };
        assert_eq!(check(&[joined(0, false), entry(1), reset, again]).violations, []);
        let nowhere = Seen::Joined { epoch: 0, offset: 0, recovered: false };
        for reset in [joined(0, false), nowhere] {
            assert_eq!(check(&[joined(0, false), entry(1), Seen::Away, reset, entry(1), entry(2)]).violations, []);
        }
    }

    #[test]
    fn a_recovery_from_elsewhere_is_false() {
        let report = check(&[joined(0, false), entry(1), Seen::Away, joined(2, true)]);
        let told = Violation::FalseRecovery { client: "ann".into(), was_at: (7, 1), told: (7, 2) };
        assert_eq!(report.violations, [told]);
        assert_eq!(check(&[joined(2, true)]).violations.len(), 1);
    }

    #[test]
    fn two_messages_at_one_place_are_seen() {
        let other = Seen::Entry { epoch: 7, offset: 1, publisher: 1, number: 1 };
        let violations = check(&[joined(0, false), other]).violations;
        assert!(matches!(violations[0], Violation::TwoAtOneOffset { epoch: 7, offset: 1, .. }));
    }

    #[test]
    fn what_nobody_published_is_unheard_of() {
        let strange = Seen::Entry { epoch: 7, offset: 3, publisher: 9, number: 0 };
        let violations = check(&[joined(2, false), strange]).violations;
        assert_eq!(violations, [Violation::Unheard { client: "ann".into(), publisher: 9, number: 0 }]);
    }
}
