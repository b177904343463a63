//! What a client asks of rooms: in each room one thing after another, in all rooms at once.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use nexios_engine::Message;

use super::answer::{Answer, UNAVAILABLE, answer, answer_publish, beside, guarded};
use super::frame::{ClientFrame, KEY_BYTES_MAX};
use super::presence::Watch;
use super::request::RequestError;
use super::rules::Authorize;
use super::session::{LiveSession, Place, ROOMS_MAX, Step};
use crate::connection::membership::Wish;
use crate::connection::websocket::WebSocket;
use crate::error::Result;

/// What stands for a position where a client wants all of the history of the room.
const START: &str = "start";

/// Does what is in a room's line, until nothing is.
pub(crate) async fn work(ws: WebSocket, session: Rc<LiveSession>, room: Arc<str>) {
    while let Some(Step { place, wish, frame, payload }) = session.next_step(&room) {
        if matches!(frame, ClientFrame::Join { .. } | ClientFrame::Publish { .. }) {
            hold(&ws, &session).await;
        }
        let result = match frame {
            ClientFrame::Join { position, .. } => join(&ws, &session, &wish, &room, position).await,
            ClientFrame::Leave { .. } => leave(&ws, &room).await,
            ClientFrame::Publish { key, .. } => match may_publish(&ws, &room, key.as_deref()).await {
                Ok(()) => {
                    publish(&ws, place, &room, key, payload).await;
                    continue;
                }
                Err(error) => {
                    answer_publish(&ws, place, Err(error), Some(false)).await;
                    continue;
                }
            },
            ClientFrame::Presence { .. } => {
                presence(&ws, place, &room).await;
                continue;
            }
            ClientFrame::Hello { .. } | ClientFrame::Request { .. } | ClientFrame::Ping { .. } => continue,
        };
        answer(&ws, place, result).await;
    }
}

/// Waits until the handler of a fresh connection has done what comes before its first receive, such as joining rooms.
async fn hold(ws: &WebSocket, session: &LiveSession) {
    let Some(until) = session.fresh_until.get() else { return };
    let shard = ws.connection().shard();
    if shard.now() >= until {
        return session.fresh_until.set(None);
    }
    let mut timeout = Box::pin(shard.sleep_until(until));
    poll_fn(|cx| match ws.connection().poll_engaged(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => timeout.as_mut().poll(cx),
    })
    .await;
    session.fresh_until.set(None);
}

async fn join(
    ws: &WebSocket,
    session: &LiveSession,
    wish: &Wish,
    room: &Arc<str>,
    position: Option<String>,
) -> Result<Answer> {
    let rooms = ws.rooms();
    if rooms.contains(room) {
        return Ok(Answer::Ack);
    }
    if rooms.len() >= ROOMS_MAX {
        return Err(RequestError::forbidden(format!("a client may be in {ROOMS_MAX} rooms")).into());
    }
    permitted(ws, ws.route().rules.join.as_ref(), room).await?;
    let is_in = match position {
        Some(position) if position == START => {
            permitted(ws, ws.route().rules.history.as_ref(), room).await?;
            // What it said in its `hello` does not count then.
            session.take_position(room);
            ws.join_from_start_by(wish, room).await.is_some()
        }
        Some(position) => {
            session.note_position(room, &position);
            ws.join_by(wish, room).await
        }
        None => ws.join_by(wish, room).await,
    };
    match is_in {
        true => {
            ws.entered_by_itself(room);
            Ok(Answer::Ack)
        }
        false if wish.is_withdrawn() => {
            Err(RequestError::forbidden("the application has taken the client out of the room").into())
        }
        false => Err(RequestError::new(UNAVAILABLE, "the connection is over").into()),
    }
}

/// A room that the client has entered by itself it leaves unasked.
async fn leave(ws: &WebSocket, room: &Arc<str>) -> Result<Answer> {
    if ws.was_let_into(room) {
        permitted(ws, ws.route().rules.leave.as_ref(), room).await?;
    }
    ws.leave_room(room);
    Ok(Answer::Ack)
}

/// Who is in a room; from then on the client is told of each change, until it leaves.
async fn presence(ws: &WebSocket, place: Place, room: &Arc<str>) {
    match begin_watch(ws, room).await {
        Ok(watch) => {
            let users = watch.list().await;
            answer(ws, place, Ok(Answer::Reply(users))).await;
            beside(ws, watch.run(ws.clone()));
        }
        Err(error) => answer(ws, place, Err(error)).await,
    }
}

async fn begin_watch(ws: &WebSocket, room: &Arc<str>) -> Result<Watch> {
    if ws.is_in_room(room) {
        permitted(ws, ws.route().rules.presence.as_ref(), room).await?;
    }
    // The application may have taken it out of the room meanwhile.
    Ok(Watch::new(ws, room)?)
}

async fn may_publish(ws: &WebSocket, room: &Arc<str>, key: Option<&str>) -> Result<()> {
    if key.is_some_and(|key| key.len() > KEY_BYTES_MAX) {
        return Err(RequestError::invalid(format!("a key has at most {KEY_BYTES_MAX} bytes")).into());
    }
    permitted(ws, ws.route().rules.publish.as_ref(), room).await
}

/// Asks the application; without a function of its own it says no.
async fn permitted(ws: &WebSocket, authorize: Option<&Authorize>, room: &Arc<str>) -> Result<()> {
    let permitted = match authorize {
        Some(authorize) => guarded(ws, || authorize(ws.clone(), room.clone())).await?,
        None => false,
    };
    let forbidden = || RequestError::forbidden("the application does not permit it").into();
    permitted.then_some(()).ok_or_else(forbidden)
}

fn unconfirmed(maybe_stored: bool) -> RequestError {
    let message = match maybe_stored {
        true => "the broker has not confirmed the message, which may be stored",
        false => "the broker has not taken the message",
    };
    RequestError::new(UNAVAILABLE, message)
}

/// Hands the message over; what comes next in the room does not wait until it is confirmed.
async fn publish(ws: &WebSocket, place: Place, room: &Arc<str>, key: Option<Arc<str>>, payload: Message) {
    let mut broadcast = ws.app().room(room).broadcast(payload);
    if let Some(key) = key {
        broadcast = broadcast.key_of(ws, &key);
    }
    let remembers = ws.route().switchboard.history(room).is_some();
    let ws = ws.clone();
    let mut confirming: Pin<Box<dyn Future<Output = ()>>> = Box::pin({
        let ws = ws.clone();
        async move {
            let outcome = broadcast.await;
            // What is not known to be stored is not confirmed: the client sends it again.
            let confirmed = outcome.accepted && (outcome.stored.is_some() || !remembers);
            let published = Answer::Published { position: outcome.stored, duplicate: outcome.duplicate };
            // Without a history the members of this node have it, whatever becomes of the others.
            let maybe_stored = if remembers { outcome.accepted } else { outcome.count > 0 };
            let result = confirmed.then_some(published).ok_or_else(|| unconfirmed(maybe_stored).into());
            answer_publish(&ws, place, result, Some(maybe_stored)).await;
        }
    });
    let begun = poll_fn(|cx| Poll::Ready(confirming.as_mut().poll(cx))).await;
    if begun.is_pending() {
        beside(&ws, confirming);
    }
}
