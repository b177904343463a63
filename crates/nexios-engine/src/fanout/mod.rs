//! Broadcast: contiguous arrays of members, walked once at the end of the turn.
//!
//! No subscriber's task is woken. Broadcasts of one turn go to each member in one write.
//! A member's own send takes along what was broadcast to it before ([`Inner::settle`]),
//! so that both form one FIFO.

mod pending;
mod queueing;
mod round;

use std::cell::{BorrowMutError, Cell, Ref, RefCell, RefMut};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pending::Pending;

use crate::connection::{Connection, Inner};
use crate::connections::Connections;
use crate::group::{Audience, Broadcast, Group};
use crate::mail_queue::UNFLUSHED_BYTES_MAX;
use crate::shard::{Shard, ShardInner};

/// Broadcast bytes of one turn above which publishers wait for the flush.
pub(crate) const PENDING_BYTES_MAX: usize = UNFLUSHED_BYTES_MAX;
/// How long publishers wait after such a burst for clients that are above their marks.
const HOLD_MAX: Duration = Duration::from_millis(50);

/// The way of broadcasts to the connections of one shard.
#[derive(Default)]
pub(crate) struct Fanout {
    members: RefCell<Members>,
    is_pending: Cell<bool>,
    /// Connections above their marks whose policy is to close them.
    crowd: Cell<usize>,
}

/// The groups of one shard and the broadcasts of this turn.
#[derive(Default)]
pub(crate) struct Members {
    /// The members of each group, by their tokens.
    groups: HashMap<u32, Vec<u32>>,
    /// What connections are members of beside their routers, with their places there.
    rooms: HashMap<u32, Vec<(Group, u32)>>,
    pending: Pending,
    /// Bytes published since all clients had room, or since publishers were held back for them.
    pending_bytes: usize,
    /// Publishers are being held back.
    holding: bool,
    waiters: Vec<Waker>,
}

/// What each connection knows of its groups.
pub(crate) struct Membership {
    /// Its place among the members of its router, or [`NOWHERE`].
    router_place: Cell<u32>,
    /// Broadcasts before this number are dealt with.
    seen: Cell<u32>,
}

const NOWHERE: u32 = u32::MAX;
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

impl Fanout {
    pub(crate) fn members(&self) -> Ref<'_, Members> {
        self.members.borrow()
    }

    pub(crate) fn members_mut(&self) -> RefMut<'_, Members> {
        self.members.borrow_mut()
    }

    /// Returns an error while a broadcast is walking the groups.
    pub(crate) fn try_members_mut(&self) -> Result<RefMut<'_, Members>, BorrowMutError> {
        self.members.try_borrow_mut()
    }

    /// Returns true if something is to be done at the end of the turn.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.is_pending.get()
    }

    pub(crate) fn set_pending(&self) {
        self.is_pending.set(true);
    }

    /// One more or one less connection is above its mark and would be closed for it; returns how many are.
    pub(crate) fn crowd_changed(&self, one_more: bool) -> usize {
        let crowd = self.crowd.get();
        self.crowd.set(if one_more { crowd + 1 } else { crowd.saturating_sub(1) });
        self.crowd.get()
    }
}

impl Members {
    /// Makes a connection a member; `false` where it is one already.
    pub(crate) fn join(&mut self, member: &Inner, group: &Group) -> bool {
        if self.groups_of(member).any(|other| other.id() == group.id()) {
            return false;
        }
        let place = self.add(member, group);
        self.rooms.entry(member.token()).or_default().push((group.clone(), place));
        true
    }

    /// The first membership: the router of the connection's route.
    pub(crate) fn join_router(&mut self, member: &Inner) {
        if let Some(group) = member.router() {
            member.membership.router_place.set(self.add(member, group));
        }
    }

    fn add(&mut self, member: &Inner, group: &Group) -> u32 {
        // What is pending was published before it joined.
        member.membership.seen.set(self.pending.next());
        group.joined();
        let members = self.groups.entry(group.id()).or_default();
        members.push(member.token());
        (members.len() - 1) as u32
    }

    /// Ends a membership; `false` where there was none.
    pub(crate) fn leave(&mut self, member: &Inner, id: u32, connections: &Connections) -> bool {
        let Some(rooms) = self.rooms.get_mut(&member.token()) else { return false };
        let Some(index) = rooms.iter().position(|(group, _)| group.id() == id) else { return false };
        let (group, place) = rooms.swap_remove(index);
        if rooms.is_empty() {
            self.rooms.remove(&member.token());
        }
        self.remove(&group, place, connections);
        true
    }

