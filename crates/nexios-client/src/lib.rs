//! A client of the subprotocol `nexios.v1`, for tokio.
//!
//! It stays connected: after a loss it comes back by itself, goes on in each room where it was,
//! and sends again what was not confirmed. `docs/protocol.md` has the subprotocol to the byte;
//! the clients in JavaScript and Python have the same words.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use nexios_client::{Connector, RoomEvent};
//! let client = Connector::new("wss://example.org/live").connect().await?;
//! let general = client.room("general");
//! general.publish("hello").await?;
//! while let Some(event) = general.next().await {
//!     match event {
//!         RoomEvent::Message { message, .. } => println!("{message:?}"),
//!         RoomEvent::Joined { recovered: Some(false), .. } | RoomEvent::Reset { .. } => println!("load the room anew"),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```

mod client;
mod connector;
mod error;
mod frame;
mod position;
mod queue;
mod retry;
mod room;
mod session;
mod transport;

pub use client::{Client, Event};
pub use connector::Connector;
pub use error::{CloseReason, ConnectError, RequestError};
pub use frame::Message;
pub use position::{InvalidPosition, Position};
pub use room::{Ack, Present, Room, RoomEvent, Since};
