//! Serving an app: listeners, one thread and runtime for each shard, signals, shutdown.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nexios_engine::{Listener, MetricsSnapshot, Server, Shard};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::broker::BrokerError;
use crate::routing::app::{App, BuiltApp, Connected};
use crate::routing::build::ConfigError;
use crate::serving::host::Host;
use crate::serving::tls::{Tls, TlsError};

/// Clients that are told to come back in one second at shutdown.
const CLOSES_PER_SECOND: u32 = 1000;
/// Time beyond the grace period for listeners of the shutdown.
const SHUTDOWN_EXTRA: Duration = Duration::from_secs(30);
/// Time for threads to end after they were told to end at once.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// Where and how an app is served.
///
/// ```
/// use nexios::Serve;
/// let serve = Serve::tcp("127.0.0.1:8000").and_unix("/run/chat.sock").shards(2);
/// ```
#[must_use]
pub struct Serve {
    binds: Vec<Bind>,
    shards: Option<usize>,
    tls: Option<Tls>,
    reuse_port: bool,
    on_listen: Option<OnListen>,
}

type OnListen = Box<dyn FnOnce(&[SocketAddr]) + Send>;

#[derive(Debug)]
enum Bind {
    Tcp(String),
    Unix(PathBuf),
    Socket(OwnedFd),
}

/// Why an app does not start.
///
/// Its `Debug` is its `Display`: where `main` returns it, people read it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The app contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address that is none.
    #[error("{0:?} is no address to listen on: write host:port, as in 127.0.0.1:8000")]
    Address(String),
    /// An address without a host.
    #[error("{0:?} has no host: write 0.0.0.0{0} for all interfaces, [::]{0} for those of IPv6 too")]
    NoHost(String),
    /// An address that cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// What was asked for.
        address: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// The app's broker cannot be used.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A thread, a runtime or a poller could not be made.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

impl std::fmt::Debug for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A server that runs; [`shutdown`](Self::shutdown) ends it gracefully, dropping it at once.
#[derive(Debug)]
#[must_use = "dropping a running server stops it"]
pub struct Running {
    addresses: Vec<SocketAddr>,
    server: ServerOfThreads,
    threads: Vec<JoinHandle<()>>,
    /// Dropped when the threads have ended: what they sent at the end reaches other nodes.
    _broker: Connected,
    stopped: mpsc::Receiver<()>,
}

#[derive(Clone)]
struct ServerOfThreads {
    server: Server,
    stage: Arc<AtomicU8>,
}

impl std::fmt::Debug for ServerOfThreads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("shards", &self.server.shards().len()).finish_non_exhaustive()
    }
}

const SERVING: u8 = 0;
const DRAINING: u8 = 1;
const CANCELLED: u8 = 2;

impl std::fmt::Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serve").field("binds", &self.binds).field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl From<&str> for Serve {
    fn from(address: &str) -> Self {
        Serve::tcp(address)
    }
}

impl From<SocketAddr> for Serve {
    fn from(address: SocketAddr) -> Self {
        Serve::tcp(address.to_string())
    }
}

impl Serve {
    /// Listens on `host:port`; port 0 picks a free one ([`Running::addresses`] says which).
    pub fn tcp(address: impl Into<String>) -> Self {
        Serve::on(Bind::Tcp(address.into()))
    }

