//! What one run found, as the runner reads it.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A side at or above this share of its core is busy all the time.
const LOAD_SATURATED_SHARE: f64 = 0.95;
const SERVER_BUSY_SHARE: f64 = 0.90;

/// The result of one run of one workload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// What was counted: messages echoed, deliveries, handshakes, or idle connections.
    pub units: u64,
    /// How long the measured window was.
    pub seconds: f64,
    /// CPU time of the server's threads within the window.
    pub server_cpu_ns: u64,
    /// CPU time of the load itself within the window.
    pub load_cpu_ns: u64,
    /// Time from sending to the answer, or to the last delivery of a broadcast.
    pub latency: Option<Latency>,
    /// The server's memory, where the workload looks at it.
    pub memory: Option<Memory>,
}

impl Report {
    /// The server's CPU time for one unit.
    pub fn cpu_ns_per_unit(&self) -> f64 {
        self.server_cpu_ns as f64 / self.units.max(1) as f64
    }

    /// Units in a second of the clock on the wall.
    pub fn units_per_second(&self) -> f64 {
        self.units as f64 / self.seconds.max(f64::EPSILON)
    }

    /// The part of one core that the server used.
    pub fn server_share(&self) -> f64 {
        self.server_cpu_ns as f64 / (self.seconds * 1e9)
    }

    /// The part of one core that the load used.
    pub fn load_share(&self) -> f64 {
        self.load_cpu_ns as f64 / (self.seconds * 1e9)
    }

    /// True if the load ran at its limit while the server did not: throughput and
    /// latency then say more about the load than about the server.
    pub fn load_saturated(&self) -> bool {
        self.load_share() >= LOAD_SATURATED_SHARE && self.server_share() < SERVER_BUSY_SHARE
    }
}

/// Latency over the window, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the samples were faster.
    pub p50_us: f64,
    /// 99 % of the samples were faster.
    pub p99_us: f64,
}

impl Latency {
    /// Reads the percentiles of a histogram of nanoseconds; `None` if it is empty.
    pub(crate) fn from_nanoseconds(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        (!histogram.is_empty()).then(|| Self { p50_us: at(0.5), p99_us: at(0.99) })
    }
}

/// Resident memory of the server around the opening of many connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Before the connections, after a few others had warmed the server up.
    pub before_bytes: u64,
    /// With all connections open, before any message.
    pub opened_bytes: u64,
    /// After each connection has had one message, and does nothing again.
    pub used_bytes: u64,
    /// How many connections were opened in between.
    pub connections: u64,
}

impl Memory {
    /// Bytes for each connection that has only been opened.
    pub fn bytes_per_opened(&self) -> f64 {
        self.per_connection(self.opened_bytes)
    }

    /// Bytes for each connection that has been used once.
    pub fn bytes_per_used(&self) -> f64 {
        self.per_connection(self.used_bytes)
    }

    fn per_connection(&self, after: u64) -> f64 {
        (after as f64 - self.before_bytes as f64) / self.connections.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_load_before_an_idle_server_counts_as_saturated() {
        let mut report = Report { seconds: 1.0, server_cpu_ns: 500_000_000, ..Report::default() };
        report.load_cpu_ns = 990_000_000;
        assert!(report.load_saturated());
        report.server_cpu_ns = 950_000_000;
        assert!(!report.load_saturated());
    }
}
