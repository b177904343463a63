//! `/bcast`, and `/pub` to `/sub`: a topic of the library's own publisher for each route.

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use sockudo_ws::{Error, Message, PubSub, Result};
use tokio::sync::mpsc;

/// A client that hears a topic, and speaks to another.
pub(crate) async fn hear<S>(mut socket: S, rooms: &PubSub, topic: &str, speaks_to: Option<&str>) -> Result<()>
where
    S: Stream<Item = Result<Message>> + Sink<Message, Error = Error> + Unpin,
{
    // The publisher takes no bounded one.
    let (sender, mut incoming) = mpsc::unbounded_channel();
    let id = rooms.create_subscriber(sender);
    rooms.subscribe(id, topic);
    let ended = relay(&mut socket, rooms, &mut incoming, speaks_to).await;
    rooms.remove_subscriber(id);
    ended
}

/// A client that speaks to a topic without hearing it.
pub(crate) async fn speak<S>(mut socket: S, rooms: &PubSub, topic: &str) -> Result<()>
where
    S: Stream<Item = Result<Message>> + Unpin,
{
    while let Some(message) = socket.next().await {
        if let message @ (Message::Text(_) | Message::Binary(_)) = message? {
            rooms.publish(topic, message);
        }
    }
    Ok(())
}

async fn relay<S>(
    socket: &mut S,
    rooms: &PubSub,
    incoming: &mut mpsc::UnboundedReceiver<Message>,
    speaks_to: Option<&str>,
) -> Result<()>
where
    S: Stream<Item = Result<Message>> + Sink<Message, Error = Error> + Unpin,
{
    loop {
        tokio::select! {
            received = socket.next() => match (received.transpose()?, speaks_to) {
                (Some(message @ (Message::Text(_) | Message::Binary(_))), Some(topic)) => {
                    rooms.publish(topic, message);
                }
                (Some(_), _) => {}
                (None, _) => return Ok(()),
            },
            Some(message) = incoming.recv() => {
                socket.feed(message).await?;
                while let Ok(message) = incoming.try_recv() {
                    socket.feed(message).await?;
                }
                socket.flush().await?;
            }
        }
    }
}
