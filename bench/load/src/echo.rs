//! Echo: every connection keeps a number of messages in flight.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::connection::{Connection, Tape};
use crate::opening;
use crate::poller::{Poller, read_buffer};
use crate::report::{Latency, Report};
use crate::target::Target;
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
    /// Bytes of payload.
    pub size: usize,
}

/// Runs the workload; its unit is one message there and back.
pub fn run(target: &Target, echo: &Echo) -> Result<Report> {
    opening::check_echo(target, &echo.path, echo.size)?;
    let mut clients = Clients::open(target, echo)?;
    let mut window = Window::new(target);
    clients.begin()?;
    loop {
        let now = clients.turn()?;
        match window.advance(now, clients.echoed)? {
            Phase::WarmUp | Phase::Measuring => {}
            Phase::Opened => clients.latencies.reset(),
            Phase::Done(report) => {
                return Ok(Report { latency: Latency::from_nanoseconds(&clients.latencies), ..report });
            }
        }
    }
}

struct Clients {
    connections: Vec<Connection>,
    /// For each connection, when the messages under way were sent: a ring, oldest at the cursor.
    sent_at: Vec<Instant>,
    cursors: Vec<usize>,
    watched: Vec<bool>,
    in_flight: usize,
    tape: Tape,
    poller: Poller,
    buffer: Vec<u8>,
    latencies: Histogram<u64>,
    echoed: u64,
}

impl Clients {
    fn open(target: &Target, echo: &Echo) -> Result<Self> {
        let connections = opening::open_many(target, &echo.path, echo.connections)?;
        Ok(Self {
            sent_at: vec![Instant::now(); echo.connections * echo.in_flight],
            cursors: vec![0; echo.connections],
            watched: vec![false; echo.connections],
            in_flight: echo.in_flight,
            tape: Tape::new(target.kind(), echo.size, echo.in_flight),
            poller: Poller::over(&connections)?,
            buffer: read_buffer(),
            latencies: Histogram::new(2)?,
            echoed: 0,
            connections,
        })
    }

    fn begin(&mut self) -> Result<()> {
        self.sent_at.fill(Instant::now());
        (0..self.connections.len()).try_for_each(|index| self.send(index, self.in_flight))
    }

    /// Answers everything that is ready and returns the time afterwards.
    fn turn(&mut self) -> Result<Instant> {
        let ready = self.poller.wait_for_any(SILENCE_MAX)?;
        let mut now = Instant::now();
        for nth in 0..ready {
            let index = self.poller.ready(nth);
            let messages = self.connections[index].receive(&mut self.buffer)?;
            if messages > 0 {
                now = Instant::now();
                self.stamp(index, messages, now)?;
            }
            self.send(index, messages)?;
        }
        Ok(now)
    }

    /// Each answer frees the place of the oldest message, which the next one takes.
    fn stamp(&mut self, index: usize, messages: usize, now: Instant) -> Result<()> {
        self.echoed += messages as u64;
        for _ in 0..messages {
            let sent_at = &mut self.sent_at[index * self.in_flight + self.cursors[index]];
            self.latencies.record((now - *sent_at).as_nanos() as u64)?;
            *sent_at = now;
            self.cursors[index] = (self.cursors[index] + 1) % self.in_flight;
        }
        Ok(())
    }

    fn send(&mut self, index: usize, messages: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        connection.send(&self.tape, messages)?;
        if connection.has_unsent() != self.watched[index] {
            self.watched[index] = connection.has_unsent();
            self.poller.watch_writable(connection, index, self.watched[index])?;
        }
        Ok(())
    }
}
