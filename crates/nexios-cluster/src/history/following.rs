//! All rooms with history and have members here: what comes is passed on, what is missing is read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nexios_protocol::escaped;
use tokio::time::Instant;

use super::PAGE_LEN;
use super::appends::Confirmation;
use super::attach::{Attach, Attached};
use super::follow::{Arrived, Cover, Follow, RoomName};
use crate::engines::link::LinkError;
use crate::envelope::Envelope;
use crate::history::log::{Entry, Log, Page, Position, Span};
use crate::node::Node;
use crate::node::clients::Clients;
use crate::node::gap::{Gap, GapCause};
use crate::node::incoming::Event;
use crate::topic::Topic;

/// Rooms that are being read at the same time.
const READING_MAX: usize = 32;
/// The most bytes of missed entries that a joining client is sent in one step.
const MISSED_BYTES_MAX: usize = 64 << 10;
/// The longest waits of a joining client for the broker: with a position, and without one.
const RESUME_MAX: Duration = Duration::from_secs(5);
const JOIN_MAX: Duration = Duration::from_secs(1);
/// From one attempt to read to the next.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The rooms that a node follows.
pub(crate) struct Following {
    node: Arc<Node>,
    rooms: HashMap<RoomName, Follow>,
    /// Rooms that wait to be read.
    queue: VecDeque<RoomName>,
    reading: usize,
    recent_bytes: usize,
    generation: u64,
}

/// The answer to a question about a room.
#[derive(Debug)]
pub(crate) struct ReadDone {
    room: RoomName,
    generation: u64,
    /// `None`: the broker keeps no history.
    page: Option<Page>,
}

