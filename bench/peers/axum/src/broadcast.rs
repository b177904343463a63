//! `/bcast`, and `/pub` to `/sub`: every message to every client, by tokio's broadcast channel.

use axum::Error;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::SinkExt;
use tokio::sync::broadcast::{Receiver, Sender};

use crate::Shared;

/// Messages that a client may lag behind before it misses some.
const LAG_MESSAGES_MAX: usize = 1024;

pub(crate) fn room() -> Sender<Message> {
    Sender::new(LAG_MESSAGES_MAX)
}

/// `/bcast`
pub(crate) async fn upgrade(upgrade: WebSocketUpgrade, State(shared): State<Shared>) -> Response {
    let Shared { room, read_buffer_bytes } = shared;
    upgrade.read_buffer_size(read_buffer_bytes).on_upgrade(move |socket| async move {
        // An error is a client that went away.
        let _ = serve(socket, room.subscribe(), Some(room)).await;
    })
}

/// `/sub`
pub(crate) async fn subscribe(upgrade: WebSocketUpgrade, State(shared): State<Shared>) -> Response {
    let Shared { room, read_buffer_bytes } = shared;
    upgrade.read_buffer_size(read_buffer_bytes).on_upgrade(move |socket| async move {
        let _ = serve(socket, room.subscribe(), None).await;
    })
}

/// `/pub`
pub(crate) async fn publish(upgrade: WebSocketUpgrade, State(shared): State<Shared>) -> Response {
    let Shared { room, read_buffer_bytes } = shared;
    upgrade.read_buffer_size(read_buffer_bytes).on_upgrade(move |mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Text(_) | Message::Binary(_)) {
                drop(room.send(message));
            }
        }
    })
}

/// A client that hears the room, and speaks to `speaks_to`.
async fn serve(
    mut socket: WebSocket,
    mut incoming: Receiver<Message>,
    speaks_to: Option<Sender<Message>>,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            received = socket.recv() => match (received, &speaks_to) {
                (Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))), Some(room)) => drop(room.send(message)),
                (Some(Ok(_)), _) => {}
                (Some(Err(_)) | None, _) => return Ok(()),
            },
            // The other outcome is a lag, after which the channel goes on.
            message = incoming.recv() => if let Ok(message) = message {
                deliver(&mut socket, message, &mut incoming).await?;
            },
        }
    }
}

/// Sends what has come, several messages with one flush when several wait.
async fn deliver(socket: &mut WebSocket, first: Message, incoming: &mut Receiver<Message>) -> Result<(), Error> {
    socket.feed(first).await?;
    while let Ok(message) = incoming.try_recv() {
        socket.feed(message).await?;
    }
    socket.flush().await
}
