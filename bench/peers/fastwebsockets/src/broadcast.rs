//! `/bcast`, and `/pub` to `/sub`: every message to every client of a hub.
//!
//! The library has no broadcast, and its `read_frame` may not be cancelled, so a
//! user splits the socket: one task reads, one writes what a bounded queue brings.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fastwebsockets::upgrade::UpgradeFut;
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError, WebSocketWrite,
};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

/// Messages that may wait for one client before it counts as gone.
const QUEUE_MESSAGES_MAX: usize = 1024;

type Outgoing = (OpCode, Bytes);
type Clients = HashMap<u64, mpsc::Sender<Outgoing>>;

/// The clients of one route.
#[derive(Clone, Default)]
pub(crate) struct Hub {
    clients: Arc<Mutex<Clients>>,
    next_id: Arc<AtomicU64>,
}

impl Hub {
    fn join(&self, queue: mpsc::Sender<Outgoing>) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.with(|clients| clients.insert(id, queue));
        id
    }

    fn leave(&self, id: u64) {
        self.with(|clients| clients.remove(&id));
    }

    fn broadcast(&self, message: &Outgoing) {
        self.with(|clients| clients.retain(|_, queue| queue.try_send(message.clone()).is_ok()));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Clients) -> T) -> T {
        act(&mut self.clients.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A client that hears `hub`, and speaks to `speaks_to`.
pub(crate) async fn serve(upgrade: UpgradeFut, hub: Hub, speaks_to: Option<Hub>) -> Result<(), WebSocketError> {
    let (read, write) = upgrade.await?.split(tokio::io::split);
    let (queue, outgoing) = mpsc::channel(QUEUE_MESSAGES_MAX);
    let id = hub.join(queue.clone());
    tokio::spawn(deliver(write, outgoing));

    let mut read = FragmentCollectorRead::new(read);
    let mut answer = |frame: Frame<'_>| std::future::ready(queue.try_send(owned(&frame)));
    while let Ok(frame) = read.read_frame(&mut answer).await {
        match (frame.opcode, &speaks_to) {
            (OpCode::Close, _) => break,
            (OpCode::Text | OpCode::Binary, Some(audience)) => audience.broadcast(&owned(&frame)),
            _ => {}
        }
    }
    hub.leave(id);
    Ok(())
}

/// A client that speaks to `audience` without hearing it: it needs no split.
pub(crate) async fn publish(upgrade: UpgradeFut, audience: Hub) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(upgrade.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => audience.broadcast(&owned(&frame)),
            _ => {}
        }
    }
}

fn owned(frame: &Frame<'_>) -> Outgoing {
    (frame.opcode, Bytes::copy_from_slice(&frame.payload))
}

async fn deliver<W>(mut write: WebSocketWrite<W>, mut outgoing: mpsc::Receiver<Outgoing>) -> Result<(), WebSocketError>
where
    W: AsyncWrite + Unpin,
{
    while let Some((opcode, payload)) = outgoing.recv().await {
        write.write_frame(Frame::new(true, opcode, None, Payload::Borrowed(&payload))).await?;
    }
    Ok(())
}
