//! Two nodes of one server and the Redis between them, started afresh for each run.

use std::path::Path;

use anyhow::Result;

use crate::broker::Broker;
use crate::peers::Peer;
use crate::server::Server;

/// What a run over two nodes needs; it ends with its value, the nodes before the broker.
pub(crate) struct Cluster {
    nodes: [Server; 2],
    broker: Broker,
}

impl Cluster {
    pub(crate) fn start(peer: &Peer, folder: &Path, cores: &[usize]) -> Result<Self> {
        let broker = Broker::start(folder, cores)?;
        let node = || Server::node(peer, folder, cores, &broker.url());
        Ok(Self { nodes: [node()?, node()?], broker })
    }

    /// The first node, which the load takes for the server.
    pub(crate) fn first(&self) -> &Server {
        &self.nodes[0]
    }

    /// What the load is told beside that.
    pub(crate) fn arguments(&self, protocol: &str) -> Vec<String> {
        vec![
            format!("--second={}", self.nodes[1].address),
            format!("--second-pid={}", self.nodes[1].pid()),
            format!("--broker-pid={}", self.broker.pid()),
            format!("--protocol={protocol}"),
        ]
    }
}
