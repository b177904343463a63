//! The clients of a node, as its thread sees them.

use std::pin::Pin;
use std::sync::Arc;

use crate::envelope::Envelope;
use crate::history::log::{Entry, History, Position};
use crate::node::gap::Gap;
use crate::topic::Topic;

/// A delivery that is under way.
pub type Delivering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The clients of a node: the switchboard of a served app. A node without it receives nothing.
pub trait Clients: Send + Sync {
    /// Returns true if a topic other than presence has clients here.
    fn has_clients(&self, topic: &Topic) -> bool;

    /// Returns the limits of a room's history, if it has one.
    fn history(&self, room: &str) -> Option<History>;

    /// Delivers a message of another node. Returns false if some of the clients here miss it.
    fn deliver<'a>(&'a self, envelope: &'a Envelope<'_>) -> Delivering<'a, bool>;

    /// Delivers an entry of a room with history. Returns false if some of the clients here miss it.
    fn deliver_entry<'a>(
        &'a self,
        room: &'a Arc<str>,
        entry: &'a Entry,
        envelope: &'a Envelope<'_>,
    ) -> Delivering<'a, bool>;

    /// Tells the members of a room with history that messages are lost, and where the room is now.
    fn deliver_reset<'a>(&'a self, room: &'a str, position: Position) -> Delivering<'a, ()>;

    /// Reports a gap to the clients and listeners that may have missed something.
    fn report_gap(&self, gap: &Gap);
}
