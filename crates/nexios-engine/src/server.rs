//! What the shards of one server share: settings, counters, and the places that are left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::hosts::{Host, Hosts};
use crate::mailbox::ShardHandle;
use crate::metrics::{Cause, Metrics, MetricsSnapshot};
use crate::settings::ServerSettings;

/// A server: some shards that act as one. Nothing is global; any number may live in a process.
///
/// ```
/// use std::time::Instant;
/// use nexios_engine::{Server, ServerSettings};
/// let server = Server::new(ServerSettings::default());
/// let shard = server.shard(Instant::now()).unwrap();
/// assert!(shard.is_idle());
/// ```
#[derive(Clone)]
pub struct Server(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) settings: ServerSettings,
    pub(crate) metrics: Metrics,
    shards: RwLock<Vec<ShardHandle>>,
    next_shard: AtomicUsize,
    pub(crate) connections: AtomicUsize,
    /// Places that are taken by other things than connections.
    pub(crate) others: AtomicUsize,
    pub(crate) connections_max: usize,
    hosts: Hosts,
    accept_rate: Mutex<Bucket>,
    waiting_bytes_max: usize,
}

/// Less than this is no default for a machine that serves anything.
const WAITING_BYTES_MIN: usize = 16 << 20;

/// Tokens for new connections: one second's worth at most.
struct Bucket {
    tokens: f64,
    filled: Option<Instant>,
}

impl Server {
    /// A server without shards yet.
    pub fn new(settings: ServerSettings) -> Self {
        let connections_max = settings.connections_max.unwrap_or_else(default_connections_max);
        Server(Arc::new(Shared {
            accept_rate: Mutex::new(Bucket { tokens: f64::from(settings.accept_rate_max.unwrap_or(0)), filled: None }),
            waiting_bytes_max: settings.waiting_bytes_max.unwrap_or_else(default_waiting_bytes_max),
            settings,
            metrics: Metrics::default(),
            shards: RwLock::default(),
            next_shard: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            others: AtomicUsize::new(0),
            connections_max,
            hosts: Hosts::default(),
        }))
    }

    /// Handles to all shards, by index.
    pub fn shards(&self) -> Vec<ShardHandle> {
        self.0.shards()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// The settings.
    pub fn settings(&self) -> &ServerSettings {
        &self.0.settings
    }

    /// The counters at this moment.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.0.metrics.snapshot(self.0.connections.load(Ordering::Relaxed))
    }
}

impl Shared {
    pub(crate) fn shards(&self) -> Vec<ShardHandle> {
        self.shards.read().clone()
    }

    /// Returns the index of the next shard.
    pub(crate) fn next_index(&self) -> u16 {
        self.next_shard.fetch_add(1, Ordering::Relaxed) as u16
    }

    /// Takes a shard among those of the server.
    pub(crate) fn add_shard(&self, handle: ShardHandle) {
        let mut shards = self.shards.write();
        shards.push(handle);
        shards.sort_by_key(ShardHandle::index);
    }

    /// Returns how many bytes incomplete and waiting messages of one shard may hold.
    #[inline]
    pub(crate) fn waiting_bytes_share(&self) -> usize {
        self.waiting_bytes_max / self.next_shard.load(Ordering::Relaxed).max(1)
    }

    /// Takes a place for a new connection, or says which limit is reached. Without a host it counts for none yet.
    pub(crate) fn enter(&self, host: Option<Host>, now: Instant) -> Result<(), Cause> {
        if let Some(rate) = self.settings.accept_rate_max
            && !self.accept_rate.lock().take(f64::from(rate), now)
        {
            return Err(Cause::AcceptRate);
        }
        let taken = self.connections.fetch_add(1, Ordering::Relaxed) + self.others.load(Ordering::Relaxed);
        if taken >= self.connections_max {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Cause::ConnectionLimit);
        }
        if host.is_some_and(|host| !self.enter_host(host)) {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Cause::HostLimit);
        }
        Ok(())
    }

    /// Counts a connection for a host; returns false if the host has as many as it may.
    pub(crate) fn enter_host(&self, host: Host) -> bool {
        self.settings.connections_per_host_max.is_none_or(|max| self.hosts.enter(host, max))
    }

    /// Gives the place back, and the host's.
    pub(crate) fn leave(&self, host: Option<Host>) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if let (Some(_), Some(host)) = (self.settings.connections_per_host_max, host) {
            self.hosts.leave(host);
        }
    }
}

impl Bucket {
    fn take(&mut self, rate: f64, now: Instant) -> bool {
        let passed = self.filled.map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        self.filled = Some(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * rate).min(rate);
        let some = self.tokens >= 1.0;
        if some {
            self.tokens -= 1.0;
        }
        some
    }
}

/// An eighth of the memory.
fn default_waiting_bytes_max() -> usize {
    (memory_bytes() / 8).max(WAITING_BYTES_MIN)
}

/// The memory of this process: of its control group where that is limited, else of the machine.
#[cfg(target_os = "linux")]
fn memory_bytes() -> usize {
    let info = rustix::system::sysinfo();
    let machine = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    let limit = |file: &str| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let group = limit("/sys/fs/cgroup/memory.max").or_else(|| limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    usize::try_from(group.map_or(machine, |group| group.min(machine))).unwrap_or(usize::MAX)
}

/// The memory of this process, taken for 4 GiB where the operating system is not asked.
#[cfg(not(target_os = "linux"))]
fn memory_bytes() -> usize {
    4 << 30
}

/// 80 % of the process's file descriptors.
fn default_connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit / 10 * 8).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_left_is_free_again() {
        let settings =
            ServerSettings { connections_max: Some(2), connections_per_host_max: Some(1), ..Default::default() };
        let Server(shared) = Server::new(settings);
        let (a, b) = (Some(Host::of("10.0.0.1".parse().ok())), Some(Host::of("10.0.0.2".parse().ok())));
        let now = Instant::now();
        assert_eq!(shared.enter(a, now), Ok(()));
        assert_eq!(shared.enter(a, now), Err(Cause::HostLimit));
        assert_eq!(shared.enter(b, now), Ok(()));
        assert_eq!(shared.enter(None, now), Err(Cause::ConnectionLimit));
        shared.leave(a);
        assert_eq!(shared.enter(a, now), Ok(()));
    }

    #[test]
    fn the_accept_rate_fills_up_again() {
        let Server(shared) = Server::new(ServerSettings { accept_rate_max: Some(2), ..Default::default() });
        let now = Instant::now();
        assert_eq!(shared.enter(None, now), Ok(()));
        assert_eq!(shared.enter(None, now), Ok(()));
        assert_eq!(shared.enter(None, now), Err(Cause::AcceptRate));
        assert_eq!(shared.enter(None, now + Duration::from_millis(500)), Ok(()));
    }
}
