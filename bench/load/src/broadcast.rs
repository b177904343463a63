//! Broadcast: one client publishes, every client of the route receives.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use crate::connection::{Connection, Tape};
use crate::content::Content;
use crate::opening;
use crate::poller::{Poller, read_buffer};
use crate::report::{Latency, Output, Report};
use crate::target::Target;
use crate::verify;
use crate::window::{Phase, Window};

const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What to publish, and to how many.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// The route whose clients receive.
    pub path: String,
    /// A route of its own for the publisher. Without it, one of the receivers publishes
    /// and receives its own message too.
    pub publisher_path: Option<String>,
    /// How many clients receive.
    pub receivers: usize,
    /// Messages published at once; the next ones follow when all have been delivered.
    pub burst: usize,
    /// What each message is made of.
    pub content: Content,
}

/// Runs the workload; its unit is one delivery.
pub fn run(target: &Target, broadcast: &Broadcast) -> Result<Report> {
    if broadcast.publisher_path.is_none() {
        verify::exchange(target, &broadcast.path, broadcast.content)?;
    }
    let mut audience = Audience::open(target, broadcast)?;
    let mut window = Window::new(target);
    let mut latencies = Histogram::<u64>::new(3)?;
    loop {
        let published = Instant::now();
        audience.publish()?;
        audience.receive_all()?;
        let now = Instant::now();
        latencies.record((now - published).as_nanos() as u64)?;
        match window.advance(now, audience.delivered)? {
            Phase::WarmUp | Phase::Measuring => {}
            Phase::Opened => latencies.reset(),
            Phase::Done(report) => {
                audience.check_each_received_all()?;
                let output = broadcast.content.deflate.then(|| audience.output(broadcast.content));
                return Ok(Report { latency: Latency::from_nanoseconds(&latencies), output, ..*report });
            }
        }
    }
}

/// All receivers and the one who publishes.
pub(crate) struct Audience {
    receivers: Vec<Connection>,
    /// `None` if the first receiver publishes.
    publisher: Option<Connection>,
    burst: usize,
    tape: Tape,
    poller: Poller,
    buffer: Vec<u8>,
    /// Messages that each receiver should have by now.
    published: u64,
    delivered: u64,
}

impl Audience {
    pub(crate) fn open(target: &Target, broadcast: &Broadcast) -> Result<Self> {
        let Broadcast { path, publisher_path, receivers, burst, content } = broadcast;
        let publisher = match publisher_path {
            Some(path) => Some(opening::open(target, path, *receivers, content.deflate)?),
            None => None,
        };
        let receivers = opening::open_many(target, path, *receivers, content.deflate)?;
        Ok(Self {
            poller: Poller::over(&receivers)?,
            receivers,
            publisher,
            burst: *burst,
            tape: Tape::new(&content.frame(target.kind()), *burst),
            buffer: read_buffer(),
            published: 0,
            delivered: 0,
        })
    }

    pub(crate) fn publish(&mut self) -> Result<()> {
        let publisher = self.publisher.as_mut().unwrap_or(&mut self.receivers[0]);
        publisher.send(&self.tape, self.burst)?;
        ensure!(!publisher.has_unsent(), "a burst of {} does not fit into the socket's buffer", self.burst);
        self.published += self.burst as u64;
        Ok(())
    }

    /// Reads until everything published has been delivered.
    pub(crate) fn receive_all(&mut self) -> Result<()> {
        while self.delivered < self.expected() {
            let ready = self.poller.wait(SILENCE_MAX)?;
            ensure!(ready > 0, "{} of {} deliveries are missing", self.expected() - self.delivered, self.expected());
            self.read_ready(ready)?;
        }
        Ok(())
    }

    /// Goes on reading for a while, for a delivery too many.
    pub(crate) fn listen_for_duplicates(&mut self, patience: Duration) -> Result<()> {
        let ready = self.poller.wait(patience)?;
        self.read_ready(ready)
    }

    /// The total can be right while one client got a message twice and another none.
    pub(crate) fn check_each_received_all(&self) -> Result<()> {
        let wrong = self.receivers.iter().filter(|receiver| receiver.received() != self.published).count();
        ensure!(wrong == 0, "{wrong} clients received another number of messages than the {} sent", self.published);
        Ok(())
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes of payload that each delivery had on the wire.
    fn output(&self, content: Content) -> Output {
        let bytes: u64 = self.receivers.iter().map(Connection::payload_bytes).sum();
        let bytes_per_message = bytes as f64 / self.delivered.max(1) as f64;
        Output { bytes_per_message, zlib_bytes: content.zlib_bytes() }
    }

    fn expected(&self) -> u64 {
        self.published * self.receivers.len() as u64
    }

    fn read_ready(&mut self, ready: usize) -> Result<()> {
        for nth in 0..ready {
            let index = self.poller.ready(nth);
            self.delivered += self.receivers[index].receive(&mut self.buffer)? as u64;
        }
        Ok(())
    }
}
