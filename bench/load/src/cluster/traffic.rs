//! One publishes at a fixed rate, all clients of both nodes receive: what a delivery costs both
//! nodes together, what is lost, twice or in disorder, and how long it takes over the broker.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::cluster::Nodes;
use crate::cluster::protocol::Protocol;
use crate::cluster::publisher::Publisher;
use crate::cluster::room::{Delivery, Room};
use crate::cluster::tally::Tally;
use crate::report::{Deliveries, Latency, Pace, Report};
use crate::window::{Phase, Window};

/// How long deliveries may take that are missing at the end.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// The window is looked at so often at least.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What to publish, and to how many.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// What the server speaks.
    pub protocol: Protocol,
    /// Clients on each of the nodes.
    pub on_each: usize,
    /// Messages in a second.
    pub per_second: f64,
    /// Bytes of each message.
    pub size: usize,
}

/// Runs the workload; its unit is one delivery, and its latency that of clients of the other node,
/// from the time at which the message was to be sent.
///
/// The load sleeps here: nodes, broker and load share the cores.
pub fn run(nodes: &Nodes, traffic: &Traffic) -> Result<Report> {
    let mut room = Room::open(nodes, traffic.protocol, traffic.on_each, traffic.size, 0)?;
    let mut window = Window::over(nodes);
    let mut record = Record::new()?;
    room.publisher.begin(traffic.per_second);
    loop {
        let now = Instant::now();
        room.publisher.send_due(now)?;
        let patience = room.publisher.due_in(now).min(LOOK_EVERY);
        record.receive(&mut room, patience)?;
        match window.advance(Instant::now(), room.delivered())? {
            Phase::WarmUp | Phase::Measuring => {}
            Phase::Opened => record.begin(&mut room),
            Phase::Done(report) => {
                record.drain(&mut room)?;
                return Ok(record.complete(*report, traffic, &room.publisher));
            }
        }
    }
}

/// What is counted, once the window is open.
struct Record {
    /// One for each client; none before.
    tallies: Vec<Tally>,
    /// The first message that counts.
    from: u64,
    latencies: Histogram<u64>,
}

impl Record {
    fn new() -> Result<Self> {
        Ok(Self { tallies: Vec::new(), from: u64::MAX, latencies: Histogram::new(3)? })
    }

    fn begin(&mut self, room: &mut Room) {
        self.from = room.publisher.sent();
        self.tallies = vec![Tally::new(self.from); room.len()];
        room.publisher.begin_measuring();
    }

    fn receive(&mut self, room: &mut Room, patience: Duration) -> Result<()> {
        let Self { tallies, from, latencies } = self;
        room.receive(patience, |publisher, Delivery { member, crossed, number, at }| {
            if number < *from {
                return Ok(());
            }
            tallies[member].add(number);
            if crossed {
                latencies.record(at.saturating_duration_since(publisher.intended(number)).as_nanos() as u64)?;
            }
            Ok(())
        })
    }

    /// Waits for what is still under way.
    fn drain(&mut self, room: &mut Room) -> Result<()> {
        room.publisher.end();
        let (until, end) = (Instant::now() + DRAIN_MAX, room.publisher.sent());
        while Instant::now() < until && !self.tallies.iter().all(|tally| tally.has_all_below(end)) {
            self.receive(room, LOOK_EVERY)?;
        }
        Ok(())
    }

    fn complete(&self, report: Report, traffic: &Traffic, publisher: &Publisher) -> Report {
        let pace = Pace { per_second: traffic.per_second, lateness_p99_us: publisher.lateness_p99_us() };
        Report {
            latency: Latency::from_nanoseconds(&self.latencies),
            pace: Some(pace),
            deliveries: Some(Deliveries::sum(self.tallies.iter().map(|tally| tally.deliveries(publisher.sent())))),
            ..report
        }
    }
}
