//! Which figure counts for a workload; less is better for all of them.

use load::Report;

use crate::workload::Workload;

impl Workload {
    /// What the figure counts.
    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Self::Echo { .. } | Self::Pipeline { .. } | Self::Deflate { .. } => "ns of CPU/message",
            Self::Broadcast { .. }
            | Self::Publish { .. }
            | Self::Rooms { .. }
            | Self::Burst { .. }
            | Self::BroadcastDeflate { .. } => "ns of CPU/delivery",
            Self::Cluster { .. } => "ns of CPU/delivery",
            Self::Idle { .. } | Self::IdleBroadcast { .. } | Self::ClusterIdle { .. } => "bytes/connection",
            Self::ClusterRecovery { .. } => "ms until all have everything",
            Self::Latency { .. } | Self::Attacked { .. } => "µs at p99",
            Self::Handshakes | Self::Storm { .. } => "ns of CPU/handshake",
            Self::Http => "ns of CPU/request",
        }
    }

    /// The figure that servers are compared by; none if the server did not do the work.
    pub(crate) fn figure(&self, report: &Report) -> Option<f64> {
        match self {
            Self::Idle { .. } | Self::IdleBroadcast { .. } | Self::ClusterIdle { .. } => {
                Some(report.memory.as_ref()?.bytes_per_used())
            }
            Self::ClusterRecovery { .. } => report.recoveries_ms.iter().copied().max_by(f64::total_cmp),
            Self::Latency { .. } | Self::Attacked { .. } => report.kept_up().then_some(report.latency.as_ref()?.p99_us),
            _ => (report.units > 0).then(|| report.cpu_ns_per_unit()),
        }
    }
}

#[cfg(test)]
mod tests {
    use load::{Latency, Memory, Pace};

    use super::*;

    #[test]
    fn memory_is_compared_by_bytes_and_the_rest_by_cpu_time() {
        let memory = Memory { before_bytes: 1000, opened_bytes: 2000, used_bytes: 3000, connections: 10 };
        let report = Report { units: 10, server_cpu_ns: 50, memory: Some(memory), ..Report::default() };
        assert_eq!(Workload::Idle { connections: 10, tls: false }.figure(&report), Some(200.0));
        assert_eq!(Workload::Handshakes.figure(&report), Some(5.0));
        assert_eq!(Workload::Handshakes.figure(&Report::default()), None);
    }

    #[test]
    fn a_server_that_did_not_keep_up_has_no_latency() {
        let latency = Some(Latency { p50_us: 1.0, p99_us: 2.0, p999_us: 3.0 });
        let pace = Some(Pace { per_second: 100.0, lateness_p99_us: 0.0 });
        let report =
            |units| Report { units, seconds: 1.0, latency: latency.clone(), pace: pace.clone(), ..Report::default() };
        let workload = Workload::Latency { per_second: 100 };
        assert_eq!(workload.figure(&report(100)), Some(2.0));
        assert_eq!(workload.figure(&report(50)), None);
    }
}
