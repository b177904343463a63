//! A handle to a connection that may leave its thread.

use std::sync::Arc;

use nexios_engine::{ConnectionId, Message, RemoteConnection};
use nexios_protocol::InvalidCloseCode;
use serde::Serialize;

use crate::broker::ClientRef;
use crate::error::{IntoCloseCode, SendError};

/// Sends to a connection and closes it from any thread or runtime: `Send + Sync + Clone`.
///
/// Its functions return at once. What they send is queued behind what the connection's own
/// thread is sending; they fail if the outbox is over its limit.
///
/// ```
/// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
/// ws.accept().await?;
/// let handle = ws.handle();
/// std::thread::spawn(move || handle.send_text("from another thread"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Handle {
    remote: RemoteConnection,
    client_id: Option<Arc<str>>,
}

impl Handle {
    pub(crate) fn new(remote: RemoteConnection, client_id: Option<Arc<str>>) -> Self {
        Handle { remote, client_id }
    }

    /// The connection's id.
    pub fn id(&self) -> ConnectionId {
        self.remote.id()
    }

    /// The client id that the application had set when the handle was made.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Whether messages can be sent.
    pub fn is_connected(&self) -> bool {
        self.remote.is_connected()
    }

    /// Queues a message.
    ///
    /// # Errors
    /// The connection is over, or its outbox is full.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        Ok(self.remote.send(message.into(), None)?)
    }

    /// Queues a text message.
    ///
    /// # Errors
    /// The connection is over, or its outbox is full.
    pub fn send_text(&self, text: impl AsRef<str>) -> Result<(), SendError> {
        self.send(text.as_ref())
    }

    /// Queues a binary message.
    ///
    /// # Errors
    /// The connection is over, or its outbox is full.
    pub fn send_bytes(&self, bytes: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.send(bytes.as_ref())
    }

    /// Queues a value as JSON in a text message.
    ///
    /// # Errors
    /// The connection is over, its outbox is full, or the value has no JSON form.
    pub fn send_json(&self, value: &impl Serialize) -> Result<(), SendError> {
        self.send(serde_json::to_string(value)?)
    }

    /// Queues a ping of at most 125 bytes.
    ///
    /// # Errors
    /// The connection is over, or the payload too long.
    pub fn send_ping(&self, payload: impl AsRef<[u8]>) -> Result<(), SendError> {
        Ok(self.remote.send_ping(payload.as_ref())?)
    }

    /// Queues a pong of at most 125 bytes.
    ///
    /// # Errors
    /// The connection is over, or the payload too long.
    pub fn send_pong(&self, payload: impl AsRef<[u8]>) -> Result<(), SendError> {
        Ok(self.remote.send_pong(payload.as_ref())?)
    }

    /// Closes the connection; nothing happens if it is closed already.
    ///
    /// # Errors
    /// A code that may not be sent.
    pub fn close(&self, code: impl IntoCloseCode, reason: impl AsRef<str>) -> Result<(), InvalidCloseCode> {
        self.remote.close(code.into_close_code()?, reason.as_ref());
        Ok(())
    }
}

impl From<&Handle> for ClientRef {
    fn from(handle: &Handle) -> Self {
        handle.id().into()
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("id", &self.id()).field("client_id", &self.client_id).finish()
    }
}
