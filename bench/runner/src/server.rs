//! One running server, stopped when dropped.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::cores::spawn_on;
use crate::peers::Peer;

const START_WITHIN: Duration = Duration::from_secs(15);
const STOP_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A server that accepts connections.
pub(crate) struct Server {
    running: Running,
    pub(crate) address: String,
}

impl Server {
    /// Starts the server on its cores and waits until it accepts.
    pub(crate) fn start(peer: &Peer, folder: &Path, cores: &[usize]) -> Result<Self> {
        Self::node(peer, folder, cores, "")
    }

    /// Starts a node that the broker connects with others.
    pub(crate) fn node(peer: &Peer, folder: &Path, cores: &[usize], broker: &str) -> Result<Self> {
        let address = free_address()?;
        let log = std::env::temp_dir().join(format!("bench-{}-{}.log", peer.name, std::process::id()));
        let mut command = peer.command(folder, &address, broker)?;
        // The reason for an end is then the last line of the log.
        command.env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut running = Running::new(spawn_on(cores, &mut command)?);
        running.wait_until(&log, || TcpStream::connect(&address).is_ok())?;
        Ok(Self { running, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }
}

/// A process that ends with its value.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn new(child: Child) -> Self {
        Self { child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it listens; an error has the last line of its log, which is then removed.
    pub(crate) fn wait_until(&mut self, log: &Path, listens: impl Fn() -> bool) -> Result<()> {
        let started = self.wait(listens).with_context(|| format!("it did not start{}", tail(log)));
        let _ = std::fs::remove_file(log);
        started
    }

    fn wait(&mut self, listens: impl Fn() -> bool) -> Result<()> {
        let started = Instant::now();
        while !listens() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            if started.elapsed() > START_WITHIN {
                bail!("nothing listens after {} s", START_WITHIN.as_secs());
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < STOP_WITHIN {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(LOOK_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_address() -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.to_string())
}

fn tail(log: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = File::open(log) {
        let _ = file.read_to_string(&mut text);
    }
    text.trim_end().lines().last().map_or_else(String::new, |line| format!(" ({line})"))
}
