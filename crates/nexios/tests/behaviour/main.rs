//! The framework over the real engine, in memory and with a clock of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bench;

mod broadcast;
mod events;
mod exceptions;
mod fairness;
mod json;
mod life;
mod limits;
mod live;
mod messages;
mod middleware;
mod presence;
mod requests;
mod rooms;
