//! The time until the next attempt.

use std::time::Duration;

/// The window until a server has named one, in milliseconds.
const WINDOW: Window = Window { min: 500, max: 1500 };
const LIMIT_MAX: u64 = 30_000;
const LIMIT_BASE_MIN: u64 = 500;
/// A window that ends later than this does not count.
const WINDOW_MAX: u64 = 86_400_000;

/// The window for reconnecting that a server names, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Window {
    min: u64,
    max: u64,
}

/// Attempts since the last connection that held, and the server's window.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    window: Window,
    attempt: u32,
}

impl Window {
    /// Reads `[min, max]`; `None` if the value is not a window.
    pub(crate) fn read(value: &serde_json::Value) -> Option<Window> {
        let [min, max] = &value.as_array()?[..] else { return None };
        let (min, max) = (min.as_f64()?, max.as_f64()?);
        let is_window = min >= 0.0 && min <= max && max <= WINDOW_MAX as f64;
        is_window.then_some(Window { min: min as u64, max: max as u64 })
    }

    fn pick(self, chance: f64) -> u64 {
        self.min + ((self.max - self.min) as f64 * chance) as u64
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { window: WINDOW, attempt: 0 }
    }
}

impl Backoff {
    /// Sets the window of a welcome. Attempts are counted further until the connection holds.
    pub(crate) fn welcome(&mut self, window: Option<Window>) {
        self.window = window.unwrap_or(WINDOW);
    }

    /// Sets the window that the server names as it ends the connection.
    pub(crate) fn closing(&mut self, window: Option<Window>) {
        self.window = window.unwrap_or(self.window);
    }

    /// Counts attempts from zero: a connection has held, or the application calls `reconnect()`.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Returns the number of the coming attempt.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the time until the next attempt, and counts it. `chance` gives numbers in [0, 1).
    pub(crate) fn delay(&mut self, chance: impl Fn() -> f64) -> Duration {
        let within = self.window.pick(chance());
        let least = match self.attempt {
            0 => 0,
            attempt => {
                let base = self.window.max.max(LIMIT_BASE_MIN);
                let limit = base.saturating_mul(1 << attempt.min(16)).min(LIMIT_MAX);
                limit / 2 + ((limit - limit / 2) as f64 * chance()) as u64
            }
        };
        self.attempt = self.attempt.saturating_add(1);
        Duration::from_millis(within.max(least))
    }

    /// Returns the time until an attempt with another token, and counts it.
    pub(crate) fn delay_at_once(&mut self, chance: impl Fn() -> f64) -> Duration {
        self.attempt = self.attempt.saturating_add(1);
        Duration::from_millis(self.window.pick(chance()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_delay_is_in_the_window_and_later_ones_double_up_to_a_limit() {
        let mut backoff = Backoff::default();
        backoff.welcome(Window::read(&serde_json::json!([200, 300])));
        let delays: Vec<_> = (0..9).map(|_| backoff.delay(|| 0.5).as_millis()).collect();
        assert_eq!(delays, [250, 750, 1500, 3000, 6000, 12_000, 22_500, 22_500, 22_500]);
        backoff.reset();
        assert_eq!(backoff.delay(|| 0.0).as_millis(), 200);
        assert_eq!(backoff.delay(|| 0.0).as_millis(), 500);
    }

    #[test]
    fn a_wide_window_is_kept_in_later_attempts() {
        let mut backoff = Backoff::default();
        backoff.closing(Window::read(&serde_json::json!([0, 60_000])));
        assert_eq!((backoff.delay(|| 0.9).as_millis(), backoff.delay(|| 0.9).as_millis()), (54_000, 54_000));
    }

    #[test]
    fn what_is_not_a_window_does_not_count() {
        for text in ["[3, 1]", "[-1, 3]", "[1]", "[1, 2, 3]", "7", "[\"1\", 2]", "[0, 1e300]", "null"] {
            assert_eq!(Window::read(&serde_json::from_str(text).unwrap()), None, "{text}");
        }
    }
}