    /// Listens on a Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Serve::on(Bind::Unix(path.into()))
    }

    /// Accepts from a socket that listens already: from a parent process, or from systemd (by
    /// the crate `listenfd`).
    pub fn socket(socket: impl Into<OwnedFd>) -> Self {
        Serve::on(Bind::Socket(socket.into()))
    }

    fn on(bind: Bind) -> Self {
        Serve { binds: vec![bind], shards: None, tls: None, reuse_port: false, on_listen: None }
    }

    /// Listens on one more address.
    pub fn and_tcp(mut self, address: impl Into<String>) -> Self {
        self.binds.push(Bind::Tcp(address.into()));
        self
    }

    /// Listens on one more Unix socket.
    pub fn and_unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.binds.push(Bind::Unix(path.into()));
        self
    }

    /// How many threads serve; one per core if not set.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Speaks TLS on the TCP addresses.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Lets other processes listen on the same ports (`SO_REUSEPORT`).
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Called once, as soon as clients can connect: with the TCP addresses that are listened on.
    ///
    /// ```
    /// use nexios::Serve;
    /// let serve = Serve::tcp("127.0.0.1:0").on_listen(|addresses| println!("listening on {}", addresses[0]));
    /// ```
    pub fn on_listen(mut self, call: impl FnOnce(&[SocketAddr]) + Send + 'static) -> Self {
        self.on_listen = Some(Box::new(call));
        self
    }

    fn listeners(self) -> Result<Vec<Listener>, StartError> {
        let tls = self.tls.as_ref().map(Tls::server_config).transpose()?;
        let with_tls = |listener: Listener| match &tls {
            Some(config) => listener.with_tls(config.clone()),
            None => listener,
        };
        let mut listeners = Vec::new();
        for bind in self.binds {
            match bind {
                Bind::Tcp(address) => {
                    for resolved in resolve(&address)? {
                        let listener = Listener::bind_shared(resolved, self.reuse_port);
                        let error = |error| StartError::Listen { address: address.clone(), error };
                        listeners.push(with_tls(listener.map_err(error)?));
                    }
                }
                Bind::Unix(path) => {
                    let error = |error| StartError::Listen { address: path.display().to_string(), error };
                    listeners.push(Listener::bind_unix(&path).map_err(error)?);
                }
                Bind::Socket(socket) => {
                    let address = format!("descriptor {}", std::os::fd::AsRawFd::as_raw_fd(&socket));
                    let error = |error| StartError::Listen { address, error };
                    listeners.push(with_tls(Listener::from_fd(socket).map_err(error)?));
                }
            }
        }
        Ok(listeners)
    }
}

/// `localhost` may be two addresses; both are listened on.
fn resolve(address: &str) -> Result<Vec<SocketAddr>, StartError> {
    use std::net::ToSocketAddrs;
    if address.starts_with(':') {
        return Err(StartError::NoHost(address.to_owned()));
    }
    let resolved: Vec<SocketAddr> =
        address.to_socket_addrs().map_err(|_| StartError::Address(address.to_owned()))?.collect();
    // Port 0 would pick a different one for each address.
    let first_only = resolved.iter().any(|address| address.port() == 0);
    Ok(resolved.into_iter().take(if first_only { 1 } else { usize::MAX }).collect())
}

impl App {
    /// Serves until SIGINT or SIGTERM: then clients are told to come back (1012), handlers get
    /// the grace period to end, and this returns. A second signal ends it at once, as does a shutdown that takes half
    /// a minute longer than the grace period. A handler that blocks its thread even then is left behind after two
    /// seconds: it ends with the process.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), nexios::StartError> {
    /// let app = nexios::App::new();
    /// app.run("127.0.0.1:8000")
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StartError`]
    pub fn run(self, serve: impl Into<Serve>) -> Result<(), StartError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // Before anybody can connect: whoever sees the port open may already send a signal.
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let mut running = self.start(serve)?;
        let patience = running.server.server.settings().shutdown_grace.saturating_add(SHUTDOWN_EXTRA);
        let has_ended = runtime.block_on(async {
            let mut signals = async || {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            signals().await;
            tracing::info!("shutting down; a second signal ends at once");
            running.shutdown();
            tokio::select! {
                () = running.stopped() => {}
                () = signals() => running.cancel(),
                () = tokio::time::sleep(patience) => running.cancel(),
            }
            tokio::time::timeout(LAST_MOMENT, running.stopped()).await.is_ok()
        });
        if has_ended {
            running.join();
        } else {
            running.abandon();
        }
        Ok(())
    }

    /// Serves from inside a runtime, until the returned future is dropped or the server is
    /// shut down through [`Running`]; no signal is touched.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn serve(self, serve: impl Into<Serve>) -> Result<(), StartError> {
        let mut running = self.start(serve)?;
        running.stopped().await;
        Ok(())
    }

    /// Starts the threads and returns as soon as all listen.
    ///
    /// ```
    /// # fn main() -> Result<(), nexios::StartError> {
    /// let running = nexios::App::new().start("127.0.0.1:0")?;
    /// assert_ne!(running.addresses()[0].port(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(self, serve: impl Into<Serve>) -> Result<Running, StartError> {
        let built = self.build()?;
        let mut serve: Serve = serve.into();
        let on_listen = serve.on_listen.take();
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let count = serve.shards.unwrap_or_else(cores).max(1);
        let broker = built.connect()?;
        let listeners = serve.listeners()?;
        let addresses = listeners.iter().filter_map(Listener::local_address).collect();
        let places: Vec<String> = listeners.iter().map(Listener::place).collect();
        let server = ServerOfThreads { server: Server::new(built.server.clone()), stage: Arc::default() };
        let (alive, stopped) = mpsc::channel(1);
        let mut running = Running { addresses, server: server.clone(), threads: Vec::new(), _broker: broker, stopped };
        let (ready, started) = std::sync::mpsc::channel();
        for index in 0..count {
            let listeners = listeners.iter().map(Listener::try_clone).collect::<io::Result<Vec<_>>>()?;
            let shard = ShardThread { built: built.clone(), server: server.clone(), listeners, alive: alive.clone() };
            let ready = ready.clone();
            let thread = std::thread::Builder::new().name(format!("nexios-{index}"));
            running.threads.push(thread.spawn(move || shard.run(&ready))?);
        }
        drop(ready);
        // One answer from each; the threads live on, and with them the sending side.
        for result in started.iter().take(count) {
            result?;
        }
        if let Some(call) = on_listen {
            call(&running.addresses);
        }
        for place in &places {
            tracing::info!(address = place, shards = count, "listening");
        }
        Ok(running)
    }
}

