//! Redis, its replica, and a sentinel that puts the replica in the place of a master that does not answer.

use std::path::Path;

use crate::Result;
use crate::broker::redis;
use crate::network::free_port;
use crate::server::{Server, installed};

const WATCHING: usize = 2;

/// The first is the master, the second its replica, the third watches them.
pub(crate) async fn start(place: &Path) -> Result<Vec<Server>> {
    let make = |port: &str, directory: &Path| redis(port, directory, "127.0.0.1");
    let master = Server::start(free_port()?, place.join("a"), make).await?;
    let replica = Server::start(free_port()?, place.join("b"), make).await?;
    replica.ask(&format!("REPLICAOF 127.0.0.1 {}", master.port())).await?;
    replica.ask_until("INFO replication", "master_link_status:up").await?;
    let settings = format!(
        "sentinel monitor chat 127.0.0.1 {} 1\nsentinel down-after-milliseconds chat 2000\n\
         sentinel failover-timeout chat 5000\n",
        master.port()
    );
    let watching = Server::start(free_port()?, place.join("watching"), move |port, directory| {
        let file = directory.join("sentinel.conf");
        if !file.exists() {
            std::fs::write(&file, format!("bind 127.0.0.1\nport {port}\n{settings}"))?;
        }
        let mut command = installed("redis-server")?;
        command.arg(file).arg("--sentinel");
        Ok(command)
    });
    let watching = watching.await?;
    watching.ask_until("SENTINEL REPLICAS chat", &replica.port().to_string()).await?;
    Ok(vec![master, replica, watching])
}

pub(crate) fn port(servers: &[Server]) -> u16 {
    servers[WATCHING].port()
}

/// Kills the master, waits until the sentinel has another, and starts it again as a replica of that.
pub(crate) async fn fail_over(servers: &mut [Server]) -> Result<()> {
    let answer = servers[WATCHING].ask("SENTINEL GET-MASTER-ADDR-BY-NAME chat").await?;
    let master = usize::from(answer.lines().all(|line| line != servers[0].port().to_string()));
    let other = servers[1 - master].port().to_string();
    servers[master].kill().await?;
    servers[WATCHING].ask_until("SENTINEL GET-MASTER-ADDR-BY-NAME chat", &other).await?;
    servers[1 - master].ask_until("ROLE", "master").await?;
    servers[master].restart(&["--replicaof", "127.0.0.1", &other]).await?;
    servers[master].ask_until("INFO replication", "master_link_status:up").await
}
