//! The Redis between two nodes, stopped when dropped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cores::spawn_on;
use crate::server::{Running, free_address};

/// Where `scripts/brokers` puts it, from the folder of this workspace.
const PROGRAM: &str = "../.cache/brokers/bin/redis-server";

/// A Redis without data, which keeps none.
pub(crate) struct Broker {
    running: Running,
    address: String,
}

impl Broker {
    /// Starts it on its cores and waits until it answers.
    pub(crate) fn start(folder: &Path, cores: &[usize]) -> Result<Self> {
        let address = free_address()?;
        let (host, port) = address.rsplit_once(':').context("an address has a port")?;
        let log = std::env::temp_dir().join(format!("bench-redis-{}.log", std::process::id()));
        let mut command = Command::new(folder.join(PROGRAM));
        command.args(["--bind", host, "--port", port, "--save", "", "--appendonly", "no"]);
        command.stdin(Stdio::null()).stdout(File::create(&log)?).stderr(Stdio::null());
        let mut running = Running::new(spawn_on(cores, &mut command).context("`make brokers` gets it")?);
        running.wait_until(&log, || answers(&address)).context("Redis did not start")?;
        Ok(Self { running, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

fn answers(address: &str) -> bool {
    let ask = || -> Result<()> {
        let mut connection = TcpStream::connect(address)?;
        connection.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        connection.read_exact(&mut answer)?;
        ensure!(&answer == b"+PONG\r\n", "it answers otherwise");
        Ok(())
    };
    ask().is_ok()
}

/// Gets the server, unless it is there already.
pub(crate) fn build(folder: &Path) -> Result<()> {
    eprintln!("getting Redis");
    let status = Command::new("../scripts/brokers").current_dir(folder).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "Redis is missing");
    Ok(())
}
