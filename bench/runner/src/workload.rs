//! Workloads, and what the load is told for each. How they are called is in `workload_name`,
//! which figure counts in `figure`.

use load::attack::Attack;

/// One kind of load on a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Workload {
    /// One message in flight on each connection.
    Echo { size: usize, connections: usize },
    /// Many messages of 20 bytes in flight on each connection.
    Pipeline { in_flight: usize, connections: usize },
    /// Echo of JSON, compressed in both directions.
    Deflate { size: usize },
    /// Echo of 20 bytes at a fixed rate.
    Latency { per_second: usize },
    /// Echo of 20 bytes at a fixed rate, while another client works against the others.
    Attacked { attack: Attack, per_second: usize },
    /// 256 bytes to many, one message at a time.
    Broadcast { receivers: usize },
    /// The same from a client of `/pub` to many of `/sub`.
    Publish { receivers: usize },
    /// 256 bytes to many rooms of one client each, a broadcast for each room.
    Rooms { rooms: usize },
    /// 512 bytes to 1,000, many messages at a time.
    Burst { messages: usize },
    /// JSON to 1,000, compressed.
    BroadcastDeflate { size: usize },
    /// Memory of connections that had one message each and wait for the next.
    Idle { connections: usize, tls: bool },
    /// Memory of many connections, and one broadcast that reaches each exactly once.
    IdleBroadcast { connections: usize },
    /// 64 handshakes at a time, each connection cut at once.
    Handshakes,
    /// All connections cut at once, and back at once.
    Storm { connections: usize },
    /// Plain HTTP requests.
    Http,
    /// 256 bytes at a fixed rate to 500 clients on each of two nodes.
    Cluster { per_second: usize },
    /// Memory of idle clients on two nodes, which had one message each.
    ClusterIdle { connections: usize },
    /// A node killed, and its clients back on the other with all that they missed.
    ClusterRecovery { connections: usize },
}

/// Where [`Workload::Echo`] and [`Workload::Pipeline`] name no number of connections.
pub(crate) const ECHO_CONNECTIONS: usize = 150;
pub(crate) const PIPELINE_CONNECTIONS: usize = 64;

