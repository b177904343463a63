//! What happened in a run, as it happens.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use checker::{Fate, Published, Record, Report, Seen};

/// What a node accepted so shortly before it was killed may not have left it.
const UNSENT: Duration = Duration::from_secs(2);

pub(crate) struct Journal(RefCell<Pages>);

struct Pages {
    record: Record,
    /// For each of what was published: by which node, and when.
    sent: Vec<(usize, Instant)>,
    unanswered: usize,
    /// For each client: whether it has ever been in its room, and whether it is connected now.
    presence: Vec<(bool, bool)>,
    heard: Instant,
    /// What went wrong beside what the checker looks for.
    complaints: Vec<String>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Journal(RefCell::new(Pages {
            record: Record::default(),
            sent: Vec::new(),
            unanswered: 0,
            presence: Vec::new(),
            heard: Instant::now(),
            complaints: Vec::new(),
        }))
    }

    /// A message goes out; its number in the journal.
    pub(crate) fn sent(&self, room: &str, publisher: u64, number: u64, node: usize) -> usize {
        let mut pages = self.0.borrow_mut();
        pages.record.published.push(Published { room: room.to_owned(), publisher, number, fate: Fate::Unknown });
        pages.sent.push((node, Instant::now()));
        pages.unanswered += 1;
        pages.sent.len() - 1
    }

    /// What its publisher was told.
    pub(crate) fn told(&self, message: usize, fate: Fate) {
        let mut pages = self.0.borrow_mut();
        pages.record.published[message].fate = fate;
        pages.unanswered -= 1;
    }

    /// A node was killed: what it accepted last is not owed.
    pub(crate) fn killed(&self, node: usize) {
        let pages = &mut *self.0.borrow_mut();
        let last = pages.sent.iter().zip(&mut pages.record.published).rev();
        last.take_while(|((_, at), _)| at.elapsed() < UNSENT)
            .filter(|((by, _), message)| *by == node && message.fate == Fate::Accepted)
            .for_each(|(_, message)| message.fate = Fate::Unknown);
    }

    /// A new client; its number in the journal.
    pub(crate) fn client(&self, name: &str, room: &str, remembers: bool) -> usize {
        let mut pages = self.0.borrow_mut();
        pages.record.client(name, room, remembers);
        pages.presence.push((false, false));
        pages.presence.len() - 1
    }

    pub(crate) fn saw(&self, client: usize, seen: Seen) {
        let mut pages = self.0.borrow_mut();
        pages.record.clients[client].seen.push(seen);
        pages.heard = Instant::now();
    }

    /// A client is in its room. In one that does not remember it was away, if it was there before.
    pub(crate) fn joined(&self, client: usize) {
        let mut pages = self.0.borrow_mut();
        let was_there = std::mem::replace(&mut pages.presence[client].0, true);
        let Record { clients, .. } = &mut pages.record;
        let client = &mut clients[client];
        if was_there && !client.remembers && client.seen.last() != Some(&Seen::Away) {
            client.seen.push(Seen::Away);
        }
        pages.heard = Instant::now();
    }

    pub(crate) fn connected(&self, client: usize, now: bool) {
        self.0.borrow_mut().presence[client].1 = now;
    }

    pub(crate) fn complain(&self, complaint: String) {
        self.0.borrow_mut().complaints.push(complaint);
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.0.borrow().complaints.clone()
    }

    pub(crate) fn have_all_joined(&self) -> bool {
        self.0.borrow().presence.iter().all(|(joined, _)| *joined)
    }

    /// Why the run is not at rest; `None` where every publisher has its answers, every client is
    /// connected, and for so long nothing has come.
    pub(crate) fn unrest(&self, quiet: Duration) -> Option<String> {
        let pages = self.0.borrow();
        let mut clients = pages.record.clients.iter().zip(&pages.presence);
        if pages.unanswered > 0 {
            return Some(format!("{} publishes are not answered", pages.unanswered));
        }
        if let Some((client, _)) = clients.find(|(_, (_, connected))| !connected) {
            return Some(format!("{} has not come back", client.name));
        }
        (pages.heard.elapsed() < quiet).then(|| "messages keep coming".to_owned())
    }

    pub(crate) fn check(&self) -> Report {
        checker::check(&self.0.borrow().record)
    }
}
