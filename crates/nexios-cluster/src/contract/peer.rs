//! A session in the hands of a test.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::servers::Server;
use crate::engines::link::{BrokerSession, Frame, LinkError, Sent};
use crate::envelope::NodeId;
use crate::history::log::{Append, Appended, Entry, History, Log, Nonce, Page, Position, Span};
use crate::node::incoming::{Event, Incoming};

/// Something has come within this time, or nothing will.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Peer {
    pub(super) session: Box<dyn BrokerSession>,
    incoming: Arc<Incoming>,
}

pub(super) fn log(name: &str, size: usize, ttl_secs: u64) -> Log {
    let history = History::new(size, Duration::from_secs(ttl_secs));
    Log { channel: format!("nexios-room-{name}").into(), history }
}

/// The usual one.
pub(super) fn room(name: &str) -> Log {
    log(name, 1000, 600)
}

pub(super) fn append(log: &Log, text: impl ToString) -> Append {
    let envelope = Bytes::from(text.to_string());
    Append { log: log.clone(), nonce: Nonce::random(), key: None, again: false, envelope }
}

pub(super) fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.envelope).into_owned()).collect()
}

impl Peer {
    pub(super) async fn connect(server: &impl Server) -> Peer {
        Peer::try_connect(server).await.unwrap()
    }

    pub(super) async fn try_connect(server: &impl Server) -> Result<Peer, LinkError> {
        let incoming = Incoming::new(NodeId::random(), 1 << 30, Arc::default());
        let session = server.broker().engine().unwrap().connect(incoming.sink()).await?;
        Ok(Peer { session, incoming })
    }

    pub(super) async fn subscribe(&self, log: &Log) {
        self.session.subscribe(std::slice::from_ref(&log.channel)).await.unwrap();
    }

    pub(super) async fn publish(&self, log: &Log, bytes: impl Into<Bytes>) {
        let frame = Frame { channel: log.channel.clone(), bytes: bytes.into(), sent: Sent::No, receipt: None };
        assert_eq!(self.session.publish(&[frame]).await, Ok(vec![Ok(())]));
    }

    pub(super) async fn append(&self, append: Append) -> Appended {
        self.append_all(&[append]).await[0]
    }

    pub(super) async fn append_all(&self, batch: &[Append]) -> Vec<Appended> {
        self.session.append(batch).await.unwrap()
    }

    /// Texts with these numbers; the positions behind them.
    pub(super) async fn fill(&self, log: &Log, numbers: std::ops::Range<u32>) -> Vec<Position> {
        let batch: Vec<_> = numbers.map(|number| append(log, number)).collect();
        self.append_all(&batch).await.iter().map(|appended| appended.position).collect()
    }

    pub(super) async fn read(&self, log: &Log, span: Span) -> Page {
        self.session.read(log, span).await.unwrap()
    }

    pub(super) async fn top(&self, log: &Log) -> Position {
        self.read(log, Span::Newest(0)).await.top
    }

    pub(super) async fn newest(&self, log: &Log, max: usize) -> Vec<String> {
        let page = self.read(log, Span::Newest(max)).await;
        assert!(page.recovered);
        texts(&page.entries)
    }

    /// What was missed; `None` where that cannot be had.
    pub(super) async fn missed(&self, log: &Log, position: Position) -> Option<Vec<String>> {
        let page = self.read(log, Span::After(position, 1000)).await;
        assert!(page.recovered || page.entries.is_empty());
        page.recovered.then(|| texts(&page.entries))
    }

    /// The next entry on a channel.
    pub(super) async fn next(&self) -> Entry {
        match self.event().await {
            Event::Entry(entry) => entry,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn event(&self) -> Event {
        timeout(PATIENCE, self.incoming.next()).await.expect("something comes")
    }
}
