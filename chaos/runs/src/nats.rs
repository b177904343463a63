//! Servers of NATS: one, or three that keep streams together.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::Result;
use crate::broker::BACKLOG_BYTES;
use crate::network::free_port;
use crate::server::{Server, installed};

/// How long servers may take to elect a leader.
const ELECTION_MAX: Duration = Duration::from_secs(60);

pub(crate) fn command(port: &str, directory: &Path, listens: &str) -> Result<Command> {
    let settings = directory.join("nats.conf");
    std::fs::write(&settings, format!("max_pending: {BACKLOG_BYTES}\nwrite_deadline: \"2s\"\n"))?;
    let mut command = installed("nats-server")?;
    command.arg("--config").arg(settings).args(["--addr", listens, "--port", port]);
    command.arg("--jetstream").arg("--store_dir").arg(directory);
    Ok(command)
}

/// Starts three that know of each other; returns once they have a leader.
pub(crate) async fn start(place: &Path, listens: &str) -> Result<Vec<Server>> {
    let ports = [free_port()?, free_port()?, free_port()?];
    let routes = ports.map(|port| format!("nats://127.0.0.1:{port}")).join(",");
    let mut servers = Vec::new();
    for route in ports {
        let (routes, listens) = (routes.clone(), listens.to_owned());
        let make = move |port: &str, directory: &Path| {
            let mut command = command(port, directory, &listens)?;
            command.args(["--cluster_name", "chat", "--server_name", &format!("at-{route}"), "--routes", &routes]);
            command.arg("--cluster").arg(format!("nats://127.0.0.1:{route}"));
            Ok(command)
        };
        servers.push(Server::start(free_port()?, place.join(route.to_string()), make).await?);
    }
    for server in &servers {
        wait_for_leader(server).await?;
    }
    Ok(servers)
}

/// Waits until a server can answer questions about streams.
pub(crate) async fn wait_for_leader(server: &Server) -> Result<()> {
    let end = Instant::now() + ELECTION_MAX;
    while !timeout(Duration::from_secs(1), has_leader(server.port())).await.is_ok_and(|answer| answer.unwrap_or(false))
    {
        if Instant::now() > end {
            return Err("the servers of NATS elect no leader".into());
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn has_leader(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let connect = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}";
    stream.write_all(format!("{connect}\r\nSUB answer 1\r\nPUB $JS.API.INFO answer 0\r\n\r\n").as_bytes()).await?;
    let (mut said, mut buffer) = (String::new(), [0; 4096]);
    while !said.contains("MSG answer") || !said.ends_with("\r\n") {
        match stream.read(&mut buffer).await? {
            0 => return Ok(false),
            len => said.push_str(&String::from_utf8_lossy(&buffer[..len])),
        }
    }
    Ok(said.contains("account_info_response") && !said.contains("\"error\""))
}
