//! Frames of the server, and the calls of the application that they answer.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::calls::{Answer, KEY_TIME, Lane, Purpose, Reply};
use super::{Closing, Core, Link, Step};
use crate::backoff::Window;
use crate::end::{Cause, End};
use crate::error::Error;
use crate::event::{Event, Member, PresenceChange, Published, RoomEvent};
use crate::feed::Mark;
use crate::frame::{FromServer, HEADER_BYTES_MAX, Incoming, PresenceEvent, ToServer};
use crate::message::Message;
use crate::transport::Ended;

/// The longest key of a publish.
const KEY_BYTES_MAX: usize = 128;

/// A call that is made, and where its answer comes.
pub(crate) type Asked<T> = (u64, oneshot::Receiver<Result<T, Error>>);

impl Core {
    // --- calls

    pub(crate) fn publish(
        &mut self,
        now: Instant,
        room: &str,
        key: String,
        payload: &Message,
    ) -> Result<Asked<Published>, Error> {
        if key.len() > KEY_BYTES_MAX {
            let size = key.len();
            return Err(Error::argument(format!("invalid key of {size} bytes: at most {KEY_BYTES_MAX}")).with_key(&key));
        }
        let id = self.calls.next_id();
        let header = ToServer::Publish { id, room, key: &key };
        let deadline = Some(now + KEY_TIME);
        self.call(id, &header, payload, deadline, |reply| Purpose::Publish { key: key.clone(), reply })
            .map_err(|error| error.with_key(&key))
    }

    pub(crate) fn request(
        &mut self,
        now: Instant,
        method: &str,
        argument: &Message,
        timeout: Option<Duration>,
    ) -> Result<Asked<Message>, Error> {
        let id = self.calls.next_id();
        let deadline = timeout.and_then(|timeout| now.checked_add(timeout));
        self.call(id, &ToServer::Request { id, method }, argument, deadline, |reply| Purpose::Request { reply })
    }

    pub(crate) fn presence(
        &mut self,
        now: Instant,
        room: &str,
        timeout: Option<Duration>,
    ) -> Result<Asked<Vec<Member>>, Error> {
        let id = self.calls.next_id();
        let deadline = timeout.and_then(|timeout| now.checked_add(timeout));
        let purpose = |reply| Purpose::Presence { room: room.to_owned(), reply };
        self.call(id, &ToServer::Presence { id, room }, &Message::empty(), deadline, purpose)
    }

    fn call<T>(
        &mut self,
        id: u64,
        header: &ToServer<'_>,
        payload: &Message,
        deadline: Option<Instant>,
        purpose: impl FnOnce(Reply<T>) -> Purpose,
    ) -> Result<Asked<T>, Error> {
        if self.is_closed() {
            return Err(Error::closed());
        }
        let size = header.header().len();
        if size > HEADER_BYTES_MAX {
            return Err(Error::argument(format!(
                "the header of the call has {size} bytes: at most {HEADER_BYTES_MAX} for the room, method and key"
            )));
        }
        let (reply, answer) = oneshot::channel();
        self.calls.add(id, purpose(reply), header.with(payload), Lane::Ordinary, deadline)?;
        self.flush();
        Ok((id, answer))
    }

    /// Gives up a call: unless it is sent, it is removed.
    pub(crate) fn give_up_call(&mut self, id: u64) {
        self.calls.withdraw(id);
    }

    // --- frames

    pub(crate) fn received(&mut self, now: Instant, message: Message) {
        let is_greeting = match self.link {
            Link::Greeting { .. } => true,
            Link::Open { .. } => false,
            _ => return,
        };
        let taken = match Incoming::parse(message) {
            Ok(Incoming::Frame(frame, payload)) if !is_greeting => self.take(now, frame, payload),
            Ok(Incoming::Frame(frame, _)) => self.greeted(now, frame),
            Ok(Incoming::Message(_)) if is_greeting => Err("a message came before the welcome".to_owned()),
            Ok(Incoming::Message(message)) => {
                self.tell(Event::Message(message));
                Ok(())
            }
            Err(malformed) => Err(malformed.to_string()),
        };
        if let Err(reason) = taken {
            self.malformed(now, reason);
        }
        self.flush();
    }

    /// Handles the end of the connection by the server or the network.
    pub(crate) fn connection_ended(&mut self, now: Instant, ended: Ended) {
        match ended {
            Ended::Malformed(_) if !self.is_connected() => {}
            Ended::Malformed(reason) => self.malformed(now, reason),
            Ended::Closed { code, reason } => self.ended(now, End { code, reason, cause: Cause::Close }),
            Ended::Lost(reason) => self.ended(now, End::lost(reason)),
        }
    }

    fn malformed(&mut self, now: Instant, reason: String) {
        let mut short = reason;
        short.truncate(short.floor_char_boundary(100));
        self.steps.push_back(Step::Close { code: 1002, reason: short.clone() });
        self.end(now, End::malformed(short), false);
    }

    fn greeted(&mut self, now: Instant, frame: FromServer) -> Result<(), String> {
        match frame {
            FromServer::Welcome { id, retry_ms, limits } => self.opened(now, id, Window::read(&retry_ms), limits),
            FromServer::Closing { .. } => return self.take(now, frame, Message::empty()),
            FromServer::Unknown => {}
            _ => return Err("a frame came before the welcome".to_owned()),
        }
        Ok(())
    }

