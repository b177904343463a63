//! Bounded queues of events, read by any number of consumers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::position::Position;

/// Events that wait at most, and their bytes.
pub(crate) const EVENTS_MAX: usize = 1000;
pub(crate) const BYTES_MAX: usize = 16 << 20;
/// Bytes that wait at most in a room that the application has not asked for.
pub(crate) const UNASKED_BYTES_MAX: usize = 64 << 10;

/// A queue of events. Each consumer gets those that come while it is there; the first one gets those as well that
/// came before it. An event leaves the queue when all consumers have handled it: when they ask for the next.
pub(crate) struct Feed<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    entries: VecDeque<Entry<T>>,
    /// The number of the first entry.
    base: u64,
    bytes: usize,
    consumers: Vec<Reader>,
    next_reader: u64,
    /// The position behind the last event that was handled.
    handled: Option<Position>,
    is_closed: bool,
}

struct Entry<T> {
    /// `None` once the last consumer has taken it.
    event: Option<T>,
    mark: Mark,
    bytes: usize,
}

struct Reader {
    id: u64,
    taken: u64,
    handled: u64,
    waker: Option<Waker>,
}

/// The change that an event makes to the stored position once it is handled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Nothing,
    Forget,
    At(Position),
}

/// The result of handling events.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    /// The stored position is this one now.
    pub(crate) position: Option<Option<Position>>,
    /// Nothing waits any more.
    pub(crate) is_drained: bool,
}

/// A consumer of a feed.
pub(crate) struct Consumer<T> {
    feed: Arc<Feed<T>>,
    id: u64,
}

/// The queue is full.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Full;

impl<T> Feed<T> {
    pub(crate) fn new(handled: Option<Position>) -> Self {
        let (entries, consumers) = (VecDeque::new(), Vec::new());
        let state = State { entries, base: 0, bytes: 0, consumers, next_reader: 0, handled, is_closed: false };
        Feed { state: Mutex::new(state) }
    }

    /// Appends an event of so many bytes. One always fits.
    pub(crate) fn push(&self, event: T, mark: Mark, bytes: usize) -> Result<(), Full> {
        let mut state = self.state.lock();
        if state.is_full() {
            return Err(Full);
        }
        state.push(event, mark, bytes);
        Ok(())
    }

    /// Changes the newest event if no consumer has taken it, or appends one over the limit: for what is counted
    /// together. `merge` gets `None` where there is nothing to change.
    pub(crate) fn merge(&self, merge: impl FnOnce(Option<&mut T>) -> Option<T>) {
        let mut state = self.state.lock();
        let newest = (state.base + state.entries.len() as u64).saturating_sub(1);
        // Far over the limit, because one consumer stands still: the others do without the count.
        let is_over = state.entries.len() >= 2 * EVENTS_MAX;
        let is_free = is_over || state.consumers.iter().all(|reader| reader.taken <= newest);
        let last = if is_free { state.entries.back_mut().and_then(|entry| entry.event.as_mut()) } else { None };
        if let Some(event) = merge(last) {
            state.push(event, Mark::Nothing, 0);
        }
    }

    /// Drops all events. A consumer that has just been added begins behind them.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        let base = state.base + state.entries.len() as u64;
        (state.base, state.bytes) = (base, 0);
        state.entries.clear();
        for reader in &mut state.consumers {
            (reader.taken, reader.handled) = (base, base);
        }
    }

    pub(crate) fn has_consumers(&self) -> bool {
        !self.state.lock().consumers.is_empty()
    }

    /// Returns the bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().entries.is_empty()
    }

    /// Returns the position behind the last event that was handled.
    pub(crate) fn handled(&self) -> Option<Position> {
        self.state.lock().handled.clone()
    }

    /// Forgets the position without an event.
    pub(crate) fn forget(&self) {
        self.state.lock().handled = None;
    }

    /// Ends the feed; what waits can still be read.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.wake();
    }
}

impl<T> State<T> {
    fn is_full(&self) -> bool {
        self.entries.len() >= EVENTS_MAX || self.bytes > BYTES_MAX
    }

    fn push(&mut self, event: T, mark: Mark, bytes: usize) {
        self.bytes += bytes;
        self.entries.push_back(Entry { event: Some(event), mark, bytes });
        self.wake();
    }

