//! What is done to a cluster.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::Result;
use crate::broker::{Broker, Kind};
use crate::cluster::{NODES, Node};
use crate::journal::Journal;
use crate::network::Network;
use crate::publisher::Publisher;

/// More than the broker, or the kernel for it, lets wait for a node that does not read.
const BURST: (u64, usize) = (2500, 8192);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum Fault {
    KillBroker,
    FreezeBroker,
    EmptyBroker,
    LagNode,
    KillNodes,
    RollNodes,
    Partition,
}

/// What faults can get at.
pub(crate) struct World<'a> {
    pub(crate) broker: Broker,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: &'a Network,
    pub(crate) journal: Rc<Journal>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) quick: bool,
    /// Publishers so far.
    pub(crate) publishers: u64,
}

/// What became of a fault.
pub(crate) enum Done {
    Yes(String),
    /// Why not.
    Skipped(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::KillBroker => "broker killed and restarted",
            Fault::FreezeBroker => "broker stands still",
            Fault::EmptyBroker => "broker restarted without its data",
            Fault::LagNode => "a node stands still in a burst",
            Fault::KillNodes => "nodes killed one after another",
            Fault::RollNodes => "nodes rolled one after another",
            Fault::Partition => "a node cut off from the broker",
        })
    }
}

impl Fault {
    pub(crate) async fn strike(self, world: &mut World<'_>) -> Result<Done> {
        match self {
            Fault::KillBroker => world.kill_broker().await,
            Fault::FreezeBroker => world.freeze_broker().await,
            Fault::EmptyBroker => world.empty_broker().await,
            Fault::LagNode => world.lag_node().await,
            Fault::KillNodes => world.kill_nodes().await,
            Fault::RollNodes => world.roll_nodes().await,
            Fault::Partition => world.partition().await,
        }
    }
}

impl World<'_> {
    async fn kill_broker(&mut self) -> Result<Done> {
        self.broker.kill().await?;
        let away = self.pause(0.1, 0.8, 2.5).await;
        self.broker.restart(self.network).await?;
        Ok(Done::Yes(format!("away for {away:.1} s")))
    }

    async fn freeze_broker(&mut self) -> Result<Done> {
        self.broker.signal(Signal::STOP)?;
        // Nodes take a broker for lost that does not answer for 5 s.
        let still = if self.quick { 6 } else { 10 };
        sleep(Duration::from_secs(still)).await;
        self.broker.signal(Signal::CONT)?;
        Ok(Done::Yes(format!("for {still} s")))
    }

    async fn empty_broker(&mut self) -> Result<Done> {
        self.broker.kill().await?;
        self.broker.empty()?;
        let away = self.pause(0.1, 0.8, 2.5).await;
        self.broker.restart(self.network).await?;
        Ok(Done::Yes(format!("away for {away:.1} s")))
    }

    async fn lag_node(&mut self) -> Result<Done> {
        let slow = self.rng.usize(..NODES);
        let other = (slow + 1) % NODES;
        let before = self.nodes[slow].reconnects().await?;
        self.publishers += 1;
        let publisher = Publisher {
            id: self.publishers,
            room: "plain-a".to_owned(),
            node: other,
            address: self.nodes[other].address(),
            journal: self.journal.clone(),
        };
        self.nodes[slow].signal(Signal::STOP)?;
        publisher.burst(BURST.0, BURST.1).await;
        self.pause(2.0, 2.5, 4.0).await;
        self.nodes[slow].signal(Signal::CONT)?;
        self.pause(2.0, 2.5, 3.0).await;
        let cut = self.nodes[slow].reconnects().await? > before;
        let cut = if cut { "the broker cut it off" } else { "the broker has borne it" };
        Ok(Done::Yes(format!("node {slow}; {cut}")))
    }

    async fn kill_nodes(&mut self) -> Result<Done> {
        for node in self.order() {
            self.nodes[node].kill().await?;
            self.journal.killed(node);
            self.pause(0.0, 0.5, 1.0).await;
            self.nodes[node].restart().await?;
            self.pause(1.0, 1.5, 3.0).await;
        }
        Ok(Done::Yes(String::new()))
    }

    async fn roll_nodes(&mut self) -> Result<Done> {
        for node in self.order() {
            self.nodes[node].stop().await?;
            self.nodes[node].restart().await?;
            self.pause(1.0, 1.5, 3.0).await;
        }
        Ok(Done::Yes(String::new()))
    }

    async fn partition(&mut self) -> Result<Done> {
        if self.broker.kind == Kind::Hub {
            return Ok(Done::Skipped("there is no network between a node and the hub".to_owned()));
        }
        if let Some(refused) = self.network.refused() {
            return Ok(Done::Skipped(refused.to_owned()));
        }
        let node = self.rng.usize(..NODES);
        self.network.cut(node)?;
        let away = self.pause(1.0, 6.5, 12.0).await;
        self.network.mend(node)?;
        Ok(Done::Yes(format!("node {node} for {away:.1} s")))
    }

    fn order(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..NODES).collect();
        self.rng.shuffle(&mut order);
        order
    }

    /// Waits for some seconds; how many.
    async fn pause(&mut self, min: f64, quick_max: f64, max: f64) -> f64 {
        let max = if self.quick { quick_max } else { max };
        let seconds = min + (max - min) * self.rng.f64();
        sleep(Duration::from_secs_f64(seconds)).await;
        seconds
    }
}
