//! The measured window: warm-up, then a start and an end at which the kernel is asked.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::{Process, machine_cpu_ns};
use crate::report::Report;
use crate::target::Target;

/// Decides when measuring starts and ends.
pub(crate) struct Window {
    server: Process,
    opens: Instant,
    length: Duration,
    start: Option<Start>,
}

struct Start {
    at: Instant,
    units: u64,
    server_cpu_ns: u64,
    load_cpu_ns: u64,
    machine_cpu_ns: Option<u64>,
}

/// Where a run stands.
pub(crate) enum Phase {
    WarmUp,
    /// The window has opened just now: samples of before are void.
    Opened,
    Measuring,
    Done(Report),
}

impl Window {
    pub(crate) fn new(target: &Target) -> Self {
        Self { server: target.process, opens: Instant::now() + target.warm_up, length: target.window, start: None }
    }

    /// A window that opens at once, for a load that ends by itself.
    pub(crate) fn open_now(server: Process) -> Result<Self> {
        let now = Instant::now();
        let mut window = Self { server, opens: now, length: Duration::MAX, start: None };
        window.open(now, 0)?;
        Ok(window)
    }

    /// Moves on, with the clock and the units counted so far.
    pub(crate) fn advance(&mut self, now: Instant, units: u64) -> Result<Phase> {
        match &self.start {
            None if now < self.opens => Ok(Phase::WarmUp),
            None => self.open(now, units).map(|()| Phase::Opened),
            Some(start) if now - start.at < self.length => Ok(Phase::Measuring),
            Some(_) => self.close(now, units).map(Phase::Done),
        }
    }

    /// Ends the window and reports what happened within.
    pub(crate) fn close(&mut self, now: Instant, units: u64) -> Result<Report> {
        let Some(start) = self.start.take() else { return Ok(Report::default()) };
        let server_cpu_ns = self.server.cpu_ns()? - start.server_cpu_ns;
        let load_cpu_ns = Process::current().cpu_ns()? - start.load_cpu_ns;
        let machine_cpu_ns = machine_cpu_ns().zip(start.machine_cpu_ns).map(|(end, start)| end - start);
        Ok(Report {
            units: units - start.units,
            seconds: (now - start.at).as_secs_f64(),
            server_cpu_ns,
            load_cpu_ns,
            others_cpu_ns: machine_cpu_ns.map(|machine| machine.saturating_sub(server_cpu_ns + load_cpu_ns)),
            ..Report::default()
        })
    }

    fn open(&mut self, at: Instant, units: u64) -> Result<()> {
        let server_cpu_ns = self.server.cpu_ns()?;
        let load_cpu_ns = Process::current().cpu_ns()?;
        self.start = Some(Start { at, units, server_cpu_ns, load_cpu_ns, machine_cpu_ns: machine_cpu_ns() });
        Ok(())
    }
}
