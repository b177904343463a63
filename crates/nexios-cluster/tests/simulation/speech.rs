//! A client that publishes by frames of `nexios.v1`, and repeats what was not answered.

use std::rc::Rc;
use std::time::Duration;

use checker::{Fate, Published};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::world::{LOG, World};
use nexios::broker::Position;

/// A key counts for five minutes; a client does not repeat a publish for longer.
const REPEAT_MAX: Duration = Duration::from_secs(290);
/// Numbers of frames that are no publishes come before.
const FIRST_ID: u64 = 10;

/// What a client publishes in the room with history: one message after another.
pub(super) struct Speech {
    pub(super) world: Rc<World>,
    pub(super) random: fastrand::Rng,
    pub(super) publisher: u64,
    /// It asks to be let into the room; else the application lets it in after a while.
    pub(super) joins: bool,
    /// The next message.
    number: u64,
    unanswered: Option<Unanswered>,
    /// When it publishes, or repeats what is not answered.
    at: Option<Instant>,
}

struct Unanswered {
    /// Where it is in the record.
    index: usize,
    since: Instant,
    /// It may be stored.
    is_uncertain: bool,
}

impl Speech {
    pub(super) fn new(world: &Rc<World>, random: fastrand::Rng, publisher: u64, joins: bool) -> Self {
        Speech { world: world.clone(), random, publisher, joins, number: 0, unanswered: None, at: None }
    }

    /// Returns what is repeated on a new connection.
    pub(super) fn begin(&mut self) -> Option<String> {
        self.at = None;
        match &mut self.unanswered {
            Some(unanswered) if unanswered.since.elapsed() < REPEAT_MAX => unanswered.is_uncertain = true,
            _ => {
                self.unanswered = None;
                self.pause();
                return None;
            }
        }
        Some(self.frame())
    }

    /// Waits until there is something to say.
    pub(super) async fn due(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Returns what there is to say now.
    pub(super) fn speak(&mut self) -> Option<String> {
        self.at = None;
        if self.unanswered.is_none() {
            if self.world.is_quiet.get() {
                return None;
            }
            let (publisher, number) = (self.publisher, self.number);
            let mut record = self.world.record.borrow_mut();
            record.published.push(Published { room: LOG.to_owned(), publisher, number, fate: Fate::Unknown });
            let index = record.published.len() - 1;
            self.unanswered = Some(Unanswered { index, since: Instant::now(), is_uncertain: false });
            self.number += 1;
        }
        Some(self.frame())
    }

    /// An answer of the server.
    pub(super) fn answered(&mut self, header: &Value) {
        let Some(unanswered) = self.unanswered.as_mut() else { return };
        if header["id"].as_u64() != Some(FIRST_ID + self.number) {
            assert!(header["type"] != "error", "{header}");
            return;
        }
        let fate = match (header["type"].as_str(), header["code"].as_str()) {
            (Some("ack"), _) => {
                let position = header["position"].as_str().and_then(|text| text.parse::<Position>().ok());
                let Position { epoch, offset, .. } = position.expect("a position");
                Some(Fate::Stored { epoch, offset })
            }
            (Some("error"), Some("unavailable")) => {
                unanswered.is_uncertain |= header["maybe_stored"].as_bool().expect("maybe_stored");
                (!unanswered.is_uncertain).then_some(Fate::Refused)
            }
            (Some("error"), Some("busy")) => None,
            _ => panic!("{header}"),
        };
        if let Some(fate) = fate {
            self.world.record.borrow_mut().published[unanswered.index].fate = fate;
        }
        if fate.is_some() || unanswered.since.elapsed() >= REPEAT_MAX {
            self.unanswered = None;
        }
        self.pause();
    }

    fn pause(&mut self) {
        self.at = Some(Instant::now() + Duration::from_millis(self.random.u64(20..600)));
    }

    /// The message that is not answered.
    fn frame(&self) -> String {
        let (publisher, number) = (self.publisher, self.number - 1);
        let (id, key) = (FIRST_ID + self.number, format!("{publisher}-{number}"));
        let header = serde_json::json!({"type": "publish", "id": id, "room": LOG, "key": key});
        format!("\u{1E}{header}\n{publisher} {number}")
    }
}
