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
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts the server on its cores and waits until it accepts.
    pub(crate) fn start(peer: &Peer, folder: &Path, cores: &[usize]) -> Result<Self> {
        let address = free_address()?;
        let log = std::env::temp_dir().join(format!("bench-{}-{}.log", peer.name, std::process::id()));
        let mut command = peer.command(folder, &address)?;
        // The reason for an end is then the last line of the log.
        command.env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut server = Self { child: spawn_on(cores, &mut command)?, address };
        let started = server.wait_until_it_accepts().with_context(|| format!("it did not start{}", tail(&log)));
        let _ = std::fs::remove_file(&log);
        started.map(|()| server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_accepts(&mut self) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect(&self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            if started.elapsed() > START_WITHIN {
                bail!("nothing listens on {} after {} s", self.address, START_WITHIN.as_secs());
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Server {
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

fn free_address() -> Result<String> {
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
