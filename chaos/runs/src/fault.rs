//! What is done to a cluster.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::Result;
use crate::broker::{Broker, Kind};
use crate::cluster::{NODES, Node};
use crate::journal::Journal;
use crate::network::Network;
use crate::publisher::Publisher;
use crate::{nats, sentinel, slots};

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
    FailOver,
    MoveSlots,
    KillServer,
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
            Fault::FailOver => "master killed, replica elected",
            Fault::MoveSlots => "slots moved between servers",
            Fault::KillServer => "one of three servers killed",
        })
    }
}

impl Fault {
    /// Returns true if it can be done to a broker of this kind.
    pub(crate) fn is_for(self, kind: Kind) -> bool {
        match self {
            Fault::KillBroker | Fault::FreezeBroker | Fault::EmptyBroker => kind.is_one(),
            // Servers of these say by which address they are reached, and it is that of all nodes.
            Fault::Partition => !matches!(kind, Kind::Hub | Kind::Sentinel | Kind::Cluster),
            Fault::FailOver => kind == Kind::Sentinel,
            Fault::MoveSlots => kind == Kind::Cluster,
            Fault::KillServer => kind == Kind::NatsCluster,
            Fault::LagNode | Fault::KillNodes | Fault::RollNodes => true,
        }
    }

    pub(crate) async fn strike(self, world: &mut World<'_>) -> Result<Done> {
        if !self.is_for(world.broker.kind) {
            return Ok(Done::Skipped(format!("it cannot be done to {}", world.broker.kind)));
        }
        match self {
            Fault::KillBroker => world.kill_broker().await,
            Fault::FreezeBroker => world.freeze_broker().await,
            Fault::EmptyBroker => world.empty_broker().await,
            Fault::LagNode => world.lag_node().await,
            Fault::KillNodes => world.kill_nodes().await,
            Fault::RollNodes => world.roll_nodes().await,
            Fault::Partition => world.partition().await,
            Fault::FailOver => world.fail_over().await,
            Fault::MoveSlots => world.move_slots().await,
            Fault::KillServer => world.kill_server().await,
        }
    }
}

impl World<'_> {
    async fn kill_broker(&mut self) -> Result<Done> {
        self.broker.kill().await?;
        let away = self.pause(0.1, 0.8, 2.5).await;
        self.broker.restart().await?;
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
        self.broker.restart().await?;
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
        if let Some(refused) = self.network.refused() {
            return Ok(Done::Skipped(refused.to_owned()));
        }
        let node = self.rng.usize(..NODES);
        self.network.cut(node)?;
        let away = self.pause(1.0, 6.5, 12.0).await;
        self.network.mend(node)?;
        Ok(Done::Yes(format!("node {node} for {away:.1} s")))
    }

    async fn fail_over(&mut self) -> Result<Done> {
        let since = Instant::now();
        sentinel::fail_over(&mut self.broker.servers).await?;
        Ok(Done::Yes(format!("with another master after {:.1} s", since.elapsed().as_secs_f32())))
    }

    async fn move_slots(&mut self) -> Result<Done> {
        let pause = Duration::from_millis(if self.quick { 100 } else { 700 });
        let moved = slots::move_all(&self.broker.servers, pause).await?;
        Ok(Done::Yes(format!("{moved} of them")))
    }

    async fn kill_server(&mut self) -> Result<Done> {
        let at = self.rng.usize(..self.broker.servers.len());
        self.broker.servers[at].kill().await?;
        let away = self.pause(0.5, 2.0, 6.0).await;
        self.broker.servers[at].restart(&[]).await?;
        nats::wait_for_leader(&self.broker.servers[at]).await?;
        Ok(Done::Yes(format!("server {at}, away for {away:.1} s")))
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
