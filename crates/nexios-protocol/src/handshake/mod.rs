//! The opening handshake (RFC 6455 §4), both roles.

mod client;
mod error;
mod head;
mod head_reader;
mod server;
mod target;

pub use client::{ClientHandshake, HandshakeResponse};
pub use error::HandshakeError;
pub use head::{HeadLimits, RequestHead, is_header_value, is_token, trim_whitespace, trim_whitespace_of};
pub use head_reader::HeadReader;
pub use server::{UpgradeRequest, accept_key, check_upgrade, write_accept};
pub use target::{is_host, split_target};
