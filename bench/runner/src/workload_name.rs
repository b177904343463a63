//! The names of workloads, as the command line, the suites and the goals write them.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use load::attack::Attack;

use crate::workload::{ECHO_CONNECTIONS, PIPELINE_CONNECTIONS, Workload};

/// For `--help`.
pub(crate) const NAMES: &str = "echo-SIZE[xCONNECTIONS], pipeline-COUNT[xCONNECTIONS], deflate-SIZE, \
    latency-RATE, inflated-RATE, flooded-RATE, broadcast-CLIENTS, publish-CLIENTS, rooms-COUNT, burst-COUNT, broadcast-deflate-SIZE, idle-CLIENTS, \
    idle-tls-CLIENTS, idle-broadcast-CLIENTS, handshakes, storm-CLIENTS, http, cluster-RATE, cluster-idle-CLIENTS, \
    cluster-recovery-CLIENTS; SIZE may end in k";

impl FromStr for Workload {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "handshakes" => return Ok(Self::Handshakes),
            "http" => return Ok(Self::Http),
            _ => {}
        }
        let (kind, numbers) =
            name.rsplit_once('-').with_context(|| format!("no workload {name}; there are {NAMES}"))?;
        let (number, connections) = match numbers.split_once('x') {
            Some((number, connections)) => (parse(number)?, Some(parse(connections)?)),
            None => (parse(numbers)?, None),
        };
        let of = |default: usize| connections.unwrap_or(default);
        let workload = match kind {
            "echo" => Self::Echo { size: number, connections: of(ECHO_CONNECTIONS) },
            "pipeline" => Self::Pipeline { in_flight: number, connections: of(PIPELINE_CONNECTIONS) },
            "deflate" => Self::Deflate { size: number },
            "latency" => Self::Latency { per_second: number },
            "inflated" => Self::Attacked { attack: Attack::Inflating, per_second: number },
            "flooded" => Self::Attacked { attack: Attack::Flooding, per_second: number },
            "broadcast" => Self::Broadcast { receivers: number },
            "rooms" => Self::Rooms { rooms: number },
            "publish" => Self::Publish { receivers: number },
            "burst" => Self::Burst { messages: number },
            "broadcast-deflate" => Self::BroadcastDeflate { size: number },
            "idle" => Self::Idle { connections: number, tls: false },
            "idle-tls" => Self::Idle { connections: number, tls: true },
            "idle-broadcast" => Self::IdleBroadcast { connections: number },
            "storm" => Self::Storm { connections: number },
            "cluster" => Self::Cluster { per_second: number },
            "cluster-idle" => Self::ClusterIdle { connections: number },
            "cluster-recovery" => Self::ClusterRecovery { connections: number },
            _ => bail!("no workload {name}; there are {NAMES}"),
        };
        let takes_connections = matches!(workload, Self::Echo { .. } | Self::Pipeline { .. });
        ensure!(connections.is_none() || takes_connections, "{name} takes one number only");
        Ok(workload)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo { size, connections } => {
                write!(f, "echo-{}{}", bytes(*size), times(*connections, ECHO_CONNECTIONS))
            }
            Self::Pipeline { in_flight, connections } => {
                write!(f, "pipeline-{in_flight}{}", times(*connections, PIPELINE_CONNECTIONS))
            }
            Self::Deflate { size } => write!(f, "deflate-{}", bytes(*size)),
            Self::Latency { per_second } => write!(f, "latency-{per_second}"),
            Self::Attacked { attack: Attack::Inflating, per_second } => write!(f, "inflated-{per_second}"),
            Self::Attacked { attack: Attack::Flooding, per_second } => write!(f, "flooded-{per_second}"),
            Self::Broadcast { receivers } => write!(f, "broadcast-{receivers}"),
            Self::Rooms { rooms } => write!(f, "rooms-{rooms}"),
            Self::Publish { receivers } => write!(f, "publish-{receivers}"),
            Self::Burst { messages } => write!(f, "burst-{messages}"),
            Self::BroadcastDeflate { size } => write!(f, "broadcast-deflate-{}", bytes(*size)),
            Self::Idle { connections, tls: false } => write!(f, "idle-{connections}"),
            Self::Idle { connections, tls: true } => write!(f, "idle-tls-{connections}"),
            Self::IdleBroadcast { connections } => write!(f, "idle-broadcast-{connections}"),
            Self::Handshakes => write!(f, "handshakes"),
            Self::Storm { connections } => write!(f, "storm-{connections}"),
            Self::Http => write!(f, "http"),
            Self::Cluster { per_second } => write!(f, "cluster-{per_second}"),
            Self::ClusterIdle { connections } => write!(f, "cluster-idle-{connections}"),
            Self::ClusterRecovery { connections } => write!(f, "cluster-recovery-{connections}"),
        }
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Workload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn bytes(size: usize) -> String {
    if size.is_multiple_of(1024) { format!("{}k", size / 1024) } else { size.to_string() }
}

fn times(connections: usize, default: usize) -> String {
    if connections == default { String::new() } else { format!("x{connections}") }
}

/// A number that may end in k, for 1,024.
fn parse(number: &str) -> Result<usize> {
    let (digits, factor) = match number.strip_suffix('k') {
        Some(digits) => (digits, 1024),
        None => (number, 1),
    };
    let number = digits.parse::<usize>().with_context(|| format!("{number} is no number"))? * factor;
    ensure!(number > 0, "zero of something cannot be measured");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in [
            "echo-20",
            "echo-20x1000",
            "echo-1k",
            "pipeline-16",
            "pipeline-16x100",
            "deflate-2k",
            "latency-50000",
            "inflated-1000",
            "flooded-1000",
            "broadcast-1000",
            "rooms-4000",
            "publish-1000",
            "burst-16",
            "broadcast-deflate-512",
            "idle-5000",
            "idle-tls-1000",
            "idle-broadcast-15000",
            "handshakes",
            "storm-1000",
            "http",
            "cluster-50",
            "cluster-idle-1000",
            "cluster-recovery-10000",
        ] {
            assert_eq!(name.parse::<Workload>().unwrap().to_string(), name);
        }
        assert_eq!("echo-20x150".parse::<Workload>().unwrap().to_string(), "echo-20");
    }

    #[test]
    fn a_wrong_name_is_an_error() {
        for name in ["echo", "echo-0", "echo-1m", "nothing-1", "broadcast-10x10", "echo-20x"] {
            assert!(name.parse::<Workload>().is_err(), "{name}");
        }
    }
}
