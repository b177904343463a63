//! The event engine of nexios: one poller and one thread per shard, turned by a host.
//!
//! The engine never calls a runtime. A host (tokio in Rust, asyncio in Python, or a plain
//! poll loop) watches [`Shard::fd`], calls [`Shard::turn`], and comes back at
//! [`Shard::next_timeout`]. What connections mean is the [`Service`]'s affair.

mod accepting;
mod connection;
mod connection_limit;
mod connections;
mod fanout;
mod group;
mod hosts;
mod http;
mod http_io;
mod id;
mod inbox;
mod input;
mod listener;
mod mail_queue;
mod mailbox;
mod membership;
mod memory;
mod message;
mod metrics;
mod notifier;
mod outbox;
mod pace;
mod patience;
mod payload;
mod readiness;
mod remote;
mod remote_shared;
mod request_body;
mod route_profile;
mod run_queue;
mod runner;
mod server;
mod service;
mod settings;
mod shard;
mod shutdown;
mod socket;
mod socket_file;
mod stream;
mod sync;
mod tasks;
mod timer;
mod tls;
mod variant;

pub use connection::{
    Accept, AcceptError, CloseInfo, Connection, ConnectionState, KeptBytes, ReceiveError, ReceiveTicket, Refusal,
    SendError,
};
pub use connection_limit::{Place, Places};
pub use group::{Audience, Broadcast, Dropped, Group};
pub use http::{bad_request, not_found, upgrade_required};
pub use id::{ConnectionId, InvalidConnectionId};
pub use listener::Listener;
pub use mailbox::{MailboxFull, ShardHandle};
pub use memory::MemoryClient;
pub use message::{Binary, Message, MessageRef, Text};
pub use metrics::{Cause, MetricsSnapshot};
pub use nexios_protocol as protocol;
pub use remote::RemoteConnection;
pub use request_body::RequestBody;
pub use route_profile::Profile;
pub use server::Server;
pub use service::{BoxedTask, HttpPeer, Report, ResponseBody, ResponseFuture, Service, Step, Task};
pub use settings::{Compression, InvalidSetting, ServerSettings, Settings, SlowClient};
pub use shard::Shard;
pub use socket_file::{SocketFile, bind_private};
pub use timer::Sleep;
pub use variant::Variant;
