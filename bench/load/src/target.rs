//! The server under test.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::frame::Kind;
use crate::process::Process;

/// Where the server listens, which process it is, and for how long to load it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the server listens.
    pub address: SocketAddrV4,
    /// The server's process, whose CPU time and memory are read.
    pub process: Process,
    /// The load before the measured window.
    pub warm_up: Duration,
    /// The measured window.
    pub window: Duration,
    /// Send binary messages; text otherwise, whose UTF-8 the server has to check.
    pub binary: bool,
}

impl Target {
    pub(crate) fn kind(&self) -> Kind {
        if self.binary { Kind::Binary } else { Kind::Text }
    }
}
