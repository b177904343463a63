//! Why a message was not sent, and why there is none to receive.

use super::CloseInfo;

/// Why a message was not queued.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The handshake has not been accepted.
    #[error("call accept() before sending")]
    NotAccepted,
    /// The connection is closing or closed.
    #[error("the connection is closed ({})", .0.code)]
    Closed(CloseInfo),
    /// The peer does not read, and the outbox is at its limit.
    #[error("the outbox is full: the client reads too slowly")]
    OutboxFull,
    /// More than 125 bytes in a ping or pong (RFC 6455 §5.5).
    #[error("a ping or pong carries at most 125 bytes, not {0}")]
    ControlTooLong(usize),
}

/// Why there is nothing to receive.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Another receive of the same kind is waiting: messages would go to either by chance.
    #[error("another receive is already waiting on this connection; await them one after another")]
    Busy,
    /// The connection is over and everything that had arrived is handed out.
    #[error("the connection is closed ({})", .0.code)]
    Closed(CloseInfo),
    /// The handshake has not been accepted.
    #[error("call accept() before receiving")]
    NotAccepted,
}
