//! The measured window: warm-up, then a start and an end at which the kernel is asked.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::Nodes;
use crate::process::{Process, machine_cpu_ns};
use crate::report::Report;
use crate::target::Target;

/// Decides when measuring starts and ends.
pub(crate) struct Window {
    servers: Vec<Process>,
    /// Counted apart.
    broker: Option<Process>,
    opens: Instant,
    length: Duration,
    start: Option<Start>,
}

struct Start {
    at: Instant,
    units: u64,
    server_cpu_ns: u64,
    broker_cpu_ns: Option<u64>,
    load_cpu_ns: u64,
    machine_cpu_ns: Option<u64>,
}

/// Where a run stands.
pub(crate) enum Phase {
    WarmUp,
    /// The window has opened just now: samples of before are void.
    Opened,
    Measuring,
    Done(Box<Report>),
}

impl Window {
    pub(crate) fn new(target: &Target) -> Self {
        Self {
            servers: vec![target.process],
            broker: None,
            opens: Instant::now() + target.warm_up,
            length: target.window,
            start: None,
        }
    }

    /// A window over both nodes together, and the broker apart.
    pub(crate) fn over(nodes: &Nodes) -> Self {
        Self { servers: nodes.processes(), broker: Some(nodes.broker), ..Self::new(&nodes.nodes[0]) }
    }

    /// A window that opens at once, for a load that ends by itself.
    pub(crate) fn open_now(server: Process) -> Result<Self> {
        let window =
            Self { servers: vec![server], broker: None, opens: Instant::now(), length: Duration::MAX, start: None };
        window.opened()
    }

    /// The same over both nodes.
    pub(crate) fn open_now_over(nodes: &Nodes) -> Result<Self> {
        Self { length: Duration::MAX, ..Self::over(nodes) }.opened()
    }

    /// Moves on, with the clock and the units counted so far.
    pub(crate) fn advance(&mut self, now: Instant, units: u64) -> Result<Phase> {
        match &self.start {
            None if now < self.opens => Ok(Phase::WarmUp),
            None => self.open(now, units).map(|()| Phase::Opened),
            Some(start) if now - start.at < self.length => Ok(Phase::Measuring),
            Some(_) => self.close(now, units).map(|report| Phase::Done(Box::new(report))),
        }
    }

    /// Ends the window and reports what happened within.
    pub(crate) fn close(&mut self, now: Instant, units: u64) -> Result<Report> {
        let Some(start) = self.start.take() else { return Ok(Report::default()) };
        let server_cpu_ns = self.server_cpu_ns()? - start.server_cpu_ns;
        let broker_cpu_ns = self.broker_cpu_ns()?.zip(start.broker_cpu_ns).map(|(end, start)| end - start);
        let load_cpu_ns = Process::current().cpu_ns()? - start.load_cpu_ns;
        let machine_cpu_ns = machine_cpu_ns().zip(start.machine_cpu_ns).map(|(end, start)| end - start);
        let known_cpu_ns = server_cpu_ns + broker_cpu_ns.unwrap_or(0) + load_cpu_ns;
        Ok(Report {
            units: units - start.units,
            seconds: (now - start.at).as_secs_f64(),
            server_cpu_ns,
            load_cpu_ns,
            others_cpu_ns: machine_cpu_ns.map(|machine| machine.saturating_sub(known_cpu_ns)),
            broker_cpu_ns,
            ..Report::default()
        })
    }

    fn opened(mut self) -> Result<Self> {
        self.open(Instant::now(), 0)?;
        Ok(self)
    }

    fn open(&mut self, at: Instant, units: u64) -> Result<()> {
        self.start = Some(Start {
            at,
            units,
            server_cpu_ns: self.server_cpu_ns()?,
            broker_cpu_ns: self.broker_cpu_ns()?,
            load_cpu_ns: Process::current().cpu_ns()?,
            machine_cpu_ns: machine_cpu_ns(),
        });
        Ok(())
    }

    fn server_cpu_ns(&self) -> Result<u64> {
        self.servers.iter().map(|server| server.cpu_ns()).sum()
    }

    fn broker_cpu_ns(&self) -> Result<Option<u64>> {
        self.broker.map(Process::cpu_ns).transpose()
    }
}
