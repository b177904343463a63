//! What is to be done when.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use tokio::time::Instant;

/// Jobs with the instants at which they are due; each is there once.
pub(super) struct Schedule<J> {
    due: HashMap<J, Instant>,
    order: BTreeSet<(Instant, J)>,
}

impl<J: Clone + Ord + Hash> Schedule<J> {
    pub(super) fn new() -> Self {
        Schedule { due: HashMap::new(), order: BTreeSet::new() }
    }

    /// Puts a job at an instant, wherever it was before.
    pub(super) fn set(&mut self, job: J, at: Instant) {
        if let Some(before) = self.due.insert(job.clone(), at) {
            self.order.remove(&(before, job.clone()));
        }
        self.order.insert((at, job));
    }

    /// Puts a job at an instant, unless it is due before that.
    pub(super) fn set_by(&mut self, job: J, at: Instant) {
        if self.due.get(&job).is_none_or(|due| at < *due) {
            self.set(job, at);
        }
    }

    pub(super) fn contains(&self, job: &J) -> bool {
        self.due.contains_key(job)
    }

    pub(super) fn remove(&mut self, job: &J) {
        if let Some(at) = self.due.remove(job) {
            self.order.remove(&(at, job.clone()));
        }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&J) -> bool) {
        self.due.retain(|job, _| keep(job));
        self.order.retain(|(_, job)| keep(job));
    }

    /// The next job of a kind.
    pub(super) fn first(&self, is_meant: impl Fn(&J) -> bool) -> Option<J> {
        self.order.iter().map(|(_, job)| job).find(|job| is_meant(job)).cloned()
    }

    /// When the next job is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The next job, if it is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<J> {
        if self.next()? > now {
            return None;
        }
        let (_, job) = self.order.pop_first()?;
        self.due.remove(&job);
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_job_is_there_once_and_comes_when_it_is_due() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut schedule = Schedule::new();
        schedule.set("a", at(3));
        schedule.set("a", at(5));
        schedule.set_by("a", at(7));
        schedule.set_by("b", at(4));
        schedule.set("c", at(1));
        schedule.remove(&"c");
        assert_eq!((schedule.next(), schedule.take(at(3))), (Some(at(4)), None));
        assert_eq!((schedule.take(at(9)), schedule.take(at(9)), schedule.take(at(9))), (Some("b"), Some("a"), None));
        assert!(!schedule.contains(&"a"));
    }
}
