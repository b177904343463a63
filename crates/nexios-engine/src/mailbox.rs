//! How other threads reach a shard: a bounded mailbox and the host's notifier.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use nexios_protocol::CloseCode;
use parking_lot::Mutex;

use crate::connection::{CloseInfo, Connection, SendError};
use crate::group::Broadcast;
use crate::id::ConnectionId;
use crate::mail_queue::{Kind, Mail, MailQueue, Refused};
use crate::message::Message;
use crate::notifier::Notifier;
use crate::shard::Shard;

/// A handle to a shard for any thread.
#[derive(Clone)]
pub struct ShardHandle(Arc<Mailbox>);

/// A handle to a connection for any thread; its calls return at once.
///
/// ```
/// fn is_send<T: Send + Sync + Clone>() {}
/// is_send::<nexios_engine::RemoteConnection>();
/// ```
#[derive(Clone)]
pub struct RemoteConnection(pub(crate) Arc<RemoteShared>);

/// The shard has more waiting for it than it may; try again, or shed load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the shard's mailbox is full or the server has stopped")]
pub struct MailboxFull;

pub(crate) struct Mailbox {
    index: u16,
    pub(crate) queue: MailQueue<Command>,
}

pub(crate) enum Command {
    Publish(Arc<Broadcast>),
    Send { to: Arc<RemoteShared>, message: Message, compress: Option<bool> },
    Ping { to: ConnectionId, payload: Vec<u8> },
    Pong { to: ConnectionId, payload: Vec<u8> },
    Close { to: ConnectionId, code: CloseCode, reason: Box<str> },
    Run(Box<dyn FnOnce(&Shard) + Send>),
}

/// What both sides of a remote connection know.
pub(crate) struct RemoteShared {
    pub(crate) id: ConnectionId,
    shard: ShardHandle,
    limit: usize,
    connected: AtomicBool,
    /// A Close is on its way: one is enough.
    closes: AtomicBool,
    close: Mutex<Option<CloseInfo>>,
    /// Bytes in the connection's outbox.
    unsent: AtomicUsize,
    /// Bytes still in the mailbox.
    queued: AtomicUsize,
}

impl ShardHandle {
    /// The shard's index.
    pub fn index(&self) -> usize {
        usize::from(self.0.index)
    }

    pub(crate) fn is_of(&self, mailbox: &Arc<Mailbox>) -> bool {
        Arc::ptr_eq(&self.0, mailbox)
    }

    /// Publishes to the members on that shard.
    ///
    /// # Errors
    /// [`MailboxFull`]
    pub fn publish(&self, broadcast: Arc<Broadcast>) -> Result<(), MailboxFull> {
        self.0.push(Command::Publish(broadcast))
    }

    /// Pending while more than 256 KiB of broadcasts from other threads wait for that shard,
    /// so that a loop of broadcasts cannot fill healthy clients' outboxes.
    pub fn poll_broadcast_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.queue.poll_broadcast_room(cx)
    }

    /// Runs a function on the shard's thread. Messages that wait for the shard cannot take its room; where too many
    /// functions wait already, the shard's service learns that one is missing
    /// ([`Service::overflowed`](crate::Service::overflowed)).
    ///
    /// # Errors
    /// [`MailboxFull`]
    pub fn run(&self, f: Box<dyn FnOnce(&Shard) + Send>) -> Result<(), MailboxFull> {
        self.0.push(Command::Run(f))
    }
}

impl std::fmt::Debug for ShardHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ShardHandle").field(&self.0.index).finish()
    }
}

impl RemoteConnection {
    /// The connection's id.
    pub fn id(&self) -> ConnectionId {
        self.0.id
    }

    /// Whether messages can still reach it.
    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Acquire)
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`SendError`]: closed, or what waits for this client is over its limit.
    pub fn send(&self, message: Message, compress: Option<bool>) -> Result<(), SendError> {
        self.0.check()?;
        if let Some(connection) = self.here() {
            return connection.send(message.as_ref(), compress);
        }
        if self.0.queued.load(Ordering::Relaxed) + self.0.unsent.load(Ordering::Relaxed) > self.0.limit {
            return Err(SendError::OutboxFull);
        }
        self.0.queued.fetch_add(message.len(), Ordering::Relaxed);
        let len = message.len();
        let sent = self.0.shard.0.push(Command::Send { to: self.0.clone(), message, compress });
        sent.map_err(|MailboxFull| {
            self.0.queued.fetch_sub(len, Ordering::Relaxed);
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
        if self.0.check().is_err() || self.0.closes.swap(true, Ordering::AcqRel) {
            return;
        }
        // Refused by a shard that has ended, and the connection with it.
        let _ = self.0.shard.0.push(Command::Close { to: self.0.id, code, reason: reason.into() });
    }

    /// The connection itself, where this is its thread: then what is sent stands in one line with
    /// what the connection sends. Not so while it is being looked at, or behind what waits in the mailbox.
    fn here(&self) -> Option<Connection> {
        let shard = self.0.shard.local().filter(|_| self.0.queued.load(Ordering::Relaxed) == 0)?;
        shard.connection(&self.0.id).filter(|connection| connection.0.state.try_borrow_mut().is_ok())
    }

    fn control(&self, payload: &[u8], command: impl FnOnce(ConnectionId, Vec<u8>) -> Command) -> Result<(), SendError> {
        if payload.len() > 125 {
            return Err(SendError::ControlTooLong(payload.len()));
        }
        self.0.check()?;
        self.0.shard.0.push(command(self.0.id, payload.to_vec())).map_err(|MailboxFull| SendError::OutboxFull)
    }
}

impl std::fmt::Debug for RemoteConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RemoteConnection").field(&self.0.id).finish()
    }
}

