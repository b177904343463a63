//! Rooms, as the application holds them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use serde::Serialize;
use tokio::time::Instant;

use crate::call::{Answered, Wish};
use crate::client::Held;
use crate::core::room::Since;
use crate::error::Error;
use crate::event::{Member, Published, RoomEvent};
use crate::feed::{Consumer, Feed};
use crate::handler::{Handler, Outcome};
use crate::json::text_of;
use crate::message::Message;
use crate::position::Position;

/// A room: its events, and what can be done in it.
///
/// A room is a `Stream` of [`RoomEvent`]s. Each handle that is read gets all events from its first read on; the first
/// gets those from before as well. Handlers, by [`on`](Self::on), and subscriptions get them too. An event is handled
/// when all readers of the room have requested the next one; then its position is stored. A handle that was read once and
/// is not read any more blocks the room when 1,000 events or 16 MiB wait; drop it.
///
/// ```no_run
/// # async fn example(client: nexios_client::Client) -> Result<(), nexios_client::Error> {
/// use nexios_client::RoomEvent;
/// let mut general = client.room("general")?;
/// general.join().await?;
/// general.publish("hello").await?;
/// while let Some(event) = general.next().await {
///     if let RoomEvent::Message { message, offset } = event {
///         println!("{offset:?}: {message:?}");
///     }
/// }
/// # Ok(()) }
/// ```
pub struct Room {
    held: Arc<Held>,
    name: Arc<str>,
    feed: Arc<Feed<RoomEvent>>,
    events: Option<Consumer<RoomEvent>>,
}

impl Room {
    pub(crate) fn new(held: Arc<Held>, name: Arc<str>, feed: Arc<Feed<RoomEvent>>) -> Self {
        Room { held, name, feed, events: None }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns true if the client is in the room.
    pub fn is_joined(&self) -> bool {
        self.held.shared.look(|core| core.is_joined(&self.name))
    }

    /// Returns the position behind the last message that was handled, in rooms with history.
    pub fn position(&self) -> Option<Position> {
        self.feed.handled()
    }

    /// Returns the next event; `None` once the client is closed. What came before is handled then.
    pub async fn next(&mut self) -> Option<RoomEvent> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// Gets the events from now on, instead of from the first read.
    pub(crate) fn listen(&mut self) {
        let feed = &self.feed;
        self.events.get_or_insert_with(|| Consumer::new(feed.clone()));
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<RoomEvent>> {
        self.listen();
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        let progress = events.handled();
        self.held.shared.handled(&self.name, progress);
        events.poll_next(context)
    }

    /// Calls a handler for each event, one after another. An event is handled when the handler returns; where it
    /// returns an error the client reports it, and the position of the event is not kept.
    ///
    /// ```no_run
    /// # fn example(room: nexios_client::Room) {
    /// use nexios_client::RoomEvent;
    /// let handler = room.on(async |event| {
    ///     if let RoomEvent::Message { message, .. } = event {
    ///         println!("{:?}", message.as_text());
    ///     }
    /// });
    /// handler.stop();
    /// # }
    /// ```
    pub fn on<F, O>(&self, handler: F) -> Handler
    where
        F: Fn(RoomEvent) -> O + Send + 'static,
        O: Future<Output: Outcome> + Send,
    {
        crate::handler::of_room(&self.held.shared, self.name.clone(), self.feed.clone(), handler)
    }

    /// Joins the room, until [`leave`](Self::leave): after a loss the client joins it again. Rooms that the server
    /// joins need nothing. Dropped before it is ready, the future takes the wish back.
    ///
    /// # Errors
    /// [`Error`]: the server's, such as `forbidden`; `closed` if the client was closed, or the room left meanwhile.
    pub async fn join(&self) -> Result<(), Error> {
        self.enter(None).await
    }

    /// Joins the room, and begins at a position that the server has given, or at the start of the history, instead of
    /// where the client was. In a room that the client is in already it changes nothing.
    ///
    /// ```no_run
    /// # async fn join(room: nexios_client::Room) -> Result<(), nexios_client::Error> {
    /// room.join_since(nexios_client::Since::Start).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub async fn join_since(&self, since: impl Into<Since>) -> Result<(), Error> {
        self.enter(Some(since.into())).await
    }

    async fn enter(&self, since: Option<Since>) -> Result<(), Error> {
        let wish = self.held.shared.with(|core| core.join(&self.name, since))?;
        Wish::new(&self.held, &self.name, wish).await
    }

    /// Leaves the room and forgets its position. While subscriptions live the client stays in.
    ///
    /// # Errors
    /// [`Error`]: the server's, for a room that it has joined; `closed`.
    pub async fn leave(&self) -> Result<(), Error> {
        let wish = self.held.shared.with(|core| core.leave(&self.name))?;
        Wish::new(&self.held, &self.name, wish).await
    }

    /// Publishes a message and waits until the server has it: stored, in rooms with history. Where the connection is
    /// lost before that, it is sent again, for five minutes; rooms with history store it once all the same.
    ///
    /// # Errors
    /// [`Error`], with the [key](Error::key): the server's, or `expired`, `rejected`, `busy`, `too_big`, `closed`,
    /// `argument`. [`Error::maybe_stored`] says whether it may have arrived.
    pub async fn publish(&self, message: impl Into<Message>) -> Result<Published, Error> {
        self.publish_as(format!("{:032x}", fastrand::u128(..)), message).await
    }

    /// Publishes a message under a key of the application's own: within five minutes the room stores one message of
    /// each key.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_as(&self, key: impl Into<String>, message: impl Into<Message>) -> Result<Published, Error> {
        let (key, message) = (key.into(), message.into());
        let asked = self.held.shared.with(|core| core.publish(Instant::now(), &self.name, key, &message))?;
        Answered::new(&self.held, asked).await
    }

    /// Publishes a value as JSON, as [`publish`](Self::publish) does.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and `argument` if the value has no form in JSON.
    pub async fn publish_json(&self, value: &impl Serialize) -> Result<Published, Error> {
        self.publish(Message::Text(text_of(value, self.held.shared.bigint)?)).await
    }

    /// Returns the users of the room. From now on [`RoomEvent::Presence`] reports changes.
    ///
    /// # Errors
    /// As [`Client::request`](crate::Client::request).
    pub async fn presence(&self) -> Result<Vec<Member>, Error> {
        self.presence_within(self.held.shared.request_timeout).await
    }

    /// Returns the users of the room, as [`presence`](Self::presence) does, with a time of its own.
    ///
    /// # Errors
    /// As [`Client::request`](crate::Client::request).
    pub async fn presence_within(&self, timeout: impl Into<Option<Duration>>) -> Result<Vec<Member>, Error> {
        let timeout = timeout.into();
        let asked = self.held.shared.with(|core| core.presence(Instant::now(), &self.name, timeout))?;
        Answered::new(&self.held, asked).await
    }

    pub(crate) fn unsubscribe(&self) {
        self.held.shared.with(|core| core.unsubscribe(&self.name));
    }
}

impl Clone for Room {
    fn clone(&self) -> Self {
        Room { held: self.held.clone(), name: self.name.clone(), feed: self.feed.clone(), events: None }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(events) = self.events.take() {
            let (progress, shared) = (events.gone(), &self.held.shared);
            shared.handled(&self.name, progress);
        }
    }
}

impl Stream for Room {
    type Item = RoomEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<RoomEvent>> {
        self.poll_event(context)
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("name", &self.name).finish_non_exhaustive()
    }
}
