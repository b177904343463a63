//! Presence: who is in a room, over all nodes, and who comes and goes.
//!
//! It needs nothing of a broker but publish and subscribe, and without one it is the same for one
//! node. `replica` is what a node knows, `repair` how all come to know the same;
//! `service` is the way from handlers and from the broker to both.

mod announce;
mod apply;
mod changes;
mod repair;
mod replica;
mod room;
mod schedule;
mod service;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod users;
mod wire;

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

pub use changes::{Changed, Lagged, Reader};
pub(crate) use replica::Settings;
pub(crate) use service::drive;
pub use service::{Following, Listened, Presence, PresenceEvents};
pub use users::Change;

/// The longest JSON text that a user may bring along.
pub(crate) const DATA_BYTES_MAX: usize = 4096;
/// The longest name of a user.
pub(crate) const USER_BYTES_MAX: usize = 1024;
/// How much memory all that is known may take, unless a broker's settings say otherwise.
pub(crate) const BYTES_MAX: usize = 256 << 20;

/// A user who is in a room, with all connections on all nodes.
///
/// ```
/// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
/// for present in ws.app().room("general").presence().await {
///     println!("{} by {} connections: {}", present.user, present.connections, present.data);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Present {
    /// The client id, or the connection's id where there is none.
    pub user: Arc<str>,
    /// What the newest of the connections has brought along.
    pub data: PresenceData,
    /// How many connections.
    pub connections: usize,
}

/// A user has come into a room or left it: `WsRouter::on_join`,
/// `WsRouter::on_leave`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PresenceEvent {
    /// The room's name.
    pub room: Arc<str>,
    /// The client id, or the connection's id where there is none.
    pub user: Arc<str>,
    /// What the user has brought along; at a leave the last.
    pub data: PresenceData,
    /// Whether it was a client of this node who came or left.
    pub here: bool,
    /// Which of the two, for one function that listens to both.
    pub kind: PresenceKind,
}

/// What has happened to a user: [`PresenceEvent::kind`].
///
/// ```
/// use nexios::{App, presence::{PresenceEvent, PresenceKind}};
/// async fn changed(event: PresenceEvent) {
///     let sign = if event.kind == PresenceKind::Join { '+' } else { '-' };
///     println!("{sign}{}", event.user);
/// }
/// let app = App::new().on_join(changed).on_leave(changed);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PresenceKind {
    /// The user has come.
    Join,
    /// The user has left.
    Leave,
}

impl PresenceKind {
    /// Returns its name, as in `nexios.v1`.
    pub fn name(self) -> &'static str {
        match self {
            PresenceKind::Join => "join",
            PresenceKind::Leave => "leave",
        }
    }
}

/// What the application has said of a user, as JSON.
///
/// ```
/// # #[derive(serde::Deserialize)]
/// # struct Status { name: String }
/// # fn look(event: nexios::presence::PresenceEvent) -> serde_json::Result<()> {
/// let status: Status = event.data.parse()?;
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PresenceData(pub(crate) Arc<str>);

/// Why a user is not tracked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// Only who is in a room can be tracked there.
    #[error("the connection is not in the room {0:?}: join it first")]
    NotInRoom(String),
    /// The data have no JSON form.
    #[error("the data cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The data are over 4 KiB as JSON.
    #[error("the data are {0} bytes of JSON, more than {DATA_BYTES_MAX}")]
    DataTooLong(usize),
    /// The client id is over 1 KiB.
    #[error("the client id has {0} bytes, more than {USER_BYTES_MAX}")]
    UserTooLong(usize),
    /// There is no room for more; [`presence_bytes_max`](crate::Broker::presence_bytes_max) says how much there is.
    #[error("presence has no room for more: it may take {0} bytes")]
    Full(usize),
}

impl PresenceData {
    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value.
    ///
    /// # Errors
    /// It is no `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.0)
    }
}

impl fmt::Display for PresenceData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PresenceData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
