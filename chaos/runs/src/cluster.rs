//! The nodes of a run.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nexios_client::Connector;
use rustix::process::{Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::Result;
use crate::network::free_port;
use crate::node::RECONNECTS;
use crate::server::pid;

pub(crate) const NODES: usize = 3;
const START_MAX: Duration = Duration::from_secs(20);
/// How long a node may take to send its clients away and go.
const STOP_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    /// How it reaches the broker.
    broker: String,
    port: u16,
    child: Child,
}

impl Node {
    pub(crate) async fn start(broker: String) -> Result<Self> {
        let port = free_port()?;
        let node = Node { child: spawn(port, &broker)?, broker, port };
        node.wait_until_up().await?;
        Ok(node)
    }

    /// Where its clients connect.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Ends it as a deployment does.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let ended = timeout(STOP_MAX, self.child.wait()).await.map_err(|_| "a node does not end at SIGTERM")??;
        match ended.success() {
            true => Ok(()),
            false => Err(format!("a node has ended with {ended}").into()),
        }
    }

    /// Starts it again at the same port.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.child = spawn(self.port, &self.broker)?;
        self.wait_until_up().await
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(pid(&self.child)?, signal)?)
    }

    /// How often it has lost the broker and found it again.
    pub(crate) async fn reconnects(&self) -> Result<u64> {
        let client = Connector::new(format!("ws://{}/publish/none", self.address())).connect().await?;
        let count = client.request(RECONNECTS, "").await?.as_text().unwrap_or_default().parse()?;
        client.close().await;
        Ok(count)
    }

    async fn wait_until_up(&self) -> Result<()> {
        let end = Instant::now() + START_MAX;
        while TcpStream::connect(self.address()).await.is_err() {
            if Instant::now() > end {
                return Err("a node does not come up".into());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

fn spawn(port: u16, broker: &str) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["node", "--listen", &format!("127.0.0.1:{port}"), "--broker", broker]);
    Ok(command.stdin(Stdio::null()).kill_on_drop(true).spawn()?)
}
