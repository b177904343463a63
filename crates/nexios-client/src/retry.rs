//! When a client comes back: full jitter, in the window that the server has given.

use std::ops::RangeInclusive;
use std::time::Duration;

const LIMIT_MIN: Duration = Duration::from_secs(1);
const LIMIT_MAX: Duration = Duration::from_secs(30);
/// What "try again later" (1013) is worth.
const LATER: Duration = Duration::from_secs(10);
/// Where the server has said nothing.
const WINDOW: RangeInclusive<u64> = 0..=1000;

/// Attempts since the last welcome, and the server's window for the first of them.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    window_ms: RangeInclusive<u64>,
    attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { window_ms: WINDOW, attempts: 0 }
    }
}

/// Whether a connection that ended with this code is worth another.
pub(crate) fn is_worth_another(code: u16) -> bool {
    matches!(code, 1001 | 1005 | 1006 | 1011..=1014)
}

impl Retry {
    /// The server is there.
    pub(crate) fn welcome(&mut self, (min, max): (u64, u64)) {
        *self = Retry { window_ms: min..=max.max(min), attempts: 0 };
    }

    /// The server ends the connection and says when to come back.
    pub(crate) fn closing(&mut self, (min, max): (u64, u64)) {
        self.window_ms = min..=max.max(min);
    }

    /// How long to wait before the next attempt, after this close code.
    pub(crate) fn wait(&mut self, code: u16) -> Duration {
        let attempts = self.attempts;
        self.attempts = attempts.saturating_add(1);
        let wait = match attempts {
            0 => Duration::from_millis(fastrand::u64(self.window_ms.clone())),
            _ => LIMIT_MIN.saturating_mul(1 << attempts.min(10)).min(LIMIT_MAX).mul_f64(fastrand::f64()),
        };
        if code == 1013 { wait.max(LATER) } else { wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_comes_in_the_servers_window_and_later_ones_below_a_limit() {
        for _ in 0..100 {
            let mut retry = Retry::default();
            retry.welcome((200, 300));
            assert!((200..=300).contains(&retry.wait(1006).as_millis()));
            assert!(retry.wait(1006) <= LIMIT_MIN * 2);
            for _ in 0..20 {
                assert!(retry.wait(1006) <= LIMIT_MAX);
            }
            retry.welcome((0, 0));
            assert_eq!(retry.wait(1012), Duration::ZERO);
            retry.welcome((0, 0));
            assert_eq!(retry.wait(1013), LATER);
        }
    }

    #[test]
    fn a_window_that_is_none_does_no_harm() {
        let mut retry = Retry::default();
        retry.closing((500, 100));
        assert_eq!(retry.wait(1012), Duration::from_millis(500));
    }
}
