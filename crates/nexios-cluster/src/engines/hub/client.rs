//! A node's side of the hub.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::answers;
use super::wire::{self, Answer, Reply};
use crate::engines::link::{Answers, BrokerSession, Capabilities, Engine, Frame, LinkError, Step};
use crate::history::log::{Append, Appended, Log, Page, Span};
use crate::node::incoming::Sink;

/// Room for reading.
const READ_BYTES: usize = 64 << 10;
const CLOSED: &str = "the hub has closed the connection";

/// The hub at a path.
pub(crate) struct HubEngine(pub(crate) PathBuf);

struct HubSession {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    waiting: Arc<Mutex<Waiting>>,
    reading: JoinHandle<()>,
}

/// Requests that are not answered yet.
#[derive(Default)]
struct Waiting {
    next: u32,
    tickets: HashMap<u32, oneshot::Sender<Answer>>,
    /// Why there will be no more answers.
    ended: Option<LinkError>,
}

impl Engine for HubEngine {
    fn connect(&self, sink: Sink) -> Step<'_, Box<dyn BrokerSession>> {
        Box::pin(async move {
            let stream = UnixStream::connect(&self.0).await.map_err(answers::connecting)?;
            let (reader, mut writer) = stream.into_split();
            writer.write_all(&[wire::VERSION]).await.map_err(LinkError::lost)?;
            let waiting = Arc::<Mutex<Waiting>>::default();
            let reading = tokio::spawn(read(reader, sink, waiting.clone()));
            let session = HubSession { writer: tokio::sync::Mutex::new(writer), waiting, reading };
            // A hub of the first release ends what it does not know without a word.
            let first = session.publish(&[]).await;
            first.map_err(|error| match error {
                LinkError::Lost(reason) => LinkError::Lost(format!("{reason} at once: it may be of an older release")),
                refused => refused,
            })?;
            let session: Box<dyn BrokerSession> = Box::new(session);
            Ok(session)
        })
    }
}

async fn read(reader: OwnedReadHalf, sink: Sink, waiting: Arc<Mutex<Waiting>>) {
    let error = read_all(reader, &sink, &waiting).await;
    sink.lost(&error);
    let mut waiting = waiting.lock();
    waiting.ended = Some(error);
    waiting.tickets.clear();
}

/// Reads until there is no more, and says why.
async fn read_all(mut reader: OwnedReadHalf, sink: &Sink, waiting: &Mutex<Waiting>) -> LinkError {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        loop {
            match wire::reply(&mut buffer) {
                Ok(Some(Reply::Message(bytes))) => sink.message(bytes),
                Ok(Some(Reply::Answer(ticket, answer))) => {
                    let ticket = waiting.lock().tickets.remove(&ticket);
                    // Who asked may have given up.
                    let _ = ticket.map(|ticket| ticket.send(answer));
                }
                Ok(Some(Reply::Refused(reason))) => return LinkError::Refused(reason),
                Ok(None) => break,
                Err(error) => return LinkError::lost(error),
            }
        }
        buffer.reserve(READ_BYTES);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return LinkError::lost(CLOSED),
            Ok(_) => {}
            Err(error) => return LinkError::lost(error),
        }
    }
}

impl HubSession {
    async fn ask(&self, request: impl FnOnce(u32) -> BytesMut) -> Result<Answer, LinkError> {
        let (sender, answer) = oneshot::channel();
        let ticket = {
            let mut waiting = self.waiting.lock();
            if let Some(error) = &waiting.ended {
                return Err(error.clone());
            }
            let ticket = waiting.next;
            waiting.next = ticket.wrapping_add(1);
            waiting.tickets.insert(ticket, sender);
            ticket
        };
        // Where it cannot be written there is no answer either, and reading knows why.
        let _ = self.writer.lock().await.write_all(&request(ticket)).await;
        answer.await.map_err(|_| self.waiting.lock().ended.clone().unwrap_or_else(|| LinkError::lost(CLOSED)))
    }

    async fn done(&self, request: impl FnOnce(u32) -> BytesMut) -> Result<(), LinkError> {
        match self.ask(request).await? {
            Answer::Done => Ok(()),
            _ => Err(LinkError::lost(wire::Malformed)),
        }
    }
}

impl BrokerSession for HubSession {
    fn publish<'a>(&'a self, batch: &'a [Frame]) -> Step<'a, Answers> {
        // A hub takes each message that it can read.
        Box::pin(async move {
            self.done(|ticket| wire::publish(ticket, batch)).await?;
            Ok(vec![Ok(()); batch.len()])
        })
    }

    fn subscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(self.done(|ticket| wire::subscribe(ticket, channels)))
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(self.done(|ticket| wire::unsubscribe(ticket, channels)))
    }

    fn append<'a>(&'a self, batch: &'a [Append]) -> Step<'a, Vec<Appended>> {
        Box::pin(async move {
            match self.ask(|ticket| wire::append(ticket, batch)).await? {
                Answer::Appended(appended) if appended.len() == batch.len() => Ok(appended),
                _ => Err(LinkError::lost(wire::Malformed)),
            }
        })
    }

    fn read<'a>(&'a self, log: &'a Log, span: Span) -> Step<'a, Page> {
        Box::pin(async move {
            match self.ask(|ticket| wire::read(ticket, log, span)).await? {
                Answer::Page(page) => Ok(page),
                _ => Err(LinkError::lost(wire::Malformed)),
            }
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { history: true, ..Capabilities::default() }
    }
}

impl Drop for HubSession {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