    fn wake(&mut self) {
        self.consumers.iter_mut().filter_map(|reader| reader.waker.take()).for_each(Waker::wake);
    }

    /// Removes a consumer. What the last one had not taken waits for the next.
    fn remove(&mut self, id: u64) -> Progress {
        let Some(index) = self.consumers.iter().position(|reader| reader.id == id) else { return Progress::default() };
        let reader = self.consumers.swap_remove(index);
        if !self.consumers.is_empty() {
            // Others decide what is handled.
            return self.advance();
        }
        while self.base < reader.taken
            && let Some(entry) = self.entries.pop_front()
        {
            self.base += 1;
            self.bytes -= entry.bytes;
        }
        // Nobody is behind any more.
        Progress { position: None, is_drained: true }
    }

    /// Drops the events that all consumers have handled.
    fn advance(&mut self) -> Progress {
        let mut progress = Progress::default();
        let end = self.base + self.entries.len() as u64;
        let handled = self.consumers.iter().map(|reader| reader.handled).min().unwrap_or(end);
        while self.base < handled
            && let Some(entry) = self.entries.pop_front()
        {
            self.base += 1;
            self.bytes -= entry.bytes;
            match entry.mark {
                Mark::Nothing => continue,
                Mark::Forget => self.handled = None,
                Mark::At(position) => self.handled = Some(position),
            }
            progress.position = Some(self.handled.clone());
        }
        progress.is_drained = self.entries.is_empty();
        progress
    }
}

impl<T> Consumer<T> {
    pub(crate) fn new(feed: Arc<Feed<T>>) -> Self {
        let mut state = feed.state.lock();
        let id = state.next_reader;
        state.next_reader += 1;
        let end = state.base + state.entries.len() as u64;
        let from = if state.consumers.is_empty() { state.base } else { end };
        state.consumers.push(Reader { id, taken: from, handled: from, waker: None });
        drop(state);
        Consumer { feed, id }
    }

    /// Ends the consumer; returns what the others have handled.
    pub(crate) fn gone(self) -> Progress {
        self.feed.state.lock().remove(self.id)
    }

    /// Marks the event that was taken last as failed: its position is not kept.
    pub(crate) fn fail(&mut self) {
        let mut state = self.feed.state.lock();
        let base = state.base;
        let taken = state.consumers.iter().find(|reader| reader.id == self.id).map(|reader| reader.taken);
        let last = taken.and_then(|taken| taken.checked_sub(base + 1));
        if let Some(entry) = last.and_then(|last| state.entries.get_mut(last as usize)) {
            entry.mark = Mark::Nothing;
        }
    }

    /// Marks the event that was taken last as handled.
    pub(crate) fn handled(&mut self) -> Progress {
        let mut state = self.feed.state.lock();
        let mut is_news = false;
        if let Some(reader) = state.consumers.iter_mut().find(|reader| reader.id == self.id) {
            is_news = reader.handled != reader.taken;
            reader.handled = reader.taken;
        }
        if is_news { state.advance() } else { Progress::default() }
    }
}

