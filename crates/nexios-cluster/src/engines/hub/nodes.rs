//! The hub's side: what nodes ask for, and who gets what.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use nexios_protocol::escaped;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};

use super::outbox::{self, Outbox};
use super::wire::{self, Malformed, Publication, Request};
use crate::engines::memory_log::MemoryLog;
use crate::history::log::{Append, Appended, Nonce, Position};

const READ_BYTES: usize = 64 << 10;

/// All nodes that are connected.
#[derive(Clone)]
pub(super) struct Nodes {
    state: Arc<Mutex<State>>,
    /// What may wait for one of them.
    bytes_max: usize,
}

struct State {
    next: u64,
    outboxes: HashMap<u64, Arc<Outbox>>,
    channels: HashMap<Arc<str>, Vec<u64>>,
    logs: MemoryLog,
}

impl Nodes {
    pub(super) fn new(node_bytes_max: usize, history_bytes_max: usize) -> Self {
        let logs = MemoryLog::new(history_bytes_max);
        let state = State { next: 0, outboxes: HashMap::new(), channels: HashMap::new(), logs };
        Nodes { state: Arc::new(Mutex::new(state)), bytes_max: node_bytes_max }
    }

    pub(super) async fn accept(&self, listener: &UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => _ = tokio::spawn(self.clone().greet(stream)),
                Err(error) => {
                    tracing::warn!(error = %escaped(&error), "the hub cannot accept a node");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// A node of another release may mean something else by the same bytes.
    async fn greet(self, mut stream: UnixStream) {
        match stream.read_u8().await {
            Ok(wire::VERSION) => self.serve(stream).await,
            Ok(version) => {
                let reason =
                    format!("a node speaks version {version} of the hub's protocol, this hub {}", wire::VERSION);
                tracing::warn!("{reason}: all have to be of one release");
                // It may be no node at all, and gone.
                let _ = stream.write_all(&wire::refused(&reason)).await;
            }
            Err(error) => tracing::debug!(error = %escaped(&error), "a node is gone before it has said anything"),
        }
    }

    async fn serve(self, stream: UnixStream) {
        let outbox = Arc::<Outbox>::default();
        let id = self.enter(&outbox);
        let (reader, writer) = stream.into_split();
        tokio::select! {
            result = self.read(id, &outbox, reader) => {
                if let Err(error) = result {
                    tracing::debug!(error = %escaped(&error), "a node is gone");
                }
            }
            cut = outbox::write(&outbox, writer) => {
                if cut {
                    tracing::warn!(bytes = self.bytes_max, "a node was cut off: it does not read what waits for it");
                }
            }
        }
        self.leave(id);
    }

    fn enter(&self, outbox: &Arc<Outbox>) -> u64 {
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        state.outboxes.insert(id, outbox.clone());
        id
    }

    fn leave(&self, id: u64) {
        let mut state = self.state.lock();
        state.outboxes.remove(&id);
        state.channels.retain(|_, ids| {
            ids.retain(|other| *other != id);
            !ids.is_empty()
        });
    }

    /// Answers one request after another; a node that does not read its answers gets no more.
    async fn read(&self, id: u64, outbox: &Outbox, mut reader: OwnedReadHalf) -> io::Result<()> {
        let malformed = |error: Malformed| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            while let Some(request) = wire::request(&mut buffer).map_err(malformed)? {
                outbox.drained_to(self.bytes_max / 2).await;
                let reply = self.state.lock().carry_out(id, request, self.bytes_max);
                outbox.push(reply, usize::MAX);
            }
            buffer.reserve(READ_BYTES);
            if reader.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }
}

impl State {
    fn carry_out(&mut self, id: u64, request: Request, bytes_max: usize) -> Bytes {
        match request {
            Request::Publish { ticket, messages } => {
                messages.iter().for_each(|message| self.publish(id, message, bytes_max));
                wire::done(ticket)
            }
            Request::Subscribe { ticket, channels } => {
                channels.into_iter().for_each(|channel| self.subscribe(id, channel));
                wire::done(ticket)
            }
            Request::Unsubscribe { ticket, channels } => {
                channels.iter().for_each(|channel| self.unsubscribe(id, channel));
                wire::done(ticket)
            }
            Request::Append { ticket, appends } => {
                let before = self.logs.find_again(&appends);
                let appended: Vec<_> = appends.iter().map(|append| self.append(append, &before, bytes_max)).collect();
                wire::appended(ticket, &appended)
            }
            Request::Read { ticket, log, span } => wire::page(ticket, &self.logs.read(&log, span)),
        }
    }

    fn subscribe(&mut self, id: u64, channel: Arc<str>) {
        let ids = self.channels.entry(channel).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }

    fn unsubscribe(&mut self, id: u64, channel: &str) {
        let Some(ids) = self.channels.get_mut(channel) else { return };
        ids.retain(|other| *other != id);
        if ids.is_empty() {
            self.channels.remove(channel);
        }
    }

    /// To all who subscribe, but for who has sent it.
    fn publish(&self, from: u64, message: &Publication, bytes_max: usize) {
        let Ok(channel) = std::str::from_utf8(&message.channel) else { return };
        for outbox in self.subscribers(channel, Some(from)) {
            outbox.push(message.framed.clone(), bytes_max);
        }
    }

    /// To the log, and to all who subscribe.
    fn append(&mut self, append: &Append, before: &HashMap<Nonce, Position>, bytes_max: usize) -> Appended {
        let (appended, entry) = self.logs.append(append, before);
        if let Some(entry) = entry {
            let framed = wire::message(&entry.encode());
            self.subscribers(&append.log.channel, None).for_each(|outbox| outbox.push(framed.clone(), bytes_max));
        }
        appended
    }

    fn subscribers(&self, channel: &str, but: Option<u64>) -> impl Iterator<Item = &Arc<Outbox>> {
        let ids = self.channels.get(channel).into_iter().flatten().filter(move |id| Some(**id) != but);
        ids.filter_map(|id| self.outboxes.get(id))
    }
}
