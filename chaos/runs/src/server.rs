//! A server in a process of its own.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::Result;
use crate::broker::socket;

const START_MAX: Duration = Duration::from_secs(20);
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Makes the command of a server, of its port and its directory.
type Make = Box<dyn Fn(&str, &Path) -> Result<Command>>;

pub(crate) struct Server {
    port: u16,
    directory: PathBuf,
    make: Make,
    child: Child,
}

impl Server {
    pub(crate) async fn start(
        port: u16,
        directory: PathBuf,
        make: impl Fn(&str, &Path) -> Result<Command> + 'static,
    ) -> Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let make: Make = Box::new(make);
        let child = spawn(make(&port.to_string(), &directory)?)?;
        let server = Server { port, directory, make, child };
        server.wait_until_up().await?;
        Ok(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts it again at its port, with more arguments.
    pub(crate) async fn restart(&mut self, more: &[&str]) -> Result<()> {
        let mut command = (self.make)(&self.port.to_string(), &self.directory)?;
        command.args(more);
        self.child = spawn(command)?;
        self.wait_until_up().await
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(pid(&self.child)?, signal)?)
    }

    /// Says something to a server of Redis; returns its answer as it came.
    pub(crate) async fn ask(&self, command: &str) -> Result<String> {
        let answer = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(format!("{command}\r\n").as_bytes()).await?;
            // It answers, and ends the connection.
            stream.shutdown().await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = timeout(ANSWER_MAX, answer).await.map_err(|_| format!("{command}: no answer"))??;
        match answer.starts_with('-') {
            true => Err(format!("{command}: {answer}").into()),
            false => Ok(answer),
        }
    }

    /// Says something again and again until the answer has this in it.
    pub(crate) async fn ask_until(&self, command: &str, answered: &str) -> Result<()> {
        let end = Instant::now() + START_MAX;
        loop {
            let answer = self.ask(command).await.unwrap_or_else(|error| error.to_string());
            if answer.contains(answered) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("{command} does not answer {answered}: {answer}").into());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn wait_until_up(&self) -> Result<()> {
        let end = Instant::now() + START_MAX;
        let is_hub = |path: PathBuf| UnixStream::connect(path).is_ok();
        while !is_hub(socket(&self.directory)) && TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if Instant::now() > end {
                return Err("the broker does not come up".into());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

pub(crate) fn pid(child: &Child) -> Result<Pid> {
    let id = child.id().ok_or("the process has ended by itself")?;
    Ok(Pid::from_raw(id.try_into()?).ok_or("no process")?)
}

fn spawn(mut command: Command) -> Result<Child> {
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()?)
}

/// A server that `scripts/brokers` has got.
pub(crate) fn installed(name: &str) -> Result<Command> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/brokers/bin")).join(name);
    match path.exists() {
        true => Ok(Command::new(path)),
        false => Err(format!("{name} is missing: run scripts/brokers").into()),
    }
}
