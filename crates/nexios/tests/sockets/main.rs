//! The whole server over real sockets: what attackers send, every limit at its edge, every
//! transport, and handles on other threads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod access;
mod answer;
mod site;
mod wire;

mod ending;
mod freshness;
mod history;
mod hostile;
mod hosts;
mod limits;
mod live;
mod logged;
mod pings;
mod threads;
mod transport;
