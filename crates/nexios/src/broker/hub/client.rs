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

use super::wire::{self, Reply};
use crate::broker::incoming::Sink;
use crate::broker::link::{Engine, Frame, LinkError, Session, Step};

/// Room for reading.
const READ_BYTES: usize = 64 << 10;

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
    tickets: HashMap<u32, oneshot::Sender<()>>,
}

impl Engine for HubEngine {
    fn connect(&self, sink: Sink) -> Step<'_, Box<dyn Session>> {
        Box::pin(async move {
            let stream = UnixStream::connect(&self.0).await.map_err(LinkError::lost)?;
            let (reader, mut writer) = stream.into_split();
            writer.write_all(&[wire::VERSION]).await.map_err(LinkError::lost)?;
            let waiting = Arc::<Mutex<Waiting>>::default();
            let reading = tokio::spawn(read(reader, sink, waiting.clone()));
            let session = HubSession { writer: tokio::sync::Mutex::new(writer), waiting, reading };
            session.publish(&[]).await?;
            let session: Box<dyn Session> = Box::new(session);
            Ok(session)
        })
    }
}

async fn read(mut reader: OwnedReadHalf, sink: Sink, waiting: Arc<Mutex<Waiting>>) {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        loop {
            match wire::reply(&mut buffer) {
                Ok(Some(Reply::Envelope(bytes))) => sink.envelope(bytes),
                Ok(Some(Reply::Done(ticket))) => {
                    let ticket = waiting.lock().tickets.remove(&ticket);
                    // Who asked may have given up.
                    let _ = ticket.map(|ticket| ticket.send(()));
                }
                Ok(None) => break,
                Err(error) => return sink.lost(error),
            }
        }
        buffer.reserve(READ_BYTES);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return sink.lost("the hub has closed the connection"),
            Ok(_) => {}
            Err(error) => return sink.lost(error),
        }
    }
}

impl HubSession {
    async fn ask(&self, request: impl FnOnce(u32) -> BytesMut) -> Result<(), LinkError> {
        let (sender, done) = oneshot::channel();
        let ticket = {
            let mut waiting = self.waiting.lock();
            let ticket = waiting.next;
            waiting.next = ticket.wrapping_add(1);
            waiting.tickets.insert(ticket, sender);
            ticket
        };
        self.writer.lock().await.write_all(&request(ticket)).await.map_err(LinkError::lost)?;
        done.await.map_err(|_| LinkError::Lost("the hub has closed the connection".to_owned()))
    }
}

impl Session for HubSession {
    fn publish<'a>(&'a self, batch: &'a [Frame]) -> Step<'a, ()> {
        Box::pin(self.ask(|ticket| wire::publish(ticket, batch)))
    }

    fn subscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(self.ask(|ticket| wire::subscribe(ticket, channels)))
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(self.ask(|ticket| wire::unsubscribe(ticket, channels)))
    }
}

impl Drop for HubSession {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
