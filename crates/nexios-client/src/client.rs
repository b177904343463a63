//! The client, as the application holds it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::call::Answered;
use crate::error::Error;
use crate::event::{Event, State};
use crate::feed::Consumer;
use crate::handler::{Handler, Outcome};
use crate::json::text_of;
use crate::message::Message;
use crate::room::Room;
use crate::session::Shared;
use crate::subscription::Subscription;

/// A connection that reconnects by itself. Clones share one client; when the last is dropped, with its rooms and
/// subscriptions, the connection is closed.
///
/// A client is a `Stream` of the [events](Event) outside of rooms. Each clone that is read gets all events from its
/// first read on; the first gets those from before as well. Handlers, by [`on`](Self::on), get them too.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use nexios_client::{Connector, Event};
/// let mut client = Connector::new("wss://example.org/live").connect().await?;
/// while let Some(event) = client.next().await {
///     if let Event::Message(message) = event {
///         println!("{message:?}");
///     }
/// }
/// # Ok(()) }
/// ```
pub struct Client {
    held: Arc<Held>,
    events: Option<Consumer<Event>>,
}

/// Closes the client when nobody holds it.
pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.with(crate::core::Core::close);
    }
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Client { held: Arc::new(Held { shared }), events: None }
    }

    fn shared(&self) -> &Shared {
        &self.held.shared
    }

    /// Returns the state.
    pub fn state(&self) -> State {
        self.shared().look(|core| core.state())
    }

    /// Returns the id that the server has given the connection, or the last one.
    pub fn id(&self) -> Option<String> {
        self.shared().look(|core| core.id().map(str::to_owned))
    }

    /// Returns the address of the connection, or of the next attempt.
    pub fn url(&self) -> String {
        self.shared().url()
    }

    /// Returns the next event outside of rooms; `None` once the client is closed.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let shared = &self.held.shared;
        let events = self.events.get_or_insert_with(|| Consumer::new(shared.look(|core| core.events())));
        events.handled();
        events.poll_next(context)
    }

    /// Calls a handler for each event outside of rooms, one after another. A handler that holds the client keeps it
    /// connected.
    ///
    /// ```no_run
    /// # fn example(client: nexios_client::Client) {
    /// use nexios_client::Event;
    /// client.on(async |event| {
    ///     if let Event::Close(closed) = event {
    ///         println!("{closed}");
    ///     }
    /// });
    /// # }
    /// ```
    pub fn on<F, O>(&self, handler: F) -> Handler
    where
        F: Fn(Event) -> O + Send + 'static,
        O: Future<Output: Outcome> + Send,
    {
        crate::handler::of_client(&self.held.shared, handler)
    }

    /// Returns a room by its name, without joining it.
    ///
    /// # Errors
    /// [`Error`] with the code `argument`: the name is too long, or there are 1,000 rooms in use.
    pub fn room(&self, name: impl Into<String>) -> Result<Room, Error> {
        let name = name.into();
        let feed = self.shared().with(|core| core.room(&name))?;
        Ok(Room::new(self.held.clone(), name.into(), feed))
    }

    /// Joins a room for as long as the subscription, or another one, lives. It does not wait: the subscription gets
    /// [`RoomEvent::Joined`](crate::RoomEvent::Joined), or [`RoomEvent::Left`](crate::RoomEvent::Left) with the
    /// server's refusal.
    ///
    /// ```no_run
    /// # async fn example(client: nexios_client::Client) -> Result<(), nexios_client::Error> {
    /// let mut news = client.subscribe("news")?;
    /// while let Some(event) = news.next().await {
    ///     println!("{event:?}");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`room`](Self::room); `closed` once the client is closed.
    pub fn subscribe(&self, name: impl Into<String>) -> Result<Subscription, Error> {
        let mut room = self.room(name)?;
        // Events that the wish causes at once belong to the subscription.
        room.listen();
        self.shared().with(|core| core.subscribe(room.name()))?;
        Ok(Subscription::new(room))
    }

    /// Sends a message to the server's handler, at most once; `false` if there is no connection. It waits while too
    /// much waits to be written. Nothing confirms it: see [`request`](Self::request) and [`Room::publish`].
    ///
    /// # Errors
    /// [`Error`] with the code `too_big`.
    pub async fn send(&self, message: impl Into<Message>) -> Result<bool, Error> {
        self.shared().until_drained().await;
        self.shared().with(|core| core.send(message.into()))
    }

    /// Serializes a value as JSON text, as [`Connector::bigint`](crate::Connector::bigint) says; for calls that take a
    /// message, such as [`Room::publish_as`].
    ///
    /// ```no_run
    /// # async fn example(client: nexios_client::Client) -> Result<(), nexios_client::Error> {
    /// let message = client.message(&[1, 2])?;
    /// client.room("general")?.publish_as("key", message).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error`] with the code `argument`: the value has no form in JSON.
    pub fn message(&self, value: &impl Serialize) -> Result<Message, Error> {
        text_of(value, self.shared().bigint).map(Message::Text)
    }

    /// Sends a value as JSON, as [`send`](Self::send) does.
    ///
    /// # Errors
    /// As [`send`](Self::send), and `argument` if the value has no form in JSON.
    pub async fn send_json(&self, value: &impl Serialize) -> Result<bool, Error> {
        self.send(self.message(value)?).await
    }

    /// Asks the server and waits for its answer, for as long as
    /// [`Connector::request_timeout`](crate::Connector::request_timeout) says.
    ///
    /// # Errors
    /// [`Error`]: the server's, or `disconnected`, `timeout`, `busy`, `too_big`, `closed`, `argument`.
    pub async fn request(&self, method: impl AsRef<str>, argument: impl Into<Message>) -> Result<Message, Error> {
        self.request_within(method, argument, self.shared().request_timeout).await
    }

    /// Asks the server, as [`request`](Self::request) does, with a time of its own; `None` waits for ever.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn request_within(
        &self,
        method: impl AsRef<str>,
        argument: impl Into<Message>,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Message, Error> {
        let (argument, timeout) = (argument.into(), timeout.into());
        let asked = self.shared().with(|core| core.request(Instant::now(), method.as_ref(), &argument, timeout))?;
        Answered::new(&self.held, asked).await
    }

    /// Asks the server with a value as JSON, and reads its answer as JSON.
    ///
    /// ```no_run
    /// # async fn example(client: nexios_client::Client) -> Result<(), nexios_client::Error> {
    /// let sum: f64 = client.request_json("sum", &[1, 2]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`request`](Self::request), and `invalid_answer` if the answer is not the JSON of such a value.
    pub async fn request_json<T: DeserializeOwned>(
        &self,
        method: impl AsRef<str>,
        argument: &impl Serialize,
    ) -> Result<T, Error> {
        let answer = self.request(method, self.message(argument)?).await?;
        answer.json().map_err(|error| Error::new("invalid_answer", format!("the answer cannot be read: {error}")))
    }

    /// Loses the connection as if the cable had been pulled, for tests and demonstrations; `away`: until
    /// [`reconnect`](Self::reconnect).
    pub fn drop(&self, away: bool) {
        self.shared().with(|core| core.drop_connection(Instant::now(), away));
    }

    /// Makes an attempt now, of a parked client as well.
    pub fn reconnect(&self) {
        self.shared().with(|core| core.reconnect(Instant::now()));
    }

    /// Closes for good, and waits for the closing handshake, two seconds at most.
    pub async fn close(&self) {
        self.shared().with(crate::core::Core::close);
        self.shared().until_over().await;
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Client { held: self.held.clone(), events: None }
    }
}

impl Stream for Client {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(context)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("url", &self.url()).field("state", &self.state()).finish_non_exhaustive()
    }
}
