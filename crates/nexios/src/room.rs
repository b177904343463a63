//! Rooms: sets of connections with a name, over all routers of an app.

use std::sync::Arc;

use nexios_engine::Message;
use serde::Serialize;

use crate::broadcast::{Broadcasting, BroadcastingTo, ClientRef};
use crate::handle::Handle;
use crate::hub::{Hub, Target};
use crate::router::{RouterHandle, members};

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
}

impl Room {
    pub(crate) fn new(app: RouterHandle, name: &str) -> Self {
        Room { app, name: name.into() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many connections of this node are in it.
    pub fn count(&self) -> usize {
        self.target().map_or(0, |(hub, target)| hub.count(&target).0)
    }

    /// Those of this node who are in it.
    pub async fn members(&self) -> Vec<Handle> {
        members(self.target()).await
    }

    /// Sends a message to all of them.
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

    /// Sends a message to some of them.
    pub fn broadcast_to<I: IntoIterator<Item: Into<ClientRef>>>(
        &self,
        clients: I,
        message: impl Into<Message>,
    ) -> BroadcastingTo {
        BroadcastingTo::new(self.target(), clients.into_iter().map(Into::into).collect(), message.into())
    }

    pub(crate) fn target(&self) -> Option<(Arc<Hub>, Target)> {
        let hub = self.app.hub()?;
        let group = hub.room(&self.name);
        Some((hub, Target::Room(self.name.clone(), group)))
    }
}
