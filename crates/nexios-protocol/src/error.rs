//! What a peer can do wrong once the connection is open.

use crate::close::CloseCode;

/// The peer broke RFC 6455 or RFC 7692, or a limit; the connection is failed (RFC 6455 §7.1.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// RSV2 or RSV3 is set, or RSV1 where no compressed message begins (RFC 6455 §5.2, RFC 7692 §6.1).
    #[error("a reserved bit is set")]
    ReservedBits,
    /// Opcodes 3 to 7 and 11 to 15 (RFC 6455 §5.2).
    #[error("reserved opcode {0}")]
    ReservedOpCode(u8),
    /// Frames of a client are masked, those of a server are not (RFC 6455 §5.1).
    #[error("the frame's masking is wrong for its sender")]
    Masking,
    /// A length not in its shortest form, or with the top bit set (RFC 6455 §5.2).
    #[error("malformed payload length")]
    PayloadLength,
    /// A control frame in fragments or with more than 125 bytes (RFC 6455 §5.5).
    #[error("malformed control frame")]
    ControlFrame,
    /// A continuation of nothing (RFC 6455 §5.4).
    #[error("a continuation without a message to continue")]
    UnexpectedContinuation,
    /// A new message inside a fragmented one (RFC 6455 §5.4).
    #[error("a new message before the last fragment of the one before")]
    InterleavedMessage,
    /// A Close frame with one byte, or with a code that may not be sent (RFC 6455 §7.4).
    #[error("malformed Close frame")]
    CloseFrame,
    /// Text or a close reason that is not UTF-8 (RFC 6455 §8.1).
    #[error("invalid UTF-8")]
    Utf8,
    /// A compressed message that is no DEFLATE stream (RFC 7692 §7.2.2).
    #[error("invalid compressed data")]
    Deflate,
    /// A message over the limit.
    #[error("the message is too big")]
    MessageTooBig,
    /// A message in more fragments than allowed.
    #[error("the message has too many fragments")]
    TooManyFragments,
}

impl ProtocolError {
    /// The close code that tells the peer.
    pub fn close_code(&self) -> CloseCode {
        match self {
            ProtocolError::Utf8 | ProtocolError::Deflate => CloseCode::INVALID_PAYLOAD,
            ProtocolError::MessageTooBig => CloseCode::MESSAGE_TOO_BIG,
            ProtocolError::TooManyFragments => CloseCode::POLICY_VIOLATION,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}
