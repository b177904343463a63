//! The end: what a framed client is told before the Close frame, and when it may come back.

use std::time::Duration;

use nexios_protocol::CloseCode;

use super::frame::{NUMBER_MAX, ServerFrame};
use super::opening::NO_HELLO;
use crate::audience::switchboard::Switchboard;
use crate::routing::rate_limit::Limiter;
use crate::routing::route::BuiltRoute;

/// How many clients come back in a second after a restart, about.
const RETURNS_PER_SECOND: u64 = 1000;
/// After 1013 a client stays away for so long at least.
const TRY_AGAIN_LATER_MS: u64 = 10_000;

/// How long joins and publishes of a fresh connection wait for its handler, if not set.
pub(crate) const HOLD_TIMEOUT: Duration = Duration::from_secs(1);

/// When clients come back after an unexpected end: after a random time within this window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Retry {
    min: Duration,
    max: Duration,
}

impl Retry {
    /// A window; one that ends before it begins is a moment.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Retry { min, max: max.max(min) }
    }

    /// Its ends in milliseconds.
    pub(crate) fn window_ms(&self) -> [u64; 2] {
        [self.min, self.max].map(milliseconds)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Retry::new(Duration::from_millis(100), Duration::from_secs(2))
    }
}

/// A time as a frame has it.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(NUMBER_MAX)
}

/// Returns the frame before our Close frame. Without a window the client does not come back by itself. Where all are
/// sent away at once, the window is wide enough for all of them. `None` where a message of the client is at fault: the
/// code alone says that the client comes back without it.
pub(crate) fn farewell(switchboard: &Switchboard, route: &BuiltRoute, code: CloseCode, reason: &str) -> Option<String> {
    let [min, max] = route.retry.window_ms();
    let retry_ms = match code {
        CloseCode::GOING_AWAY | CloseCode::SERVICE_RESTART => {
            let all = u64::try_from(switchboard.connections()).unwrap_or(u64::MAX);
            Some([min, max.max(min.saturating_add(all.saturating_mul(1000) / RETURNS_PER_SECOND))])
        }
        CloseCode::TRY_AGAIN_LATER => Some([TRY_AGAIN_LATER_MS.max(min), TRY_AGAIN_LATER_MS.saturating_add(max)]),
        CloseCode::INTERNAL_ERROR | CloseCode::BAD_GATEWAY => Some([min, max]),
        CloseCode::POLICY_VIOLATION if [Limiter::REASON, NO_HELLO].contains(&reason) => Some([min, max]),
        CloseCode::PROTOCOL_ERROR
        | CloseCode::UNSUPPORTED_DATA
        | CloseCode::INVALID_PAYLOAD
        | CloseCode::MESSAGE_TOO_BIG => return None,
        _ => None,
    };
    Some(ServerFrame::Closing { code: code.get(), reason, retry_ms }.to_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_two_ends_in_order() {
        let window = |min, max| Retry::new(Duration::from_secs(min), Duration::from_secs(max)).window_ms();
        assert_eq!(window(1, 5), [1000, 5000]);
        assert_eq!(window(5, 1), [5000, 5000]);
        assert_eq!(Retry::new(Duration::ZERO, Duration::MAX).window_ms(), [0, (1 << 53) - 1]);
    }
}
