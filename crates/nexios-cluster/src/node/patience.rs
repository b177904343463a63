//! For how long a node asks a broker again that cannot do something, and what it does then.

use std::time::Duration;

use nexios_protocol::escaped;
use tokio::time::{Instant, sleep};

use crate::engines::link::LinkError;

/// How long a broker may be unable to do one thing after another.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// From one look at another server to the next, once that was in vain for [`PATIENCE`].
const LOOK_ELSEWHERE_EVERY: Duration = Duration::from_secs(30);
const DELAY_MIN: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(1);

/// Counts over sessions, until the broker has done something.
#[derive(Default)]
pub(crate) struct Patience {
    since: Option<Instant>,
    looked_elsewhere: Option<Instant>,
    delay: Duration,
}

/// What a node does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// It asks again on this connection.
    Again,
    /// It makes another connection, and asks that one.
    Reconnect(LinkError),
    /// It takes the answer for a refusal.
    Refuse(String),
    /// Both: this message is refused, and the next may find another server.
    RefuseAndReconnect(String),
}

impl Patience {
    /// Decides what follows an answer by which nothing was done; waits first where the broker is asked again.
    pub(crate) async fn after(&mut self, error: LinkError) -> Next {
        let now = Instant::now();
        let is_over = now - *self.since.get_or_insert(now) >= PATIENCE;
        match error {
            LinkError::Lost(_) => Next::Reconnect(error),
            LinkError::Refused(reason) => Next::Refuse(reason),
            LinkError::Later(_) if is_over => {
                self.since = None;
                Next::Reconnect(error)
            }
            LinkError::Unable(reason) if is_over => Next::Refuse(reason),
            LinkError::Elsewhere(reason) => self.elsewhere(reason, is_over, now),
            LinkError::Later(reason) | LinkError::Unable(reason) => {
                tracing::debug!(reason = %escaped(&reason), "the broker cannot do it now; it is asked again");
                self.delay = (self.delay * 2).clamp(DELAY_MIN, DELAY_MAX);
                sleep(self.delay).await;
                Next::Again
            }
        }
    }

    /// A server that is found again and again is asked no more often than the reconnects allow.
    fn elsewhere(&mut self, reason: String, is_over: bool, now: Instant) -> Next {
        let is_due = self.looked_elsewhere.is_none_or(|last| now - last >= LOOK_ELSEWHERE_EVERY);
        if !is_over || is_due {
            self.looked_elsewhere = Some(now);
        }
        match (is_over, is_due) {
            (false, _) => Next::Reconnect(LinkError::Elsewhere(reason)),
            (true, true) => Next::RefuseAndReconnect(reason),
            (true, false) => Next::Refuse(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no() -> String {
        "no".to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_asked_again_and_then_on_another_connection() {
        let (mut patience, begun) = (Patience::default(), Instant::now());
        let mut asked = 0;
        while patience.after(LinkError::Later(no())).await == Next::Again {
            asked += 1;
        }
        assert!((PATIENCE..PATIENCE + 2 * DELAY_MAX).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert!((10..30).contains(&asked), "{asked}");
        assert_eq!(patience.after(LinkError::Later(no())).await, Next::Again, "the next connection has as long");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_broker_lacks_for_long_is_refused_at_once_from_then_on() {
        let mut patience = Patience::default();
        while patience.after(LinkError::Unable(no())).await == Next::Again {}
        let refused_at = Instant::now();
        assert_eq!(patience.after(LinkError::Unable(no())).await, Next::Refuse(no()));
        assert_eq!(refused_at.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_only_reads_is_left_and_not_for_ever() {
        let (mut patience, mut reconnects) = (Patience::default(), 0);
        loop {
            match patience.after(LinkError::Elsewhere(no())).await {
                Next::Reconnect(_) => reconnects += 1,
                next => break assert_eq!(next, Next::Refuse(no())),
            }
            sleep(DELAY_MAX).await;
        }
        assert_eq!(reconnects, 10);
        sleep(LOOK_ELSEWHERE_EVERY).await;
        assert_eq!(patience.after(LinkError::Elsewhere(no())).await, Next::RefuseAndReconnect(no()));
        assert_eq!(patience.after(LinkError::Elsewhere(no())).await, Next::Refuse(no()));
        let mut patience = Patience::default();
        let next = patience.after(LinkError::Elsewhere(no())).await;
        assert_eq!(next, Next::Reconnect(LinkError::Elsewhere(no())), "once it has done something");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_and_a_loss_need_no_patience() {
        let (mut patience, begun) = (Patience::default(), Instant::now());
        assert_eq!(patience.after(LinkError::Refused(no())).await, Next::Refuse(no()));
        assert_eq!(patience.after(LinkError::Lost(no())).await, Next::Reconnect(LinkError::Lost(no())));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