    /// Ends all memberships.
    pub(crate) fn leave_all(&mut self, member: &Inner, connections: &Connections) {
        if let Some((group, place)) = member.router_membership() {
            member.membership.router_place.set(NOWHERE);
            self.remove(group, place, connections);
        }
        for (group, place) in self.rooms.remove(&member.token()).into_iter().flatten() {
            self.remove(&group, place, connections);
        }
    }

    fn remove(&mut self, group: &Group, place: u32, connections: &Connections) {
        group.left();
        let Some(members) = self.groups.get_mut(&group.id()) else { return };
        members.swap_remove(place as usize);
        let moved = members.get(place as usize).and_then(|&token| connections.get(token));
        if members.is_empty() {
            self.groups.remove(&group.id());
        } else if members.capacity() > 64 && members.len() < members.capacity() / 4 {
            members.shrink_to(members.len() * 2);
        }
        if let Some(moved) = moved {
            self.set_place(moved, group.id(), place);
        }
    }

    fn set_place(&mut self, member: &Inner, id: u32, place: u32) {
        if member.router_membership().is_some_and(|(group, _)| group.id() == id) {
            return member.membership.router_place.set(place);
        }
        let rooms = self.rooms.get_mut(&member.token());
        if let Some((_, old)) = rooms.into_iter().flatten().find(|(group, _)| group.id() == id) {
            *old = place;
        }
    }

    /// Its router and its rooms.
    fn groups_of<'a>(&'a self, member: &'a Inner) -> impl Iterator<Item = &'a Group> + Clone {
        let rooms = self.rooms.get(&member.token());
        let router = member.router_membership().map(|(group, _)| group);
        router.into_iter().chain(rooms.into_iter().flatten().map(|(group, _)| group))
    }

    pub(crate) fn is_addressed(&self, member: &Inner, audience: &Audience) -> bool {
        self.groups_of(member).any(|group| audience.contains(group.id()))
    }

    /// Returns the pending broadcasts for a member; from now on they count as dealt with.
    fn take_for(&self, member: &Inner) -> Vec<Arc<Broadcast>> {
        let seen = member.membership.seen.replace(self.pending.next());
        if seen >= self.pending.next() {
            return Vec::new();
        }
        self.pending.addressed_to(self.groups_of(member).map(Group::id), seen)
    }

    pub(crate) fn tell_over_mark(&self, member: &Inner, over: bool) {
        for group in self.groups_of(member) {
            if over { group.rose_over_mark() } else { group.fell_under_mark() }
        }
    }

    fn of<'a>(&'a self, audience: &Audience, connections: &'a Connections) -> impl Iterator<Item = &'a Rc<Inner>> {
        let range = match audience {
            Audience::Range(range) => range.clone(),
            Audience::One(id) => *id..id.saturating_add(1),
        };
        range.filter_map(|id| self.groups.get(&id)).flatten().filter_map(|&token| connections.get(token))
    }

    /// With nothing pending, all that was numbered is dealt with: the numbers may begin again.
    fn renumber(&mut self, connections: &Connections) {
        if self.pending.renumber() {
            connections.iter().for_each(|inner| inner.membership.seen.set(0));
        }
    }
}

impl Default for Membership {
    fn default() -> Self {
        Membership { router_place: Cell::new(NOWHERE), seen: Cell::new(0) }
    }
}

impl Inner {
    fn router_membership(&self) -> Option<(&Group, u32)> {
        let place = self.membership.router_place.get();
        self.router().filter(|_| place != NOWHERE).map(|group| (group, place))
    }
}

impl ShardInner {
    pub(crate) fn publish(&self, broadcast: Arc<Broadcast>) {
        let mut fanout = self.fanout.members_mut();
        fanout.pending_bytes += broadcast.bytes();
        let also = broadcast.also.clone();
        std::iter::once(broadcast).chain(also).for_each(|broadcast| fanout.pending.push(broadcast));
        drop(fanout);
        self.fanout.set_pending();
        self.notifier.notify();
    }

    /// Writes the broadcasts of this turn to every member.
    pub(crate) fn flush_broadcasts(self: &Rc<Self>) {
        if !self.fanout.is_pending.replace(false) {
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
        if self.fanout.crowd.get() == 0 {
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
        shard.0.fanout.members_mut().pending.set_next(pending::NUMBERS_MAX - 1);
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