impl Workload {
    /// What a server has to offer; `peers.toml` says what it does not.
    pub(crate) fn family(&self) -> &'static str {
        match self {
            Self::Echo { .. } | Self::Pipeline { .. } | Self::Latency { .. } => "echo",
            Self::Idle { tls: false, .. } | Self::Handshakes | Self::Storm { .. } => "echo",
            Self::Idle { tls: true, .. } => "tls",
            Self::Deflate { .. } | Self::Attacked { attack: Attack::Inflating, .. } => "deflate",
            Self::Attacked { attack: Attack::Flooding, .. } => "echo",
            Self::Broadcast { .. } | Self::Publish { .. } | Self::Burst { .. } | Self::IdleBroadcast { .. } => {
                "broadcast"
            }
            Self::BroadcastDeflate { .. } => "broadcast-deflate",
            Self::Rooms { .. } => "rooms",
            Self::Http => "http",
            Self::Cluster { .. } | Self::ClusterIdle { .. } => "cluster",
            Self::ClusterRecovery { .. } => "recovery",
        }
    }

    /// One line for people.
    pub(crate) fn description(&self) -> String {
        match self {
            Self::Echo { size, connections } => {
                format!("{size} B there and back, {connections} connections, 1 in flight each")
            }
            Self::Pipeline { in_flight, connections } => {
                format!("20 B there and back, {connections} connections, {in_flight} in flight each")
            }
            Self::Deflate { size } => format!("{size} B of JSON there and back, compressed, 150 connections"),
            Self::Latency { per_second } => {
                format!("20 B there and back, {per_second} in a second over 150 connections, from intended times")
            }
            Self::Attacked { attack, per_second } => {
                let attack = match attack {
                    Attack::Inflating => "120 messages of 1 KB that inflate to 1 MB",
                    Attack::Flooding => "10,000 messages of 8 B",
                };
                format!("20 B there and back, {per_second} in a second, next to a client that keeps {attack} in flight")
            }
            Self::Broadcast { receivers } => format!("256 B from one of {receivers} clients to all of them"),
            Self::Publish { receivers } => format!("256 B from a client of /pub to {receivers} of /sub"),
            Self::Rooms { rooms } => format!("256 B to {rooms} rooms of one client each, a broadcast for each room"),
            Self::Burst { messages } => format!("512 B from one of 1000 clients to all, {messages} messages at once"),
            Self::BroadcastDeflate { size } => {
                format!("{size} B of JSON from one of 1000 clients to all, compressed")
            }
            Self::Idle { connections, tls } => format!(
                "{connections} connections{} that had one message each and wait",
                if *tls { " over TLS" } else { "" }
            ),
            Self::IdleBroadcast { connections } => {
                format!("{connections} idle connections, then 256 B to each exactly once")
            }
            Self::Handshakes => "connect, upgrade, cut; 64 at a time".to_owned(),
            Self::Storm { connections } => format!("{connections} connections cut at once, and all back at once"),
            Self::Http => "GET / of 12 B over plain HTTP/1.1, 64 connections that stay open".to_owned(),
            Self::Cluster { per_second } => {
                format!(
                    "256 B to a room of 500 clients on each of two nodes, {per_second} in a second; both nodes together"
                )
            }
            Self::ClusterIdle { connections } => {
                format!("{connections} clients in a room over two nodes that had one message each and wait")
            }
            Self::ClusterRecovery { connections } => {
                format!("{connections} clients of a node that is killed, back on the other with all they missed")
            }
        }
    }

    /// The subcommand of the load generator.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let words = match self {
            Self::Echo { size, connections } => {
                format!("echo --connections {connections} --in-flight 1 --size {size}")
            }
            Self::Pipeline { in_flight, connections } => {
                format!("echo --connections {connections} --in-flight {in_flight} --size 20")
            }
            Self::Deflate { size } => format!("echo --path /deflate --deflate --size {size}"),
            Self::Latency { per_second } => format!("rate --per-second {per_second} --size 20"),
            Self::Attacked { attack, per_second } => {
                let attack = match attack {
                    Attack::Inflating => "inflating",
                    Attack::Flooding => "flooding",
                };
                format!("rate --connections 50 --per-second {per_second} --size 20 --attack {attack}")
            }
            Self::Broadcast { receivers } => format!("broadcast --receivers {receivers} --burst 1 --size 256"),
            Self::Publish { receivers } => {
                format!("broadcast --path /sub --publisher-path /pub --receivers {receivers} --burst 1 --size 256")
            }
            Self::Rooms { rooms } => {
                format!("broadcast --path /rooms --publisher-path /rooms-pub --receivers {rooms} --burst 1 --size 256")
            }
            Self::Burst { messages } => format!("broadcast --receivers 1000 --burst {messages} --size 512"),
            Self::BroadcastDeflate { size } => {
                format!("broadcast --path /bcast-deflate --deflate --receivers 1000 --burst 1 --size {size}")
            }
            Self::Idle { connections, tls: false } => format!("idle --connections {connections}"),
            Self::Idle { connections, tls: true } => format!("idle --tls --connections {connections}"),
            Self::IdleBroadcast { connections } => format!("idle-broadcast --receivers {connections} --size 256"),
            Self::Handshakes => "handshakes --in-flight 64".to_owned(),
            Self::Storm { connections } => format!("storm --connections {connections}"),
            Self::Http => "http --path / --connections 64".to_owned(),
            Self::Cluster { per_second } => format!("cluster --clients 1000 --size 256 --per-second {per_second}"),
            Self::ClusterIdle { connections } => format!("cluster-idle --clients {connections}"),
            Self::ClusterRecovery { connections } => format!("cluster-recovery --clients {connections}"),
        };
        words.split(' ').map(str::to_owned).collect()
    }

    /// Whether rate and shares of the cores mean something.
    pub(crate) fn is_timed(&self) -> bool {
        !matches!(self, Self::Idle { .. } | Self::IdleBroadcast { .. } | Self::ClusterIdle { .. })
    }

    /// Whether it needs two nodes and a broker.
    pub(crate) fn is_clustered(&self) -> bool {
        matches!(self, Self::Cluster { .. } | Self::ClusterIdle { .. } | Self::ClusterRecovery { .. })
    }

    /// The line of growth on which this workload is a point, and where on it.
    pub(crate) fn growth(&self) -> Option<(Growth, usize)> {
        match self {
            Self::Echo { size: 20, connections } => Some((Growth::Echo, *connections)),
            Self::Broadcast { receivers } => Some((Growth::Broadcast, *receivers)),
            Self::Idle { connections, tls: false } => Some((Growth::Idle, *connections)),
            _ => None,
        }
    }

    /// Whether it gets a table of its own; the others are points of growth only.
    pub(crate) fn has_table(&self) -> bool {
        match self {
            Self::Echo { connections, .. } => [ECHO_CONNECTIONS, 100, 1000].contains(connections),
            Self::Broadcast { receivers } => [1000, 5000].contains(receivers),
            Self::Idle { connections, .. } => [1000, 5000].contains(connections),
            _ => true,
        }
    }
}

/// What is looked at with more and more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Growth {
    Echo,
    Broadcast,
    Idle,
}

impl Growth {
    pub(crate) const ALL: [Self; 3] = [Self::Echo, Self::Broadcast, Self::Idle];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "growth-echo",
            Self::Broadcast => "growth-broadcast",
            Self::Idle => "growth-idle",
        }
    }

    /// What grows, and what it costs.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Echo => "Echo of 20 B: ns of CPU for each message, by connections",
            Self::Broadcast => "Broadcast of 256 B: ns of CPU for each delivery, by members",
            Self::Idle => "Idle: bytes for each connection, by connections",
        }
    }
}
