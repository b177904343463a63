//! The broker of a run: a real one, in a process that can be killed, stopped and emptied.

use std::fmt;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::Result;
use crate::network::{Network, free_port};

/// So much may wait for a node that does not read, before it is cut off.
const BACKLOG_BYTES: usize = 1 << 20;
const START_MAX: Duration = Duration::from_secs(20);

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
}

impl Kind {
    pub(crate) fn of_round(seed: u64) -> Self {
        [Kind::Redis, Kind::Nats, Kind::LastingRedis, Kind::Hub][(seed % 4) as usize]
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Redis => "Redis",
            Kind::LastingRedis => "Redis that syncs each change to disk",
            Kind::Nats => "NATS with JetStream",
            Kind::Hub => "the hub",
        })
    }
}

pub(crate) struct Broker {
    pub(crate) kind: Kind,
    port: u16,
    directory: PathBuf,
    child: Child,
}

impl Broker {
    pub(crate) async fn start(kind: Kind, network: &Network) -> Result<Self> {
        let directory =
            std::env::temp_dir().join(format!("nexios-chaos-{}-{:x}", std::process::id(), fastrand::u64(..)));
        std::fs::create_dir(&directory)?;
        let port = free_port()?;
        let child = command(kind, port, &directory, network.listens())?.spawn()?;
        let broker = Broker { kind, port, directory, child };
        broker.wait_until_up().await?;
        Ok(broker)
    }

    /// How the node at this address reaches it.
    pub(crate) fn url(&self, address: &str) -> String {
        match self.kind {
            Kind::Redis | Kind::LastingRedis => format!("redis://{address}:{}", self.port),
            Kind::Nats => format!("nats://{address}:{}", self.port),
            Kind::Hub => format!("unix:{}", socket(&self.directory).display()),
        }
    }

    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    pub(crate) async fn restart(&mut self, network: &Network) -> Result<()> {
        self.child = command(self.kind, self.port, &self.directory, network.listens())?.spawn()?;
        self.wait_until_up().await
    }

    /// Forgets all that it kept; to be killed before.
    pub(crate) fn empty(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.directory)?;
        Ok(std::fs::create_dir(&self.directory)?)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(pid(&self.child)?, signal)?)
    }

    async fn wait_until_up(&self) -> Result<()> {
        let end = Instant::now() + START_MAX;
        let is_up = || match self.kind {
            Kind::Hub => UnixStream::connect(socket(&self.directory)).is_ok(),
            _ => TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
        };
        while !is_up() {
            if Instant::now() > end {
                return Err("the broker does not come up".into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The process goes with its handle; what is left in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn pid(child: &Child) -> Result<Pid> {
    let id = child.id().ok_or("the process has ended by itself")?;
    Ok(Pid::from_raw(id.try_into()?).ok_or("no process")?)
}

/// What `chaos hub` does.
pub(crate) fn run_hub(path: &Path) -> Result<()> {
    Ok(nexios::broker::Hub::bind(path)?.node_bytes_max(BACKLOG_BYTES).run()?)
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("hub.sock")
}

fn command(kind: Kind, port: u16, directory: &Path, listens: &str) -> Result<Command> {
    let (place, port) = (directory.display().to_string(), port.to_string());
    let backlog = BACKLOG_BYTES.to_string();
    let mut command = match kind {
        Kind::Hub => Command::new(std::env::current_exe()?),
        Kind::Nats => Command::new(installed("nats-server")?),
        Kind::Redis | Kind::LastingRedis => Command::new(installed("redis-server")?),
    };
    match kind {
        Kind::Hub => _ = command.arg("hub").arg(socket(directory)),
        Kind::Nats => {
            let settings = directory.join("nats.conf");
            std::fs::write(&settings, format!("max_pending: {backlog}\nwrite_deadline: \"2s\"\n"))?;
            command.arg("--config").arg(settings).args(["--addr", listens, "--port", &port]);
            command.args(["--jetstream", "--store_dir", &place]);
        }
        Kind::Redis | Kind::LastingRedis => {
            command.args(["--bind", listens, "--protected-mode", "no", "--port", &port, "--dir", &place, "--save", ""]);
            command.args(["--client-output-buffer-limit", "pubsub", &backlog, &backlog, "1"]);
            let lasting = if kind == Kind::LastingRedis { "yes" } else { "no" };
            command.args(["--appendonly", lasting, "--appendfsync", "always"]);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// A server that `scripts/brokers` has got.
fn installed(name: &str) -> Result<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/brokers/bin")).join(name);
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{name} is missing: run scripts/brokers").into()),
    }
}
