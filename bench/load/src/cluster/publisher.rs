//! One who publishes numbered messages at fixed times, whatever becomes of them.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::cluster::member::Member;
use crate::cluster::numbered;
use crate::cluster::protocol::Protocol;
use crate::target::Target;

/// A publisher that is late looks for answers after so many messages all the same.
const SENT_AT_ONCE_MAX: u64 = 64;

/// A client of one node, and its schedule.
pub(crate) struct Publisher {
    member: Member,
    protocol: Protocol,
    size: usize,
    schedule: Schedule,
    publishes: bool,
    /// Messages that are sent, which is the number of the next.
    sent: u64,
    /// How much later than intended they were.
    lateness: Histogram<u64>,
}

impl Publisher {
    /// Connects as the `index`th client; [`Self::begin`] starts the clock.
    pub(crate) fn open(node: &Target, protocol: Protocol, path: &str, index: usize, size: usize) -> Result<Self> {
        Ok(Self {
            member: Member::open(node, protocol, path, index)?,
            protocol,
            size,
            schedule: Schedule::new(1.0),
            publishes: false,
            sent: 0,
            lateness: Histogram::new(3)?,
        })
    }

    pub(crate) fn begin(&mut self, per_second: f64) {
        self.schedule = Schedule::new(per_second);
        self.publishes = true;
    }

    pub(crate) fn end(&mut self) {
        self.publishes = false;
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn member(&mut self) -> &mut Member {
        &mut self.member
    }

    /// When the message with this number was to be sent.
    pub(crate) fn intended(&self, number: u64) -> Instant {
        self.schedule.at(number)
    }

    /// How long it is until the next message is due.
    pub(crate) fn due_in(&self, now: Instant) -> Duration {
        self.intended(self.sent).saturating_duration_since(now)
    }

    /// Sends everything whose time has come, and what the socket did not take before.
    pub(crate) fn send_due(&mut self, now: Instant) -> Result<()> {
        for _ in 0..SENT_AT_ONCE_MAX {
            let due = self.intended(self.sent);
            if !self.publishes || due > now {
                break;
            }
            self.send_now()?;
            self.lateness.record((now - due).as_nanos() as u64)?;
        }
        self.member.flush()
    }

    /// Sends one message beside the schedule.
    pub(crate) fn send_now(&mut self) -> Result<()> {
        self.member.send(&self.protocol.publish(&numbered::payload(self.sent, self.size)))?;
        self.sent += 1;
        Ok(())
    }

    /// Forgets how late it was.
    pub(crate) fn begin_measuring(&mut self) {
        self.lateness.reset();
    }

    pub(crate) fn lateness_p99_us(&self) -> f64 {
        self.lateness.value_at_quantile(0.99) as f64 / 1e3
    }
}

/// Points in time at one distance.
struct Schedule {
    began: Instant,
    interval_ns: f64,
}

impl Schedule {
    fn new(per_second: f64) -> Self {
        Self { began: Instant::now(), interval_ns: 1e9 / per_second }
    }

    fn at(&self, number: u64) -> Instant {
        self.began + Duration::from_nanos((number as f64 * self.interval_ns) as u64)
    }
}
