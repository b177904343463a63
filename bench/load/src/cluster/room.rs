//! All clients of both nodes in one room, and who publishes to it.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::Nodes;
use crate::cluster::member::Member;
use crate::cluster::numbered;
use crate::cluster::protocol::Protocol;
use crate::cluster::publisher::Publisher;
use crate::poller::{Poller, read_buffer};

/// The members by their index: those of the first node, then those of the second, then the publisher.
pub(crate) struct Room {
    members: Vec<Member>,
    on_each: usize,
    pub(crate) publisher: Publisher,
    size: usize,
    poller: Poller,
    buffer: Vec<u8>,
    /// All deliveries so far, whatever they are.
    delivered: u64,
}

/// One message that has reached one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) member: usize,
    /// Whether it came over the broker: the publisher is on the first node.
    pub(crate) crossed: bool,
    pub(crate) number: u64,
    pub(crate) at: Instant,
}

impl Room {
    /// `on_each` clients on each node, from the `first` source on, and one who publishes on the first.
    pub(crate) fn open(nodes: &Nodes, protocol: Protocol, on_each: usize, size: usize, first: usize) -> Result<Self> {
        let mut members = Vec::with_capacity(2 * on_each);
        for node in &nodes.nodes {
            for _ in 0..on_each {
                members.push(Member::join(node, protocol, first + members.len())?);
            }
        }
        let index = first + members.len();
        let mut publisher = Publisher::open(&nodes.nodes[0], protocol, protocol.publisher_path(), index, size)?;
        let poller = Poller::over(&members)?;
        poller.add(&*publisher.member(), members.len())?;
        Ok(Self { members, on_each, publisher, size, poller, buffer: read_buffer(), delivered: 0 })
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Waits for something, and reads once from each who has something. In between it publishes what is due.
    pub(crate) fn receive(
        &mut self,
        patience: Duration,
        mut each: impl FnMut(&Publisher, Delivery) -> Result<()>,
    ) -> Result<()> {
        for nth in 0..self.poller.wait(patience)? {
            let member = self.poller.ready(nth);
            if member == self.members.len() {
                self.publisher.member().receive(&mut self.buffer, |_| Ok(()))?;
                continue;
            }
            let at = Instant::now();
            let crossed = member >= self.on_each;
            self.members[member].receive(&mut self.buffer, |message| {
                self.delivered += 1;
                let number = numbered::number(message, self.size)?;
                each(&self.publisher, Delivery { member, crossed, number, at })
            })?;
            self.publisher.send_due(Instant::now())?;
        }
        Ok(())
    }
}
