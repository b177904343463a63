//! Publishing on one shard: broadcasts wait for the end of the turn, and publishers for the clients.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::round;
use crate::connection::Connection;
use crate::group::{Audience, Broadcast};
use crate::mail_queue::UNFLUSHED_BYTES_MAX;
use crate::shard::{Shard, ShardInner};

/// Broadcast bytes of one turn above which publishers wait for the flush.
const PENDING_BYTES_MAX: usize = UNFLUSHED_BYTES_MAX;
/// How long publishers wait after such a burst for clients that are above their marks.
const HOLD_MAX: Duration = Duration::from_millis(50);

impl Shard {
    /// Publishes to the members on this shard; it goes out at the end of the turn.
    pub fn publish(&self, broadcast: &Arc<Broadcast>) {
        self.0.publish(broadcast.clone());
    }

    /// Pending while more than 256 KiB of broadcasts wait for the end of the turn, so that a
    /// loop of broadcasts cannot fill healthy clients' outboxes.
    pub fn poll_broadcast_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut fanout = self.0.fanout.members_mut();
        if fanout.pending_bytes <= PENDING_BYTES_MAX {
            return Poll::Ready(());
        }
        if !fanout.waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
            fanout.waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The connections of an audience on this shard.
    pub fn members(&self, audience: &Audience) -> Vec<Connection> {
        let (members, connections) = (self.0.fanout.members(), self.0.connections.borrow());
        members.of(audience, &connections).map(|member| Connection(member.clone())).collect()
    }
}

impl ShardInner {
    pub(crate) fn publish(&self, broadcast: Arc<Broadcast>) {
        let mut fanout = self.fanout.members_mut();
        fanout.pending_bytes += broadcast.bytes();
        fanout.pending.push(broadcast);
        drop(fanout);
        self.fanout.set_pending();
        self.notifier.notify();
    }

    /// Writes the broadcasts of this turn to every member.
    pub(crate) fn flush_broadcasts(self: &Rc<Self>) {
        if !self.fanout.take_pending() {
            return;
        }
        let (first, pending) = self.fanout.members_mut().pending.take();
        let mut done = 0;
        while done < pending.len() {
            let batch = &pending[done..][..round::batch_len(&pending[done..])];
            self.deliver_batch(batch, first + done as u32);
            done += batch.len();
        }
        self.fanout.members_mut().renumber(&self.connections.borrow());
        self.pace_publishers();
    }

    /// Lets publishers go on, but not at once after a burst that some clients have yet to take:
    /// these get [`HOLD_MAX`] to read, so that no burst by itself makes a client a slow one. A
    /// client that does not read holds nobody up for long: its outbox overflows.
    fn pace_publishers(self: &Rc<Self>) {
        let mut fanout = self.fanout.members_mut();
        let burst = fanout.pending_bytes.max(self.mailbox.queue.unflushed_bytes()) > PENDING_BYTES_MAX;
        if !self.fanout.is_crowded() {
            drop(fanout);
            self.release_publishers();
        } else if burst && !std::mem::replace(&mut fanout.holding, true) {
            drop(fanout);
            self.spawn(Box::pin(hold_publishers(Rc::downgrade(self))));
        }
    }

    fn release_publishers(&self) {
        self.mailbox.queue.broadcasts_flushed();
        let waiters = {
            let mut fanout = self.fanout.members_mut();
            fanout.pending_bytes = 0;
            std::mem::take(&mut fanout.waiters)
        };
        waiters.into_iter().for_each(Waker::wake);
    }
}

/// Where the clients get below their marks before, their last one lets the publishers go on.
async fn hold_publishers(shard: Weak<ShardInner>) {
    let Some(sleep) = shard.upgrade().map(|shard| shard.sleeps().until(shard.now() + HOLD_MAX)) else { return };
    sleep.await;
    let Some(shard) = shard.upgrade() else { return };
    shard.fanout.members_mut().holding = false;
    shard.release_publishers();
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::group::Group;
    use crate::service::BoxedTask;
    use crate::{Accept, MemoryClient, Profile, Server, ServerSettings, Service, Settings};

    /// Accepts everybody into one group.
    struct Lobby(Group);

    impl Service for Lobby {
        fn websocket(self: Rc<Self>, connection: &Connection) -> Option<BoxedTask> {
            connection.set_profile(Arc::new(Profile::new(Settings::default(), Some(self.0.clone()), ())));
            connection.accept(Accept::default()).unwrap();
            Some(Box::pin(std::future::pending()))
        }

        fn has_websocket(&self, _: &str) -> bool {
            true
        }
    }

    fn lobby() -> (Shard, Group) {
        let shard = Server::new(ServerSettings::default()).shard(Instant::now()).unwrap();
        let group = Group::new(7);
        shard.set_service(Rc::new(Lobby(group.clone())));
        (shard, group)
    }

    fn enter(shard: &Shard) -> MemoryClient {
        let client = shard.connect_memory(1 << 16);
        client.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        shard.turn(Instant::now());
        assert!(read(&client).starts_with("HTTP/1.1 101"));
        client
    }

    fn read(client: &MemoryClient) -> String {
        match client.poll_read(&mut Context::from_waker(Waker::noop()), 1 << 16) {
            Poll::Ready(bytes) => String::from_utf8_lossy(&bytes.unwrap()).into_owned(),
            Poll::Pending => String::new(),
        }
    }

    fn publish(shard: &Shard, text: &str) {
        shard.publish(&Arc::new(Broadcast::new(Audience::One(7), text.into())));
    }

    #[test]
    fn whoever_is_moved_to_the_place_of_one_that_left_is_still_reached() {
        let (shard, group) = lobby();
        let clients = [enter(&shard), enter(&shard), enter(&shard)];
        let [first, second, third] = clients;
        drop(first);
        shard.turn(Instant::now());
        drop(third);
        shard.turn(Instant::now());
        assert_eq!(group.members(), 1);
        publish(&shard, "hello");
        shard.turn(Instant::now());
        assert!(read(&second).ends_with("hello"));
        shard.cancel_all();
    }

    #[test]
    fn a_member_that_joins_behind_a_burst_gets_nothing_of_it() {
        let (shard, _) = lobby();
        let before = enter(&shard);
        // More than one write takes.
        for text in ["a", "b", "c"] {
            publish(&shard, &text.repeat(PENDING_BYTES_MAX / 2));
        }
        let after = enter(&shard);
        assert_eq!(read(&after), "");
        assert!(read(&before).contains("aaa"));
        shard.cancel_all();
    }

    #[test]
    fn broadcasts_go_on_when_their_numbers_begin_again() {
        let (shard, _) = lobby();
        let before = enter(&shard);
        shard.0.fanout.members_mut().pending.set_next(super::super::pending::NUMBERS_MAX - 1);
        let after = enter(&shard);
        for round in 0..3 {
            let (one, other) = (format!("one {round}"), format!("other {round}"));
            publish(&shard, &one);
            publish(&shard, &other);
            shard.turn(Instant::now());
            for client in [&before, &after] {
                let text = read(client);
                assert!(text.contains(&one) && text.ends_with(&other), "{text:?}");
            }
        }
        assert_eq!(shard.0.fanout.members().pending.next(), 4);
        shard.cancel_all();
    }
}
