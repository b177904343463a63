//! Handshakes: connect, upgrade, cut, again.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::attempt::{Asked, Attempt};
use crate::poller::Poller;
use crate::report::{Latency, Report};
use crate::target::Target;
use crate::window::{Phase, Window};

const SILENCE_MAX: Duration = Duration::from_secs(10);

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
    let asked = Asked::new(target, &handshakes.path);
    let mut attempts = Vec::with_capacity(handshakes.in_flight);
    for index in 0..handshakes.in_flight {
        attempts.push(Attempt::begin(target, &asked, &poller, 0, index)?);
    }
    let mut window = Window::new(target);
    let mut latencies = Histogram::<u64>::new(3)?;
    let mut completed = 0;
    loop {
        for nth in 0..poller.wait_for_any(SILENCE_MAX)? {
            let index = poller.ready(nth);
            if attempts[index].advance(&asked, &poller, index)? {
                completed += 1;
                latencies.record(attempts[index].elapsed().as_nanos() as u64)?;
                // The old socket is dropped, which leaves the poller and resets the connection.
                attempts[index] = Attempt::begin(target, &asked, &poller, 0, index)?;
            }
        }
        match window.advance(Instant::now(), completed)? {
            Phase::WarmUp | Phase::Measuring => {}
            Phase::Opened => latencies.reset(),
            Phase::Done(report) => return Ok(Report { latency: Latency::from_nanoseconds(&latencies), ..*report }),
        }
    }
}
