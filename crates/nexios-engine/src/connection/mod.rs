//! A connection: one enum of phases on one shard, from the first byte to the last.
//!
//! The parts own what is so with a connection: `read_side`, `write_side`, `task_slot`, `clock`, `keepalive`, `peer`,
//! `ending`, and `busy` for what exists only while it is busy. The rest makes them work together: `opening` takes a
//! connection from the request head to accept or refusal (`own_fields` keeps the application from framing the answer),
//! `reading` turns bytes into messages as far as `allowance` goes, `receiving` hands them to the application, `sending`
//! and `flushing` go the other way, `pings` matches pongs, `holding` counts what messages hold, `closing` ends it,
//! `deadlines` watches its times, `task` runs its handler.

mod allowance;
mod bits;
mod busy;
mod clock;
mod closing;
mod control_queue;
mod counting;
mod deadlines;
mod ending;
mod error;
mod flushing;
mod handshake;
mod holding;
mod keepalive;
mod opening;
mod own_fields;
mod peer;
mod phase;
mod pings;
mod read_side;
mod reading;
mod receiving;
mod sending;
mod sent_pings;
mod state;
mod task;
mod task_slot;
mod waiters;
mod write_side;

pub(crate) use allowance::Allowance;
pub(crate) use busy::{Busy, Pool};
pub(crate) use clock::Clock;
pub use ending::CloseInfo;
pub use error::{ReceiveError, SendError};
pub use handshake::{Accept, AcceptError, Refusal};
pub use holding::KeptBytes;
pub(crate) use peer::Addresses;
pub(crate) use phase::{ConnectingPhase, HttpPhase, Opened, Phase};
pub use receiving::ReceiveTicket;
pub use state::{Connection, ConnectionState};
pub(crate) use state::{Inner, State};
pub(crate) use write_side::Deflate;
