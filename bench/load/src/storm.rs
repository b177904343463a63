//! Reconnect storm: all connections are cut at once, and all come back at once.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::attempt::{Asked, Attempt};
use crate::opening;
use crate::poller::Poller;
use crate::report::{Latency, Report};
use crate::target::Target;
use crate::window::Window;

/// A connect that the server's full backlog turned away is tried again by the kernel after
/// one second, then after two more, and so on.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Between two storms, in which the server comes to rest.
const REST: Duration = Duration::from_millis(100);

/// Storms that are always done, however long the first takes.
const STORMS_MIN: usize = 2;

/// Who comes back.
#[derive(Clone, Debug)]
pub struct Storm {
    /// The route to ask for.
    pub path: String,
    /// How many connections are cut and come back.
    pub connections: usize,
}

/// Runs the workload; its unit is one connection that came back, the end of its predecessor
/// included, and its latency the time from a cut until it is back.
pub fn run(target: &Target, storm: &Storm) -> Result<Report> {
    let asked = Asked::new(target, &storm.path);
    // One after another, as on a quiet day.
    let quiet = opening::open_many(target, &storm.path, storm.connections, false)?;
    let mut window = Window::open_now(target.process)?;
    let started = Instant::now();
    let mut latencies = Histogram::<u64>::new(3)?;
    let mut recoveries_ms = Vec::new();

    let mut connected = strike(target, &asked, storm.connections, quiet, &mut latencies, &mut recoveries_ms)?;
    while recoveries_ms.len() < STORMS_MIN || started.elapsed() < target.window {
        sleep(REST);
        connected = strike(target, &asked, storm.connections, connected, &mut latencies, &mut recoveries_ms)?;
    }
    let report = window.close(Instant::now(), (recoveries_ms.len() * storm.connections) as u64)?;
    Ok(Report { latency: Latency::from_nanoseconds(&latencies), recoveries_ms, ..report })
}

/// Cuts what is open and brings as many back.
fn strike<T>(
    target: &Target,
    asked: &Asked,
    count: usize,
    cut: Vec<T>,
    latencies: &mut Histogram<u64>,
    recoveries_ms: &mut Vec<f64>,
) -> Result<Vec<Attempt>> {
    let mut poller = Poller::new()?;
    let began = Instant::now();
    drop(cut);
    let mut attempts = Vec::with_capacity(count);
    for index in 0..count {
        attempts.push(Attempt::begin(target, asked, &poller, index, index)?);
    }
    let mut missing = count;
    while missing > 0 {
        for nth in 0..poller.wait_for_any(SILENCE_MAX)? {
            let index = poller.ready(nth);
            if attempts[index].advance(asked, &poller, index)? {
                latencies.record(began.elapsed().as_nanos() as u64)?;
                missing -= 1;
            }
        }
    }
    recoveries_ms.push(began.elapsed().as_secs_f64() * 1e3);
    Ok(attempts)
}
