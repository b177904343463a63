//! Presence for framed clients: who is in a room, and each change from then on.

use std::sync::Arc;

use nexios_engine::Message;
use nexios_protocol::CloseCode;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

use super::answer::{ready, tell};
use super::frame::ServerFrame;
use crate::broker::{PresenceChange, PresenceData, PresenceFollowing};
use crate::hub::Hub;
use crate::websocket::WebSocket;

/// A client that looks at a room's presence.
pub(crate) struct Watch {
    hub: Arc<Hub>,
    room: Arc<str>,
    following: PresenceFollowing,
    /// Ends when the client leaves the room; `None`: another watch tells the changes.
    until_left: Option<oneshot::Receiver<()>>,
}

#[derive(Serialize)]
struct User {
    user: Arc<str>,
    data: Value,
}

impl Watch {
    /// Changes count from now on; `None` where the connection is not in the room.
    pub(crate) fn new(ws: &WebSocket, room: &Arc<str>) -> Option<Self> {
        let hub = ws.route().hub.clone();
        let until_left = ws.watch(room)?;
        let following = hub.presence().follow(&hub, room);
        Some(Watch { hub, room: room.clone(), following, until_left })
    }

    /// The users who are there, as JSON.
    pub(crate) async fn list(&self) -> Message {
        let present = self.hub.presence().list(&self.hub, &self.room).await;
        let users = present.into_iter().map(|present| User { user: present.user, data: value(&present.data) });
        // Texts and values always have a JSON form.
        serde_json::to_string(&users.collect::<Vec<_>>()).unwrap_or_default().into()
    }

    /// Tells each change until the client leaves the room.
    pub(crate) async fn run(mut self, ws: WebSocket) {
        let Some(mut until_left) = self.until_left.take() else { return };
        loop {
            let changed = tokio::select! {
                biased;
                _ = &mut until_left => return,
                changed = self.following.changes.recv() => changed,
            };
            ready(&ws).await;
            match changed {
                Ok((change, present)) => {
                    let event = if change == PresenceChange::Leave { "leave" } else { "join" };
                    let data = value(&present.data);
                    tell(&ws, &ServerFrame::Presence { room: &self.room, event, user: &present.user, data });
                }
                // It comes back, and asks anew.
                Err(RecvError::Lagged(_)) => return ws.close_now(CloseCode::TRY_AGAIN_LATER, "too slow"),
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// What a user has brought along; other nodes may have written it with line breaks.
fn value(data: &PresenceData) -> Value {
    data.parse().unwrap_or_default()
}
