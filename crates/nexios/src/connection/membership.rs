//! The rooms that a connection is in: joining, leaving, and its presence there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use nexios_engine::{ConnectionState, Group};
use nexios_protocol::escaped;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::broker::{Position, PresenceError};
use crate::connection::websocket::WebSocket;
use crate::live;

/// What a connection knows of its rooms.
#[derive(Default)]
pub(crate) struct Memberships {
    rooms: Vec<Membership>,
    /// Joins that are under way.
    wishes: Vec<(Arc<str>, Weak<AtomicBool>)>,
    /// Somebody waits for the end, to say that the user is gone.
    awaited: bool,
}

/// A join that is under way, until the application takes the connection out of the room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish(Arc<AtomicBool>);

impl Wish {
    /// Returns true if a later [`WebSocket::leave`] counts instead.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct Membership {
    name: Arc<str>,
    group: Group,
    /// The room's presence shows the connection.
    tracked: bool,
    /// The client has asked to be in it, and was permitted.
    by_itself: bool,
    /// The client is told of its presence until this is dropped.
    watched: Option<oneshot::Sender<()>>,
}

/// What becomes of a client's wish to watch a room's presence.
pub(crate) enum Watching {
    /// It does; resolves when it leaves the room.
    Begins(oneshot::Receiver<()>),
    /// It did before.
    Already,
    /// It watches as many rooms as it may.
    TooMany(usize),
    NotInRoom,
}

impl Memberships {
    fn find(&mut self, room: &str) -> Option<&mut Membership> {
        self.rooms.iter_mut().find(|membership| *membership.name == *room)
    }

    fn remove(&mut self, room: &str) -> Option<Membership> {
        let at = self.rooms.iter().position(|membership| *membership.name == *room)?;
        Some(self.rooms.swap_remove(at))
    }
}

impl WebSocket {
    /// Enters a room, given as a [`Room`](crate::Room) or by its name; returns whether the connection is in it
    /// now: only a connected one can be. Before `accept()` it is not, and a warning says so.
    /// Of a room with history it gets what comes from now on; [`join_from`](Self::join_from)
    /// begins earlier.
    ///
    /// A [`leave`](Self::leave) while this waits counts instead of it.
    pub async fn join(&self, room: impl AsRef<str>) -> bool {
        let room = room.as_ref();
        let wish = self.wish(room);
        self.join_by(&wish, room).await
    }

    /// Enters a room unless the wish is withdrawn meanwhile.
    pub(crate) async fn join_by(&self, wish: &Wish, room: &str) -> bool {
        if self.connection_state() == ConnectionState::Connecting {
            tracing::warn!(connection = %self.id(), room = %escaped(room), "join() before accept(): the connection is in no room");
            return false;
        }
        let framed = live::is_live(self.connection());
        if framed {
            if !live::is_nameable(room) {
                tracing::error!(connection = %self.id(), bytes = room.len(), room = %escaped(room), "the name of a room is too long for nexios.v1: the connection is not in it");
                return false;
            }
            live::ready(self).await;
        }
        if self.is_in_room(room) {
            return self.connection_state() == ConnectionState::Connected;
        }
        if let Some(node) = self.node_with_history(room) {
            let joined = self.resume(wish, node, room.into(), self.left_off(room)).await;
            return joined.is_some() || self.is_in_room(room);
        }
        let _held = match self.arrive(room) {
            Some(arriving) => Some(arriving.await),
            None => None,
        };
        // Another task of the connection may have been faster.
        if self.is_in_room(room) {
            return self.connection_state() == ConnectionState::Connected;
        }
        if wish.is_withdrawn() {
            return false;
        }
        let is_in = self.enter_room(room);
        if is_in && framed {
            live::joined(self, room);
        }
        is_in
    }

    /// Leaves a room; returns whether the connection was in it. Joins that wait, also those that a `nexios.v1` client
    /// has asked for, come to nothing.
    pub async fn leave(&self, room: impl AsRef<str>) -> bool {
        let room = room.as_ref();
        self.memberships_if_any(|memberships| {
            let of_room = memberships.wishes.iter().filter(|(name, _)| **name == *room);
            of_room.filter_map(|(_, wish)| wish.upgrade()).for_each(|wish| wish.store(true, Ordering::Relaxed));
            Some(())
        });
        self.leave_room(room)
    }

    /// Leaves a room, and withdraws no join.
    pub(crate) fn leave_room(&self, room: &str) -> bool {
        let left = self.memberships_if_any(|memberships| memberships.remove(room));
        left.is_some_and(|membership| self.has_left(&membership))
    }

    /// Notes that the connection wants to be in a room, until what is returned is dropped.
    pub(crate) fn wish(&self, room: &str) -> Wish {
        let wish = Wish::default();
        // A plain connection enters at once where there is neither a broker nor a history.
        let switchboard = &self.route().switchboard;
        if live::is_live(self.connection()) || switchboard.node().is_some() || self.node_with_history(room).is_some() {
            self.memberships(|memberships| {
                memberships.wishes.retain(|(_, other)| other.strong_count() > 0);
                memberships.wishes.push((room.into(), Arc::downgrade(&wish.0)));
            });
        }
        wish
    }

    /// The rooms that the connection has joined.
    pub fn rooms(&self) -> Vec<Arc<str>> {
        let name = |membership: &Membership| membership.name.clone();
        self.memberships_if_any(|memberships| Some(memberships.rooms.iter().map(name).collect())).unwrap_or_default()
    }

    /// The connection is gone.
    pub(crate) fn leave_all(&self) {
        self.depart();
        let rooms = self.memberships_if_any(|memberships| Some(std::mem::take(&mut memberships.rooms)));
        for membership in rooms.unwrap_or_default() {
            self.has_left(&membership);
        }
    }

