//! What becomes of the messages of a framed client, in front of its handler.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use nexios_engine::{Message, SendError};
use nexios_protocol::{CloseCode, escaped};

use super::frame::{self, ClientFrame, HEADER_BYTES_MAX, Incoming, Malformed, ServerFrame};
use super::request::RequestError;
use super::room_queue;
use super::session::{LiveSession, Place, Step};
use crate::broker::Position;
use crate::connection::membership::Wish;
use crate::connection::task::{log_fault, on_panic};
use crate::connection::websocket::WebSocket;
use crate::error::{Error, Result};

/// The code of an error that says that the broker, or the connection, is away.
pub(super) const UNAVAILABLE: &str = "unavailable";

/// An answer that is no error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Ack,
    Published { position: Option<Position>, duplicate: bool },
    Reply(Message),
}

/// A message of a client, taken apart.
pub(crate) struct Read(Result<Incoming, Malformed>);

/// Takes a message apart.
pub(crate) fn read(message: &Message) -> Read {
    Read(frame::read(message.as_ref(), HEADER_BYTES_MAX))
}

impl Read {
    /// Returns the room that the client asks to be let into, if this is such a frame.
    pub(crate) fn joins(&self) -> Option<&str> {
        match &self.0 {
            Ok(Incoming::Frame(ClientFrame::Join { room, .. }, _)) => Some(room),
            _ => None,
        }
    }
}

/// Looks at a message before listeners and handler do. An application's message is returned, and
/// stands in the place of what the client has sent; a frame is carried out.
pub(crate) async fn take_in(ws: &WebSocket, message: Message, read: Read) -> Option<Message> {
    match read.0 {
        Ok(Incoming::Application) => Some(message),
        Ok(Incoming::Escaped(message)) => {
            ws.connection().replace_unheard(message.clone());
            Some(message)
        }
        Ok(Incoming::Frame(frame, payload)) => {
            begin(ws, frame, payload).await;
            None
        }
        Ok(Incoming::Invalid(id, why)) => {
            ready(ws).await;
            tracing::debug!(connection = %ws.id(), route = ws.route_path(), why = %escaped(&why), "a client sent an invalid frame");
            send(ws, &ServerFrame::error(id, "invalid", &why, None).into());
            None
        }
        Err(malformed) => {
            fail(ws, malformed);
            None
        }
    }
}

/// A limit has thrown a message away: where it wanted an answer, it gets one.
pub(crate) fn refuse(ws: &WebSocket, read: &Read) {
    let id = match &read.0 {
        Ok(Incoming::Frame(frame, _)) => frame.id(),
        Ok(Incoming::Invalid(id, _)) => Some(*id),
        _ => None,
    };
    if let Some(id) = id {
        send(ws, &ServerFrame::error(id, "busy", "too many messages", None).into());
    }
}

async fn begin(ws: &WebSocket, frame: ClientFrame, payload: Message) {
    // A client that does not read its answers is not read any more.
    ready(ws).await;
    let Some(session) = ws.session() else { return };
    let Some(id) = frame.id() else { return fail(ws, Malformed::SecondHello) };
    if let ClientFrame::Ping { .. } = frame {
        return tell(ws, &ServerFrame::Ack { id, position: None, duplicate: false });
    }
    if !has_room(ws, &session, payload.len()).await {
        return;
    }
    let Some(place) = Place::take(&session, id, payload.len()) else {
        return send(ws, &ServerFrame::error(id, "busy", "too much is unanswered", None).into());
    };
    let place = place.keeping(ws.connection().keep_bytes(payload.len()));
    match frame {
        ClientFrame::Hello { .. } | ClientFrame::Ping { .. } => {}
        ClientFrame::Request { method, .. } => beside(ws, request(ws.clone(), place, method, payload)),
        ClientFrame::Join { ref room, .. }
        | ClientFrame::Leave { ref room, .. }
        | ClientFrame::Publish { ref room, .. }
        | ClientFrame::Presence { ref room, .. } => {
            let room = room.clone();
            let wish = if let ClientFrame::Join { .. } = frame { ws.wish(&room) } else { Wish::default() };
            if session.enqueue(&room, Step { place, wish, frame, payload }) {
                beside(ws, room_queue::work(ws.clone(), session, room));
            }
        }
    }
}

