//! A cluster of Redis: three masters, and slots that move between them.

use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use crate::Result;
use crate::broker::redis;
use crate::network::free_port;
use crate::server::Server;

const RANGES: [(u32, u32); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];
/// Of all rooms, and of what nodes say to all.
const CHANNELS: [&str; 6] = [
    "nexios-room-log%2da",
    "nexios-room-log%2db",
    "nexios-room-plain%2da",
    "nexios-room-plain%2db",
    "nexios-app-",
    "nexios-nodes-",
];

pub(crate) async fn start(place: &Path) -> Result<Vec<Server>> {
    let mut servers = Vec::new();
    for (at, (first, last)) in RANGES.into_iter().enumerate() {
        let bus = free_port()?.to_string();
        let make = move |port: &str, directory: &Path| {
            let mut command = redis(port, directory, "127.0.0.1")?;
            command.args(["--cluster-enabled", "yes", "--cluster-port", &bus, "--appendonly", "yes"]);
            command.args(["--cluster-announce-ip", "127.0.0.1", "--cluster-node-timeout", "15000"]);
            Ok(command)
        };
        let server = Server::start(free_port()?, place.join(at.to_string()), make).await?;
        server.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)).await?;
        server.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await?;
        if let Some(first) = servers.first() {
            meet(first, &server).await?;
        }
        servers.push(server);
    }
    for server in &servers {
        server.ask_until("CLUSTER INFO", "cluster_state:ok").await?;
        server.ask_until("CLUSTER INFO", "cluster_known_nodes:3").await?;
        // One that has just begun runs no scripts for two seconds.
        server.ask_until("EVAL \"return 7\" 0", ":7").await?;
    }
    Ok(servers)
}

async fn meet(first: &Server, other: &Server) -> Result<()> {
    let info = other.ask("CLUSTER NODES").await?;
    let bus = info.split('@').nth(1).and_then(|rest| rest.split([' ', ',']).next()).ok_or("no bus")?;
    first.ask(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port())).await.map(drop)
}

/// Moves the slots of all rooms to the next server, one after another; returns how many.
pub(crate) async fn move_all(servers: &[Server], pause: Duration) -> Result<usize> {
    for channel in CHANNELS {
        let slot = number(&servers[0].ask(&format!("CLUSTER KEYSLOT \"{channel}\"")).await?)?;
        let from = owner(servers, slot).await?;
        move_one(servers, slot, from, (from + 1) % servers.len()).await?;
        sleep(pause).await;
    }
    Ok(CHANNELS.len())
}

async fn owner(servers: &[Server], slot: u32) -> Result<usize> {
    for (at, server) in servers.iter().enumerate() {
        let nodes = server.ask("CLUSTER NODES").await?;
        let line = nodes.lines().find(|line| line.contains("myself")).ok_or("a server does not know itself")?;
        let has = line.split(' ').skip(8).filter(|range| !range.starts_with('[')).any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let bounds = first.trim().parse::<u32>().ok().zip(last.trim().parse::<u32>().ok());
            bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
        });
        if has {
            return Ok(at);
        }
    }
    Err(format!("nobody has slot {slot}").into())
}

async fn move_one(servers: &[Server], slot: u32, from: usize, to: usize) -> Result<()> {
    let ids = [id(&servers[from]).await?, id(&servers[to]).await?];
    servers[to].ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", ids[0])).await?;
    servers[from].ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", ids[1])).await?;
    loop {
        let answer = servers[from].ask(&format!("CLUSTER GETKEYSINSLOT {slot} 20")).await?;
        let keys: Vec<_> = answer.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
        if keys.is_empty() {
            break;
        }
        let keys = keys.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(" ");
        servers[from].ask(&format!("MIGRATE 127.0.0.1 {} \"\" 0 5000 KEYS {keys}", servers[to].port())).await?;
    }
    for at in [to, from].into_iter().chain((0..servers.len()).filter(|at| ![to, from].contains(at))) {
        servers[at].ask(&format!("CLUSTER SETSLOT {slot} NODE {}", ids[1])).await?;
    }
    Ok(())
}

async fn id(server: &Server) -> Result<String> {
    let answer = server.ask("CLUSTER MYID").await?;
    Ok(answer.lines().find(|line| !line.starts_with('$')).ok_or("a server has no id")?.to_owned())
}

fn number(answer: &str) -> Result<u32> {
    Ok(answer.trim().trim_start_matches(':').parse()?)
}
