//! `/bcast`, and `/pub` to `/sub`: every message to every client, by tokio's broadcast channel.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{Receiver, Sender};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Messages that a client may lag behind before it misses some.
const LAG_MESSAGES_MAX: usize = 1024;

pub(crate) fn room() -> Sender<Message> {
    Sender::new(LAG_MESSAGES_MAX)
}

/// A client that hears the room, and speaks to `speaks_to`.
pub(crate) async fn serve(
    mut socket: WebSocketStream<TcpStream>,
    mut incoming: Receiver<Message>,
    speaks_to: Option<Sender<Message>>,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            received = socket.next() => match (received, &speaks_to) {
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

/// A client that speaks to the room without hearing it.
pub(crate) async fn publish(mut socket: WebSocketStream<TcpStream>, room: Sender<Message>) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        if let message @ (Message::Text(_) | Message::Binary(_)) = message? {
            drop(room.send(message));
        }
    }
    Ok(())
}

/// Sends what has come, several messages with one flush when several wait.
async fn deliver(
    socket: &mut WebSocketStream<TcpStream>,
    first: Message,
    incoming: &mut Receiver<Message>,
) -> Result<(), Error> {
    socket.feed(first).await?;
    while let Ok(message) = incoming.try_recv() {
        socket.feed(message).await?;
    }
    socket.flush().await
}
