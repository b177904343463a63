//! The shards of an app, and the way from one of them to all.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use nexios_engine::{Broadcast, Shard, ShardHandle};
use parking_lot::RwLock;
use tokio::sync::oneshot;

/// Attempts to put something into a full mailbox; between two the caller's executor runs.
const MAILBOX_ATTEMPTS: usize = 1000;

/// The shards of an app; none before it is served.
#[derive(Default)]
pub(crate) struct Shards(RwLock<Arc<[ShardHandle]>>);

/// A question that every shard answers.
pub(crate) type Question<R> = Arc<dyn Fn(&Shard) -> R + Send + Sync>;

impl Shards {
    /// Sets the shards. A shard calls it before its first connection, and shards may
    /// start one after another, so the longest list counts.
    pub(crate) fn attach(&self, shards: Vec<ShardHandle>) {
        if self.0.read().len() < shards.len() {
            *self.0.write() = shards.into();
        }
    }

    fn all(&self) -> Arc<[ShardHandle]> {
        self.0.read().clone()
    }

    /// Runs something on the first shard. Returns false if its mailbox is full.
    pub(crate) fn run_on_first(&self, run: impl FnOnce(&Shard) + Send + 'static) -> bool {
        self.all().first().is_none_or(|shard| shard.run(Box::new(run)).is_ok())
    }

    /// Returns true if some shards are on other threads than this one.
    pub(crate) fn has_remote(&self) -> bool {
        self.all().iter().any(|shard| shard.local().is_none())
    }

    /// Asks every shard: those of this thread at once, the others through their mailboxes.
    /// A shard that has ended gives no answer.
    pub(crate) async fn ask<R: Send + 'static>(&self, question: Question<R>) -> Vec<R> {
        let shards = self.all();
        let mut answers = Vec::with_capacity(shards.len());
        let mut waiting = Vec::new();
        for handle in shards.iter() {
            if let Some(shard) = handle.local() {
                answers.push(question(&shard));
                continue;
            }
            let (sender, receiver) = oneshot::channel();
            let (question, mut sender) = (question.clone(), Some(sender));
            let job = move |shard: &Shard| {
                // Nobody waits any more: the asking task was dropped.
                let _ = sender.take().map(|sender| sender.send(question(shard)));
            };
            match handle.run(Box::new(job)) {
                Ok(()) => waiting.push(receiver),
                Err(_) => tracing::warn!(shard = handle.index(), "a shard's mailbox is full: it was not asked"),
            }
        }
        for receiver in waiting {
            answers.extend(receiver.await);
        }
        answers
    }

    /// Runs something on every shard, soon.
    pub(crate) fn run_on_each(&self, act: impl Fn(&Shard) + Clone + Send + 'static) {
        for handle in self.all().iter() {
            // On this thread at once, so that it stands in one line with what is published.
            let done = handle.local().map(|shard| act(&shard)).is_some();
            if !done && handle.run(Box::new(act.clone())).is_err() {
                tracing::warn!(shard = handle.index(), "a shard's mailbox is full: clients were not told of a gap");
            }
        }
    }

    /// Collects answers of the shards of this thread.
    pub(crate) fn ask_local<R>(&self, mut question: impl FnMut(&Shard) -> Vec<R>) -> Vec<R> {
        self.all().iter().filter_map(ShardHandle::local).flat_map(|shard| question(&shard)).collect()
    }

    /// Lets the shards of this thread run the commands that other threads have sent so far.
    pub(crate) fn take_mail(&self) {
        self.all().iter().filter_map(ShardHandle::local).for_each(|shard| shard.take_mail());
    }

    /// Estimates how many of some connections are on this many shards.
    pub(crate) fn share_of(&self, connections: usize, shards: usize) -> usize {
        connections * shards / self.all().len().max(1)
    }

    /// Sends a broadcast to all shards. Returns the number of shards that it could not reach.
    pub(crate) async fn publish(&self, broadcast: &Arc<Broadcast>) -> usize {
        let mut missed = 0;
        for handle in self.all().iter() {
            let published = handle.local().map(|shard| shard.publish(broadcast)).is_some();
            if !published && !publish_to(handle, broadcast).await {
                tracing::warn!(shard = handle.index(), "a shard's mailbox is full: a broadcast does not reach it");
                missed += 1;
            }
        }
        missed
    }

    /// Waits until the shards have written enough of what was published.
    pub(crate) async fn room_to_broadcast(&self) {
        for handle in self.all().iter() {
            let room = |cx: &mut Context<'_>| match handle.local() {
                Some(shard) => shard.poll_broadcast_room(cx),
                None => handle.poll_broadcast_room(cx),
            };
            poll_fn(room).await;
        }
    }
}

async fn publish_to(handle: &ShardHandle, broadcast: &Arc<Broadcast>) -> bool {
    for _ in 0..MAILBOX_ATTEMPTS {
        if handle.publish(broadcast.clone()).is_ok() {
            return true;
        }
        yield_now().await;
    }
    false
}

/// Lets the executor run something else once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
