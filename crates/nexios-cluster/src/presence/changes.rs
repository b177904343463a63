//! The changes of one room for those who follow it: each is kept once, until all have taken it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Change, PresenceEvent};

/// Changes that wait for the slowest of those who follow a room.
const CHANGES_MAX: usize = 1024;

/// What changed, and for whom.
pub type Changed = (Change, PresenceEvent);

/// The changes of a room. Nothing is allocated for them while there are none.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Default)]
struct State {
    /// With how many readers have yet to take each.
    waiting: VecDeque<(usize, Changed)>,
    /// The number of the first that waits.
    first: u64,
    readers: usize,
}

/// One who follows a room.
pub struct Reader {
    shared: Arc<Shared>,
    /// The number of the change that it takes next.
    next: u64,
}

/// The reader was too slow: changes are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lagged;

impl Changes {
    /// Adds a reader: it gets what changes from now on.
    pub(super) fn reader(&self) -> Reader {
        let mut state = self.0.state.lock();
        state.readers += 1;
        Reader { shared: self.0.clone(), next: state.end() }
    }

    /// Returns how many readers there are.
    pub(super) fn readers(&self) -> usize {
        self.0.state.lock().readers
    }

    /// Adds a change for all readers.
    pub(super) fn add(&self, changed: Changed) {
        let mut state = self.0.state.lock();
        if state.readers == 0 {
            return;
        }
        if state.waiting.len() >= CHANGES_MAX {
            state.pop();
        }
        let readers = state.readers;
        state.waiting.push_back((readers, changed));
        drop(state);
        self.0.added.notify_waiters();
    }
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.waiting.len() as u64
    }

    fn pop(&mut self) {
        self.waiting.pop_front();
        self.first += 1;
        if self.waiting.is_empty() {
            // A burst is over.
            self.waiting = VecDeque::new();
        }
    }

    fn trim(&mut self) {
        while self.waiting.front().is_some_and(|(readers, _)| *readers == 0) {
            self.pop();
        }
    }
}

impl Reader {
    /// Waits for the next change, in order.
    ///
    /// # Errors
    /// [`Lagged`]
    pub async fn recv(&mut self) -> Result<Changed, Lagged> {
        let shared = self.shared.clone();
        loop {
            // Made before looking: it hears of what is added from then on.
            let added = shared.added.notified();
            if let Some(changed) = self.try_recv()? {
                return Ok(changed);
            }
            added.await;
        }
    }

    /// Takes the next change, if there is one.
    ///
    /// # Errors
    /// [`Lagged`]
    pub fn try_recv(&mut self) -> Result<Option<Changed>, Lagged> {
        let mut state = self.shared.state.lock();
        if self.next < state.first {
            self.next = state.first;
            return Err(Lagged);
        }
        let place = usize::try_from(self.next - state.first).unwrap_or(usize::MAX);
        let Some((readers, changed)) = state.waiting.get_mut(place) else { return Ok(None) };
        *readers -= 1;
        let changed = changed.clone();
        self.next += 1;
        state.trim();
        Ok(Some(changed))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.readers -= 1;
        let taken = usize::try_from(self.next.saturating_sub(state.first)).unwrap_or(usize::MAX);
        state.waiting.iter_mut().skip(taken).for_each(|(readers, _)| *readers -= 1);
        state.trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::{PresenceData, PresenceKind};

    fn changed(n: usize) -> Changed {
        let data = PresenceData(n.to_string().into());
        (
            Change::Update,
            PresenceEvent { room: "x".into(), user: "ann".into(), data, here: true, kind: PresenceKind::Join },
        )
    }

    fn take(reader: &mut Reader) -> Result<Option<usize>, Lagged> {
        Ok(reader.try_recv()?.map(|(_, event)| event.data.as_str().parse().unwrap()))
    }

    #[test]
    fn each_gets_what_comes_after_it_began_in_order_and_nothing_is_kept() {
        let changes = Changes::default();
        changes.add(changed(0));
        let mut first = changes.reader();
        changes.add(changed(1));
        let mut second = changes.reader();
        changes.add(changed(2));
        assert_eq!([take(&mut first), take(&mut first), take(&mut first)], [Ok(Some(1)), Ok(Some(2)), Ok(None)]);
        assert_eq!(changes.0.state.lock().waiting.len(), 1);
        assert_eq!(take(&mut second), Ok(Some(2)));
        assert_eq!(changes.0.state.lock().waiting.capacity(), 0);
    }

    #[test]
    fn one_that_ends_leaves_nothing_behind() {
        let changes = Changes::default();
        let (mut first, second) = (changes.reader(), changes.reader());
        (0..10).for_each(|n| changes.add(changed(n)));
        assert_eq!((0..3).map(|_| take(&mut first)).collect::<Vec<_>>(), [Ok(Some(0)), Ok(Some(1)), Ok(Some(2))]);
        assert_eq!(changes.0.state.lock().waiting.len(), 10);
        drop(second);
        assert_eq!(changes.0.state.lock().waiting.len(), 7);
        drop(first);
        assert_eq!(changes.0.state.lock().waiting.capacity(), 0);
        assert_eq!(changes.readers(), 0);
    }

    #[test]
    fn one_that_is_too_slow_is_told_once_and_others_miss_nothing() {
        let changes = Changes::default();
        let (mut fast, mut slow) = (changes.reader(), changes.reader());
        for n in 0..CHANGES_MAX + 10 {
            changes.add(changed(n));
            assert_eq!(take(&mut fast), Ok(Some(n)));
        }
        assert_eq!(changes.0.state.lock().waiting.len(), CHANGES_MAX);
        assert_eq!((take(&mut slow), take(&mut slow)), (Err(Lagged), Ok(Some(10))));
    }

    #[tokio::test]
    async fn one_that_waits_is_woken() {
        let changes = Changes::default();
        let mut reader = changes.reader();
        let (got, ()) = tokio::join!(reader.recv(), async {
            tokio::task::yield_now().await;
            changes.add(changed(7));
        });
        assert_eq!(got.map(|(_, event)| event.data.to_string()), Ok("7".to_owned()));
    }
}
