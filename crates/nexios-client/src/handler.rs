//! Handlers: functions that are called for each event.

use std::fmt::Display;
use std::sync::{Arc, Weak};

use tokio::task::AbortHandle;

use crate::error::Error;
use crate::event::{Event, RoomEvent};
use crate::feed::{Consumer, Feed};
use crate::session::Shared;

/// A handler that was added by [`Client::on`](crate::Client::on) or [`Room::on`](crate::Room::on). Dropping it leaves
/// the handler in place.
#[derive(Debug)]
pub struct Handler(AbortHandle);

impl Handler {
    /// Removes the handler, which may be cancelled where it waits.
    ///
    /// ```no_run
    /// # fn example(client: nexios_client::Client) {
    /// let handler = client.on(async |event| println!("{event:?}"));
    /// handler.stop();
    /// # }
    /// ```
    pub fn stop(self) {
        self.0.abort();
    }
}

/// A value that a handler returns: nothing, or a `Result`.
pub trait Outcome: Send {
    /// Returns the message of the error, if it is one.
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display + Send> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

pub(crate) fn of_client<F, O>(shared: &Arc<Shared>, handler: F) -> Handler
where
    F: Fn(Event) -> O + Send + 'static,
    O: Future<Output: Outcome> + Send,
{
    let mut events = Consumer::new(shared.look(|core| core.events()));
    let shared = Arc::downgrade(shared);
    let task = tokio::spawn(async move {
        while let Some(event) = std::future::poll_fn(|context| events.poll_next(context)).await {
            // A handler of errors that fails must not call itself for ever.
            let is_error = matches!(event, Event::Error(_));
            if let Some(message) = handler(event).await.failure() {
                report(&shared, message, is_error);
            }
            events.handled();
        }
    });
    Handler(task.abort_handle())
}

pub(crate) fn of_room<F, O>(shared: &Arc<Shared>, name: Arc<str>, feed: Arc<Feed<RoomEvent>>, handler: F) -> Handler
where
    F: Fn(RoomEvent) -> O + Send + 'static,
    O: Future<Output: Outcome> + Send,
{
    let events = Consumer::new(feed);
    let mut reader = Reader { shared: Arc::downgrade(shared), name, events: Some(events) };
    let task = tokio::spawn(async move {
        while let Some(event) = reader.next().await {
            if let Some(message) = handler(event).await.failure() {
                reader.failed(message);
            }
        }
    });
    Handler(task.abort_handle())
}

/// The handler's view of a room; it does not keep the client alive.
struct Reader {
    shared: Weak<Shared>,
    name: Arc<str>,
    events: Option<Consumer<RoomEvent>>,
}

impl Reader {
    async fn next(&mut self) -> Option<RoomEvent> {
        let events = self.events.as_mut()?;
        let progress = events.handled();
        if let Some(shared) = self.shared.upgrade() {
            shared.handled(&self.name, progress);
        }
        std::future::poll_fn(|context| events.poll_next(context)).await
    }

    fn failed(&mut self, message: String) {
        if let Some(events) = &mut self.events {
            events.fail();
        }
        report(&self.shared, message, false);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let (Some(events), Some(shared)) = (self.events.take(), self.shared.upgrade()) {
            shared.handled(&self.name, events.gone());
        }
    }
}

fn report(shared: &Weak<Shared>, message: String, is_error: bool) {
    let error = Error::new("handler", format!("a handler has failed: {message}"));
    match shared.upgrade() {
        Some(shared) if !is_error => shared.with(|core| core.tell(Event::Error(error))),
        _ => tracing::warn!(%error, "an error that no handler takes"),
    }
}
