//! Where a connection keeps its own task, and whether it was woken.

use super::bits::Bits;
use crate::service::BoxedTask;

/// The connection's own task; taken out while it is being polled.
#[derive(Default)]
pub(super) struct TaskSlot(Option<BoxedTask>);

/// What is so with the task of a [`TaskSlot`]. It is a byte of its own: within the slot it would take a word.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct TaskMarks(Bits);

/// The task has not ended yet.
const ALIVE: u8 = 1;
/// It was woken by its key since it was last polled.
const WOKEN: u8 = 1 << 1;

impl TaskSlot {
    pub(super) fn start(&mut self, marks: &mut TaskMarks, task: BoxedTask) {
        self.0 = Some(task);
        marks.0.set(ALIVE, true);
    }

    /// Takes the task out for a poll; `None` if there is none, or it is being polled.
    pub(super) fn take(&mut self, marks: &mut TaskMarks) -> Option<BoxedTask> {
        marks.0.set(WOKEN, false);
        self.0.take()
    }

    /// Puts the task back behind a poll. Returns it if it was cancelled meanwhile.
    pub(super) fn put_back(&mut self, marks: TaskMarks, task: BoxedTask) -> Option<BoxedTask> {
        if !marks.is_alive() {
            return Some(task);
        }
        self.0 = Some(task);
        None
    }

    /// Ends the task; returns it, unless it is being polled.
    pub(super) fn cancel(&mut self, marks: &mut TaskMarks) -> Option<BoxedTask> {
        marks.end();
        self.0.take()
    }
}

impl TaskMarks {
    /// Returns true until the task has ended.
    #[inline]
    pub(crate) fn is_alive(self) -> bool {
        self.0.has(ALIVE)
    }

    /// The task has ended.
    pub(super) fn end(&mut self) {
        self.0.set(ALIVE, false);
    }

    /// Returns true if the task has to be put on the run queue: it lives, and was not woken before.
    #[inline]
    pub(super) fn wake(&mut self) -> bool {
        self.is_alive() && self.0.raise(WOKEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> BoxedTask {
        Box::pin(std::future::pending())
    }

    #[test]
    fn a_task_is_woken_once_until_it_is_polled() {
        let (mut slot, mut marks) = (TaskSlot::default(), TaskMarks::default());
        assert!(!marks.wake());
        slot.start(&mut marks, task());
        assert!(marks.wake() && !marks.wake());
        let polled = slot.take(&mut marks).unwrap();
        assert!(slot.take(&mut marks).is_none() && marks.wake());
        assert!(slot.put_back(marks, polled).is_none());
    }

    #[test]
    fn a_task_that_was_cancelled_during_its_poll_is_not_put_back() {
        let (mut slot, mut marks) = (TaskSlot::default(), TaskMarks::default());
        slot.start(&mut marks, task());
        let polled = slot.take(&mut marks).unwrap();
        assert!(slot.cancel(&mut marks).is_none() && !marks.is_alive());
        assert!(slot.put_back(marks, polled).is_some());
        assert!(slot.take(&mut marks).is_none() && !marks.wake());
    }
}
