//! Subscriptions: rooms that the client is in for as long as somebody reads them.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::event::RoomEvent;
use crate::room::Room;

/// A `Stream` of a room's events that keeps the client in the room. When the last subscription of a room is dropped,
/// and nobody has called [`Room::join`], the client leaves it. From
/// [`Client::subscribe`](crate::Client::subscribe).
#[derive(Debug)]
pub struct Subscription {
    room: Room,
}

impl Subscription {
    pub(crate) fn new(room: Room) -> Self {
        Subscription { room }
    }

    /// Returns the room.
    ///
    /// ```no_run
    /// # async fn example(news: nexios_client::Subscription) -> Result<(), nexios_client::Error> {
    /// news.room().publish("hello").await?;
    /// # Ok(()) }
    /// ```
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Returns the next event; `None` once the client is closed. What came before is handled then.
    pub async fn next(&mut self) -> Option<RoomEvent> {
        self.room.next().await
    }
}

impl Stream for Subscription {
    type Item = RoomEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<RoomEvent>> {
        Pin::new(&mut self.room).poll_next(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.room.unsubscribe();
    }
}
