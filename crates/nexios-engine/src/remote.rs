//! Handles to connections for other threads.

use std::sync::Arc;

use nexios_protocol::CloseCode;

use crate::connection::{Connection, SendError};
use crate::id::ConnectionId;
use crate::mailbox::{Command, MailboxFull, ShardHandle};
use crate::message::Message;
use crate::remote_shared::RemoteShared;

/// A handle to a connection for any thread; its calls return at once.
///
/// ```
/// fn is_send<T: Send + Sync + Clone>() {}
/// is_send::<nexios_engine::RemoteConnection>();
/// ```
#[derive(Clone)]
pub struct RemoteConnection {
    shared: Arc<RemoteShared>,
    shard: ShardHandle,
}

impl Connection {
    /// A handle that may leave the thread.
    pub fn remote(&self) -> RemoteConnection {
        let mut state = self.0.state.borrow_mut();
        let connected = state.is_connected();
        let unsent = state.outbox_len();
        let limit = self.0.settings().outbox_bytes_max;
        let make = || RemoteShared::new(self.0.id(), limit, connected, unsent);
        let shared = state.rare().shared_with_remotes(make);
        RemoteConnection { shared, shard: self.0.shard.handle() }
    }
}

impl RemoteConnection {
    /// The connection's id.
    pub fn id(&self) -> ConnectionId {
        self.shared.id
    }

    /// Whether messages can still reach it.
    pub fn is_connected(&self) -> bool {
        self.shared.is_connected()
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`SendError`]: closed, or what waits for this client is over its limit.
    pub fn send(&self, message: Message, compress: Option<bool>) -> Result<(), SendError> {
        self.shared.check()?;
        if let Some(connection) = self.here() {
            return connection.send(message.as_ref(), compress);
        }
        let len = message.len();
        self.shared.queue(len)?;
        let sent = self.shard.push(Command::Send { to: self.shared.clone(), message, compress });
        sent.map_err(|MailboxFull| {
            self.shared.taken(len);
            SendError::OutboxFull
        })
    }

    /// Queues a ping.
    ///
    /// # Errors
    /// [`SendError`]; a payload over 125 bytes is `ControlTooLong`.
    pub fn send_ping(&self, payload: &[u8]) -> Result<(), SendError> {
        self.control(payload, |to, payload| Command::Ping { to, payload })
    }

    /// Queues a pong.
    ///
    /// # Errors
    /// [`SendError`]; a payload over 125 bytes is `ControlTooLong`.
    pub fn send_pong(&self, payload: &[u8]) -> Result<(), SendError> {
        self.control(payload, |to, payload| Command::Pong { to, payload })
    }

    /// Queues the Close frame, however much waits for the shard; nothing happens where it is closed already.
    pub fn close(&self, code: CloseCode, reason: &str) {
        if let Some(connection) = self.here() {
            return connection.close(code, reason);
        }
        if self.shared.check().is_err() || !self.shared.close() {
            return;
        }
        // Refused by a shard that has ended, and the connection with it.
        let _ = self.shard.push(Command::Close { to: self.shared.id, code, reason: reason.into() });
    }

    /// The connection itself, where this is its thread: then what is sent stands in one line with
    /// what the connection sends. Not so while it is being looked at, or behind what waits in the mailbox.
    fn here(&self) -> Option<Connection> {
        let shard = self.shard.local().filter(|_| self.shared.has_nothing_queued())?;
        shard.connection(&self.shared.id).filter(|connection| connection.0.state.try_borrow_mut().is_ok())
    }

    fn control(&self, payload: &[u8], command: impl FnOnce(ConnectionId, Vec<u8>) -> Command) -> Result<(), SendError> {
        if payload.len() > 125 {
            return Err(SendError::ControlTooLong(payload.len()));
        }
        self.shared.check()?;
        self.shard.push(command(self.shared.id, payload.to_vec())).map_err(|MailboxFull| SendError::OutboxFull)
    }
}

impl std::fmt::Debug for RemoteConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RemoteConnection").field(&self.shared.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail_queue::COMMANDS_MAX;
    use crate::mailbox::Mailbox;
    use crate::notifier::Notifier;

    fn mailbox() -> Arc<Mailbox> {
        Mailbox::new(0, Arc::new(Notifier::new(Arc::new(|| {}))))
    }

    fn remote(mailbox: &Arc<Mailbox>) -> RemoteConnection {
        let id = ConnectionId::new(crate::id::Secret::random(), 7, 0);
        RemoteConnection { shared: Arc::new(RemoteShared::new(id, usize::MAX, true, 0)), shard: mailbox.handle() }
    }

    #[test]
    fn messages_that_fill_the_mailbox_leave_room_for_closing_and_for_jobs() {
        let mailbox = mailbox();
        let (flooded, other) = (remote(&mailbox), remote(&mailbox));
        while flooded.send("x".into(), None).is_ok() {}
        mailbox.handle().run(Box::new(|_| {})).unwrap();
        for _ in 0..3 {
            other.close(CloseCode::NORMAL, "bye");
            flooded.close(CloseCode::NORMAL, "bye");
        }
        let commands = mailbox.queue.take();
        assert_eq!(commands.len(), COMMANDS_MAX + 3);
        let closes = commands.iter().filter(|command| matches!(command, Command::Close { .. })).count();
        assert_eq!(closes, 2, "one for each connection");
        assert!(!mailbox.queue.take_overflow());
    }
}
