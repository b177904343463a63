//! Time of one shard: ticks of 50 ms for the connections, exact sleeps for tasks.
//!
//! No timer per connection in the host: the host asks for the next deadline of the shard.
//! A connection has at most one valid entry here; when it fires, the connection looks at
//! all of its own clocks and enters the earliest again.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::notifier::Notifier;

const TICK: Duration = Duration::from_millis(50);

/// A point in time since the shard began, in steps of 50 ms; 0 stands for "never".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Tick(u32);

impl Tick {
    pub(crate) const NEVER: Tick = Tick(0);

    pub(crate) fn is_set(self) -> bool {
        self.0 != 0
    }

    /// The tick at which `duration` will have passed in full. What never began never ends.
    pub(crate) fn after(self, duration: Duration) -> Tick {
        if !self.is_set() {
            return Tick::NEVER;
        }
        // One more, since this tick has begun already: never early, at most 100 ms late.
        let ticks = duration.as_millis().div_ceil(TICK.as_millis()) + 1;
        Tick(self.0.saturating_add(u32::try_from(ticks).unwrap_or(u32::MAX)).max(1))
    }

    /// The whole second it lies in.
    pub(crate) fn second(self) -> u32 {
        self.0 / 20
    }

    /// The earlier of two, where "never" is the latest.
    pub(crate) fn earlier(self, other: Tick) -> Tick {
        match (self.is_set(), other.is_set()) {
            (true, true) => self.min(other),
            (true, false) => self,
            _ => other,
        }
    }
}

/// Deadlines of connections, in buckets of one tick.
pub(crate) struct Timers {
    start: Instant,
    buckets: BTreeMap<Tick, Vec<u32>>,
}

impl Timers {
    pub(crate) fn new(now: Instant) -> Self {
        Timers { start: now, buckets: BTreeMap::new() }
    }

    pub(crate) fn tick(&self, now: Instant) -> Tick {
        let passed = now.saturating_duration_since(self.start).as_millis() / TICK.as_millis();
        Tick(u32::try_from(passed).unwrap_or(u32::MAX - 1).saturating_add(1))
    }

    pub(crate) fn insert(&mut self, tick: Tick, token: u32) {
        self.buckets.entry(tick).or_default().push(token);
    }

    /// Takes out one bucket that is due.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<(Tick, Vec<u32>)> {
        let entry = self.buckets.first_entry()?;
        (*entry.key() <= now).then(|| entry.remove_entry())
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        let (tick, _) = self.buckets.first_key_value()?;
        Some(self.start + TICK * tick.0.saturating_sub(1))
    }
}

/// Sleeps of tasks; `Send + Sync`, as hyper wants it.
#[derive(Clone)]
pub(crate) struct Sleeps(Arc<SleepsShared>);

struct SleepsShared {
    entries: Mutex<Entries>,
    notifier: Arc<Notifier>,
}

#[derive(Default)]
struct Entries {
    wakers: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
    now: Option<Instant>,
}

/// Ends at a given instant of the shard's clock.
pub struct Sleep {
    sleeps: Sleeps,
    deadline: Instant,
    id: Option<u64>,
}

impl Sleeps {
    pub(crate) fn new(notifier: Arc<Notifier>) -> Self {
        Sleeps(Arc::new(SleepsShared { entries: Mutex::default(), notifier }))
    }

    pub(crate) fn until(&self, deadline: Instant) -> Sleep {
        Sleep { sleeps: self.clone(), deadline, id: None }
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.entries.lock().now.unwrap_or_else(Instant::now)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.entries.lock().wakers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Sets the clock and wakes what is due.
    pub(crate) fn advance(&self, now: Instant) {
        let mut entries = self.0.entries.lock();
        entries.now = Some(now);
        let mut due = Vec::new();
        while let Some(entry) = entries.wakers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            due.push(entry.remove());
        }
        drop(entries);
        due.into_iter().for_each(Waker::wake);
    }
}

impl Sleep {
    /// When it ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves the end.
    pub fn reset(&mut self, deadline: Instant) {
        self.unregister();
        self.deadline = deadline;
    }

    fn unregister(&mut self) {
        if let Some(id) = self.id.take() {
            self.sleeps.0.entries.lock().wakers.remove(&(self.deadline, id));
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut entries = this.sleeps.0.entries.lock();
        if this.deadline <= entries.now.unwrap_or_else(Instant::now) {
            drop(entries);
            this.unregister();
            return Poll::Ready(());
        }
        let id = this.id.unwrap_or_else(|| {
            entries.next_id += 1;
            entries.next_id
        });
        this.id = Some(id);
        entries.wakers.insert((this.deadline, id), cx.waker().clone());
        drop(entries);
        // A deadline set outside a turn: the host has to look at the next timeout again.
        this.sleeps.0.notifier.notify();
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// Returns the time of a cheap clock, which is good to some milliseconds.
pub(crate) fn coarse_now() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::MonotonicCoarse;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_never_fires_before_its_duration_has_passed() {
        let start = Instant::now();
        let timers = Timers::new(start);
        for millis in [1, 49, 50, 51, 99, 100, 5000] {
            let now = start + Duration::from_millis(37);
            let due = timers.tick(now).after(Duration::from_millis(millis));
            let fires = start + TICK * (due.0 - 1);
            assert!(fires >= now + Duration::from_millis(millis), "{millis}");
        }
    }

    #[test]
    fn buckets_come_out_in_order_and_only_when_due() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let now = timers.tick(start);
        timers.insert(now.after(Duration::from_secs(2)), 2);
        timers.insert(now.after(Duration::from_secs(1)), 1);
        assert_eq!(timers.pop_due(now), None);
        let later = timers.tick(start + Duration::from_secs(3));
        assert_eq!(timers.pop_due(later).map(|(_, tokens)| tokens), Some(vec![1]));
        assert_eq!(timers.pop_due(later).map(|(_, tokens)| tokens), Some(vec![2]));
    }

    #[test]
    fn never_is_later_than_any_tick() {
        let some = Tick(7);
        assert_eq!(some.earlier(Tick::NEVER), some);
        assert_eq!(Tick::NEVER.earlier(some), some);
        assert_eq!(Tick(3).earlier(Tick(7)), Tick(3));
    }
}
