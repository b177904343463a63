//! What waits to be stored: a bounded queue that is kept until the broker has said yes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::engines::link::{Capabilities, LinkError};
use crate::history::log::{Append, Appended, Position};
use crate::node::outgoing::{ENDED, Limits};

/// How long somebody waits to hear that a message is stored; it is stored later all the same.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Entries that go to the broker in one round trip at most.
const BATCH_LEN_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// What an entry has beside its envelope, at most.
const ENTRY_BYTES: usize = 256;

/// Appends that the broker has not confirmed.
pub(crate) struct Appends {
    limits: Limits,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Waiting>,
    bytes: usize,
    capabilities: Capabilities,
    /// So many are asked for one by one: the broker has refused them together.
    single: usize,
    closed: bool,
}

struct Waiting {
    room: Arc<str>,
    append: Append,
    /// A session was lost while it was under way: it may be stored, whatever the broker says now.
    uncertain: bool,
    receipt: Option<oneshot::Sender<Result<Appended, LinkError>>>,
    since: Instant,
}

/// A message that is stored, on its way to the members of this node. Its publisher learns that it is stored when
/// this is dropped: once the members here are sent it, or have waited for it for too long.
pub(crate) struct Confirmation {
    pub(crate) room: Arc<str>,
    appended: Appended,
    receipt: Option<oneshot::Sender<Result<Appended, LinkError>>>,
}

/// Resolves when the message is stored, refused, or not stored for too long.
pub struct Stored(oneshot::Receiver<Result<Appended, LinkError>>);

impl Appends {
    pub(crate) fn new(limits: Limits) -> Self {
        Appends { limits, state: Mutex::default(), filled: Notify::new() }
    }

    /// Queues an append.
    ///
    /// # Errors
    /// There is no room, or it is too long for this broker.
    pub(crate) fn push(&self, room: Arc<str>, append: Append) -> Result<Stored, LinkError> {
        let mut state = self.state.lock();
        let len = append.envelope.len();
        let full = state.queue.len() >= self.limits.messages || state.bytes + len > self.limits.bytes;
        let bytes_max = state.capabilities.envelope_bytes_max;
        if len + ENTRY_BYTES > bytes_max {
            let why = format!("longer than what this broker takes, {bytes_max} bytes with all that belongs to it");
            return Err(LinkError::Refused(why));
        }
        if state.closed || full {
            let why = if state.closed { ENDED } else { "too much is waiting for the broker" };
            return Err(LinkError::Refused(why.to_owned()));
        }
        let (receipt, stored) = oneshot::channel();
        state.bytes += len;
        let since = Instant::now();
        state.queue.push_back(Waiting { room, append, uncertain: false, receipt: Some(receipt), since });
        drop(state);
        self.filled.notify_one();
        Ok(Stored(stored))
    }

