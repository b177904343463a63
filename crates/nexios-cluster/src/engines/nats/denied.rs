//! What the server has said that this user may not do. It says so without a word about which request it was.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::engines::link::LinkError;

/// What is remembered at most; then the oldest goes.
const DENIALS_MAX: usize = 1024;
/// How the server begins to say it.
const VIOLATION: &str = "permissions violation for ";

/// Denials that nobody has asked for yet.
#[derive(Clone, Default)]
pub(super) struct Denied(Arc<Shared>);

#[derive(Default)]
struct Shared {
    denials: Mutex<VecDeque<Denial>>,
    told: Notify,
}

/// One thing that this user may not do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Denial {
    /// Else it is publishing.
    pub(super) is_subscription: bool,
    pub(super) subject: String,
}

impl Denial {
    /// Reads `Permissions Violation for Publish to "nexios-room-x"`, and the same of a subscription.
    fn read(error: &str) -> Option<Self> {
        let rest = error.get(VIOLATION.len()..).filter(|_| error.to_lowercase().starts_with(VIOLATION))?;
        let (kind, rest) = rest.split_once(" to \"")?;
        let subject = rest.split_once('"')?.0.to_owned();
        Some(Denial { is_subscription: kind.eq_ignore_ascii_case("subscription"), subject })
    }

    /// Returns true if it is about publishing to this subject.
    pub(super) fn is_of_publish(&self, subject: &str) -> bool {
        !self.is_subscription && self.subject == subject
    }

    /// Returns true if it is about subscribing to this subject.
    pub(super) fn is_of_subscription(&self, subject: &str) -> bool {
        self.is_subscription && self.subject == subject
    }

    pub(super) fn refusal(&self) -> LinkError {
        let act = if self.is_subscription { "subscribe to" } else { "publish to" };
        LinkError::Refused(format!("NATS: permissions violation, this user may not {act} {:?}", self.subject))
    }
}

impl Denied {
    /// Takes note of an error of the server; returns false if it is about something else.
    pub(super) fn take_note(&self, error: &str) -> bool {
        let Some(denial) = Denial::read(error) else { return false };
        let mut denials = self.0.denials.lock();
        if denials.len() >= DENIALS_MAX {
            denials.pop_front();
        }
        denials.push_back(denial);
        drop(denials);
        self.0.told.notify_waiters();
        true
    }

    /// Takes the denials of which this is true.
    pub(super) fn take(&self, mut is_it: impl FnMut(&Denial) -> bool) -> Vec<Denial> {
        let mut denials = self.0.denials.lock();
        let (taken, kept) = denials.drain(..).partition(|denial| is_it(denial));
        *denials = kept;
        Vec::from(taken as VecDeque<Denial>)
    }

    /// Does something that the server does not answer where it is denied.
    ///
    /// # Errors
    /// It is denied, or fails otherwise.
    pub(super) async fn unless<T>(
        &self,
        mut is_it: impl FnMut(&Denial) -> bool,
        step: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        let denied = async {
            loop {
                let told = self.0.told.notified();
                if let Some(denial) = self.take(&mut is_it).first() {
                    return denial.refusal();
                }
                told.await;
            }
        };
        tokio::select! {
            biased;
            result = step => result,
            refusal = denied => Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_names_the_subject() {
        let read = |error: &str| Denial::read(error).map(|denial| (denial.is_subscription, denial.subject));
        assert_eq!(read("Permissions Violation for Publish to \"a.b\""), Some((false, "a.b".to_owned())));
        let queued = "Permissions Violation for Subscription to \"_INBOX.x.*\" using queue \"q\"";
        assert_eq!(read(queued), Some((true, "_INBOX.x.*".to_owned())));
        for other in ["Authorization Violation", "Permissions Violation for", "é", "Maximum Payload Violation"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_denied_is_refused_and_the_rest_waits() {
        let denied = Denied::default();
        let telling = denied.clone();
        tokio::spawn(async move {
            telling.take_note("Permissions Violation for Publish to \"other\"");
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            telling.take_note("Permissions Violation for Publish to \"mine\"");
        });
        let never = std::future::pending::<Result<(), LinkError>>();
        let refused = denied.unless(|denial| denial.is_of_publish("mine"), never).await.unwrap_err();
        assert!(
            matches!(&refused, LinkError::Refused(reason) if reason.contains("publish to \"mine\"")),
            "{refused:?}"
        );
        assert_eq!(denied.take(|_| true).len(), 1, "that of the other");
        let done = denied.unless(|_| true, async { Ok(1) }).await;
        assert_eq!(done, Ok(1));
    }

    #[test]
    fn denials_are_bounded() {
        let denied = Denied::default();
        (0..2 * DENIALS_MAX)
            .for_each(|n| _ = denied.take_note(&format!("Permissions Violation for Publish to \"{n}\"")));
        assert_eq!(denied.take(|_| true).len(), DENIALS_MAX);
    }
}
