//! How long a connection of plain HTTP is waited for: it has to go on, and not only by a byte a minute.

use std::time::{Duration, Instant};

/// Patience with one direction of a connection. It runs out while the server waits for the client, and comes back with
/// every byte that moves: a second for each `bytes_per_second_min`, up to what it was at first.
#[derive(Debug)]
pub(crate) struct Patience {
    left: Duration,
    max: Duration,
    bytes_per_second_min: usize,
    waits_since: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(max: Duration, bytes_per_second_min: usize) -> Self {
        Patience { left: max, max, bytes_per_second_min, waits_since: None }
    }

    /// The server waits for the client from now on, or still does.
    pub(crate) fn waits(&mut self, now: Instant) {
        self.waits_since.get_or_insert(now);
    }

    /// The server waits no longer: something has come, or is to be done first.
    pub(crate) fn rests(&mut self, now: Instant) {
        if let Some(since) = self.waits_since.take() {
            self.left = self.left.saturating_sub(now.saturating_duration_since(since));
        }
    }

    /// The client has sent or taken bytes that count.
    pub(crate) fn gains(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let gained = match self.bytes_per_second_min {
            0 => self.max,
            rate => Duration::from_millis(u64::try_from(bytes.saturating_mul(1000) / rate).unwrap_or(u64::MAX)),
        };
        self.left = self.left.saturating_add(gained).min(self.max);
    }

    /// Starts over: with another request.
    pub(crate) fn renews(&mut self) {
        self.left = self.max;
        self.waits_since = None;
    }

    /// Returns when it ends; `None` while nobody waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waits_since.map(|since| since + self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_ends_while_nothing_moves() {
        let (mut patience, start) = (Patience::new(30 * SECOND, 100), Instant::now());
        assert_eq!(patience.deadline(), None);
        patience.waits(start);
        patience.waits(start + 5 * SECOND);
        assert_eq!(patience.deadline(), Some(start + 30 * SECOND));
        patience.rests(start + 10 * SECOND);
        assert_eq!(patience.deadline(), None);
        patience.waits(start + 60 * SECOND);
        assert_eq!(patience.deadline(), Some(start + 80 * SECOND));
    }

    #[test]
    fn a_byte_now_and_then_does_not_help_and_the_least_rate_does() {
        let begun = Instant::now();
        for (rate, lives) in [(1_usize, false), (99, false), (100, true), (1_000_000, true)] {
            let (mut patience, mut now) = (Patience::new(30 * SECOND, 100), begun);
            let mut is_alive = true;
            for _ in 0..10_000 {
                patience.waits(now);
                now += SECOND;
                is_alive &= patience.deadline().unwrap() >= now;
                patience.rests(now);
                patience.gains(rate);
            }
            assert_eq!(is_alive, lives, "{rate}");
        }
    }

    #[test]
    fn what_was_sent_at_once_is_no_credit_for_hours() {
        let (mut patience, start) = (Patience::new(30 * SECOND, 100), Instant::now());
        patience.gains(1 << 40);
        patience.gains(usize::MAX);
        patience.waits(start);
        assert_eq!(patience.deadline(), Some(start + 30 * SECOND));
    }
}