    /// The next batch, as soon as there is one; `None` when all is stored and nothing more comes.
    /// It stays in the queue until it is [concluded](Self::conclude).
    pub(crate) async fn batch(&self) -> Option<Vec<Append>> {
        loop {
            {
                let state = self.state.lock();
                if !state.queue.is_empty() {
                    return Some(state.batch());
                }
                if state.closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// A batch is under way: whoever says it again says so.
    pub(crate) fn begun(&self, batch: usize) {
        self.state.lock().queue.iter_mut().take(batch).for_each(|waiting| waiting.append.again = true);
    }

    /// The broker has answered to a batch that it has not stored all of it now. What is asked for one by one and was
    /// never under way when a session was lost is not stored.
    pub(crate) fn undone(&self, batch: usize) {
        let mut state = self.state.lock();
        match state.queue.front_mut() {
            Some(waiting) if batch == 1 => waiting.append.again = waiting.uncertain,
            _ => state.single = batch,
        }
    }

    /// Takes the broker's answer to a batch; returns how many messages it has stored and refused. Publishers that wait
    /// for one that is stored learn so from its confirmation.
    pub(crate) fn conclude(
        &self,
        batch: usize,
        result: Result<Vec<Appended>, LinkError>,
        mut confirm: impl FnMut(Confirmation),
    ) -> (usize, usize) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if result.is_err() && batch > 1 {
            state.single = batch;
            return (0, 0);
        }
        state.single = state.single.saturating_sub(1);
        let mut outcomes = result.as_ref().ok().into_iter().flatten();
        let mut counts = (0, 0);
        for waiting in state.queue.drain(..batch.min(state.queue.len())) {
            state.bytes -= waiting.append.envelope.len();
            let outcome = match (&result, outcomes.next()) {
                // One that was repeated after a loss is found, and is no duplicate of another.
                (_, Some(appended)) => Ok(Appended {
                    duplicate: appended.duplicate && appended.position.nonce != waiting.append.nonce,
                    ..*appended
                }),
                (Err(error), _) => Err(error.clone()),
                (Ok(_), None) => Err(LinkError::Refused("the broker has not said what became of it".to_owned())),
            };
            let receipt = waiting.receipt.filter(|receipt| !receipt.is_closed());
            match outcome {
                Ok(appended) => {
                    counts.0 += 1;
                    let confirmation = |receipt| Confirmation { room: waiting.room, appended, receipt: Some(receipt) };
                    receipt.map(confirmation).into_iter().for_each(&mut confirm);
                }
                Err(error) => {
                    counts.1 += 1;
                    // Nobody waits any more.
                    let _ = receipt.filter(|_| !waiting.uncertain).map(|receipt| receipt.send(Err(error)));
                }
            }
        }
        counts
    }

    /// Lets those go who have waited long enough.
    pub(crate) fn release(&self, now: Instant) {
        let mut state = self.state.lock();
        let late = |waiting: &&mut Waiting| now.saturating_duration_since(waiting.since) >= WAIT_MAX;
        for waiting in state.queue.iter_mut().take_while(late) {
            waiting.receipt = None;
        }
    }

    /// A session begins, with a broker that can do this.
    pub(crate) fn begin(&self, capabilities: Capabilities) {
        let mut state = self.state.lock();
        state.capabilities = capabilities;
        state.queue.iter_mut().for_each(|waiting| waiting.uncertain |= waiting.append.again);
    }

    /// Refuses all that waits; returns how many messages these are. What was under way may be stored.
    pub(crate) fn refuse(&self, reason: &str) -> usize {
        let queue = self.drain();
        let count = queue.len();
        for Waiting { append, receipt, .. } in queue {
            let kind = if append.again { LinkError::Lost } else { LinkError::Refused };
            // Nobody waits any more.
            let _ = receipt.map(|receipt| receipt.send(Err(kind(reason.to_owned()))));
        }
        count
    }

    fn drain(&self) -> VecDeque<Waiting> {
        let mut state = self.state.lock();
        (state.bytes, state.single) = (0, 0);
        std::mem::take(&mut state.queue)
    }

    /// Refuses whatever comes from now on.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
    }

    /// Stores nothing any more: what was never sent is refused, the fate of the rest is not known.
    pub(crate) fn abandon(&self) {
        self.state.lock().closed = true;
        for waiting in self.drain().into_iter().filter(|waiting| !waiting.append.again) {
            // Nobody waits any more.
            let _ = waiting.receipt.map(|receipt| receipt.send(Err(LinkError::Refused(ENDED.to_owned()))));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().queue.len()
    }
}

impl State {
    fn batch(&self) -> Vec<Append> {
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.append.envelope.len();
            bytes <= BATCH_BYTES_MAX
        };
        let len_max = if self.single > 0 { 1 } else { BATCH_LEN_MAX };
        let len = self.queue.iter().take(len_max).take_while(fits).count().max(1);
        self.queue.iter().take(len).map(|waiting| waiting.append.clone()).collect()
    }
}

impl Confirmation {
    #[cfg(test)]
    pub(super) fn new(
        room: Arc<str>,
        appended: Appended,
        receipt: oneshot::Sender<Result<Appended, LinkError>>,
    ) -> Self {
        Confirmation { room, appended, receipt: Some(receipt) }
    }

    /// Returns where the message is stored.
    pub(crate) fn position(&self) -> Position {
        self.appended.position
    }
}

impl Drop for Confirmation {
    fn drop(&mut self) {
        // Nobody waits any more.
        let _ = self.receipt.take().map(|receipt| receipt.send(Ok(self.appended)));
    }
}

impl std::fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Confirmation").field("room", &self.room).field("appended", &self.appended).finish()
    }
}

