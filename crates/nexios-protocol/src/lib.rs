//! The WebSocket protocol without I/O and without a clock: RFC 6455 and RFC 7692, both roles.
//!
//! The order of calls: a server reads a [`RequestHead`], checks it with [`check_upgrade`],
//! answers with [`write_accept`] (and [`negotiate`] for compression); a client uses
//! [`ClientHandshake`]. From then on a [`Connection`] takes bytes in
//! ([`Connection::receive`]) and appends bytes out (`send_…`), until
//! [`Connection::is_closed`]. Whoever owns the sockets and the clock does the rest.

#![forbid(unsafe_code)]

mod close;
mod connection;
mod deflate;
mod error;
mod escaped;
mod frame;
mod handshake;
mod limits;
mod mask;
mod message;
mod opcode;
mod progress;
mod received;
mod role;
mod short;
mod utf8;

pub use close::{ABNORMAL, CloseCode, CloseFrame, InvalidCloseCode, NO_STATUS, truncate_reason};
pub use connection::{CloseState, Connection, ControlTooLong};
pub use deflate::{Agreed, Codec, ContextDeflater, DeflateConfig, DeflateOffer, negotiate, offer_header, parse_offers};
pub use error::ProtocolError;
pub use escaped::{Escaped, escaped};
pub use frame::{FrameHeader, write_frame};
pub use handshake::{
    ClientHandshake, HandshakeError, HandshakeResponse, HeadLimits, HeadReader, RequestHead, UpgradeRequest,
    accept_key, check_upgrade, is_header_value, is_host, is_token, split_target, trim_whitespace, trim_whitespace_of,
    write_accept,
};
pub use limits::Limits;
pub use mask::apply_mask;
pub use message::{Decoder, Whole};
pub use opcode::OpCode;
pub use received::Received;
pub use role::Role;
pub use short::{SHORT_BYTES_MAX, Short, ShortBytes, ShortText};
