//! An outage: the time from the end of a session until another was of use for a while.
//!
//! A server can be connected to and be of no use: it was the master and is a replica now, it wants another
//! password, it hangs up at once. So the delay between attempts grows until a session has held, members hear of a
//! gap only from a session that lives for a moment, and each reason is in the log once.

use std::time::Duration;

use nexios_protocol::escaped;
use tokio::time::{Instant, sleep};

use crate::engines::link::LinkError;
use crate::node::patience::PATIENCE;

const DELAY_MIN: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(2);
/// A session that lives for so long was of use: with its end another outage begins.
const HELD_AFTER: Duration = Duration::from_secs(10);
/// How long a session has to live before members hear of it, where the one before was of no use.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(2);
/// From one line about messages that are refused to the next with the same reason.
const COMPLAINED_EVERY: Duration = Duration::from_secs(60);
/// Reasons of one outage that are logged.
const REASONS_MAX: usize = 8;

/// What a node knows of an outage.
pub(crate) struct Outage {
    delay: Duration,
    /// The session before this one was of no use.
    is_doubted: bool,
    /// Since when servers have answered, and each was of no use.
    useless_since: Option<Instant>,
    logged: Vec<String>,
    /// It is in the log that messages are refused.
    is_refusing: bool,
}

impl Default for Outage {
    fn default() -> Self {
        Outage { delay: DELAY_MIN, is_doubted: false, useless_since: None, logged: Vec::new(), is_refusing: false }
    }
}

impl Outage {
    /// Takes note of the end of a session that was begun at this time.
    pub(crate) fn session_ended(&mut self, begun: Instant, error: &LinkError) {
        let has_held = begun.elapsed() >= HELD_AFTER;
        if has_held {
            *self = Outage::default();
        }
        self.is_doubted = !(has_held || self.is_first()) || !matches!(error, LinkError::Lost(_));
        self.useless_since = None;
        if self.is_new(error) {
            tracing::warn!(reason = %escaped(error), "the broker is lost; clients here get what is sent here");
        }
    }

    /// No attempt was made since a session has held.
    fn is_first(&self) -> bool {
        self.delay == DELAY_MIN
    }

    /// Returns for how long a session has to live before it is announced.
    pub(crate) fn announced_after(&self) -> Duration {
        if self.is_doubted { ANNOUNCED_AFTER } else { Duration::ZERO }
    }

    /// Waits until the next attempt.
    pub(crate) async fn wait(&mut self) {
        sleep(self.delay.mul_f32(0.5 + fastrand::f32() / 2.0)).await;
        self.delay = (self.delay * 2).min(DELAY_MAX);
    }

    /// Takes note of an attempt that has failed; returns the reason for which what waits is refused, if it is.
    pub(crate) fn attempt_failed(&mut self, error: &LinkError) -> Option<String> {
        // A server that is not there may come, with all that it had: that is waited for.
        if matches!(error, LinkError::Lost(_) | LinkError::Later(_)) {
            self.useless_since = None;
            if self.is_new(error) {
                tracing::warn!(reason = %escaped(error), "the broker is not there; it is looked for again");
            }
            return None;
        }
        if self.is_new(error) {
            // Somebody has to do something about it.
            tracing::error!(reason = %escaped(error), "the broker refuses the connection; it is asked again");
        }
        let since = *self.useless_since.get_or_insert_with(Instant::now);
        (since.elapsed() >= PATIENCE).then(|| error.to_string())
    }

    /// Takes note that messages are refused; returns true if that is not in the log yet.
    pub(crate) fn refuses(&mut self) -> bool {
        !std::mem::replace(&mut self.is_refusing, true)
    }

    fn is_new(&mut self, error: &LinkError) -> bool {
        let reason = error.to_string();
        let is_new = self.logged.len() < REASONS_MAX && !self.logged.contains(&reason);
        if is_new {
            self.logged.push(reason);
        }
        is_new
    }
}