impl<T: Clone> Consumer<T> {
    /// Takes the next event; `None` once the feed is closed and read.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.feed.state.lock();
        let (id, base, is_closed) = (self.id, state.base, state.is_closed);
        let Some(index) = state.consumers.iter().position(|reader| reader.id == id) else {
            return Poll::Ready(None);
        };
        let taken = state.consumers[index].taken;
        let last = state.consumers.iter().all(|reader| reader.id == id || reader.taken > taken);
        let Some(entry) = state.entries.get_mut((taken - base) as usize) else {
            state.consumers[index].waker = Some(context.waker().clone());
            return if is_closed { Poll::Ready(None) } else { Poll::Pending };
        };
        let event = if last { entry.event.take() } else { entry.event.clone() };
        state.consumers[index].taken += 1;
        Poll::Ready(event)
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.feed.state.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        format!("a1-{offset}-0123456789abcdef0123456789abcdef").parse().unwrap()
    }

    fn take(consumer: &mut Consumer<u64>) -> Option<u64> {
        match consumer.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_first_consumer_gets_what_came_before_it_and_later_ones_do_not() {
        let feed = Arc::new(Feed::new(None));
        feed.push(1, Mark::Nothing, 1).unwrap();
        let mut first = Consumer::new(feed.clone());
        let mut second = Consumer::new(feed.clone());
        feed.push(2, Mark::Nothing, 1).unwrap();
        assert_eq!((take(&mut first), take(&mut first), take(&mut first)), (Some(1), Some(2), None));
        assert_eq!((take(&mut second), take(&mut second)), (Some(2), None));
    }

    #[test]
    fn an_event_is_handled_when_all_consumers_have_handled_it() {
        let feed = Arc::new(Feed::new(Some(at(0))));
        let (mut first, mut second) = (Consumer::new(feed.clone()), Consumer::new(feed.clone()));
        feed.push(1, Mark::At(at(1)), 1).unwrap();
        take(&mut first);
        assert_eq!(first.handled(), Progress::default());
        assert_eq!(feed.handled(), Some(at(0)));
        take(&mut second);
        assert_eq!(second.handled(), Progress { position: Some(Some(at(1))), is_drained: true });
        assert_eq!(feed.handled(), Some(at(1)));
    }

    #[test]
    fn the_position_of_a_failed_event_is_not_kept() {
        let feed = Arc::new(Feed::new(None));
        let mut consumer = Consumer::new(feed.clone());
        feed.push(1, Mark::At(at(1)), 1).unwrap();
        take(&mut consumer);
        consumer.fail();
        assert_eq!(consumer.handled(), Progress { position: None, is_drained: true });
    }

    #[test]
    fn what_does_not_fit_is_refused_and_bytes_count_too() {
        let feed = Feed::new(None);
        (0..EVENTS_MAX).for_each(|event| feed.push(event, Mark::Nothing, 0).unwrap());
        assert_eq!(feed.push(0, Mark::Nothing, 0), Err(Full));
        let feed = Feed::new(None);
        feed.push(0, Mark::Nothing, BYTES_MAX + 1).unwrap();
        assert_eq!(feed.push(0, Mark::Nothing, 0), Err(Full));
    }

    #[test]
    fn a_consumer_that_goes_leaves_the_rest_to_the_next() {
        let feed = Arc::new(Feed::new(None));
        let mut first = Consumer::new(feed.clone());
        [1, 2].into_iter().for_each(|event| feed.push(event, Mark::At(at(event)), 1).unwrap());
        take(&mut first);
        drop(first);
        assert_eq!((take(&mut Consumer::new(feed.clone())), feed.handled()), (Some(2), None));
    }

    #[test]
    fn a_consumer_that_comes_as_the_feed_is_cleared_gets_what_comes_then() {
        let feed = Arc::new(Feed::new(None));
        feed.push(1, Mark::Nothing, 1).unwrap();
        let mut consumer = Consumer::new(feed.clone());
        feed.clear();
        feed.push(2, Mark::Nothing, 1).unwrap();
        assert_eq!((take(&mut consumer), take(&mut consumer)), (Some(2), None));
        assert_eq!(consumer.handled(), Progress { position: None, is_drained: true });
    }

    #[test]
    fn a_count_that_nobody_takes_stays_one_event_though_others_take_it() {
        let feed = Arc::new(Feed::new(None));
        let (mut fast, _slow) = (Consumer::new(feed.clone()), Consumer::new(feed.clone()));
        for _ in 0..5 * EVENTS_MAX {
            feed.merge(|last| if last.is_some() { None } else { Some(1) });
            while take(&mut fast).is_some() {}
            fast.handled();
        }
        assert!(feed.state.lock().entries.len() <= 2 * EVENTS_MAX);
    }

    #[test]
    fn counts_are_merged_only_until_they_are_taken() {
        let feed = Arc::new(Feed::new(None));
        let mut consumer = Consumer::new(feed.clone());
        let count = || {
            feed.merge(|last| match last {
                Some(count) => {
                    *count += 1;
                    None
                }
                None => Some(1),
            });
        };
        count();
        count();
        assert_eq!(take(&mut consumer), Some(2));
        count();
        assert_eq!(take(&mut consumer), Some(1));
    }
}
