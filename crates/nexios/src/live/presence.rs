//! Presence for framed clients: who is in a room, and each change from then on.

use std::sync::Arc;

use nexios_engine::Message;
use nexios_protocol::CloseCode;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::answer::{ready, tell};
use super::frame::ServerFrame;
use super::request::RequestError;
use crate::broker::{Lagged, PresenceChange, PresenceData, PresenceFollowing, Present};
use crate::connection::membership::Watching;
use crate::connection::websocket::WebSocket;

/// Rooms whose presence a client may watch at a time, if not set.
pub(crate) const WATCHED_ROOMS_MAX: usize = 100;

/// A client that looks at a room's presence.
pub(crate) struct Watch {
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
    /// Changes count from now on.
    ///
    /// # Errors
    /// The connection is not in the room, or watches too many.
    pub(crate) fn new(ws: &WebSocket, room: &Arc<str>) -> Result<Self, RequestError> {
        let until_left = match ws.watch(room, ws.route().watched_rooms_max) {
            Watching::Begins(until_left) => Some(until_left),
            Watching::Already => None,
            Watching::TooMany(max) => {
                return Err(RequestError::forbidden(format!(
                    "a client may watch the presence of {max} rooms at a time"
                )));
            }
            Watching::NotInRoom => return Err(RequestError::forbidden("the connection is not in the room")),
        };
        let following = ws.route().switchboard.presence().follow(room);
        Ok(Watch { room: room.clone(), following, until_left })
    }

    /// The users who are there, as JSON. It is written once for all who ask until something changes.
    pub(crate) async fn list(&self) -> Message {
        self.following.answer(to_json).await
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
                // It comes back, and asks again.
                Err(Lagged) => return ws.close_now(CloseCode::TRY_AGAIN_LATER, "too slow"),
            }
        }
    }
}

/// Users as a client is told of them.
fn to_json(present: Vec<Present>) -> Message {
    let users = present.into_iter().map(|present| User { user: present.user, data: value(&present.data) });
    // Texts and values always have a JSON form.
    serde_json::to_string(&users.collect::<Vec<_>>()).unwrap_or_default().into()
}

/// What a user has brought along; other nodes may have written it with line breaks.
fn value(data: &PresenceData) -> Value {
    data.parse().unwrap_or_default()
}