impl Running {
    /// The TCP addresses that are listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The counters at this moment.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.server.server.metrics()
    }

    /// Stops accepting, closes all connections with 1012, spread over some time so that clients
    /// do not come back all at once, and gives handlers the grace period to end.
    pub fn shutdown(&self) {
        if self.server.advance(DRAINING) {
            self.server.on_each_shard(|shard| shard.close_all(jitter(shard.connection_count())));
        }
    }

    /// Ends at once: handlers are cancelled, connections cut.
    pub fn cancel(&self) {
        self.server.advance(CANCELLED);
        self.server.on_each_shard(|_| {});
    }

    /// Resolves when every thread has ended.
    pub async fn stopped(&mut self) {
        while self.stopped.recv().await.is_some() {}
    }

    /// Blocks until every thread has ended.
    pub fn join(mut self) {
        self.join_threads();
    }

    /// Leaves threads that do not end to the end of the process.
    fn abandon(mut self) {
        let blocked = self.threads.iter().filter(|thread| !thread.is_finished()).count();
        tracing::error!(threads = blocked, "handlers block their threads and do not end: they end with the process");
        self.threads.clear();
    }

    fn join_threads(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard's thread panicked");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel();
        self.join_threads();
    }
}

impl ServerOfThreads {
    fn stage(&self) -> u8 {
        self.stage.load(Ordering::Acquire)
    }

    fn advance(&self, stage: u8) -> bool {
        self.stage.fetch_max(stage, Ordering::AcqRel) < stage
    }

    fn on_each_shard(&self, f: impl Fn(&Shard) + Send + Clone + 'static) {
        for handle in self.server.shards() {
            // A shard that takes nothing more has ended.
            let _ = handle.run(Box::new(f.clone()));
        }
    }
}

fn jitter(connections: usize) -> Duration {
    let count = u32::try_from(connections).unwrap_or(u32::MAX);
    (Duration::from_secs(1) * count / CLOSES_PER_SECOND).min(Duration::from_secs(5))
}

/// One shard's thread, before it runs.
struct ShardThread {
    built: Arc<BuiltApp>,
    server: ServerOfThreads,
    listeners: Vec<Listener>,
    /// Dropped when the thread ends.
    alive: mpsc::Sender<()>,
}

impl ShardThread {
    fn run(mut self, ready: &std::sync::mpsc::Sender<io::Result<()>>) {
        let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => return send(ready, Err(error)),
        };
        runtime.block_on(async {
            match self.open() {
                Ok(mut host) => {
                    send(ready, Ok(()));
                    self.drive(&mut host).await;
                }
                Err(error) => send(ready, Err(error)),
            }
        });
        drop(self.alive);
    }

    fn open(&mut self) -> io::Result<Host> {
        let shard = self.server.server.shard(Instant::now().into_std())?;
        self.built.run_on(&self.server.server, &shard);
        // Given away: a copy kept here would hold the port open while the server drains.
        for listener in self.listeners.drain(..) {
            shard.listen(listener)?;
        }
        Host::new(shard)
    }

    async fn drive(&self, host: &mut Host) {
        let server = &self.server;
        host.run_until(|_| server.stage() != SERVING).await;
        let drained = host.run_until(|shard| shard.is_idle() || server.stage() == CANCELLED);
        if tokio::time::timeout(self.built.server.shutdown_grace, drained).await.is_err() {
            tracing::warn!("handlers were still running after the grace period: cancelled");
        }
    }
}

fn send(ready: &std::sync::mpsc::Sender<io::Result<()>>, result: io::Result<()>) {
    // Nobody listens any more only where another shard failed first.
    let _ = ready.send(result);
}