impl Stored {
    /// What became of it; `None` where that is not known in time.
    pub async fn done(self) -> Option<Result<Appended, LinkError>> {
        self.0.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::history::log::{History, Log, Nonce};

    fn append(envelope: &'static str) -> Append {
        let log = Log { channel: "x".into(), history: History::default() };
        Append {
            log,
            nonce: Nonce::default(),
            key: None,
            again: false,
            envelope: Bytes::from_static(envelope.as_bytes()),
        }
    }

    fn appends(messages: usize) -> Appends {
        Appends::new(Limits { messages, bytes: 1 << 20 })
    }

    fn said(appends: &Appends) -> Vec<(String, bool)> {
        let batch = appends.state.lock().batch();
        let text = |append: &Append| String::from_utf8(append.envelope.to_vec()).unwrap();
        batch.iter().map(|append| (text(append), append.again)).collect()
    }

    fn appended(offset: u64) -> Appended {
        Appended { position: Position { offset, ..Position::default() }, duplicate: false, replicas: 0 }
    }

    #[tokio::test]
    async fn a_batch_is_said_again_until_it_is_confirmed() {
        let appends = appends(10);
        let (a, b) = (appends.push("x".into(), append("a")).unwrap(), appends.push("x".into(), append("b")).unwrap());
        assert_eq!(said(&appends), [("a".into(), false), ("b".into(), false)]);
        appends.begun(2);
        let c = appends.push("x".into(), append("c")).unwrap();
        assert_eq!(said(&appends), [("a".into(), true), ("b".into(), true), ("c".into(), false)]);
        assert_eq!(appends.conclude(3, Ok((1..4).map(appended).collect()), drop), (3, 0));
        for (offset, stored) in [(1, a), (2, b), (3, c)] {
            assert_eq!(stored.done().await, Some(Ok(appended(offset))));
        }
        assert_eq!((appends.len(), appends.state.lock().bytes), (0, 0));
    }

    #[test]
    fn what_does_not_fit_is_refused_at_once() {
        let appends = appends(1);
        assert!(appends.push("x".into(), append("a")).is_ok());
        assert!(appends.push("x".into(), append("b")).is_err());
        let appends = Appends::new(Limits { messages: 10, bytes: 3 });
        assert!(appends.push("x".into(), append("four")).is_err());
        appends.close();
        assert!(appends.push("x".into(), append("a")).is_err());
    }

    #[tokio::test]
    async fn nobody_waits_for_more_than_five_seconds() {
        let appends = appends(10);
        let stored = appends.push("x".into(), append("a")).unwrap();
        appends.release(Instant::now() + WAIT_MAX);
        assert_eq!(stored.done().await, None);
        assert_eq!(said(&appends).len(), 1, "it is stored later");
    }

    #[tokio::test]
    async fn what_may_be_stored_is_not_said_to_be_refused() {
        let appends = appends(10);
        let stored = appends.push("x".into(), append("a")).unwrap();
        appends.begun(1);
        appends.begin(Capabilities::default());
        let refused = LinkError::Refused("no".into());
        assert_eq!(appends.conclude(1, Err(refused), drop), (0, 1));
        assert_eq!(stored.done().await, None);
    }

    #[test]
    fn what_the_broker_cannot_store_now_is_not_taken_for_stored() {
        let appends = appends(10);
        let _stored = ["a", "b"].map(|text| appends.push("x".into(), append(text)).unwrap());
        appends.begun(2);
        appends.undone(2);
        assert_eq!(said(&appends), [("a".into(), true)], "of several it may have stored some");
        appends.begun(1);
        appends.undone(1);
        assert_eq!(said(&appends), [("a".into(), false)]);
        appends.begun(1);
        appends.begin(Capabilities::default());
        appends.undone(1);
        assert_eq!(said(&appends), [("a".into(), true)], "a session was lost meanwhile");
    }

    #[tokio::test]
    async fn at_the_end_what_was_never_sent_is_refused_and_the_rest_is_not_known() {
        let appends = appends(10);
        let [sent, never] = ["a", "b"].map(|text| appends.push("x".into(), append(text)).unwrap());
        appends.begun(1);
        appends.abandon();
        assert_eq!(sent.done().await, None);
        assert_eq!(never.done().await, Some(Err(LinkError::Refused(ENDED.to_owned()))));
    }

    #[tokio::test]
    async fn one_that_is_refused_takes_no_other_along() {
        let appends = appends(10);
        let (a, b) = (appends.push("x".into(), append("a")).unwrap(), appends.push("x".into(), append("b")).unwrap());
        let refused = LinkError::Refused("no".into());
        appends.begun(2);
        assert_eq!(appends.conclude(2, Err(refused.clone()), drop), (0, 0));
        assert_eq!(said(&appends), [("a".into(), true)]);
        assert_eq!(appends.conclude(1, Err(refused.clone()), drop), (0, 1));
        assert_eq!(said(&appends), [("b".into(), true)]);
        assert_eq!(appends.conclude(1, Ok(vec![appended(1)]), drop), (1, 0));
        assert_eq!((a.done().await, b.done().await), (Some(Err(refused)), Some(Ok(appended(1)))));
        let state = appends.state.lock();
        assert_eq!(state.single, 0);
    }
}
