//! A network namespace of the run's own, in which a node can be cut off from the broker.
//!
//! Each node has an address of its own by which it reaches the broker. While that is taken away,
//! packets between the two go nowhere and nothing is refused: both sides believe that they are
//! connected, as with a cable that was pulled somewhere else.

use std::ffi::OsStr;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::Result;
use crate::cluster::NODES;

/// Says to the program that `unshare` has started it already.
const ENTERED: &str = "NEXIOS_CHAOS_NETWORK";

pub(crate) struct Network {
    /// Why there is no namespace.
    refused: Option<String>,
}

impl Network {
    /// Starts the program once more in a namespace, where that is allowed.
    pub(crate) fn enter() -> Result<Self> {
        let refused = match std::env::var(ENTERED) {
            Ok(refused) if refused.is_empty() => set_up().err().map(|error| error.to_string()),
            Ok(refused) => Some(refused),
            Err(_) => return Err(again().into()),
        };
        Ok(Network { refused })
    }

    /// Why nobody can be cut off here; `None` where it can be done.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Where a broker listens.
    pub(crate) fn listens(&self) -> &'static str {
        if self.refused.is_none() { "0.0.0.0" } else { "127.0.0.1" }
    }

    /// By which address a node reaches the broker.
    pub(crate) fn address(&self, node: usize) -> String {
        if self.refused.is_none() { format!("10.255.0.{}", node + 1) } else { "127.0.0.1".to_owned() }
    }

    pub(crate) fn cut(&self, node: usize) -> Result<()> {
        Ok(ip(&["addr", "del", &format!("{}/32", self.address(node)), "dev", "lo"])?)
    }

    pub(crate) fn mend(&self, node: usize) -> Result<()> {
        Ok(ip(&["addr", "add", &format!("{}/32", self.address(node)), "dev", "lo"])?)
    }
}

/// Replaces this process; returns only if that fails.
fn again() -> io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    // Who is not root may be it in a namespace of users.
    let ways: [&[&str]; 2] = [&["--net"], &["--map-root-user", "--net"]];
    let allowed = ways.into_iter().find(|way| run("unshare", way.iter().chain(&["--", "true"])).is_ok());
    match allowed {
        Some(way) => Command::new("unshare").args(way).arg("--").arg(program).args(arguments()).env(ENTERED, "").exec(),
        None => Command::new(program).args(arguments()).env(ENTERED, "no network namespace is allowed here").exec(),
    }
}

fn arguments() -> impl Iterator<Item = std::ffi::OsString> {
    std::env::args_os().skip(1)
}

fn set_up() -> io::Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    (1..=NODES).try_for_each(|node| ip(&["addr", "add", &format!("10.255.0.{node}/32"), "dev", "lo"]))
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> io::Result<()> {
    let mut command = Command::new(program);
    let status = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{program} has failed"))),
    }
}

/// A port that nobody has now.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
