//! A client of the subprotocol `nexios.v1`, for tokio.
//!
//! It stays connected: after a loss it reconnects by itself, continues from its position in each room, and repeats
//! publishes that were not confirmed. `docs/protocol.md` describes the subprotocol to the byte, `docs/clients.md` the promises. The
//! clients in JavaScript and Python use the same words and pass the same scenarios (`clients/contract`).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use nexios_client::{Connector, RoomEvent};
//! let client = Connector::new("wss://example.org/live").connect().await?;
//! let mut general = client.subscribe("general")?;
//! general.room().publish("hello").await?;
//! while let Some(event) = general.next().await {
//!     match event {
//!         RoomEvent::Message { message, .. } => println!("{message:?}"),
//!         RoomEvent::Joined { recovered: false, .. } | RoomEvent::Reset { .. } => println!("load the room again"),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```

mod backoff;
mod call;
mod client;
mod connector;
mod core;
mod end;
mod error;
mod event;
mod feed;
mod frame;
mod handler;
mod json;
mod message;
mod position;
mod positions;
mod room;
mod session;
mod source;
mod storage;
mod subscription;
pub mod transport;

pub use client::Client;
pub use connector::Connector;
pub use core::room::Since;
pub use end::CloseKind;
pub use error::{Closed, ConnectError, Error};
pub use event::{Event, Member, PresenceChange, Published, RoomEvent, State};
pub use handler::{Handler, Outcome};
pub use json::Bigint;
pub use message::Message;
pub use position::{InvalidPosition, Position};
pub use room::Room;
pub use storage::{FileStorage, MemoryStorage, Storage};
pub use subscription::Subscription;

/// The snippet of `docs/clients.md`, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/clients.md")]
struct ClientsPage;