/// Reasons for which the broker has refused messages, so that each is in the log once in a while.
#[derive(Default)]
pub(crate) struct Complaints(Vec<(String, Instant)>);

impl Complaints {
    /// Returns true if this reason was not logged for long.
    pub(crate) fn is_due(&mut self, reason: String) -> bool {
        let now = Instant::now();
        self.0.retain(|(_, logged)| now.saturating_duration_since(*logged) < COMPLAINED_EVERY);
        let is_due = self.0.len() < REASONS_MAX && !self.0.iter().any(|(known, _)| *known == reason);
        if is_due {
            self.0.push((reason, now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> LinkError {
        LinkError::Lost("cut".to_owned())
    }

    fn replica() -> LinkError {
        LinkError::Elsewhere("a replica".to_owned())
    }

    /// The time that an attempt waits at least.
    fn least(outage: &Outage) -> Duration {
        outage.delay / 2
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_begin_at_the_least_delay_again_only_after_a_session_has_held() {
        let mut outage = Outage::default();
        for _ in 0..20 {
            let begun = Instant::now();
            sleep(HELD_AFTER / 2).await;
            outage.session_ended(begun, &lost());
            outage.wait().await;
        }
        assert_eq!(least(&outage), DELAY_MAX / 2);
        let begun = Instant::now();
        sleep(HELD_AFTER).await;
        outage.session_ended(begun, &lost());
        assert_eq!(least(&outage), DELAY_MIN / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_announced_at_once_unless_the_one_before_was_of_no_use() {
        let mut outage = Outage::default();
        let begun = Instant::now();
        sleep(HELD_AFTER).await;
        outage.session_ended(begun, &lost());
        assert_eq!(outage.announced_after(), Duration::ZERO);
        outage.wait().await;
        outage.session_ended(Instant::now(), &lost());
        assert_eq!(outage.announced_after(), ANNOUNCED_AFTER, "it was short");
        let mut outage = Outage::default();
        outage.session_ended(begun, &replica());
        assert_eq!(outage.announced_after(), ANNOUNCED_AFTER, "it was long, and then a replica");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_refused_once_servers_were_of_no_use_for_long_and_not_while_there_is_none() {
        let mut outage = Outage::default();
        assert_eq!(outage.attempt_failed(&replica()), None);
        sleep(PATIENCE / 2).await;
        assert_eq!(outage.attempt_failed(&lost()), None);
        sleep(PATIENCE).await;
        assert_eq!(outage.attempt_failed(&replica()), None);
        sleep(PATIENCE).await;
        assert_eq!(outage.attempt_failed(&replica()), Some("a replica".to_owned()));
        assert_eq!(outage.attempt_failed(&LinkError::Refused("no".to_owned())), Some("no".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn refused_messages_are_in_the_log_once_a_minute_for_each_reason() {
        let mut complaints = Complaints::default();
        let lines = |complaints: &mut Complaints| (0..100).filter(|n| complaints.is_due((n % 2).to_string())).count();
        assert_eq!((lines(&mut complaints), lines(&mut complaints)), (2, 0));
        sleep(COMPLAINED_EVERY).await;
        assert_eq!(lines(&mut complaints), 2);
        let new = (0..100).filter(|n| complaints.is_due(format!("reason {n}"))).count();
        assert_eq!(new, REASONS_MAX - 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_is_new_once_in_an_outage_and_they_are_bounded() {
        let mut outage = Outage::default();
        assert!(outage.is_new(&replica()) && !outage.is_new(&replica()) && outage.is_new(&lost()));
        let new = (0..100).filter(|n| outage.is_new(&LinkError::Lost(n.to_string()))).count();
        assert_eq!(new, REASONS_MAX - 2);
        let begun = Instant::now();
        sleep(HELD_AFTER).await;
        outage.session_ended(begun, &lost());
        assert!(outage.is_new(&replica()));
    }
}
