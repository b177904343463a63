//! The broker of a run: a real one, in processes that can be killed, stopped and emptied.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use rustix::process::Signal;
use tokio::process::Command;

use crate::Result;
use crate::network::{Network, free_port};
use crate::server::{Server, installed};
use crate::{nats, sentinel, slots};

/// So much may wait for a node that does not read, before it is cut off.
pub(crate) const BACKLOG_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum Kind {
    /// Redis that keeps nothing on disk.
    Redis,
    /// Redis that writes each change down before it answers.
    LastingRedis,
    /// NATS with JetStream.
    Nats,
    /// `nexios::broker::Hub` in a process of its own.
    Hub,
    /// Redis, its replica, and a sentinel that watches both.
    Sentinel,
    /// Three servers of Redis that share the slots.
    Cluster,
    /// Three servers of NATS that keep streams together.
    NatsCluster,
}

impl Kind {
    pub(crate) fn of_round(seed: u64) -> Self {
        Kind::value_variants()[(seed % Kind::value_variants().len() as u64) as usize]
    }

    /// Returns true if it is one server, with which all is done that can be done to one.
    pub(crate) fn is_one(self) -> bool {
        !matches!(self, Kind::Sentinel | Kind::Cluster | Kind::NatsCluster)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Redis => "Redis",
            Kind::LastingRedis => "Redis that syncs each change to disk",
            Kind::Nats => "NATS with JetStream",
            Kind::Hub => "the hub",
            Kind::Sentinel => "Redis with a replica and a sentinel",
            Kind::Cluster => "a cluster of Redis",
            Kind::NatsCluster => "three servers of NATS",
        })
    }
}

pub(crate) struct Broker {
    pub(crate) kind: Kind,
    /// One, or those of a kind that has several, in an order of their own.
    pub(crate) servers: Vec<Server>,
    directory: PathBuf,
}

impl Broker {
    pub(crate) async fn start(kind: Kind, network: &Network) -> Result<Self> {
        let directory =
            std::env::temp_dir().join(format!("nexios-chaos-{}-{:x}", std::process::id(), fastrand::u64(..)));
        std::fs::create_dir(&directory)?;
        let mut broker = Broker { kind, servers: Vec::new(), directory };
        let place = broker.directory.clone();
        broker.servers = match kind {
            Kind::Sentinel => sentinel::start(&place).await?,
            Kind::Cluster => slots::start(&place).await?,
            Kind::NatsCluster => nats::start(&place, network.listens()).await?,
            _ => vec![Server::start(free_port()?, place, one(kind, network.listens())).await?],
        };
        Ok(broker)
    }

    /// How the node at this address reaches it.
    pub(crate) fn url(&self, address: &str) -> String {
        let ports = || self.servers.iter().map(Server::port);
        let hosts = |address: &str| ports().map(|port| format!("{address}:{port}")).collect::<Vec<_>>().join(",");
        match self.kind {
            Kind::Redis | Kind::LastingRedis => format!("redis://{}", hosts(address)),
            Kind::Nats => format!("nats://{}", hosts(address)),
            Kind::Hub => format!("unix:{}", socket(&self.directory).display()),
            Kind::Sentinel => format!("redis+sentinel://127.0.0.1:{}/chat?replicas=1", sentinel::port(&self.servers)),
            Kind::Cluster => format!("redis+cluster://{}", hosts("127.0.0.1")),
            Kind::NatsCluster => format!("nats://{}?replicas=3", hosts(address)),
        }
    }

    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.one()?.kill().await
    }

    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.one()?.restart(&[]).await
    }

    /// Forgets all that it kept; to be killed before.
    pub(crate) fn empty(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.directory)?;
        Ok(std::fs::create_dir(&self.directory)?)
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        self.one()?.signal(signal)
    }

    fn one(&mut self) -> Result<&mut Server> {
        self.servers.first_mut().ok_or_else(|| "there is no server".into())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Processes go with their handles; what is left in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What `chaos hub` does.
pub(crate) fn run_hub(path: &Path) -> Result<()> {
    Ok(nexios::broker::Hub::bind(path)?.node_bytes_max(BACKLOG_BYTES).run()?)
}

pub(crate) fn socket(directory: &Path) -> PathBuf {
    directory.join("hub.sock")
}

/// The only server of a kind.
fn one(kind: Kind, listens: &str) -> impl Fn(&str, &Path) -> Result<Command> + use<> {
    let listens = listens.to_owned();
    move |port, directory| match kind {
        Kind::Hub => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("hub").arg(socket(directory));
            Ok(command)
        }
        Kind::Nats => nats::command(port, directory, &listens),
        _ => {
            let mut command = redis(port, directory, &listens)?;
            let lasting = if kind == Kind::LastingRedis { "yes" } else { "no" };
            command.args(["--appendonly", lasting, "--appendfsync", "always"]);
            Ok(command)
        }
    }
}

/// A server of Redis that cuts off who reads too slowly.
pub(crate) fn redis(port: &str, directory: &Path, listens: &str) -> Result<Command> {
    let backlog = BACKLOG_BYTES.to_string();
    let mut command = installed("redis-server")?;
    command.args(["--bind", listens, "--protected-mode", "no", "--port", port, "--save", ""]);
    command.args(["--client-output-buffer-limit", "pubsub", &backlog, &backlog, "1"]).arg("--dir").arg(directory);
    Ok(command)
}
