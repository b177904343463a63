//! `load`: one workload against one running server, the result as one line of JSON.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use load::attack::Attack;
use load::broadcast::{self, Broadcast};
use load::cluster::recovery::{self, Recovery};
use load::cluster::traffic::{self, Traffic};
use load::cluster::{self, Nodes, Protocol};
use load::echo::{self, Echo};
use load::handshakes::{self, Handshakes};
use load::http::{self, Http};
use load::idle::{self, Idle};
use load::rate::{self, Rate};
use load::storm::{self, Storm};
use load::{Content, Process, Report, Target, idle_broadcast};

/// The load answers no pings: servers that send some cut its connections after a while,
/// ours after 36 seconds.
const SECONDS_MAX: f64 = 30.0;

/// Loads one WebSocket server and reports its CPU time per message.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Args)]
struct Server {
    /// Where the server listens.
    #[arg(long)]
    connect: SocketAddrV4,
    /// The server's process; its CPU time and memory are read from /proc.
    #[arg(long)]
    server_pid: u32,
    /// Seconds of load before the measured window.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Seconds of the measured window.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Send binary messages instead of text.
    #[arg(long)]
    binary: bool,
}

#[derive(Subcommand)]
enum Workload {
    /// Each connection keeps messages in flight and gets them back.
    Echo {
        #[arg(long, default_value = "/echo")]
        path: String,
        #[arg(long, default_value_t = 150)]
        connections: usize,
        #[arg(long, default_value_t = 1)]
        in_flight: usize,
        #[command(flatten)]
        message: Message<20>,
    },
    /// Messages at a fixed rate, whatever the server does; latency from their intended times.
    Rate {
        #[arg(long, default_value = "/echo")]
        path: String,
        #[arg(long, default_value_t = 150)]
        connections: usize,
        /// Messages in a second, over all connections.
        #[arg(long, default_value_t = 20_000.0)]
        per_second: f64,
        /// Beside a client that works against the others.
        #[arg(long, value_enum)]
        attack: Option<Attack>,
        #[command(flatten)]
        message: Message<20>,
    },
    /// One publishes, all receive; the next message follows when all have it.
    Broadcast(Audience),
    /// Idle connections and what each costs in memory.
    Idle {
        #[arg(long, default_value = "/echo")]
        path: String,
        #[arg(long, default_value_t = 5000)]
        connections: usize,
        #[arg(long, default_value_t = 20)]
        size: usize,
        /// Over TLS; the server's certificate is not checked.
        #[arg(long)]
        tls: bool,
    },
    /// Idle connections and one broadcast that must reach each exactly once.
    IdleBroadcast(Audience),
    /// Connect, upgrade, cut, again.
    Handshakes {
        #[arg(long, default_value = "/echo")]
        path: String,
        #[arg(long, default_value_t = 64)]
        in_flight: usize,
    },
    /// All connections are cut at once and come back at once, again and again.
    Storm {
        #[arg(long, default_value = "/echo")]
        path: String,
        #[arg(long, default_value_t = 1000)]
        connections: usize,
    },
    /// A room over two nodes, messages at a fixed rate.
    Cluster {
        #[command(flatten)]
        cluster: ClusterOptions,
        /// Messages in a second.
        #[arg(long, default_value_t = 50.0)]
        per_second: f64,
        /// Bytes of payload.
        #[arg(long, default_value_t = 256)]
        size: usize,
    },
    /// Idle clients of a room over two nodes and what each costs in memory.
    ClusterIdle(ClusterOptions),
    /// The first node is killed; its clients come back on the second with where they were.
    ClusterRecovery {
        #[command(flatten)]
        cluster: ClusterOptions,
        /// Messages in a second, before and after.
        #[arg(long, default_value_t = 10.0)]
        per_second: f64,
    },
    /// Plain HTTP requests on connections that stay open.
    Http {
        #[arg(long, default_value = "/")]
        path: String,
        #[arg(long, default_value_t = 64)]
        connections: usize,
    },
}

#[derive(Args)]
struct Message<const SIZE: usize> {
    /// Bytes of payload.
    #[arg(long, default_value_t = SIZE)]
    size: usize,
    /// JSON, compressed in both directions, on a route that compresses.
    #[arg(long)]
    deflate: bool,
}

