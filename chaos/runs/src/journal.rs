//! What happened in a run, as it happens.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use checker::{Fate, Published, Record, Report, Seen};

/// What a node accepted so shortly before it was killed may not have left it.
const UNSENT: Duration = Duration::from_secs(2);

/// So much of what a client saw is printed where a promise to it was broken.
const LAST: usize = 4;

pub(crate) struct Journal(RefCell<Pages>);

struct Pages {
    record: Record,
    /// For each of what was published: by which node, and when.
    sent: Vec<(usize, Instant)>,
    /// Which nodes were killed, and when.
    killed: Vec<(usize, Instant)>,
    unanswered: usize,
    /// For each client.
    places: Vec<Place>,
    heard: Instant,
    /// Faults that the checker does not look for.
    complaints: Vec<String>,
}

/// A client's connection, if it has one, and its place in the room, as the client itself has them.
#[derive(Default)]
struct Place {
    connected: Option<Instant>,
    is_in: bool,
    was_in: bool,
}

impl Place {
    fn missing(&self, name: &str) -> String {
        match self.connected {
            Some(since) => format!("{name} is connected for {:.1} s and not let in", since.elapsed().as_secs_f32()),
            None => format!("{name} is not connected"),
        }
    }
}

impl Journal {
    pub(crate) fn new() -> Self {
        Journal(RefCell::new(Pages {
            record: Record::default(),
            sent: Vec::new(),
            killed: Vec::new(),
            unanswered: 0,
            places: Vec::new(),
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
        let (node, at) = pages.sent[message];
        let is_dead = pages.killed.iter().any(|(killed, since)| *killed == node && *since > at);
        // The answer of a node may come after its death.
        let fate = if is_dead && fate == Fate::Accepted { Fate::Unknown } else { fate };
        pages.record.published[message].fate = fate;
        pages.unanswered -= 1;
    }

    /// A node was killed: what it accepted last is not owed.
    pub(crate) fn killed(&self, node: usize) {
        let pages = &mut *self.0.borrow_mut();
        pages.killed.push((node, Instant::now()));
        let last = pages.sent.iter().zip(&mut pages.record.published).rev();
        last.take_while(|((_, at), _)| at.elapsed() < UNSENT)
            .filter(|((by, _), message)| *by == node && message.fate == Fate::Accepted)
            .for_each(|(_, message)| message.fate = Fate::Unknown);
    }

    /// A new client; its number in the journal.
    pub(crate) fn client(&self, name: &str, room: &str, has_history: bool) -> usize {
        let mut pages = self.0.borrow_mut();
        pages.record.client(name, room, has_history);
        pages.places.push(Place::default());
        pages.places.len() - 1
    }

    pub(crate) fn saw(&self, client: usize, seen: Seen) {
        let mut pages = self.0.borrow_mut();
        pages.record.clients[client].seen.push(seen);
        pages.heard = Instant::now();
    }

    /// A client is in its room. In one without history it was away, if it was there before.
    pub(crate) fn joined(&self, client: usize) {
        let mut pages = self.0.borrow_mut();
        let was_there = std::mem::replace(&mut pages.places[client].was_in, true);
        let Record { clients, .. } = &mut pages.record;
        let client = &mut clients[client];
        if was_there && !client.has_history && client.seen.last() != Some(&Seen::Away) {
            client.seen.push(Seen::Away);
        }
        pages.heard = Instant::now();
    }

    pub(crate) fn connected(&self, client: usize, now: bool) {
        self.0.borrow_mut().places[client].connected = now.then(Instant::now);
    }

    /// Notes if a client is in its room. The client says so itself: its events come by two queues, of which the one
    /// may be far behind the other.
    pub(crate) fn is_in(&self, client: usize, is_in: bool) {
        self.0.borrow_mut().places[client].is_in = is_in;
    }

    pub(crate) fn complain(&self, complaint: String) {
        self.0.borrow_mut().complaints.push(complaint);
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.0.borrow().complaints.clone()
    }

    /// A client that is not in its room, if there is one.
    pub(crate) fn absent(&self) -> Option<String> {
        let pages = self.0.borrow();
        let mut clients = pages.record.clients.iter().zip(&pages.places);
        clients.find(|(_, place)| !place.is_in).map(|(client, place)| place.missing(&client.name))
    }

    /// Why the run is not at rest; `None` where every publisher has its answers, every client is in
    /// its room, and for so long nothing has come.
    pub(crate) fn unrest(&self, quiet: Duration) -> Option<String> {
        if let Some(absent) = self.absent() {
            return Some(absent);
        }
        let pages = self.0.borrow();
        if pages.unanswered > 0 {
            return Some(format!("{} publishes are not answered", pages.unanswered));
        }
        (pages.heard.elapsed() < quiet).then(|| "messages keep coming".to_owned())
    }

    /// What a client saw last.
    pub(crate) fn last_seen(&self, name: &str) -> Vec<Seen> {
        let pages = self.0.borrow();
        let client = pages.record.clients.iter().find(|client| client.name == name);
        client.map_or_else(Vec::new, |client| client.seen[client.seen.len().saturating_sub(LAST)..].to_vec())
    }

    pub(crate) fn check(&self) -> Report {
        checker::check(&self.0.borrow().record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_in_its_room_is_not_absent_though_its_connection_is_noted_long_after() {
        let journal = Journal::new();
        let client = journal.client("a", "log", true);
        assert_eq!(journal.absent().unwrap(), "a is not connected");
        journal.is_in(client, true);
        std::thread::sleep(Duration::from_millis(150));
        journal.connected(client, true);
        assert_eq!(journal.absent(), None);
        journal.is_in(client, false);
        assert!(journal.absent().unwrap().ends_with("not let in"));
    }
}
