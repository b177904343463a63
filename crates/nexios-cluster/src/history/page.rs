//! Reading the history of a room.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nexios_engine::Message;

use crate::broker::BrokerError;
use crate::engines::link::LinkError;
use crate::envelope::Envelope;
use crate::history::log::{Entry, History, Position, Span};
use crate::node::Node;

/// Messages that are read if nothing else is said.
const LIMIT: usize = 100;

/// A message of a room's history.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StoredMessage {
    /// The message.
    pub message: Message,
    /// Behind it.
    pub position: Position,
    /// When the broker stored it, by the broker's clock.
    pub time: SystemTime,
}

/// Messages of a room's history, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The messages.
    pub messages: Vec<StoredMessage>,
    /// Behind the last of them, for the next page; where there is none, behind the newest that there was.
    pub position: Position,
    /// Whether nothing is missing between the position asked for and the first message. Where it is
    /// `false`, these are the newest messages instead.
    pub recovered: bool,
}

/// Finds the node of a room, the room's name and the limits of its history.
type Open = Box<dyn FnOnce() -> Result<(Arc<Node>, Arc<str>, History), BrokerError> + Send>;

/// Reads the history of a room when it is awaited: `Room::history`.
#[must_use = "nothing is read until this is awaited"]
pub struct ReadingHistory {
    open: Open,
    limit: usize,
    since: Option<Position>,
}

impl ReadingHistory {
    /// Reads the history of the room that `open` finds, once this is awaited.
    pub fn new(open: impl FnOnce() -> Result<(Arc<Node>, Arc<str>, History), BrokerError> + Send + 'static) -> Self {
        ReadingHistory { open: Box::new(open), limit: LIMIT, since: None }
    }

    /// At most so many messages; 100 if not set. A room's `size` is the most that there are.
    pub fn limit(mut self, messages: usize) -> Self {
        self.limit = messages.max(1);
        self
    }

    /// Those behind this position, from the oldest on; the newest if not set.
    pub fn since(mut self, position: Position) -> Self {
        self.since = Some(position);
        self
    }

    async fn run(self) -> Result<HistoryPage, BrokerError> {
        let unavailable = |error: LinkError| BrokerError::Unavailable(error.to_string());
        let (node, room, history) = (self.open)()?;
        let log = node.log(&room, history);
        let limit = self.limit.min(history.size);
        let newest = Span::Newest(limit);
        let span = self.since.map_or(newest, |position| Span::After(position, limit));
        let mut page = node.reads.ask(&log, span).await.map_err(unavailable)?;
        let recovered = page.recovered;
        if !recovered {
            page = node.reads.ask(&log, newest).await.map_err(unavailable)?;
        }
        node.counters.read(page.entries.len());
        let position = page.entries.last().map_or(page.top, Entry::position);
        let messages = page.entries.iter().filter_map(stored).collect();
        Ok(HistoryPage { messages, position, recovered })
    }
}

fn stored(entry: &Entry) -> Option<StoredMessage> {
    let envelope = Envelope::parse(&entry.envelope).ok()?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(entry.time_ms);
    Some(StoredMessage { message: envelope.message.to_message(), position: entry.position(), time })
}

impl IntoFuture for ReadingHistory {
    type Output = Result<HistoryPage, BrokerError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