#[derive(Args)]
struct Audience {
    #[arg(long, default_value = "/bcast")]
    path: String,
    /// A route of its own for the publisher, who then does not receive.
    #[arg(long)]
    publisher_path: Option<String>,
    #[arg(long, default_value_t = 1000)]
    receivers: usize,
    /// Messages published at once.
    #[arg(long, default_value_t = 1)]
    burst: usize,
    #[command(flatten)]
    message: Message<256>,
}

#[derive(Args)]
struct ClusterOptions {
    /// Where the second node listens.
    #[arg(long)]
    second: SocketAddrV4,
    /// The second node's process.
    #[arg(long)]
    second_pid: u32,
    /// The broker's process.
    #[arg(long)]
    broker_pid: u32,
    /// What the server speaks.
    #[arg(long, value_enum, default_value_t = Protocol::Plain)]
    protocol: Protocol,
    /// Clients on both nodes together; with a recovery, of the first.
    #[arg(long, default_value_t = 1000)]
    clients: usize,
}

impl ClusterOptions {
    fn nodes(&self, first: &Target) -> Nodes {
        let second = Target { address: self.second, process: Process::new(self.second_pid), ..first.clone() };
        Nodes { nodes: [first.clone(), second], broker: Process::new(self.broker_pid) }
    }
}

fn main() -> Result<()> {
    let Options { server, workload } = Options::parse();
    ensure!(server.warm_up + server.seconds <= SECONDS_MAX, "warm-up and window take at most {SECONDS_MAX} s together");
    load::raise_descriptor_limit()?;
    let report = run(&server.into(), workload)?;
    if report.load_saturated() {
        eprintln!("The load was the bottleneck: its core was full and the server's was not, or it was late itself.");
    }
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn run(target: &Target, workload: Workload) -> Result<Report> {
    match workload {
        Workload::Echo { path, connections, in_flight, message } => {
            echo::run(target, &Echo { path, connections, in_flight, content: message.into() })
        }
        Workload::Rate { path, connections, per_second, attack, message } => {
            rate::run(target, &Rate { path, connections, per_second, content: message.into(), attack })
        }
        Workload::Broadcast(audience) => broadcast::run(target, &audience.into()),
        Workload::Idle { path, connections, size, tls } => idle::run(target, &Idle { path, connections, size, tls }),
        Workload::IdleBroadcast(audience) => idle_broadcast::run(target, &audience.into()),
        Workload::Handshakes { path, in_flight } => handshakes::run(target, &Handshakes { path, in_flight }),
        Workload::Storm { path, connections } => storm::run(target, &Storm { path, connections }),
        Workload::Cluster { cluster, per_second, size } => {
            let traffic = Traffic { protocol: cluster.protocol, on_each: cluster.clients / 2, per_second, size };
            traffic::run(&cluster.nodes(target), &traffic)
        }
        Workload::ClusterIdle(cluster) => {
            let idle = cluster::idle::Idle { protocol: cluster.protocol, on_each: cluster.clients / 2 };
            cluster::idle::run(&cluster.nodes(target), &idle)
        }
        Workload::ClusterRecovery { cluster, per_second } => {
            let recovery = Recovery { clients: cluster.clients, per_second };
            recovery::run(&cluster.nodes(target), &recovery)
        }
        Workload::Http { path, connections } => http::run(target, &Http { path, connections }),
    }
}

impl From<Server> for Target {
    fn from(server: Server) -> Self {
        Self {
            address: server.connect,
            process: Process::new(server.server_pid),
            warm_up: Duration::from_secs_f64(server.warm_up),
            window: Duration::from_secs_f64(server.seconds),
            binary: server.binary,
        }
    }
}

impl<const SIZE: usize> From<Message<SIZE>> for Content {
    fn from(message: Message<SIZE>) -> Self {
        Self { size: message.size, deflate: message.deflate }
    }
}

impl From<Audience> for Broadcast {
    fn from(audience: Audience) -> Self {
        let Audience { path, publisher_path, receivers, burst, message } = audience;
        Self { path, publisher_path, receivers, burst, content: message.into() }
    }
}
