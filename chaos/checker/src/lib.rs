//! Whether what publishers and clients saw keeps the promises of delivery.
//!
//! A run, simulated or real, is written down as a [`Record`]: what was published and what the
//! publisher was told, and what each client saw, in order. [`check`] reads it and says what was
//! lost, doubled or claimed falsely. It knows nothing of brokers, sockets or time.
//!
//! ```
//! use checker::{Fate, Published, Record, Seen, check};
//! let mut record = Record::default();
//! record.published.push(Published { room: "x".into(), publisher: 1, number: 0, fate: Fate::Stored { epoch: 7, offset: 1 } });
//! let ann = record.client("ann", "x", true);
//! ann.seen.push(Seen::Joined { epoch: 7, offset: 0, recovered: false });
//! ann.seen.push(Seen::Entry { epoch: 7, offset: 1, publisher: 1, number: 0 });
//! let report = check(&record);
//! assert!(report.violations.is_empty());
//! assert_eq!((report.published, report.delivered), (1, 1));
//! ```

mod history;
mod plain;
mod report;

pub use report::{Report, Violation};

/// All that happened in a run.
#[derive(Clone, Default, Debug)]
pub struct Record {
    /// What was published, in any order.
    pub published: Vec<Published>,
    /// What clients saw.
    pub clients: Vec<Client>,
}

/// One message: a publisher numbers its own in each room from 0, without holes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// Where to.
    pub room: String,
    /// Who.
    pub publisher: u64,
    /// Which of that publisher's in the room.
    pub number: u64,
    /// What the publisher was told.
    pub fate: Fate,
}

/// What a publisher was told of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is stored there.
    Stored {
        /// The count of the broker.
        epoch: u64,
        /// The number in it.
        offset: u64,
    },
    /// It is on its way; a client that does not receive it receives a gap.
    Accepted,
    /// It was refused.
    Refused,
    /// The answer never came, or the node that gave it died before the message can have left it.
    Unknown,
}

/// What one client saw of one room.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its name in reports.
    pub name: String,
    /// Which room.
    pub room: String,
    /// True for a room with history.
    pub has_history: bool,
    /// In order.
    pub seen: Vec<Seen>,
}

/// Something that a client saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// It is in the room; in one with history it has this position.
    Joined {
        /// The count of the broker; 0: it is not known yet where it stands.
        epoch: u64,
        /// The number in it; messages behind it follow.
        offset: u64,
        /// The server said that nothing is missing since the client was here last.
        recovered: bool,
    },
    /// A message of a room with history.
    Entry {
        /// The count of the broker.
        epoch: u64,
        /// The number in it.
        offset: u64,
        /// Who sent it.
        publisher: u64,
        /// Which of that publisher's.
        number: u64,
    },
    /// A message of a room that does not.
    Message {
        /// Who sent it.
        publisher: u64,
        /// Which of that publisher's.
        number: u64,
    },
    /// Messages are lost, and the client was told where it stands now.
    Reset {
        /// The count of the broker.
        epoch: u64,
        /// The number in it.
        offset: u64,
    },
    /// Messages of a room without history are lost; so many, where that is known.
    Gap {
        /// How many.
        missed: Option<u64>,
    },
    /// The connection was lost. What comes until the next [`Joined`](Seen::Joined) is not owed to it now.
    Away,
}

impl Record {
    /// A new client of a room.
    pub fn client(&mut self, name: &str, room: &str, has_history: bool) -> &mut Client {
        self.clients.push(Client { name: name.into(), room: room.into(), has_history, seen: Vec::new() });
        let last = self.clients.len() - 1;
        &mut self.clients[last]
    }
}

/// Looks for broken promises. The run has come to rest: what was stored has had time to arrive.
///
/// In rooms with history: an offset has one message; each client sees offsets rise, each message
/// once until a reset,
/// and between the places where it stands all that is known to be stored; a `recovered` is true.
/// In others: each publisher's messages in order, each once, and what was accepted and a client
/// did not get while it was there has been declared, message for message. Everywhere: nothing
/// arrives that nobody has published, or that was refused. A broker that begins another epoch has
/// forgotten the keys of publishers, so once is once in an epoch.
pub fn check(record: &Record) -> Report {
    let mut report = Report { published: record.published.len() as u64, ..Report::default() };
    history::check(record, &mut report);
    plain::check(record, &mut report);
    report
}
