//! Rooms: sets of connections with a name, over all routers of an app.

use std::sync::Arc;

use nexios_engine::Message;
use serde::Serialize;

use crate::audience::broadcast::{Broadcasting, BroadcastingTo};
use crate::audience::switchboard::{Switchboard, Target};
use crate::broker::ClientRef;
use crate::broker::{BrokerError, Declared, History, PresenceError, Present, ReadingHistory};
use crate::connection::handle::Handle;
use crate::connection::websocket::WebSocket;
use crate::routing::router::{RouterHandle, members};

/// A set of connections with a name; [`WebSocket::join`](crate::WebSocket::join) enters it.
///
/// Rooms are the app's: two routers' `room("x")` are the same. A room is there as long as it
/// has members, and they leave by themselves when they disconnect.
///
/// ```
/// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
/// ws.accept().await?;
/// ws.join("general").await;
/// let room = ws.app().room("general");
/// room.broadcast("somebody came").exclude([&ws]).await;
/// println!("{} are here", room.count());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Room {
    app: RouterHandle,
    name: Arc<str>,
    /// What it remembers, where this was made with it.
    declared: Option<Arc<Declared>>,
}

impl AsRef<str> for Room {
    /// Its name, for [`WebSocket::join`].
    fn as_ref(&self) -> &str {
        &self.name
    }
}

impl Room {
    pub(crate) fn new(app: RouterHandle, name: &str) -> Self {
        Room { app, name: name.into(), declared: None }
    }

    /// Gives the room a history: so many messages, each for so long.
    ///
    /// A broadcast to it is stored by the broker, without one in this process; all members get
    /// all messages in one order, whoever sends them, and clients that were away get what they
    /// missed: [`WebSocket::join_from`](crate::WebSocket::join_from).
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// use std::time::Duration;
    /// use nexios::broker::History;
    /// let room = ws.app().room("lobby").with_history(History::new(1000, Duration::from_secs(3600)));
    /// let outcome = room.broadcast("hello").await;
    /// assert!(outcome.stored.is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// Every node has to say the same. The app knows it, by name, for as long as there is a room
    /// that was made with it, or a member, and then for `ttl` more (of rooms beyond 65,536 that
    /// nobody holds those that were used least recently are forgotten); what is declared before
    /// the app runs is not forgotten.
    #[must_use = "the room that is returned remembers"]
    pub fn with_history(mut self, history: History) -> Self {
        self.declared = Some(self.app.declare(&self.name, Declared::new(history)));
        self
    }

    /// Reads the history of the room.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// let page = ws.app().room("lobby").history().limit(20).await?;
    /// for stored in &page.messages {
    ///     ws.send(stored.message.clone()).await?;
    /// }
    /// let next = ws.app().room("lobby").history().since(page.position).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// It fails with [`BrokerError::Unavailable`](crate::broker::BrokerError::Unavailable) where
    /// the broker does not answer within five seconds, or keeps no history.
    pub fn history(&self) -> ReadingHistory {
        let (switchboard, room) = (self.declaring_switchboard(), self.name.clone());
        ReadingHistory::new(move || {
            let unavailable = |reason: &str| BrokerError::Unavailable(reason.to_owned());
            let switchboard = switchboard.ok_or_else(|| unavailable("the app does not run yet"))?;
            let history = switchboard.history(&room).unwrap_or_default();
            let node = switchboard.history_node().ok_or_else(|| unavailable("the node has ended"))?;
            Ok((node, room, history))
        })
    }

    /// The switchboard, with the declaration renewed.
    fn declaring_switchboard(&self) -> Option<Arc<Switchboard>> {
        let switchboard = self.app.switchboard()?;
        if let Some(declared) = &self.declared {
            switchboard.declare(&self.name, declared);
        }
        Some(switchboard)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many connections of this node are in it.
    pub fn count(&self) -> usize {
        self.target().map_or(0, |(switchboard, target)| switchboard.count(&target).0)
    }

    /// Those of this node who are in it.
    pub async fn members(&self) -> Vec<Handle> {
        members(self.target()).await
    }

    /// Sends a message to all of them. A room that [with history](Self::with_history) stores it first:
    /// [`Outcome::stored`](crate::Outcome::stored).
    pub fn broadcast(&self, message: impl Into<Message>) -> Broadcasting {
        Broadcasting::new(self.target(), message.into())
    }

    /// Sends a value as JSON to all of them.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn broadcast_json(&self, value: &impl Serialize) -> serde_json::Result<Broadcasting> {
        Ok(self.broadcast(serde_json::to_string(value)?))
    }

    /// Sends a message to some of them. No room stores it.
    pub fn broadcast_to<I: IntoIterator<Item: Into<ClientRef>>>(
        &self,
        clients: I,
        message: impl Into<Message>,
    ) -> BroadcastingTo {
        BroadcastingTo::new(self.target(), clients.into_iter().map(Into::into).collect(), message.into())
    }

    /// Shows a connection's user in [`presence`](Self::presence), with data of the application's
    /// choice. The user is the connection's [`client_id`](WebSocket::client_id), else its id;
    /// several connections of one are one user. Tracking again replaces the data; leaving the room
    /// or disconnecting ends it.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// ws.set_client_id("ann");
    /// ws.accept().await?;
    /// ws.join("general").await;
    /// let room = ws.app().room("general");
    /// room.track(&ws, &serde_json::json!({"status": "busy"})).await?;
    /// assert!(room.presence().await.iter().any(|present| &*present.user == "ann"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`PresenceError`]: the connection is not in the room, the data are too long or have no JSON
    /// form, or there are too many users.
    pub async fn track(&self, ws: &WebSocket, data: &impl Serialize) -> Result<(), PresenceError> {
        ws.show(&self.name, &serde_json::to_string(data)?.into())
    }

    /// Ends what [`track`](Self::track) began; returns whether there was something to end.
    pub async fn untrack(&self, ws: &WebSocket) -> bool {
        ws.hide(&self.name)
    }

    /// The users who are in it on all nodes, by name, as far as [`track`](Self::track) was told of them.
    ///
    /// On a node that has not tracked anybody in this room, nor asked within a minute, it first
    /// waits for other nodes, up to a quarter of a second.
    pub async fn presence(&self) -> Vec<Present> {
        match self.app.switchboard() {
            Some(switchboard) => switchboard.presence().list(&self.name).await,
            None => Vec::new(),
        }
    }

    /// How many users [`presence`](Self::presence) would show, without making the list.
    pub async fn presence_count(&self) -> usize {
        match self.app.switchboard() {
            Some(switchboard) => switchboard.presence().count(&self.name).await,
            None => 0,
        }
    }

    pub(crate) fn target(&self) -> Option<(Arc<Switchboard>, Target)> {
        let switchboard = self.declaring_switchboard()?;
        let groups = switchboard.room(&self.name);
        Some((switchboard, Target::Room(self.name.clone(), groups)))
    }
}
