//! The client, as the application holds it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::error::{CloseReason, RequestError};
use crate::frame::{Message, ToServer};
use crate::position::Position;
use crate::queue::{Full, Queue};
use crate::room::{Room, RoomShared};

/// Commands that wait for the session at most; then the application waits.
pub(crate) const COMMANDS_MAX: usize = 256;
/// Rooms that are remembered at most: as many as a `hello` can name.
pub(crate) const ROOMS_MAX: usize = 1000;

/// A connection that comes back by itself. Clones are the same client; when the last is dropped,
/// with its rooms, the connection is closed.
#[derive(Clone)]
pub struct Client(Arc<Held>);

struct Held {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

/// Something that happened outside of rooms.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message of the server's handler to this client, or a broadcast.
    Message(Message),
    /// So many messages did not fit: the application is too slow.
    Missed(u64),
    /// The client is connected, again.
    Connected,
    /// The connection is lost; where `retry` is set the client comes back.
    Disconnected(CloseReason),
}

/// What the application and the session share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) events: Queue<Event>,
    rooms: Mutex<HashMap<String, Arc<RoomShared>>>,
}

/// What the application asks of the session.
pub(crate) enum Command {
    Send(Message, oneshot::Sender<Result<(), RequestError>>),
    Ask(Question),
    /// A room that is behind wants another connection.
    ComeBack,
    /// As if the cable had been pulled.
    Drop,
    Close(oneshot::Sender<()>),
}

/// A frame that is answered.
pub(crate) struct Question {
    pub(crate) header: Box<dyn FnOnce(u64) -> ToServer + Send>,
    pub(crate) payload: Message,
    /// It is asked again on the next connection.
    pub(crate) again: bool,
    pub(crate) answer: oneshot::Sender<Result<Answer, RequestError>>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) payload: Message,
    pub(crate) position: Option<Position>,
    /// A message with the key was there before.
    pub(crate) duplicate: bool,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>, commands: mpsc::Sender<Command>) -> Self {
        Client(Arc::new(Held { shared, commands }))
    }

    /// What happens next outside of rooms; `None` once the client is closed.
    pub async fn next(&self) -> Option<Event> {
        self.0.shared.events.pop().await
    }

    /// A room by its name, whether the client is in it yet or not.
    pub fn room(&self, name: impl AsRef<str>) -> Room {
        Room::new(self.clone(), self.0.shared.room(name.as_ref()))
    }

    /// Sends a message to the server's handler. It is on its way when this returns; nothing
    /// confirms it: see [`request`](Self::request) and [`Room::publish`].
    ///
    /// # Errors
    /// [`RequestError::Disconnected`]: there is no connection now, and it was not sent.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), RequestError> {
        let (done, sent) = oneshot::channel();
        let command = Command::Send(message.into().escaped(), done);
        self.0.commands.send(command).await.map_err(|_| RequestError::Closed)?;
        sent.await.unwrap_or(Err(RequestError::Closed))
    }

    /// Asks the server and waits for its answer.
    ///
    /// # Errors
    /// [`RequestError`]; with `Disconnected` it may have been carried out.
    pub async fn request(
        &self,
        method: impl Into<String>,
        argument: impl Into<Message>,
    ) -> Result<Message, RequestError> {
        let method = method.into();
        let answer = self.ask(|id| ToServer::Request { id, method }, argument.into(), false).await?;
        Ok(answer.payload)
    }

    pub(crate) async fn ask(
        &self,
        header: impl FnOnce(u64) -> ToServer + Send + 'static,
        payload: Message,
        again: bool,
    ) -> Result<Answer, RequestError> {
        let (answer, answered) = oneshot::channel();
        let question = Question { header: Box::new(header), payload, again, answer };
        self.0.commands.send(Command::Ask(question)).await.map_err(|_| RequestError::Closed)?;
        answered.await.unwrap_or(Err(RequestError::Closed))
    }

    /// Another connection, for a room that has fallen behind.
    pub(crate) fn come_back(&self) {
        // Where commands wait already, the next look at the room asks again.
        let _ = self.0.commands.try_send(Command::ComeBack);
    }

    /// Loses the connection as if the cable had been pulled: for tests and demonstrations.
    pub async fn drop_connection(&self) {
        // A closed client has none.
        let _ = self.0.commands.send(Command::Drop).await;
    }

    /// Closes for good, with a closing handshake of at most two seconds.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.0.commands.send(Command::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("rooms", &self.0.shared.rooms.lock().len()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn room(&self, name: &str) -> Arc<RoomShared> {
        let mut rooms = self.rooms.lock();
        if let Some(room) = rooms.get(name) {
            return room.clone();
        }
        if rooms.len() >= ROOMS_MAX {
            // Those that nobody holds, and that have nothing to say.
            rooms.retain(|_, room| Arc::strong_count(room) > 1 || !room.queue.is_empty());
        }
        let room = Arc::new(RoomShared::new(name, None));
        rooms.insert(name.to_owned(), room.clone());
        room
    }

    pub(crate) fn remember(&self, name: &str, position: Position) {
        self.rooms.lock().insert(name.to_owned(), Arc::new(RoomShared::new(name, Some(position))));
    }

    pub(crate) fn rooms(&self) -> Vec<Arc<RoomShared>> {
        self.rooms.lock().values().cloned().collect()
    }

    pub(crate) fn tell(&self, event: Event) {
        let bytes = if let Event::Message(message) = &event { message.as_bytes().len() } else { 64 };
        if let Err(Full) = self.events.push(event, bytes) {
            self.events.merge(|last| match last {
                Some(Event::Missed(missed)) => {
                    *missed += 1;
                    None
                }
                _ => Some(Event::Missed(1)),
            });
        }
    }

    /// Nothing comes any more.
    pub(crate) fn close(&self) {
        self.events.close();
        self.rooms().iter().for_each(|room| room.queue.close());
    }
}
