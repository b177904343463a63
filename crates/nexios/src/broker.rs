//! Brokers: what carries messages between the nodes of one app.
//!
//! A node is one served app: a process, or one of several apps in it. With a broker a broadcast
//! reaches the clients of all nodes: those here at once and whether the broker is there or not,
//! those of other nodes through the broker, at most once, in order for each sender. What is
//! missed is reported: [`WsRouter::on_gap`](crate::WsRouter::on_gap).
//!
//! ```no_run
//! # fn main() -> Result<(), nexios::StartError> {
//! use nexios::App;
//! App::new().broker("unix:/run/chat-hub.sock").run("127.0.0.1:8000")
//! # }
//! ```
//!
//! Without [`App::broker`](crate::App::broker) the environment's `NEXIOS_BROKER` counts; with
//! neither there is one node. All of it is in the crate `nexios-cluster`.

pub(crate) use nexios_cluster::parts::{
    Admission, Admit, Attached, Clients, Declarations, Declared, Delivering, Entering, Entry, Envelope, Held, Kind,
    Lagged, LinkError, Listened, Node, NodeThread, Options, PAGE_LEN, Presence, PresenceChange, PresenceEvents,
    PresenceFollowing, Since, Span, key_of_application, key_of_client,
};
pub use nexios_cluster::{
    Audience, Broker, BrokerError, BrokerMetrics, ClientRef, Durability, Gap, GapCause, History, HistoryPage, Hub,
    InvalidHistory, InvalidPosition, Memory, Nonce, Position, PresenceData, PresenceError, PresenceEvent, PresenceKind,
    Present, Published, Publisher, Publishing, ReadingHistory, RunningHub, StoredMessage, Topic,
};
