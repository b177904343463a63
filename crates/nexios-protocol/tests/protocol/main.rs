//! The protocol from outside: as bytes on the wire, against itself and against others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod against_tungstenite;
mod against_zlib;
mod closing;
mod handshake;
mod limits;
mod negotiation;
mod round_trips;
mod splits;
mod whole;
mod wire;
