//! Wishes of the application, and the frames that fulfil them: one `join` or `leave` at a time for each room.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::calls::{Lane, Purpose};
use super::room::{Asked, RoomState, Settled, Since};
use super::{Core, Link};
use crate::end::End;
use crate::error::Error;
use crate::event::{Event, PresenceChange, RoomEvent};
use crate::feed::{Feed, Full, Mark, Progress, UNASKED_BYTES_MAX};
use crate::frame::{HEADER_BYTES_MAX, ToServer};
use crate::message::Message;
use crate::position::Position;

/// Rooms at most.
pub(crate) const ROOMS_MAX: usize = 1000;
/// Errors of the server after which a join is tried again.
const PASSING: [&str; 3] = ["busy", "failed", "unavailable"];
const RETRY_MIN_MS: u64 = 1000;
const RETRY_SPREAD_MS: f64 = 4000.0;

impl Core {
    // --- what the application does

    /// Returns the feed of a room, which is made if it is missing.
    pub(crate) fn room(&mut self, name: &str) -> Result<Arc<Feed<RoomEvent>>, Error> {
        // The longest header of a room.
        let header = ToServer::Publish { id: u32::MAX.into(), room: name, key: "" }.header();
        if header.len() > HEADER_BYTES_MAX {
            let shown: String = name.chars().take(20).collect();
            let size = name.len();
            return Err(Error::argument(format!(
                "invalid room name {shown:?}... of {size} bytes: its header must not be over {HEADER_BYTES_MAX} bytes"
            )));
        }
        match self.add_room(name) {
            Some(room) => Ok(room.feed.clone()),
            None => Err(Error::argument(format!("{name:?} is one room too many: a client has at most {ROOMS_MAX}"))),
        }
    }

    pub(super) fn add_room(&mut self, name: &str) -> Option<&mut RoomState> {
        if self.rooms.len() >= ROOMS_MAX && !self.rooms.contains_key(name) {
            self.rooms.retain(|_, room| !room.is_idle());
            if self.rooms.len() >= ROOMS_MAX {
                return None;
            }
        }
        let position = self.positions.get(name).cloned();
        let number = self.next_ticket();
        Some(self.rooms.entry(name.to_owned()).or_insert_with(|| RoomState::new(number, position)))
    }

    fn next_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    pub(crate) fn join(&mut self, name: &str, since: Option<Since>) -> Result<(u64, Settled), Error> {
        self.check_open()?;
        let ticket = self.next_ticket();
        let settled = self.known_room(name)?.wish_in(ticket, since);
        self.drive(name, Lane::Ordinary);
        self.flush();
        Ok((ticket, settled))
    }

    pub(crate) fn leave(&mut self, name: &str) -> Result<(u64, Settled), Error> {
        self.check_open()?;
        let ticket = self.next_ticket();
        let settled = self.known_room(name)?.wish_out(ticket);
        self.drive(name, Lane::Ordinary);
        self.forget_if_out(name);
        self.flush();
        Ok((ticket, settled))
    }

    fn known_room(&mut self, name: &str) -> Result<&mut RoomState, Error> {
        self.room(name)?;
        self.rooms.get_mut(name).ok_or_else(Error::closed)
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.is_closed() { Err(Error::closed()) } else { Ok(()) }
    }

