//! Handshakes: connect, upgrade, cut, again.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use rustix::io::{ioctl_fionbio, read};

use crate::opening;
use crate::poller::Poller;
use crate::report::{Latency, Report};
use crate::target::Target;
use crate::window::{Phase, Window};

const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A head arrives whole here; a server that cuts it is told so.
const HEAD_BYTES_MAX: usize = 4096;

/// What to open.
#[derive(Clone, Debug)]
pub struct Handshakes {
    /// The route to ask for.
    pub path: String,
    /// Handshakes under way at any time.
    pub in_flight: usize,
}

/// Runs the workload; its unit is one handshake, the TCP connect and the cut included.
pub fn run(target: &Target, handshakes: &Handshakes) -> Result<Report> {
    let mut poller = Poller::new()?;
    let mut attempts = Vec::with_capacity(handshakes.in_flight);
    for index in 0..handshakes.in_flight {
        attempts.push(Attempt::begin(target, handshakes, &poller, index)?);
    }
    let mut window = Window::new(target);
    let mut latencies = Histogram::<u64>::new(2)?;
    let mut completed = 0;
    loop {
        for nth in 0..poller.wait_for_any(SILENCE_MAX)? {
            let index = poller.ready(nth);
            if attempts[index].is_complete()? {
                completed += 1;
                latencies.record(attempts[index].began.elapsed().as_nanos() as u64)?;
                // The old socket is dropped, which leaves the poller and resets the connection.
                attempts[index] = Attempt::begin(target, handshakes, &poller, index)?;
            }
        }
        match window.advance(Instant::now(), completed)? {
            Phase::WarmUp | Phase::Measuring => {}
            Phase::Opened => latencies.reset(),
            Phase::Done(report) => return Ok(Report { latency: Latency::from_nanoseconds(&latencies), ..report }),
        }
    }
}

struct Attempt {
    socket: OwnedFd,
    began: Instant,
    head: [u8; HEAD_BYTES_MAX],
    length: usize,
}

impl Attempt {
    fn begin(target: &Target, handshakes: &Handshakes, poller: &Poller, index: usize) -> Result<Self> {
        let began = Instant::now();
        let socket = opening::connect_from(opening::source(0), target.address)?;
        opening::send_request(&socket, &handshakes.path, target.address)?;
        ioctl_fionbio(&socket, true)?;
        poller.add(&socket, index)?;
        Ok(Self { socket, began, head: [0; HEAD_BYTES_MAX], length: 0 })
    }

    fn is_complete(&mut self) -> Result<bool> {
        match read(&self.socket, &mut self.head[self.length..])? {
            0 => bail!("the server closed a connection instead of accepting it"),
            length => self.length += length,
        }
        Ok(opening::head_end(&self.head[..self.length])?.is_some())
    }
}