impl RemoteShared {
    pub(crate) fn new(id: ConnectionId, shard: ShardHandle, limit: usize, connected: bool, unsent: usize) -> Self {
        RemoteShared {
            id,
            shard,
            limit,
            connected: AtomicBool::new(connected),
            closes: AtomicBool::new(false),
            close: Mutex::new(None),
            unsent: AtomicUsize::new(unsent),
            queued: AtomicUsize::new(0),
        }
    }

    pub(crate) fn set_unsent(&self, bytes: usize) {
        self.unsent.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self, info: Option<&CloseInfo>) {
        *self.close.lock() = info.cloned();
        self.connected.store(false, Ordering::Release);
    }

    fn check(&self) -> Result<(), SendError> {
        if self.connected.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(self.close.lock().clone().map_or(SendError::NotAccepted, SendError::Closed))
    }
}

impl Mailbox {
    pub(crate) fn new(index: u16, notifier: Arc<Notifier>) -> Arc<Self> {
        Arc::new(Mailbox { index, queue: MailQueue::new(notifier) })
    }

    pub(crate) fn handle(self: &Arc<Self>) -> ShardHandle {
        ShardHandle(self.clone())
    }

    fn push(&self, command: Command) -> Result<(), MailboxFull> {
        self.queue.push(command).map_err(|Refused| MailboxFull)
    }
}

impl Mail for Command {
    fn bytes(&self) -> usize {
        match self {
            Command::Publish(broadcast) => broadcast.bytes(),
            Command::Send { message, .. } => message.len(),
            Command::Ping { payload, .. } | Command::Pong { payload, .. } => payload.len(),
            Command::Close { .. } | Command::Run(_) => 0,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Command::Publish(_) => Kind::Broadcast,
            Command::Send { .. } | Command::Ping { .. } | Command::Pong { .. } => Kind::Message,
            Command::Close { .. } => Kind::Close,
            Command::Run(_) => Kind::Job,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::group::Audience;
    use crate::mail_queue::{COMMANDS_MAX, JOBS_MAX, UNFLUSHED_BYTES_MAX};

    fn mailbox() -> Arc<Mailbox> {
        Mailbox::new(0, Arc::new(Notifier::new(Arc::new(|| {}))))
    }

    fn remote(mailbox: &Arc<Mailbox>) -> RemoteConnection {
        let id = ConnectionId::new(crate::id::Secret::random(), 7, 0);
        RemoteConnection(Arc::new(RemoteShared::new(id, mailbox.handle(), usize::MAX, true, 0)))
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

    #[test]
    fn a_job_that_does_not_fit_in_is_told_once() {
        let mailbox = mailbox();
        let handle = mailbox.handle();
        while handle.run(Box::new(|_| {})).is_ok() {}
        assert_eq!(mailbox.queue.take().len(), COMMANDS_MAX + JOBS_MAX);
        assert!(mailbox.queue.take_overflow());
        assert!(!mailbox.queue.take_overflow());
        mailbox.queue.close();
        assert!(handle.run(Box::new(|_| {})).is_err());
        assert!(!mailbox.queue.take_overflow(), "a shard that has ended misses nothing");
    }

    #[test]
    fn publishers_of_other_threads_wait_until_the_shard_has_written() {
        let mailbox = mailbox();
        let handle = mailbox.handle();
        let mut context = Context::from_waker(Waker::noop());
        let broadcast = || Arc::new(Broadcast::new(Audience::One(0), "x".repeat(UNFLUSHED_BYTES_MAX / 2).into()));
        for _ in 0..2 {
            handle.publish(broadcast()).unwrap();
            assert!(handle.poll_broadcast_room(&mut context).is_ready());
        }
        handle.publish(broadcast()).unwrap();
        assert!(handle.poll_broadcast_room(&mut context).is_pending());
        assert_eq!(mailbox.queue.take().len(), 3);
        assert!(handle.poll_broadcast_room(&mut context).is_pending(), "taken is not written");
        handle.publish(broadcast()).unwrap();
        mailbox.queue.broadcasts_flushed();
        assert!(handle.poll_broadcast_room(&mut context).is_ready());
        assert_eq!(mailbox.queue.unflushed_bytes(), UNFLUSHED_BYTES_MAX / 2);
        mailbox.queue.close();
        assert!(handle.poll_broadcast_room(&mut context).is_ready(), "a shard that has ended holds nobody");
    }
}