impl Following {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Following { node, rooms: HashMap::new(), queue: VecDeque::new(), reading: 0, recent_bytes: 0, generation: 0 }
    }

    /// An entry has come. The first of a room that nobody here has said anything of sets where it begins.
    pub(crate) async fn entry(&mut self, clients: &dyn Clients, entry: Entry) {
        let Ok(Envelope { topic: Topic::Room(room), .. }) = self.parse(&entry) else { return };
        match self.follow(clients, &room).arrived(entry) {
            Arrived::Deliver(entry) => self.deliver(clients, &room, entry).await,
            Arrived::Begins(entry) => self.begins(clients, &room, entry).await,
            Arrived::Duplicate => self.node.counters.duplicate(),
            Arrived::Waits => {}
            Arrived::Hole => self.resync(clients, &room),
        }
    }

    /// A client wants to join.
    pub(crate) fn attach(&mut self, clients: &dyn Clients, attach: Attach) {
        let room = attach.room.clone();
        let follow = self.follow(clients, &room);
        let Some(cursor) = follow.cursor.filter(|_| !follow.reading) else {
            follow.waiting.push(attach);
            self.node.incoming.set_awaited(true);
            return self.read(clients, &room);
        };
        let Some(since) = attach.since else { return attach.admit(Vec::new(), Some(cursor)) };
        match follow.cover(since) {
            Cover::Behind(missed) if bytes(&missed) <= MISSED_BYTES_MAX => attach.admit(missed, Some(cursor)),
            Cover::Behind(missed) => {
                let greeted = attach.greeted;
                attach.answer(Attached::Behind { entries: first_of(missed), greeted });
            }
            Cover::Unknown => attach.answer(Attached::Unknown),
            Cover::Ahead if attach.resynced => attach.answer(Attached::Unknown),
            Cover::Ahead => {
                follow.waiting.push(Attach { resynced: true, ..attach });
                self.node.incoming.set_awaited(true);
                self.resync(clients, &room);
            }
        }
    }

    /// A message of this node is stored: its publisher waits until the members here are sent it.
    pub(crate) fn stored(&mut self, clients: &dyn Clients, stored: Confirmation) {
        let room = stored.room.clone();
        if clients.has_clients(&Topic::Room(room.clone())) && self.follow(clients, &room).confirm(stored) {
            self.node.incoming.set_awaited(true);
        }
    }

    /// Something was read.
    pub(crate) async fn read_done(&mut self, clients: &dyn Clients, done: ReadDone) {
        self.reading -= 1;
        let ReadDone { room, generation, page } = done;
        let more = match self.rooms.get_mut(&room).filter(|follow| follow.generation == generation) {
            Some(follow) => match page {
                Some(page) => {
                    self.node.counters.read(page.entries.len());
                    follow.stale |= follow.cursor.is_some() && has_more(&page);
                    self.take(clients, &room, page).await
                }
                None => {
                    follow.reading = false;
                    follow.waiting.drain(..).for_each(|attach| attach.admit(Vec::new(), None));
                    false
                }
            },
            None => false,
        };
        if more {
            self.read(clients, &room);
        }
        self.read_next(clients);
    }

    /// Takes what was read, and what came meanwhile; says whether something is missing still.
    async fn take(&mut self, clients: &dyn Clients, room: &RoomName, page: Page) -> bool {
        let Some(follow) = self.rooms.get_mut(room) else { return false };
        follow.reading = false;
        match follow.cursor {
            None => self.begin(clients, room, page.top).await,
            Some(_) if !page.recovered => self.reset(clients, room, page.top).await,
            Some(_) => {
                if page.entries.is_empty() {
                    follow.settle(page.top);
                }
                for entry in page.entries {
                    self.arrived(clients, room, entry).await;
                }
            }
        }
        let Some(follow) = self.rooms.get_mut(room) else { return false };
        if std::mem::take(&mut follow.stale) {
            return true;
        }
        // Those who wait were promised what came after they asked: they join before that is passed on.
        let waiting = std::mem::take(&mut follow.waiting);
        let ahead = follow.take_ahead();
        waiting.into_iter().for_each(|attach| self.attach(clients, attach));
        for entry in ahead {
            self.arrived(clients, room, entry).await;
        }
        false
    }

    /// Follows from the newest on. Members that were let in before that was known receive what has come since, and their
    /// position: without one they could not resume.
    async fn begin(&mut self, clients: &dyn Clients, room: &RoomName, top: Position) {
        let Some(follow) = self.rooms.get_mut(room) else { return };
        let first = follow.first_ahead(top);
        follow.jump(top);
        if !clients.has_clients(&Topic::Room(room.clone())) {
            return;
        }
        match first {
            // The entries behind it follow, and are read where they have not come.
            Some(first) => self.begins(clients, room, first).await,
            None => clients.deliver_reset(room, top).await,
        }
    }

    /// An entry has come or was read: passed on if it is the next.
    async fn arrived(&mut self, clients: &dyn Clients, room: &RoomName, entry: Entry) {
        let Some(follow) = self.rooms.get_mut(room) else { return };
        match follow.arrived(entry) {
            Arrived::Deliver(entry) => self.deliver(clients, room, entry).await,
            Arrived::Begins(entry) => self.begins(clients, room, entry).await,
            Arrived::Duplicate | Arrived::Waits => {}
            Arrived::Hole => self.resync(clients, room),
        }
    }

    /// Delivers the first message of a room whose members have no position, or one of another epoch: they receive the
    /// epoch before it.
    async fn begins(&mut self, clients: &dyn Clients, room: &RoomName, entry: Entry) {
        clients.deliver_reset(room, Position { epoch: entry.epoch, ..Position::default() }).await;
        self.deliver(clients, room, entry).await;
    }

    async fn deliver(&mut self, clients: &dyn Clients, room: &RoomName, entry: Entry) {
        if let Ok(envelope) = self.parse(&entry) {
            self.node.counters.received();
            if !clients.deliver_entry(room, &entry, &envelope).await {
                self.gap(clients, room, Some(1), GapCause::Overflow);
            }
        }
        let Some(follow) = self.rooms.get_mut(room) else { return };
        let others = self.recent_bytes.saturating_sub(follow.recent_bytes());
        follow.delivered(entry, others);
        self.recent_bytes = others + follow.recent_bytes();
    }

    /// Resets a room whose missing entries are not available: its members receive the newest position and continue there.
    async fn reset(&mut self, clients: &dyn Clients, room: &RoomName, top: Position) {
        let Some(follow) = self.rooms.get_mut(room) else { return };
        self.recent_bytes = self.recent_bytes.saturating_sub(follow.recent_bytes());
        follow.jump(top);
        self.node.counters.reset();
        self.gap(clients, room, None, GapCause::Reset);
        clients.deliver_reset(room, top).await;
    }

    fn gap(&self, clients: &dyn Clients, room: &RoomName, missed: Option<u64>, cause: GapCause) {
        let gap = Gap { topic: Some(Topic::Room(room.clone())), missed, cause };
        tracing::warn!(gap = %escaped(&gap), "messages of a room with history are missing");
        self.node.counters.gap(&gap);
        clients.report_gap(&gap);
    }

    /// Something may be missing.
    fn resync(&mut self, clients: &dyn Clients, room: &RoomName) {
        let Some(follow) = self.rooms.get_mut(room) else { return };
        self.node.counters.resync();
        match follow.reading {
            true => follow.stale = true,
            false => self.read(clients, room),
        }
    }

    /// Reads behind the cursor; where there is none, the newest position.
    fn read(&mut self, clients: &dyn Clients, room: &RoomName) {
        let Some(follow) = self.rooms.get_mut(room) else { return };
        if !std::mem::replace(&mut follow.reading, true) {
            self.queue.push_back(room.clone());
            self.read_next(clients);
        }
    }

    fn read_next(&mut self, clients: &dyn Clients) {
        while self.reading < READING_MAX {
            let Some(room) = self.queue.pop_front() else { return };
            let Some(follow) = self.rooms.get(&room).filter(|follow| follow.reading) else { continue };
            self.reading += 1;
            let log = self.node.log(&room, clients.history(&room).unwrap_or(follow.history));
            let span = follow.cursor.map_or(Span::Newest(1), |cursor| Span::After(cursor, PAGE_LEN));
            tokio::spawn(read_until_answered(self.node.clone(), log, span, room, follow.generation));
        }
    }

    /// Another session: whatever was sent in between is read.
    pub(crate) fn restored(&mut self, clients: &dyn Clients) {
        let rooms: Vec<RoomName> = self.rooms.keys().cloned().collect();
        rooms.iter().for_each(|room| self.resync(clients, room));
    }

    /// Entries of these rooms were thrown away, or may have been sent before anybody listened.
    pub(crate) fn lost<'a>(&mut self, clients: &dyn Clients, topics: impl IntoIterator<Item = &'a Topic>) {
        for topic in topics {
            if let Topic::Room(room) = topic {
                self.resync(clients, room);
            }
        }
    }

    /// What came before a new subscription says nothing of what comes from now on, unless there are members
    /// who are owed what is in between.
    pub(crate) fn subscribed(&mut self, clients: &dyn Clients, topics: &[Topic]) {
        for topic in topics {
            let Topic::Room(room) = topic else { continue };
            if clients.has_clients(topic) {
                // Members that stayed while nobody listened have missed what came meanwhile.
                self.resync(clients, room);
                continue;
            }
            let Some(old) = self.rooms.remove(room) else { continue };
            self.recent_bytes = self.recent_bytes.saturating_sub(old.recent_bytes());
            old.waiting.into_iter().for_each(|attach| self.attach(clients, attach));
        }
    }

    /// Lets those go on who have waited long enough: clients that join, and publishers.
    pub(crate) fn tick(&mut self, now: Instant) {
        for follow in self.rooms.values_mut() {
            let is_late = |attach: &mut Attach| {
                let max = if attach.since.is_some() { RESUME_MAX } else { JOIN_MAX };
                now.saturating_duration_since(attach.asked) >= max
            };
            follow.waiting.extract_if(.., is_late).for_each(|attach| attach.admit(Vec::new(), None));
            follow.release_publishers(now);
        }
        self.node.incoming.set_awaited(self.rooms.values().any(Follow::is_awaited));
    }

    /// Forgets rooms that are not subscribed to any more.
    pub(crate) fn sweep(&mut self, is_subscribed: impl Fn(&Topic) -> bool) {
        self.rooms.retain(|room, follow| follow.is_awaited() || is_subscribed(&Topic::Room(room.clone())));
        self.rooms.shrink_to(self.rooms.len() * 2);
        self.recent_bytes = self.rooms.values().map(Follow::recent_bytes).sum();
        let rooms: HashSet<&RoomName> = self.rooms.keys().collect();
        self.queue.retain(|room| rooms.contains(room));
    }

    fn follow(&mut self, clients: &dyn Clients, room: &RoomName) -> &mut Follow {
        let generation = &mut self.generation;
        self.rooms.entry(room.clone()).or_insert_with(|| {
            *generation += 1;
            Follow::new(*generation, clients.history(room).unwrap_or_default())
        })
    }

    fn parse<'a>(&self, entry: &'a Entry) -> Result<Envelope<'a>, ()> {
        Envelope::parse(&entry.envelope).map_err(|error| self.node.incoming.unreadable(error))
    }
}

/// A broker that is away comes back: then it is asked again.
async fn read_until_answered(node: Arc<Node>, log: Log, span: Span, room: RoomName, generation: u64) {
    let page = loop {
        match node.reads.ask(&log, span).await {
            Ok(page) => break Some(Arc::unwrap_or_clone(page)),
            Err(error) if !matches!(error, LinkError::Refused(_)) && !node.incoming.is_closed() => {
                tokio::time::sleep(READ_AGAIN_AFTER).await
            }
            Err(error) => {
                tracing::warn!(error = %escaped(&error), room = %escaped(&room), "a room's history cannot be read");
                break None;
            }
        }
    };
    node.incoming.tell(Event::Read(ReadDone { room, generation, page })).await;
}

/// Returns true if the log has entries behind those of the page.
fn has_more(page: &Page) -> bool {
    let last = page.entries.last();
    page.recovered && last.is_some_and(|last| last.epoch == page.top.epoch && last.offset < page.top.offset)
}

fn bytes(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.envelope.len()).sum()
}

/// As many as are sent at once, at least one.
fn first_of(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.envelope.len();
        bytes <= MISSED_BYTES_MAX
    };
    let len = entries.iter().take_while(fits).count().max(1);
    entries.truncate(len);
    entries
}
