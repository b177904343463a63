//! Brokers that tests start, stop and freeze.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nexios_cluster::{Broker, Memory};
use rustix::process::{Pid, Signal, kill_process};

/// A broker in the hands of a test.
pub(crate) trait Server: Send {
    /// How nodes reach it.
    fn broker(&self) -> Broker;
    /// How nodes of other processes do.
    fn url(&self) -> String {
        unreachable!("only nodes of this process reach it")
    }
    /// Ends it without a warning.
    fn kill(&mut self);
    /// Starts it again, in the same place.
    fn restart(&mut self);
    /// Whether it has after that what rooms storeed before.
    fn keeps_history(&self) -> bool {
        false
    }
    /// Starts again without anything that it kept.
    fn restart_empty(&mut self) {
        assert!(!self.keeps_history());
        self.kill();
        self.restart();
    }
    /// Its process, where it has one.
    fn pid(&self) -> Option<Pid> {
        None
    }

    /// Stops it for a while; it keeps all that it has.
    fn freeze(&mut self, duration: Duration) {
        let pid = self.pid().expect("a process");
        kill_process(pid, Signal::STOP).unwrap();
        std::thread::sleep(duration);
        kill_process(pid, Signal::CONT).unwrap();
    }
}

#[derive(Default)]
pub(crate) struct MemoryServer(Memory);

impl Server for MemoryServer {
    fn broker(&self) -> Broker {
        (&self.0).into()
    }

    fn kill(&mut self) {
        self.0.stop();
    }

    fn restart(&mut self) {
        self.0.start();
    }

    fn keeps_history(&self) -> bool {
        true
    }

    fn restart_empty(&mut self) {
        self.kill();
        self.0.forget();
        self.restart();
    }
}

/// A server in a process of its own.
pub(crate) struct Process {
    command: Box<dyn Fn() -> Command + Send>,
    child: Child,
    is_up: Box<dyn Fn() -> bool + Send>,
}

impl Process {
    pub(crate) fn start(
        command: impl Fn() -> Command + Send + 'static,
        is_up: impl Fn() -> bool + Send + 'static,
    ) -> Self {
        let child = command().spawn().expect("the server starts: scripts/brokers gets it");
        let process = Process { command: Box::new(command), child, is_up: Box::new(is_up) };
        process.wait();
        process
    }

    fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while !(self.is_up)() {
            assert!(Instant::now() < end, "the server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = (self.command)().spawn().unwrap();
        self.wait();
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that a test has killed already is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that goes with the test.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("nexios-broker-{}-{:x}", std::process::id(), fastrand::u64(..)));
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `nexios-hub` in a process of its own.
pub(crate) struct HubServer {
    process: Process,
    path: PathBuf,
    _directory: Directory,
}

impl HubServer {
    pub(crate) fn start() -> Self {
        let directory = Directory::new();
        let path = directory.0.join("hub.sock");
        let (at, up) = (path.clone(), path.clone());
        let command = move || {
            // Unit tests, which know of no programs, run a hub of their own.
            let program = option_env!("CARGO_BIN_EXE_nexios-hub");
            let mut command = Command::new(program.expect("an integration test"));
            command.arg(&at);
            command
        };
        let process = Process::start(command, move || std::os::unix::net::UnixStream::connect(&up).is_ok());
        HubServer { process, path, _directory: directory }
    }
}

impl Server for HubServer {
    fn broker(&self) -> Broker {
        Broker::new(self.url())
    }

    fn url(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn restart(&mut self) {
        self.process.restart();
    }

    fn pid(&self) -> Option<Pid> {
        self.process.pid()
    }
}

/// The servers of `scripts/brokers`.
pub(crate) fn command(name: &str) -> Command {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/brokers/bin");
    let path = PathBuf::from(place).join(name);
    assert!(path.exists(), "{name} is missing: run scripts/brokers");
    let mut command = Command::new(path);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server at a TCP port.
pub(crate) struct TcpServer {
    process: Process,
    url: String,
    pub(crate) port: u16,
    keeps_history: bool,
    directory: Directory,
}

impl TcpServer {
    /// `redis-server` with nothing on disk, and these settings besides.
    pub(crate) fn redis(settings: &'static [&'static str]) -> Self {
        TcpServer::start("redis", "redis-server", move |command, port, directory| {
            command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", port]);
            command.args(["--dir", directory]).args(settings);
        })
    }

    /// `redis-server` that writes each change down before it answers.
    pub(crate) fn lasting_redis() -> Self {
        let server = TcpServer::redis(&["--appendonly", "yes", "--appendfsync", "always"]);
        TcpServer { keeps_history: true, ..server }
    }

    /// `nats-server` with JetStream.
    pub(crate) fn jetstream() -> Self {
        let server = TcpServer::start("nats", "nats-server", |command, port, directory| {
            command.args(["--addr", "127.0.0.1", "--port", port, "--jetstream", "--store_dir", directory]);
        });
        TcpServer { keeps_history: true, ..server }
    }

    /// `nats-server` with these settings.
    pub(crate) fn nats(settings: &'static [&'static str]) -> Self {
        TcpServer::start("nats", "nats-server", move |command, port, _| {
            command.args(["--addr", "127.0.0.1", "--port", port]).args(settings);
        })
    }

    pub(crate) fn start(
        scheme: &str,
        name: &'static str,
        add: impl Fn(&mut Command, &str, &str) + Send + 'static,
    ) -> Self {
        let (port, directory) = (free_port(), Directory::new());
        let place = directory.0.display().to_string();
        let start = move || {
            let mut command = command(name);
            add(&mut command, &port.to_string(), &place);
            command
        };
        let process = Process::start(start, move || TcpStream::connect(("127.0.0.1", port)).is_ok());
        TcpServer { process, url: format!("{scheme}://127.0.0.1:{port}"), port, keeps_history: false, directory }
    }
}

impl Server for TcpServer {
    fn broker(&self) -> Broker {
        Broker::new(&self.url)
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn restart(&mut self) {
        self.process.restart();
    }

    fn keeps_history(&self) -> bool {
        self.keeps_history
    }

    fn restart_empty(&mut self) {
        self.kill();
        std::fs::remove_dir_all(&self.directory.0).unwrap();
        std::fs::create_dir(&self.directory.0).unwrap();
        self.restart();
    }

    fn pid(&self) -> Option<Pid> {
        self.process.pid()
    }
}
