//! Echo: every connection keeps a number of messages in flight.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::clients::Clients;
use crate::content::Content;
use crate::report::{Latency, Output, Report};
use crate::target::Target;
use crate::verify;
use crate::window::{Phase, Window};

const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What to send.
#[derive(Clone, Debug)]
pub struct Echo {
    /// The route that echoes.
    pub path: String,
    /// How many connections send at the same time.
    pub connections: usize,
    /// Messages that each connection has under way at any time.
    pub in_flight: usize,
    /// What each message is made of.
    pub content: Content,
}

/// Runs the workload; its unit is one message there and back.
pub fn run(target: &Target, echo: &Echo) -> Result<Report> {
    verify::exchange(target, &echo.path, echo.content)?;
    let mut echoes = Echoes::open(target, echo)?;
    let mut window = Window::new(target);
    echoes.begin()?;
    loop {
        let now = echoes.turn()?;
        match window.advance(now, echoes.echoed)? {
            Phase::WarmUp | Phase::Measuring => {}
            Phase::Opened => echoes.latencies.reset(),
            Phase::Done(report) => return Ok(echoes.complete(*report, echo.content)),
        }
    }
}

struct Echoes {
    clients: Clients,
    /// For each connection, the messages under way, oldest first.
    under_way: Vec<VecDeque<Batch>>,
    in_flight: usize,
    latencies: Histogram<u64>,
    echoed: u64,
}

/// Messages that went out together.
struct Batch {
    sent_at: Instant,
    messages: usize,
}

impl Echoes {
    fn open(target: &Target, echo: &Echo) -> Result<Self> {
        Ok(Self {
            clients: Clients::open(target, &echo.path, echo.connections, echo.content, echo.in_flight)?,
            under_way: (0..echo.connections).map(|_| VecDeque::with_capacity(4)).collect(),
            in_flight: echo.in_flight,
            latencies: Histogram::new(3)?,
            echoed: 0,
        })
    }

    fn begin(&mut self) -> Result<()> {
        (0..self.under_way.len()).try_for_each(|index| self.send(index, self.in_flight, Instant::now()))
    }

    /// Answers everything that is ready and returns the time afterwards.
    fn turn(&mut self) -> Result<Instant> {
        let ready = self.clients.poller().wait_for_any(SILENCE_MAX)?;
        let mut now = Instant::now();
        for nth in 0..ready {
            let index = self.clients.poller().ready(nth);
            let messages = self.clients.receive(index)?;
            if messages > 0 {
                now = Instant::now();
                self.record(index, messages, now)?;
            }
            self.send(index, messages, now)?;
        }
        Ok(now)
    }

    fn record(&mut self, index: usize, mut messages: usize, now: Instant) -> Result<()> {
        self.echoed += messages as u64;
        while let Some(batch) = self.under_way[index].front_mut() {
            let answered = messages.min(batch.messages);
            self.latencies.record_n((now - batch.sent_at).as_nanos() as u64, answered as u64)?;
            batch.messages -= answered;
            messages -= answered;
            if batch.messages > 0 {
                break;
            }
            self.under_way[index].pop_front();
        }
        Ok(())
    }

    fn send(&mut self, index: usize, messages: usize, now: Instant) -> Result<()> {
        if messages > 0 {
            self.under_way[index].push_back(Batch { sent_at: now, messages });
        }
        self.clients.send(index, messages)
    }

    fn complete(&self, report: Report, content: Content) -> Report {
        let output = content.deflate.then(|| Output {
            bytes_per_message: self.clients.payload_bytes_per_message(),
            zlib_bytes: content.zlib_bytes(),
        });
        Report { latency: Latency::from_nanoseconds(&self.latencies), output, ..report }
    }
}
