//! Two nodes of one server with a broker between them, and one room over both.

pub mod idle;
pub mod recovery;
pub mod traffic;

mod frames;
mod live;
mod member;
mod numbered;
mod protocol;
mod publisher;
mod room;
mod tally;

use crate::process::Process;
use crate::target::Target;

pub use protocol::Protocol;

/// Two nodes of one server, and the broker between them.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// Where clients are, half of them on each. The publisher is a client of the first.
    pub nodes: [Target; 2],
    /// The broker's process, whose CPU time is kept apart.
    pub broker: Process,
}

impl Nodes {
    pub(crate) fn processes(&self) -> Vec<Process> {
        self.nodes.iter().map(|node| node.process).collect()
    }
}
