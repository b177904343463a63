//! Echo at a fixed rate: latency as users have it, who do not wait for one another.
//!
//! Each message has an intended time. Latency counts from there, whether or not the load could
//! send then and whatever the server did to earlier messages: no coordinated omission.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::attack::{Attack, Attacker};
use crate::clients::Clients;
use crate::content::Content;
use crate::report::{Latency, Pace, Report};
use crate::target::Target;
use crate::verify;
use crate::window::{Phase, Window};

/// A load that is late looks for answers after so many messages all the same.
const SENT_AT_ONCE_MAX: usize = 64;

/// How long answers may take that are missing at the end.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// What to send, and how often.
#[derive(Clone, Debug)]
pub struct Rate {
    /// The route that echoes.
    pub path: String,
    /// Connections that take turns.
    pub connections: usize,
    /// Messages in a second, over all connections.
    pub per_second: f64,
    /// What each message is made of.
    pub content: Content,
    /// Another client, which has the server do as much as it can.
    pub attack: Option<Attack>,
}

/// Runs the workload; its unit is one message there and back.
///
/// The load never sleeps here: waking up would take longer than many an answer.
pub fn run(target: &Target, rate: &Rate) -> Result<Report> {
    verify::exchange(target, &rate.path, rate.content)?;
    let mut schedule = Schedule::open(target, rate)?;
    let mut attacker = rate.attack.map(|attack| Attacker::open(target, attack)).transpose()?;
    let mut window = Window::new(target);
    loop {
        attacker.as_mut().map_or(Ok(()), Attacker::advance)?;
        let now = Instant::now();
        schedule.send_due(now)?;
        schedule.receive()?;
        match window.advance(now, schedule.answered)? {
            Phase::WarmUp | Phase::Measuring => {}
            Phase::Opened => schedule.begin_measuring(now),
            Phase::Done(report) => {
                schedule.drain()?;
                return Ok(schedule.complete(*report, rate));
            }
        }
    }
}

struct Schedule {
    clients: Clients,
    /// For each connection, when the messages under way were to be sent, oldest first.
    intended: Vec<VecDeque<Instant>>,
    began: Instant,
    interval_ns: f64,
    sent: u64,
    answered: u64,
    /// Messages meant for an earlier time are not measured.
    measured_from: Option<Instant>,
    latencies: Histogram<u64>,
    /// How much later than intended the load itself was.
    lateness: Histogram<u64>,
}

impl Schedule {
    fn open(target: &Target, rate: &Rate) -> Result<Self> {
        Ok(Self {
            clients: Clients::open(target, &rate.path, rate.connections, rate.content, 16)?,
            intended: vec![VecDeque::with_capacity(16); rate.connections],
            began: Instant::now(),
            interval_ns: 1e9 / rate.per_second,
            sent: 0,
            answered: 0,
            measured_from: None,
            latencies: Histogram::new(3)?,
            lateness: Histogram::new(3)?,
        })
    }

    fn begin_measuring(&mut self, now: Instant) {
        self.measured_from = Some(now);
    }

    /// Sends everything whose time has come, on one connection after another.
    fn send_due(&mut self, mut now: Instant) -> Result<()> {
        for _ in 0..SENT_AT_ONCE_MAX {
            let intended = self.began + Duration::from_nanos((self.sent as f64 * self.interval_ns) as u64);
            if intended > now {
                break;
            }
            let index = (self.sent % self.intended.len() as u64) as usize;
            self.clients.send(index, 1)?;
            self.intended[index].push_back(intended);
            self.sent += 1;
            if self.is_measured(intended) {
                self.lateness.record((now - intended).as_nanos() as u64)?;
            }
            now = Instant::now();
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        for nth in 0..self.clients.poller().wait(Duration::ZERO)? {
            let index = self.clients.poller().ready(nth);
            let messages = self.clients.receive(index)?;
            let now = Instant::now();
            self.answered += messages as u64;
            for _ in 0..messages {
                if let Some(intended) = self.intended[index].pop_front().filter(|at| self.is_measured(*at)) {
                    self.latencies.record((now - intended).as_nanos() as u64)?;
                }
            }
            // What the socket did not take before.
            self.clients.send(index, 0)?;
        }
        Ok(())
    }

    fn is_measured(&self, intended: Instant) -> bool {
        self.measured_from.is_some_and(|from| intended >= from)
    }

    /// Waits for what is still under way. What does not come counts as if it came just now.
    fn drain(&mut self) -> Result<()> {
        let until = Instant::now() + DRAIN_MAX;
        while self.answered < self.sent && Instant::now() < until {
            self.receive()?;
        }
        let now = Instant::now();
        for intended in std::mem::take(&mut self.intended).into_iter().flatten() {
            if self.is_measured(intended) {
                self.latencies.record((now - intended).as_nanos() as u64)?;
            }
        }
        Ok(())
    }

    fn complete(&self, report: Report, rate: &Rate) -> Report {
        let lateness_us = self.lateness.value_at_quantile(0.99) as f64 / 1e3;
        let pace = Pace { per_second: rate.per_second, lateness_p99_us: lateness_us };
        Report { latency: Latency::from_nanoseconds(&self.latencies), pace: Some(pace), ..report }
    }
}
