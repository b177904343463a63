//! What one run found, as the runner reads it.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A side at or above this share of its core is busy all the time.
const LOAD_SATURATED_SHARE: f64 = 0.95;
const SERVER_BUSY_SHARE: f64 = 0.90;

/// At a fixed rate, the part of the server's p99 that may be the load's own being late.
const LATENESS_SHARE_MAX: f64 = 0.25;

/// At a fixed rate, the part of the messages that has to be answered within the window.
const KEPT_UP_SHARE: f64 = 0.98;

/// The result of one run of one workload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// What was counted: messages echoed, deliveries, handshakes, requests, or idle connections.
    pub units: u64,
    /// How long the measured window was.
    pub seconds: f64,
    /// CPU time of the server's threads within the window.
    pub server_cpu_ns: u64,
    /// CPU time of the load itself within the window.
    pub load_cpu_ns: u64,
    /// CPU time of everything else on the machine, steal included, within the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others_cpu_ns: Option<u64>,
    /// Time from sending to the answer, or to the last delivery of a broadcast.
    pub latency: Option<Latency>,
    /// The server's memory, where the workload looks at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// What the server made of compressed messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// The schedule, where messages are sent at a fixed rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// CPU time of the broker between two nodes, which is not in the servers'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_cpu_ns: Option<u64>,
    /// What became of the messages to a room over two nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Deliveries>,
    /// For each reconnect storm, the milliseconds until all were back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recoveries_ms: Vec<f64>,
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

    /// The part of one core that everything else on the machine used.
    pub fn others_share(&self) -> Option<f64> {
        Some(self.others_cpu_ns? as f64 / (self.seconds * 1e9))
    }

    /// True if the load ran at its limit while the server did not: throughput and
    /// latency then say more about the load than about the server.
    ///
    /// At a fixed rate the load never sleeps; there it counts how late it was itself.
    pub fn load_saturated(&self) -> bool {
        if let (Some(pace), Some(latency)) = (&self.pace, &self.latency) {
            return pace.lateness_p99_us > LATENESS_SHARE_MAX * latency.p99_us;
        }
        self.load_share() >= LOAD_SATURATED_SHARE && self.server_share() < SERVER_BUSY_SHARE
    }

    /// False if a server did not answer at the rate at which messages were sent.
    pub fn kept_up(&self) -> bool {
        self.pace.as_ref().is_none_or(|pace| self.units_per_second() >= KEPT_UP_SHARE * pace.per_second)
    }
}

/// Latency over the window, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the samples were faster.
    pub p50_us: f64,
    /// 99 % of the samples were faster.
    pub p99_us: f64,
    /// 99.9 % of the samples were faster.
    pub p999_us: f64,
}

impl Latency {
    /// Reads the percentiles of a histogram of nanoseconds; `None` if it is empty.
    pub(crate) fn from_nanoseconds(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        (!histogram.is_empty()).then(|| Self { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999) })
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

/// Whether every client of a room got every message once and in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Messages by clients.
    pub expected: u64,
    /// Those that had not arrived seconds after the end.
    pub lost: u64,
    /// Those that arrived again.
    pub duplicated: u64,
    /// Those that arrived behind a later one.
    pub out_of_order: u64,
}

impl Deliveries {
    /// What happened to all clients together.
    pub(crate) fn sum(deliveries: impl Iterator<Item = Self>) -> Self {
        deliveries.fold(Self::default(), |sum, one| Self {
            expected: sum.expected + one.expected,
            lost: sum.lost + one.lost,
            duplicated: sum.duplicated + one.duplicated,
            out_of_order: sum.out_of_order + one.out_of_order,
        })
    }

    /// Everything once and in order.
    pub fn is_exact(&self) -> bool {
        (self.lost, self.duplicated, self.out_of_order) == (0, 0, 0)
    }
}

/// Compressed messages as the server sent them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Output {
    /// Mean bytes of payload on the wire.
    pub bytes_per_message: f64,
    /// What zlib at level 6 makes of the same payload.
    pub zlib_bytes: u64,
}

impl Output {
    /// The size compared with that of zlib at level 6.
    pub fn ratio(&self) -> f64 {
        self.bytes_per_message / self.zlib_bytes as f64
    }
}

/// A schedule of messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pace {
    /// Messages meant to be sent in a second.
    pub per_second: f64,
    /// 99 % of the messages were sent with less delay than this after their time.
    pub lateness_p99_us: f64,
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

    #[test]
    fn at_a_fixed_rate_a_late_load_counts_as_saturated() {
        let latency = Latency { p50_us: 50.0, p99_us: 100.0, p999_us: 200.0 };
        let pace = Pace { per_second: 1000.0, lateness_p99_us: 10.0 };
        let mut report = Report { latency: Some(latency), pace: Some(pace.clone()), ..Report::default() };
        report.load_cpu_ns = 1_000_000_000;
        report.seconds = 1.0;
        assert!(!report.load_saturated());
        report.pace = Some(Pace { lateness_p99_us: 30.0, ..pace });
        assert!(report.load_saturated());
    }

    #[test]
    fn a_server_that_answers_too_few_has_not_kept_up() {
        let pace = Some(Pace { per_second: 1000.0, lateness_p99_us: 0.0 });
        let report = |units| Report { units, seconds: 1.0, pace: pace.clone(), ..Report::default() };
        assert!(report(990).kept_up());
        assert!(!report(900).kept_up());
    }
}
