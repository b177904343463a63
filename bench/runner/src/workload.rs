//! Workloads by name, what the load is told for each, and which figure counts.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use load::Report;

/// One kind of load on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// 150 connections, one message in flight on each.
    Echo { size: usize },
    /// 64 connections with many messages of 20 bytes in flight on each.
    Pipeline { in_flight: usize },
    /// 256 bytes to many, one message at a time.
    Broadcast { receivers: usize },
    /// The same from a client of `/pub` to many of `/sub`.
    Publish { receivers: usize },
    /// 512 bytes to 1,000, many messages at a time.
    Burst { messages: usize },
    /// Memory of connections that had one message each and wait for the next.
    Idle { connections: usize },
    /// Memory of many connections, and one broadcast that reaches each exactly once.
    IdleBroadcast { connections: usize },
    /// 64 handshakes at a time, each connection cut at once.
    Handshakes,
}

impl Workload {
    /// What `peers.toml` calls it when a server cannot do it.
    pub(crate) fn family(&self) -> &'static str {
        match self {
            Self::Echo { .. } | Self::Pipeline { .. } | Self::Idle { .. } | Self::Handshakes => "echo",
            Self::Broadcast { .. } | Self::Publish { .. } | Self::Burst { .. } | Self::IdleBroadcast { .. } => {
                "broadcast"
            }
        }
    }

    /// One line for people.
    pub(crate) fn description(&self) -> String {
        match self {
            Self::Echo { size } => format!("{size} B there and back, 150 connections, 1 in flight each"),
            Self::Pipeline { in_flight } => {
                format!("20 B there and back, 64 connections, {in_flight} in flight each")
            }
            Self::Broadcast { receivers } => format!("256 B from one of {receivers} clients to all of them"),
            Self::Publish { receivers } => format!("256 B from a client of /pub to {receivers} of /sub"),
            Self::Burst { messages } => format!("512 B from one of 1000 clients to all, {messages} messages at once"),
            Self::Idle { connections } => format!("{connections} connections that had one message each and wait"),
            Self::IdleBroadcast { connections } => {
                format!("{connections} idle connections, then 256 B to each exactly once")
            }
            Self::Handshakes => "connect, upgrade, cut; 64 at a time".to_owned(),
        }
    }

    /// The subcommand of the load generator.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let words = match self {
            Self::Echo { size } => format!("echo --connections 150 --in-flight 1 --size {size}"),
            Self::Pipeline { in_flight } => format!("echo --connections 64 --in-flight {in_flight} --size 20"),
            Self::Broadcast { receivers } => format!("broadcast --receivers {receivers} --burst 1 --size 256"),
            Self::Publish { receivers } => {
                format!("broadcast --path /sub --publisher-path /pub --receivers {receivers} --burst 1 --size 256")
            }
            Self::Burst { messages } => format!("broadcast --receivers 1000 --burst {messages} --size 512"),
            Self::Idle { connections } => format!("idle --connections {connections}"),
            Self::IdleBroadcast { connections } => format!("idle-broadcast --receivers {connections} --size 256"),
            Self::Handshakes => "handshakes --in-flight 64".to_owned(),
        };
        words.split(' ').map(str::to_owned).collect()
    }

    /// What the figure counts.
    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Self::Echo { .. } | Self::Pipeline { .. } => "ns of CPU/message",
            Self::Broadcast { .. } | Self::Publish { .. } | Self::Burst { .. } => "ns of CPU/delivery",
            Self::Idle { .. } | Self::IdleBroadcast { .. } => "bytes/connection",
            Self::Handshakes => "ns of CPU/handshake",
        }
    }

    /// Whether rate and shares of the cores mean something.
    pub(crate) fn is_timed(&self) -> bool {
        !matches!(self, Self::Idle { .. } | Self::IdleBroadcast { .. })
    }

    /// The figure that servers are compared by; less is better.
    pub(crate) fn figure(&self, report: &Report) -> f64 {
        match &report.memory {
            Some(memory) => memory.bytes_per_used(),
            None => report.cpu_ns_per_unit(),
        }
    }
}

impl FromStr for Workload {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let (kind, number) = match name.rsplit_once('-') {
            Some((kind, number)) if number.starts_with(|first: char| first.is_ascii_digit()) => {
                (kind, Some(parse(number)?))
            }
            _ => (name, None),
        };
        let needed = || number.with_context(|| format!("{name} needs a number, as in {name}-20"));
        Ok(match kind {
            "echo" => Self::Echo { size: needed()? },
            "pipeline" => Self::Pipeline { in_flight: needed()? },
            "broadcast" => Self::Broadcast { receivers: needed()? },
            "publish" => Self::Publish { receivers: needed()? },
            "burst" => Self::Burst { messages: needed()? },
            "idle" => Self::Idle { connections: number.unwrap_or(5000) },
            "idle-broadcast" => Self::IdleBroadcast { connections: number.unwrap_or(15_000) },
            "handshakes" => Self::Handshakes,
            _ => bail!("no workload {name}"),
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo { size } if size % 1024 == 0 => write!(f, "echo-{}k", size / 1024),
            Self::Echo { size } => write!(f, "echo-{size}"),
            Self::Pipeline { in_flight } => write!(f, "pipeline-{in_flight}"),
            Self::Broadcast { receivers } => write!(f, "broadcast-{receivers}"),
            Self::Publish { receivers } => write!(f, "publish-{receivers}"),
            Self::Burst { messages } => write!(f, "burst-{messages}"),
            Self::Idle { connections } => write!(f, "idle-{connections}"),
            Self::IdleBroadcast { connections } => write!(f, "idle-broadcast-{connections}"),
            Self::Handshakes => write!(f, "handshakes"),
        }
    }
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
            "echo-1k",
            "pipeline-16",
            "broadcast-1000",
            "publish-1000",
            "burst-16",
            "idle-5000",
            "idle-broadcast-15000",
            "handshakes",
        ] {
            assert_eq!(name.parse::<Workload>().unwrap().to_string(), name);
        }
        assert_eq!("idle".parse::<Workload>().unwrap(), Workload::Idle { connections: 5000 });
        assert_eq!("idle-broadcast".parse::<Workload>().unwrap(), Workload::IdleBroadcast { connections: 15_000 });
    }

    #[test]
    fn a_wrong_name_is_an_error() {
        for name in ["echo", "echo-0", "echo-1m", "nothing-1"] {
            assert!(name.parse::<Workload>().is_err(), "{name}");
        }
    }
}
