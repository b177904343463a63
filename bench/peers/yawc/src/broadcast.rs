//! `/bcast`, and `/pub` to `/sub`: every message to every client, by tokio's broadcast channel.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::broadcast::{Receiver, Sender};
use yawc::{Frame, HttpWebSocket, OpCode, WebSocketError};

/// Messages that a client may lag behind before it misses some.
const LAG_MESSAGES_MAX: usize = 1024;

/// A frame is no message: it may be masked, or compressed, for one client.
#[derive(Clone)]
pub(crate) enum Outgoing {
    Text(Bytes),
    Binary(Bytes),
}

pub(crate) fn room() -> Sender<Outgoing> {
    Sender::new(LAG_MESSAGES_MAX)
}

impl Outgoing {
    fn of(frame: Frame) -> Option<Self> {
        let (opcode, _, payload) = frame.into_parts();
        match opcode {
            OpCode::Text => Some(Self::Text(payload)),
            OpCode::Binary => Some(Self::Binary(payload)),
            _ => None,
        }
    }

    fn frame(self) -> Frame {
        match self {
            Self::Text(payload) => Frame::text(payload),
            Self::Binary(payload) => Frame::binary(payload),
        }
    }
}

/// A client that hears the room, and speaks to `speaks_to`.
pub(crate) async fn serve(
    mut socket: HttpWebSocket,
    mut incoming: Receiver<Outgoing>,
    speaks_to: Option<Sender<Outgoing>>,
) -> Result<(), WebSocketError> {
    loop {
        tokio::select! {
            received = socket.next() => {
                let Some(frame) = received else { return Ok(()) };
                if let (Some(message), Some(room)) = (Outgoing::of(frame), &speaks_to) {
                    drop(room.send(message));
                }
            }
            // The other outcome is a lag, after which the channel goes on.
            message = incoming.recv() => if let Ok(message) = message {
                deliver(&mut socket, message, &mut incoming).await?;
            },
        }
    }
}

/// A client that speaks to the room without hearing it.
pub(crate) async fn publish(mut socket: HttpWebSocket, room: Sender<Outgoing>) -> Result<(), WebSocketError> {
    while let Some(frame) = socket.next().await {
        if let Some(message) = Outgoing::of(frame) {
            drop(room.send(message));
        }
    }
    Ok(())
}

/// Sends what has come, several messages with one flush when several wait.
async fn deliver(
    socket: &mut HttpWebSocket,
    first: Outgoing,
    incoming: &mut Receiver<Outgoing>,
) -> Result<(), WebSocketError> {
    socket.feed(first.frame()).await?;
    while let Ok(message) = incoming.try_recv() {
        socket.feed(message.frame()).await?;
    }
    socket.flush().await
}