    fn has_left(&self, membership: &Membership) -> bool {
        let switchboard = &self.route().switchboard;
        if membership.tracked {
            switchboard.presence().untrack(&membership.name, self.id());
        }
        let was_in = self.connection().leave(&membership.group);
        if was_in && live::is_live(self.connection()) {
            live::left(self, &membership.name);
        }
        switchboard.left_room(&membership.name);
        was_in
    }

    pub(crate) fn is_in_room(&self, room: &str) -> bool {
        self.memberships_if_any(|memberships| memberships.find(room).map(|_| ())).is_some()
    }

    /// Notes that the client is in a room because it asked to be.
    pub(crate) fn entered_by_itself(&self, room: &str) {
        self.memberships_if_any(|memberships| memberships.find(room).map(|membership| membership.by_itself = true));
    }

    /// Returns true if the application has put the connection into a room.
    pub(crate) fn was_let_into(&self, room: &str) -> bool {
        self.memberships_if_any(|memberships| memberships.find(room).map(|membership| !membership.by_itself))
            .unwrap_or_default()
    }

    /// Enters a room; the broker's side knows of it already.
    pub(crate) fn enter_room(&self, room: &str) -> bool {
        let framed = live::is_live(self.connection());
        let joined = self.route().switchboard.join_room(room, framed, |group| self.connection().join(group));
        let Some((name, group)) = joined else { return false };
        let membership = Membership { name, group, tracked: false, by_itself: false, watched: None };
        self.memberships(|memberships| memberships.rooms.push(membership));
        true
    }

    /// Where a client that speaks `nexios.v1` was in a room, as it has said; once.
    pub(crate) fn left_off(&self, room: &str) -> Option<Position> {
        self.session()?.take_position(room)
    }

    // --- presence

    /// Shows the connection's user in a room's presence, as [`Room::track`](crate::Room::track) does. The room is given
    /// as a [`Room`](crate::Room) or by its name.
    ///
    /// ```
    /// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
    /// ws.accept().await?;
    /// ws.join("general").await;
    /// ws.track("general", &serde_json::json!({"status": "busy"})).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`PresenceError`]: the connection is not in the room, the data are too long or have no JSON
    /// form, or there are too many users.
    pub async fn track(&self, room: impl AsRef<str>, data: &impl Serialize) -> Result<(), PresenceError> {
        self.show(room.as_ref(), &serde_json::to_string(data)?.into())
    }

    /// Ends what [`track`](Self::track) began; returns whether there was something to end.
    pub async fn untrack(&self, room: impl AsRef<str>) -> bool {
        self.hide(room.as_ref())
    }

    /// Shows the connection in a room's presence until it leaves or is gone.
    pub(crate) fn show(&self, room: &str, data: &Arc<str>) -> Result<(), PresenceError> {
        if !self.is_in_room(room) || self.connection_state() != ConnectionState::Connected {
            return Err(PresenceError::NotInRoom(room.to_owned()));
        }
        let id = self.id();
        let user = self.client_id().unwrap_or_else(|| id.to_string().into());
        let switchboard = &self.route().switchboard;
        switchboard.presence().track(room, id, &user, data)?;
        let is_awaited = self.memberships(|memberships| {
            memberships.find(room).into_iter().for_each(|membership| membership.tracked = true);
            std::mem::replace(&mut memberships.awaited, true)
        });
        if !is_awaited {
            let ws = self.clone();
            // The handler may go on when the client is gone.
            self.spawn(async move {
                ws.closed().await;
                ws.depart();
            });
        }
        Ok(())
    }

    /// Shows the connection no longer, since it is gone: at once, or after the delay that is set.
    fn depart(&self) {
        let tracked = self.memberships_if_any(|memberships| {
            let take =
                |membership: &mut Membership| std::mem::take(&mut membership.tracked).then(|| membership.name.clone());
            Some(memberships.rooms.iter_mut().filter_map(take).collect::<Vec<_>>())
        });
        let rooms = tracked.filter(|rooms| !rooms.is_empty());
        let (switchboard, id) = (self.route().switchboard.clone(), self.id());
        match (rooms, self.route().leave_delay) {
            (None, _) => {}
            (Some(rooms), Duration::ZERO) => {
                rooms.iter().for_each(|room| _ = switchboard.presence().untrack(room, id));
            }
            (Some(rooms), delay) => {
                let shard = self.connection().shard();
                let over = shard.sleep_until(shard.now() + delay);
                switchboard.presence().depart(&rooms, id);
                self.spawn(async move { switchboard.presence().untrack_later(&rooms, id, over).await });
            }
        }
    }

    /// Shows it no longer; whether it was shown.
    pub(crate) fn hide(&self, room: &str) -> bool {
        let was_tracked = self
            .memberships_if_any(|memberships| Some(std::mem::take(&mut memberships.find(room)?.tracked)))
            .unwrap_or_default();
        let switchboard = &self.route().switchboard;
        was_tracked && switchboard.presence().untrack(room, self.id())
    }

    /// The client is told of a room's presence from now on, once, however often it asks; it may watch so many rooms.
    pub(crate) fn watch(&self, room: &str, max: Option<usize>) -> Watching {
        let watching = self.memberships_if_any(|memberships| {
            let watched = memberships.rooms.iter().filter(|membership| membership.watched.is_some()).count();
            let membership = memberships.find(room)?;
            if membership.watched.is_some() {
                return Some(Watching::Already);
            }
            if let Some(max) = max.filter(|max| watched >= *max) {
                return Some(Watching::TooMany(max));
            }
            let (sender, receiver) = oneshot::channel();
            membership.watched = Some(sender);
            Some(Watching::Begins(receiver))
        });
        watching.unwrap_or(Watching::NotInRoom)
    }
}
