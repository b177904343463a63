//! A load generator for WebSocket servers, on one thread over raw epoll.
//!
//! It must never be the bottleneck: frames are encoded and masked once, answers
//! are counted by their lengths, and nothing is allocated per message. What a
//! message costs is read from the kernel's accounting of the *server's* process,
//! so that the load's own speed does not enter the figure.
//!
//! The public interface is [`Target`], [`Content`], one module for each workload, and [`Report`].

pub mod attack;
pub mod broadcast;
pub mod cluster;
pub mod echo;
pub mod handshakes;
pub mod http;
pub mod idle;
pub mod idle_broadcast;
pub mod rate;
pub mod storm;

mod attempt;
mod clients;
mod connection;
mod content;
mod deflate;
mod descriptors;
mod frame;
mod handshake;
mod opening;
mod poller;
mod process;
mod report;
mod target;
mod tls;
mod verify;
mod window;

pub use content::Content;
pub use descriptors::raise_descriptor_limit;
pub use process::Process;
pub use report::{Deliveries, Latency, Memory, Output, Pace, Report};
pub use target::Target;