    fn take(&mut self, now: Instant, frame: FromServer, payload: Message) -> Result<(), String> {
        match frame {
            FromServer::Joined { room, position, recovered } => {
                self.room_joined(now, &room, position, recovered.unwrap_or_default());
            }
            FromServer::Left { room } => self.room_left(&room),
            FromServer::Message { room, offset, nonce } => {
                return self.room_message(now, &room, payload, offset, nonce.as_deref());
            }
            FromServer::Reset { room, position } => self.room_reset(now, &room, position),
            FromServer::Gap { room: Some(room), missed, offset } => self.room_gap(now, &room, missed, offset),
            FromServer::Gap { room: None, missed, .. } => self.gap_anywhere(now, missed),
            FromServer::Presence { room, event, user, data } => {
                let change = match event {
                    PresenceEvent::Join => PresenceChange::Join,
                    PresenceEvent::Leave => PresenceChange::Leave,
                    PresenceEvent::Unknown => return Ok(()),
                };
                self.tell_presence(now, &room, change(Member { user, data }));
            }
            FromServer::Error { id, code, message, maybe_stored } => {
                let maybe_stored = maybe_stored && code == "unavailable";
                self.refused(now, id, Error::new(code, message).with_maybe_stored(maybe_stored));
            }
            FromServer::Closing { code, reason, retry_ms } => self.closing(now, code, reason, &retry_ms),
            FromServer::Welcome { .. } | FromServer::Unknown => {}
            answer => {
                if let Some(answer) = Answer::of(answer, payload) {
                    self.answered(now, answer);
                }
            }
        }
        Ok(())
    }

    fn closing(&mut self, now: Instant, code: u16, reason: String, retry_ms: &serde_json::Value) {
        let cause = Cause::Closing(!retry_ms.is_null());
        let until = now + self.settings.open_timeout;
        self.closing = Some(Closing { end: End { code, reason, cause }, window: Window::read(retry_ms), until });
    }

    fn answered(&mut self, now: Instant, answer: Answer) {
        let Some(call) = self.calls.take(answer.id) else { return };
        // The caller may have given up.
        match call.purpose {
            Purpose::Join { room } => self.asked_answered(now, &room, true, None),
            Purpose::Leave { room } => self.asked_answered(now, &room, false, None),
            Purpose::Publish { key, reply } => {
                let (position, duplicate) = (answer.position, answer.is_duplicate);
                drop(reply.send(Ok(Published { key, position, duplicate })));
            }
            Purpose::Request { reply } => drop(reply.send(Ok(answer.payload))),
            Purpose::Presence { room, reply } => {
                self.watch(&room);
                drop(reply.send(members(&answer.payload)));
            }
            Purpose::PresenceState { room } => match members(&answer.payload) {
                Ok(members) => self.tell_presence(now, &room, PresenceChange::State(members)),
                Err(error) => self.tell(Event::Error(error)),
            },
        }
    }

    fn watch(&mut self, room: &str) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.is_watching = true;
        }
    }

    fn refused(&mut self, now: Instant, id: u64, error: Error) {
        let Some(call) = self.calls.take(id) else { return };
        match &call.purpose {
            Purpose::Join { room } => self.asked_answered(now, room, true, Some(&error)),
            Purpose::Leave { room } => self.asked_answered(now, room, false, Some(&error)),
            Purpose::PresenceState { .. } => self.tell(Event::Error(error)),
            _ => call.refused(error),
        }
    }

    // --- messages of rooms

    fn room_message(
        &mut self,
        now: Instant,
        name: &str,
        message: Message,
        offset: Option<u64>,
        nonce: Option<&str>,
    ) -> Result<(), String> {
        let Some(room) = self.rooms.get_mut(name) else { return Ok(()) };
        if !room.is_joined() {
            room.has_dropped |= room.is_leaving();
            return Ok(());
        }
        let (mut mark, mut at) = (Mark::Nothing, None);
        if let (Some(before), Some(offset)) = (&room.at, offset) {
            let position = before.at(offset, nonce.unwrap_or_default()).map_err(|error| error.to_string())?;
            if offset <= before.offset() {
                return Ok(());
            }
            at = Some(position.clone());
            mark = Mark::At(position);
        }
        let is_put = self.put(now, name, RoomEvent::Message { message, offset }, mark);
        if let Some(room) = self.rooms.get_mut(name)
            && is_put
            && at.is_some()
        {
            room.at = at;
        }
        Ok(())
    }

    fn room_reset(&mut self, now: Instant, name: &str, position: Option<crate::Position>) {
        let is_joined = self.is_joined(name);
        let Some(position) = position.filter(|_| is_joined) else { return };
        let mark = Mark::At(position.clone());
        let is_put = self.put(now, name, RoomEvent::Reset { position: position.clone() }, mark);
        if let Some(room) = self.rooms.get_mut(name)
            && is_put
        {
            room.at = Some(position);
        }
    }

    /// Handles a gap of no room: the broker was lost, and rooms with history continue by themselves.
    fn gap_anywhere(&mut self, now: Instant, missed: Option<u64>) {
        self.tell(Event::Gap { missed });
        let plain = self.rooms.iter().filter(|(_, room)| room.at.is_none() && room.is_joined());
        let plain: Vec<_> = plain.map(|(name, _)| name.clone()).collect();
        plain.iter().for_each(|name| self.room_gap(now, name, missed, None));
    }
}

fn members(payload: &Message) -> Result<Vec<Member>, Error> {
    payload.json().map_err(|error| Error::new("invalid_answer", format!("the answer is not a list of users: {error}")))
}
