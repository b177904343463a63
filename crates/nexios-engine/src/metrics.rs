//! Counters: every refusal and every limit that acted, by cause.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a handshake was refused, a connection closed or a message dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The upgrade request broke RFC 6455 or a head limit.
    Handshake,
    /// The handler, a middleware or the origin check refused.
    Handler,
    /// The request head (or the TLS handshake) took too long.
    SlowHead,
    /// The handler did not accept in time.
    SlowAccept,
    /// The process has as many connections as it may.
    ConnectionLimit,
    /// The host has as many connections as it may.
    HostLimit,
    /// New connections came faster than the accept rate.
    AcceptRate,
    /// No file descriptor was left.
    Descriptors,
    /// The peer broke the protocol or a message limit.
    Protocol,
    /// Too many control frames in a second.
    ControlFlood,
    /// A message was begun and not finished.
    StalledMessage,
    /// Messages that were incomplete or waited held too much memory together.
    WaitingBytes,
    /// No pong came.
    Silence,
    /// The client did not read.
    SlowClient,
    /// A client of plain HTTP did not go on with a body, or did not take an answer.
    SlowHttp,
    /// A task panicked.
    Panic,
}

const CAUSES: [Cause; 16] = [
    Cause::Handshake,
    Cause::Handler,
    Cause::SlowHead,
    Cause::SlowAccept,
    Cause::ConnectionLimit,
    Cause::HostLimit,
    Cause::AcceptRate,
    Cause::Descriptors,
    Cause::Protocol,
    Cause::ControlFlood,
    Cause::StalledMessage,
    Cause::WaitingBytes,
    Cause::Silence,
    Cause::SlowClient,
    Cause::SlowHttp,
    Cause::Panic,
];

/// Counters of one server, over all shards.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    connected: AtomicU64,
    dropped: AtomicU64,
    causes: [AtomicU64; CAUSES.len()],
}

/// The counters at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsSnapshot {
    /// Open sockets now, plain HTTP included.
    pub connections: usize,
    /// Handshakes accepted since the start.
    pub connected_total: u64,
    /// Broadcasts left out for slow clients since the start.
    pub dropped_total: u64,
    /// How often each cause ended or refused something.
    pub causes: Vec<(Cause, u64)>,
}

impl Cause {
    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Handshake => "handshake",
            Cause::Handler => "handler",
            Cause::SlowHead => "slow_head",
            Cause::SlowAccept => "slow_accept",
            Cause::ConnectionLimit => "connection_limit",
            Cause::HostLimit => "host_limit",
            Cause::AcceptRate => "accept_rate",
            Cause::Descriptors => "descriptors",
            Cause::Protocol => "protocol",
            Cause::ControlFlood => "control_flood",
            Cause::StalledMessage => "stalled_message",
            Cause::WaitingBytes => "waiting_bytes",
            Cause::Silence => "silence",
            Cause::SlowClient => "slow_client",
            Cause::SlowHttp => "slow_http",
            Cause::Panic => "panic",
        }
    }
}

impl Metrics {
    pub(crate) fn connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, messages: usize) {
        self.dropped.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, cause: Cause) {
        self.causes[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self, cause: Cause) {
        self.causes[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, connections: usize) -> MetricsSnapshot {
        let value = |cause: Cause| self.causes[cause as usize].load(Ordering::Relaxed);
        MetricsSnapshot {
            connections,
            connected_total: self.connected.load(Ordering::Relaxed),
            dropped_total: self.dropped.load(Ordering::Relaxed),
            causes: CAUSES.into_iter().map(|cause| (cause, value(cause))).collect(),
        }
    }
}
