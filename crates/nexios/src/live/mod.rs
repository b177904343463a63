//! The subprotocol `nexios.v1` (`docs/protocol.md`), as the server speaks it.
//!
//! A client that offers it gets it, unless the application picks another. From then on the
//! connection is of a variant of its own: what is no application's message is taken out in front of the
//! handler, and members of a room get its messages with the room's name. Handlers see none of it.

mod answer;
mod closing;
mod frame;
mod gap;
mod opening;
mod presence;
mod request;
mod resume;
mod room;
mod room_queue;
mod rules;
mod session;

use nexios_engine::{Connection, Variant};

pub(crate) use answer::{Read, read, refuse, take_in};
pub(crate) use closing::{HOLD_TIMEOUT, Retry, farewell};
pub(crate) use frame::{escape_mistakable, is_nameable};
pub(crate) use gap::{report_gap, tell_dropped};
pub(crate) use opening::await_hello;
pub(crate) use presence::WATCHED_ROOMS_MAX;
pub use request::{Argument, IntoReply, Json, RequestError};
pub(crate) use room::{entry, forms, joined, joined_at, left, member_form, ready, reset};
pub use rules::IntoPermission;
pub(crate) use rules::{Rules, authorize, request_handler};
pub(crate) use session::LiveSession;

/// The variant of the connections whose clients speak it.
const VARIANT: Variant = Variant::new(1);

/// Returns true if the client of a connection speaks `nexios.v1`.
pub(crate) fn is_live(connection: &Connection) -> bool {
    connection.variant() == VARIANT
}

/// Returns the variant of connections with this subprotocol.
pub(crate) fn variant_of(subprotocol: Option<&str>) -> Variant {
    if subprotocol == Some(SUBPROTOCOL) { VARIANT } else { Variant::default() }
}

/// Its name among the subprotocols.
pub(crate) const SUBPROTOCOL: &str = "nexios.v1";
