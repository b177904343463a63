//! The clock of a connection: its own deadline, and the timer entry that looks at all of its deadlines.

use std::time::Duration;

use crate::timer::Tick;

/// Points in time that matter to an idle connection, too; what matters only while messages or output are under way is
/// in [`Busy`](super::Busy).
#[derive(Default)]
pub(crate) struct Clock {
    /// The timer entry that counts.
    armed: Tick,
    /// While it is connected: the next ping, or the end of patience for its pong. Else the
    /// phase's own deadline: head, accept, close.
    due: Tick,
}

impl Clock {
    pub(crate) fn new(now: Tick, head_timeout: Duration) -> Self {
        Clock { due: now.after(head_timeout), ..Clock::default() }
    }

    /// Returns the connection's own deadline.
    pub(super) fn due(&self) -> Tick {
        self.due
    }

    pub(super) fn set_due(&mut self, due: Tick) {
        self.due = due;
    }

    /// Takes the connection's own deadline away.
    pub(super) fn stop(&mut self) {
        self.due = Tick::NEVER;
    }

    /// A timer entry fired. Returns true if it is the one that counts, which is then spent.
    pub(super) fn fire(&mut self, entry: Tick) -> bool {
        let counts = self.armed == entry;
        if counts {
            self.armed = Tick::NEVER;
        }
        counts
    }

    /// Returns true if the next deadline needs a timer entry of its own: no earlier one will look at it.
    pub(super) fn arm(&mut self, next: Tick) -> bool {
        let is_earlier = next.is_set() && (!self.armed.is_set() || next < self.armed);
        if is_earlier {
            self.armed = next;
        }
        is_earlier
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::timer::Timers;

    #[test]
    fn only_an_earlier_deadline_needs_another_entry_and_only_the_last_entry_counts() {
        let start = Instant::now();
        let second = |n: u64| Timers::new(start).tick(start).after(Duration::from_secs(n));
        let mut clock = Clock::default();
        assert!(!clock.arm(Tick::NEVER));
        assert!(clock.arm(second(9)) && !clock.arm(second(9)) && clock.arm(second(3)));
        assert!(!clock.fire(second(9)) && clock.fire(second(3)) && !clock.fire(second(3)));
        assert!(clock.arm(second(9)));
    }
}