    /// Takes back a `join()` or `leave()` that was given up.
    pub(crate) fn give_up(&mut self, name: &str, ticket: u64) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.give_up(ticket);
        }
        self.drive(name, Lane::Ordinary);
        self.flush();
    }

    pub(crate) fn subscribe(&mut self, name: &str) -> Result<Arc<Feed<RoomEvent>>, Error> {
        self.check_open()?;
        let room = self.known_room(name)?;
        room.subscribed();
        let feed = room.feed.clone();
        self.drive(name, Lane::Ordinary);
        self.flush();
        Ok(feed)
    }

    pub(crate) fn unsubscribe(&mut self, name: &str) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.subscriptions = room.subscriptions.saturating_sub(1);
        }
        self.drive(name, Lane::Ordinary);
        self.forget_if_out(name);
        self.flush();
    }

    pub(crate) fn is_joined(&self, name: &str) -> bool {
        self.rooms.get(name).is_some_and(RoomState::is_joined)
    }

    // --- fulfilling wishes

    /// Sends the frame that brings a room closer to the wish, or ends the calls that wait for it.
    pub(super) fn drive(&mut self, name: &str, lane: Lane) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let wish = room.wish();
        if let Some(asked) = room.asked {
            if self.calls.is_sent(asked.id) || asked.is_join == wish {
                return;
            }
            self.calls.withdraw(asked.id);
            room.asked = None;
        }
        if room.is_inside == wish {
            room.settle(wish);
        } else if matches!(self.link, Link::Open { .. }) && !(wish && room.retry_at.is_some()) {
            match self.over_rooms().filter(|_| wish) {
                Some(error) => self.join_denied(name, &error),
                None => self.ask(name, wish, lane),
            }
        }
    }

    /// Returns the error of a join where the server lets the client into no more rooms.
    fn over_rooms(&self) -> Option<Error> {
        let most = self.calls.rooms_max().filter(|most| self.rooms.len() as u64 > *most)?;
        let taken = self.rooms.values().filter(|room| room.is_counted()).count() as u64;
        (taken >= most).then(|| Error::new("forbidden", format!("the server lets a client into {most} rooms at most")))
    }

    fn ask(&mut self, name: &str, is_join: bool, lane: Lane) {
        let id = self.calls.next_id();
        let position = self.position_of(name);
        let (header, purpose) = match is_join {
            true => (ToServer::Join { id, room: name, position }, Purpose::Join { room: name.to_owned() }),
            false => (ToServer::Leave { id, room: name }, Purpose::Leave { room: name.to_owned() }),
        };
        // Rooms have their limit elsewhere.
        let _ = self.calls.add(id, purpose, header.with(&Message::empty()), lane, None);
        if let Some(room) = self.rooms.get_mut(name) {
            room.asked = Some(Asked { id, is_join });
        }
    }

    /// Returns the position of a join: the received one, else that of the application, else the stored one.
    fn position_of(&self, name: &str) -> Option<String> {
        let room = self.rooms.get(name)?;
        let received = room.at.as_ref().map(ToString::to_string);
        let since = || room.since().map(ToString::to_string);
        received.or_else(since).or_else(|| self.positions.get(name).map(ToString::to_string))
    }

    /// Joins the rooms whose wish is in, before anything else is sent on an open connection.
    pub(super) fn resume_rooms(&mut self) {
        let wanted = self.rooms.iter().filter(|(_, room)| room.wish());
        let mut wanted: Vec<_> = wanted.map(|(name, room)| (room.number, name.clone())).collect();
        wanted.sort_unstable();
        wanted.iter().for_each(|(_, name)| self.drive(name, Lane::Resume));
    }

    /// Takes the client out of all rooms: the connection is over.
    pub(super) fn rooms_disconnected(&mut self) {
        self.retries.clear();
        let mut left = Vec::new();
        for (name, room) in &mut self.rooms {
            // A leave was sent, or a join whose wish was taken back.
            if room.is_leaving() || (room.asked.is_some() && !room.wish()) {
                left.push(name.clone());
            }
            (room.is_inside, room.has_dropped) = (false, false);
            (room.asked, room.retry_at) = (None, None);
            if !room.wish() {
                room.settle(false);
            }
        }
        left.iter().for_each(|name| self.exit(name, None));
    }

    pub(super) fn close_rooms(&mut self) {
        for room in self.rooms.values_mut() {
            room.fail(&Error::closed());
            room.asked = None;
            room.is_inside = false;
            room.feed.close();
        }
    }

    // --- frames of the server

    pub(super) fn room_joined(&mut self, now: Instant, name: &str, at: Option<Position>, recovered: bool) {
        let is_usable = name.len() <= HEADER_BYTES_MAX;
        let Some(room) = is_usable.then(|| self.add_room(name)).flatten() else {
            let shown: String = name.chars().take(100).collect();
            let limits = format!("{ROOMS_MAX} rooms, with names of {HEADER_BYTES_MAX} bytes");
            let over = Error::new("rooms", format!("no place for the room {shown:?}: a client has at most {limits}"));
            return self.tell(Event::Error(over));
        };
        room.is_inside = true;
        if room.is_leaving() {
            return;
        }
        (room.is_known, room.retry_at) = (true, None);
        room.at.clone_from(&at);
        let (is_watching, is_settled) = (room.is_watching, room.asked.is_none() && room.wish());
        self.tell(Event::Joined { room: name.to_owned() });
        let mark = at.clone().map_or(Mark::Forget, Mark::At);
        self.put(now, name, RoomEvent::Joined { recovered, has_history: at.is_some(), position: at }, mark);
        if is_watching {
            self.ask_presence(name);
        }
        if is_settled {
            self.drive(name, Lane::Ordinary);
        }
    }

    fn ask_presence(&mut self, name: &str) {
        let id = self.calls.next_id();
        let frame = ToServer::Presence { id, room: name }.with(&Message::empty());
        // Rooms have their limit elsewhere.
        let _ = self.calls.add(id, Purpose::PresenceState { room: name.to_owned() }, frame, Lane::Ordinary, None);
    }

    pub(super) fn room_left(&mut self, name: &str) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.is_inside = false;
            self.exit(name, None);
        }
    }

    /// Leaves a room that the client is not in any more: the position is forgotten.
    fn exit(&mut self, name: &str, why: Option<&Error>) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.at = None;
        room.is_watching = false;
        if !std::mem::take(&mut room.is_known) {
            room.feed.forget();
            return self.positions.keep(name, None);
        }
        let (code, message) = why.map(|why| (why.code().to_owned(), why.message().to_owned())).unzip();
        // If it does not fit, the next `joined` reports the change.
        let _ = room.feed.push(RoomEvent::Left { code, message }, Mark::Forget, 0);
    }

    /// Forgets a room after a `leave()` that has nothing to wait for.
    fn forget_if_out(&mut self, name: &str) {
        let is_out = |room: &RoomState| !room.wish() && !room.is_inside && room.asked.is_none();
        if self.rooms.get(name).is_some_and(is_out) {
            self.exit(name, None);
        }
    }

    /// Handles the answer to a `join` or `leave`.
    pub(super) fn asked_answered(&mut self, now: Instant, name: &str, is_join: bool, refusal: Option<&Error>) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.asked = None;
        match (is_join, refusal) {
            (true, None) => room.is_inside = true,
            (true, Some(error)) => return self.join_refused(now, name, error),
            (false, None) => {
                (room.is_inside, room.has_dropped) = (false, false);
                self.exit(name, None);
            }
            (false, Some(error)) => return self.leave_refused(now, name, error),
        }
        self.drive(name, Lane::Ordinary);
    }

    fn join_refused(&mut self, now: Instant, name: &str, error: &Error) {
        let chance = self.chance();
        let Some(room) = self.rooms.get_mut(name) else { return };
        if !room.wish() || !PASSING.contains(&error.code()) {
            return self.join_denied(name, error);
        }
        room.reject_joins(error);
        if room.wish() {
            let at = now + Duration::from_millis(RETRY_MIN_MS + (RETRY_SPREAD_MS * chance) as u64);
            room.retry_at = Some(at);
            self.retries.insert((at, name.to_owned()));
        } else if room.is_known {
            self.exit(name, Some(error));
        }
    }

    /// Ends the wish to be in a room, for good.
    fn join_denied(&mut self, name: &str, error: &Error) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let is_again = !room.has_joins();
        if !room.wish() {
            // It was left meanwhile.
            room.settle(false);
            return self.forget_if_out(name);
        }
        room.refused(error);
        if is_again || room.subscriptions > 0 {
            room.is_known = true;
        }
        self.exit(name, Some(error));
    }

    fn leave_refused(&mut self, now: Instant, name: &str, error: &Error) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.leave_refused(error);
        if std::mem::take(&mut room.has_dropped) {
            self.room_gap(now, name, None, None);
        }
    }

    /// Joins rooms again whose refusal was a passing one.
    pub(super) fn retry_rooms(&mut self, now: Instant) {
        while let Some((at, _)) = self.retries.first()
            && *at <= now
            && let Some((_, name)) = self.retries.pop_first()
        {
            if let Some(room) = self.rooms.get_mut(&name) {
                room.retry_at = None;
            }
            self.drive(&name, Lane::Ordinary);
        }
    }

    // --- events of rooms

    /// Puts an event into a room's feed; `false` if there is no place.
    pub(super) fn put(&mut self, now: Instant, name: &str, event: RoomEvent, mark: Mark) -> bool {
        let is_stored = self.positions.get(name).is_some();
        let Some(room) = self.rooms.get_mut(name) else { return false };
        let (missed, bytes) = (missed_by(&event), event.bytes());
        if !is_stored && room.is_unasked() && room.feed.bytes() + bytes > UNASKED_BYTES_MAX {
            room.collapse();
            return false;
        }
        let Err(Full) = room.feed.push(event, mark, bytes) else { return true };
        match &room.at {
            _ if !room.feed.has_consumers() => room.collapse(),
            Some(_) => self.fall_behind(now, name),
            None => room.miss(missed),
        }
        false
    }

    pub(super) fn tell_presence(&mut self, now: Instant, name: &str, change: PresenceChange) {
        if self.is_joined(name) {
            self.put(now, name, RoomEvent::Presence(change), Mark::Nothing);
        }
    }

    pub(super) fn room_gap(&mut self, now: Instant, name: &str, missed: Option<u64>, first: Option<u64>) {
        let Some(room) = self.rooms.get_mut(name).filter(|room| room.is_joined()) else { return };
        match &room.at {
            None => _ = self.put(now, name, RoomEvent::Gap { missed }, Mark::Nothing),
            Some(at) if first.is_some_and(|first| first <= at.offset()) => {
                let position = at.clone();
                self.put(now, name, RoomEvent::Reset { position }, Mark::Nothing);
            }
            Some(_) => self.fall_behind(now, name),
        }
    }

    /// Cuts the connection, so that the server sends later what there is no place for now.
    fn fall_behind(&mut self, now: Instant, name: &str) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.is_behind = room.feed.has_consumers() && !room.feed.is_empty();
        }
        self.cut(now, End::lost("a room is too far behind"));
    }

    /// Notes that a room's consumers have handled events.
    pub(crate) fn handled(&mut self, now: Instant, name: &str, progress: Progress) {
        if let Some(position) = progress.position {
            self.positions.keep(name, position);
        }
        if progress.is_drained
            && let Some(room) = self.rooms.get_mut(name)
            && std::mem::take(&mut room.is_behind)
        {
            self.resume_if_held(now);
        }
    }
}

/// Returns how many messages are lost if this event is dropped.
fn missed_by(event: &RoomEvent) -> Option<u64> {
    match event {
        RoomEvent::Gap { missed } => *missed,
        _ => Some(1),
    }
}

impl RoomState {
    /// Drops the waiting events of a room without consumers. The first consumer gets an event that declares the hole.
    fn collapse(&mut self) {
        self.feed.clear();
        let (event, mark) = match self.at.clone() {
            Some(at) => {
                let mark = Mark::At(at.clone());
                (RoomEvent::Joined { recovered: false, has_history: true, position: Some(at) }, mark)
            }
            None => (RoomEvent::Gap { missed: None }, Mark::Nothing),
        };
        // There is place now.
        let _ = self.feed.push(event, mark, 0);
    }

    /// Counts a lost message of a room without history.
    fn miss(&mut self, lost: Option<u64>) {
        self.feed.merge(|last| match last {
            Some(RoomEvent::Gap { missed }) => {
                *missed = missed.zip(lost).map(|(missed, lost)| missed.saturating_add(lost));
                None
            }
            _ => Some(RoomEvent::Gap { missed: lost }),
        });
    }
}
