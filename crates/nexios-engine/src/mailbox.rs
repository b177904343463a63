//! How other threads reach a shard: a bounded mailbox and the host's notifier.

use std::sync::Arc;
use std::task::{Context, Poll};

use nexios_protocol::CloseCode;

use crate::group::Broadcast;
use crate::id::ConnectionId;
use crate::mail_queue::{Kind, Mail, MailQueue, Refused};
use crate::message::Message;
use crate::notifier::Notifier;
use crate::remote_shared::RemoteShared;
use crate::shard::Shard;

/// A handle to a shard for any thread.
#[derive(Clone)]
pub struct ShardHandle(Arc<Mailbox>);

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

impl ShardHandle {
    /// The shard's index.
    pub fn index(&self) -> usize {
        usize::from(self.0.index)
    }

    /// Queues a command.
    pub(crate) fn push(&self, command: Command) -> Result<(), MailboxFull> {
        self.0.push(command)
    }

    pub(crate) fn is_of(&self, mailbox: &Arc<Mailbox>) -> bool {
        Arc::ptr_eq(&self.0, mailbox)
    }

    /// Publishes to the members on that shard.
    ///
    /// # Errors
    /// [`MailboxFull`]
    pub fn publish(&self, broadcast: Arc<Broadcast>) -> Result<(), MailboxFull> {
        self.push(Command::Publish(broadcast))
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
        self.push(Command::Run(f))
    }
}

impl std::fmt::Debug for ShardHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ShardHandle").field(&self.0.index).finish()
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
