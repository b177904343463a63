//! An app in the hands of a test that runs its node. Hidden from the documentation: it follows the simulation of nodes
//! and nobody else.

use std::sync::{Arc, Weak};

use crate::broker::{Clients, Node, Presence};
use crate::routing::app::BuiltApp;

#[doc(hidden)]
impl BuiltApp {
    /// Returns the app's clients, for its node.
    pub fn clients(&self) -> Weak<dyn Clients> {
        self.switchboard.clients()
    }

    /// Returns the app's presence, for its node.
    pub fn presence(&self) -> Arc<Presence> {
        self.switchboard.presence().clone()
    }

    /// Sends broadcasts to other nodes through this one.
    pub fn connect_node(&self, node: Arc<Node>) {
        self.switchboard.connect(node);
    }
}