/// Waits until fewer bytes are unanswered; meanwhile what comes fills the inbox, and then the client is not read any
/// more. Returns false if it is gone.
async fn has_room(ws: &WebSocket, session: &LiveSession, bytes: usize) -> bool {
    let bytes_max = ws.connection().settings().inbox_bytes_max;
    poll_fn(|cx| match session.poll_room(cx, bytes, bytes_max) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending => ws.connection().poll_closed(cx).map(|_| false),
    })
    .await
}

async fn request(ws: WebSocket, place: Place, method: String, payload: Message) {
    let handler = ws.route().rules.requests.get(&*method).cloned();
    let result = match handler {
        Some(handler) => guarded(&ws, || handler(ws.clone(), payload)).await.map(Answer::Reply),
        None => Err(RequestError::new("not_found", format!("there is no method {method:?}")).into()),
    };
    answer(&ws, place, result).await;
}

/// Answers a frame, once there is room.
pub(crate) async fn answer(ws: &WebSocket, place: Place, result: Result<Answer>) {
    answer_publish(ws, place, result, None).await;
}

/// Answers a frame, once there is room. Where the answer to a publish is `unavailable`, it says if the message may have
/// been stored all the same.
pub(crate) async fn answer_publish(ws: &WebSocket, place: Place, result: Result<Answer>, maybe_stored: Option<bool>) {
    ready(ws).await;
    let id = place.id;
    drop(place);
    match result {
        Ok(Answer::Ack) => tell(ws, &ServerFrame::Ack { id, position: None, duplicate: false }),
        Ok(Answer::Published { position, duplicate }) => tell(ws, &ServerFrame::Ack { id, position, duplicate }),
        Ok(Answer::Reply(message)) => send(ws, &ServerFrame::Reply { id }.around(message.as_ref())),
        Err(error) => {
            let told = RequestError::of(&error).unwrap_or_else(|| {
                log_fault(ws, &error, "what a client asked for failed");
                RequestError::failed()
            });
            let maybe_stored = maybe_stored.filter(|_| told.code == UNAVAILABLE);
            send(ws, &ServerFrame::error(id, &told.code, &told.message, maybe_stored).into());
        }
    }
}

/// Runs something of the application: a panic in it is logged, and an error.
pub(crate) async fn guarded<T, F: Future<Output = Result<T>> + Unpin>(
    ws: &WebSocket,
    start: impl FnOnce() -> F,
) -> Result<T> {
    let caught = |panic: Box<dyn Any + Send>| {
        on_panic(ws, "what a client asked for panicked", &*panic);
        Error::from(RequestError::failed())
    };
    let mut future = catch_unwind(AssertUnwindSafe(start)).map_err(caught)?;
    let poll = |cx: &mut Context<'_>| {
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut future).poll(cx)));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(caught(panic))))
    };
    poll_fn(poll).await
}

/// Runs beside the handler, and ends with the connection.
pub(crate) fn beside(ws: &WebSocket, work: impl Future<Output = ()> + 'static) {
    let (connection, mut work) = (ws.connection().clone(), Box::pin(work));
    let until_closed = poll_fn(move |cx| match connection.poll_closed(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => work.as_mut().poll(cx),
    });
    ws.spawn(until_closed);
}

/// Waits while the client is behind; returns at once where it is gone.
pub(crate) async fn ready(ws: &WebSocket) {
    poll_fn(|cx| ws.connection().poll_send_ready(cx)).await;
}

/// Sends a frame without a payload.
pub(crate) fn tell(ws: &WebSocket, frame: &ServerFrame<'_>) {
    send(ws, &frame.to_text().into());
}

/// Sends a frame. No frame is lost to a full outbox: the client is too slow, and begins anew.
fn send(ws: &WebSocket, frame: &Message) {
    if let Err(SendError::OutboxFull) = ws.connection().send_formed(frame.as_ref(), None) {
        ws.close_now(CloseCode::TRY_AGAIN_LATER, "too slow");
    }
}

/// The client does not keep to the subprotocol.
pub(crate) fn fail(ws: &WebSocket, malformed: Malformed) {
    tracing::debug!(connection = %ws.id(), route = ws.route_path(), malformed = %escaped(&malformed), "closed: this is not nexios.v1");
    ws.close_now(CloseCode::PROTOCOL_ERROR, &malformed.to_string());
}
