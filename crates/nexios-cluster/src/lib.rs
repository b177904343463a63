//! The carriers of messages between the nodes of one [nexios](https://docs.rs/nexios) app: brokers, history, presence.
//!
//! A node is one served app: a process, or one of several apps in it. This crate has the node's side of a broker
//! (a thread that subscribes, numbers, reconnects and sees what is missing), the engines that reach one (the hub of a
//! machine, Redis, NATS, memory), the history of rooms, and presence. It knows no connection: the app implements one
//! trait, by which messages reach its clients. Applications use all of it as `nexios::broker`; a program that only
//! publishes may depend on this crate alone:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), nexios_cluster::BrokerError> {
//! # let broker = &nexios_cluster::Memory::new();
//! use nexios_cluster::Publisher;
//! let publisher = Publisher::connect(broker).await?; // or "redis://…", "nats://…", "unix:/…"
//! publisher.room("lobby").broadcast("The doors are open").await?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

// The servers of the integration tests, by the name under which those know this crate.
#[cfg(test)]
extern crate self as nexios_cluster;

mod broker;
mod client_ref;
#[cfg(test)]
mod contract;
#[cfg_attr(not(any(feature = "nats", feature = "redis")), allow(dead_code, reason = "the address of a hub is a path"))]
mod engines;
mod envelope;
mod history;
mod node;
mod presence;
mod publisher;
#[cfg(test)]
#[path = "../tests/simulation/seeds.rs"]
mod seeds;
mod topic;

pub use broker::{Broker, BrokerError, Durability};
pub use client_ref::ClientRef;
pub use engines::hub::{Hub, RunningHub};
pub use engines::memory::Memory;
pub use history::log::{History, InvalidHistory, InvalidPosition, Nonce, Position};
pub use history::{HistoryPage, ReadingHistory, StoredMessage};
pub use node::gap::{Gap, GapCause};
pub use node::metrics::BrokerMetrics;
pub use presence::{PresenceData, PresenceError, PresenceEvent, PresenceKind, Present};
pub use publisher::{Audience, Published, Publisher, Publishing};
pub use topic::Topic;

/// The parts of which `nexios` makes a node. It follows that crate and nobody else.
#[doc(hidden)]
pub mod parts {
    pub use crate::engines::link::LinkError;
    pub use crate::envelope::{Envelope, Kind, NodeId, Options, Unreadable};
    pub use crate::history::keys::{of_application as key_of_application, of_client as key_of_client};
    pub use crate::history::log::{Appended, Entry, Log, Page, Span};
    pub use crate::history::{Admission, Admit, Attached, Declarations, Declared, PAGE_LEN, Since, Stored};
    pub use crate::node::clients::{Clients, Delivering};
    pub use crate::node::{Entering, Held, Node, NodeThread};
    pub use crate::presence::{
        Change as PresenceChange, Changed as PresenceChanged, Following as PresenceFollowing, Lagged, Listened,
        Presence, PresenceEvents, Reader as PresenceReader,
    };
}

/// The parts of an engine, for the simulation. It follows the tests and nobody else.
#[doc(hidden)]
pub mod engine {
    pub use crate::engines::link::{
        Answers, BrokerSession, Capabilities, Engine, Frame, LinkError, Receipt, Sent, Step,
    };
    pub use crate::engines::memory_log::MemoryLog;
    pub use crate::history::log::{Append, Appended, Log, Page};
    pub use crate::node::driver::Driver;
    pub use crate::node::incoming::Sink;
}
