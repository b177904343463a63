//! Idle: many connections that are open and do nothing; what they cost in memory.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::connection::{Connection, Tape};
use crate::content::Content;
use crate::opening;
use crate::poller::{Poller, read_buffer};
use crate::process::Process;
use crate::report::{Memory, Report};
use crate::target::Target;
use crate::tls;
use crate::window::Window;

/// Connections that make the server touch its code and its pools first.
const WARM_UP_CONNECTIONS: usize = 32;

const SAMPLE_EVERY: Duration = Duration::from_millis(100);
const SAMPLES_ALIKE: usize = 3;
const SAMPLES_MAX: usize = 50;

/// What to open.
#[derive(Clone, Debug)]
pub struct Idle {
    /// A route that echoes.
    pub path: String,
    /// How many connections to open.
    pub connections: usize,
    /// Bytes of the one message that each connection sends in the end.
    pub size: usize,
    /// Over TLS. Any certificate will do.
    pub tls: bool,
}

/// Runs the workload; its unit is one open connection, and its window is the time
/// in which none of them does anything.
pub fn run(target: &Target, idle: &Idle) -> Result<Report> {
    let frame = Content::letters(idle.size).frame(target.kind());
    if idle.tls {
        let client = tls::Client::new()?;
        let open = |count| client.open_many(target, &idle.path, count);
        return measure(target, idle.connections, open, |connections| tls::exchange(&frame, connections));
    }
    let open = |count| opening::open_many(target, &idle.path, count, false);
    measure(target, idle.connections, open, |connections| exchange(&frame, connections))
}

fn measure<C>(
    target: &Target,
    count: usize,
    open: impl Fn(usize) -> Result<Vec<C>>,
    exchange: impl Fn(&mut [C]) -> Result<()>,
) -> Result<Report> {
    let mut warm_up = open(WARM_UP_CONNECTIONS)?;
    exchange(&mut warm_up)?;
    let before_bytes = settled_bytes(&[target.process])?;

    let mut connections = open(count)?;
    let opened_bytes = settled_bytes(&[target.process])?;
    let mut window = Window::open_now(target.process)?;
    sleep(target.window);
    let report = window.close(Instant::now(), count as u64)?;

    exchange(&mut connections)?;
    let used_bytes = settled_bytes(&[target.process])?;
    let memory = Memory { before_bytes, opened_bytes, used_bytes, connections: count as u64 };
    Ok(Report { memory: Some(memory), ..report })
}

/// One message there and back on each connection.
fn exchange(frame: &[u8], connections: &mut [Connection]) -> Result<()> {
    let tape = Tape::new(frame, 1);
    let mut poller = Poller::over(connections)?;
    let mut buffer = read_buffer();
    for connection in connections.iter_mut() {
        connection.send(&tape, 1)?;
    }
    let mut missing = connections.len();
    while missing > 0 {
        for nth in 0..poller.wait_for_any(Duration::from_secs(10))? {
            missing -= connections[poller.ready(nth)].receive(&mut buffer)?;
        }
    }
    Ok(())
}

/// The resident memory, once it no longer moves.
pub(crate) fn settled_bytes(servers: &[Process]) -> Result<u64> {
    let resident_bytes = || servers.iter().map(|server| server.resident_bytes()).sum::<Result<u64>>();
    let mut last = resident_bytes()?;
    let mut alike = 0;
    for _ in 0..SAMPLES_MAX {
        sleep(SAMPLE_EVERY);
        let now = resident_bytes()?;
        alike = if now == last { alike + 1 } else { 0 };
        last = now;
        if alike == SAMPLES_ALIKE {
            break;
        }
    }
    Ok(last)
}
