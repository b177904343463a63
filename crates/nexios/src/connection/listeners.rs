//! The task that runs next to a handler: message listeners, limits and frames, then the disconnect listeners.

use std::future::poll_fn;
use std::rc::Rc;

use nexios_engine::{Message, Shard};
use nexios_protocol::CloseCode;

use crate::connection::task::log_fault;
use crate::connection::websocket::{Mark, WebSocket};
use crate::error::{Error, WebSocketDisconnect};
use crate::live::{self, Read};
use crate::routing::rate_limit::{Limiter, Verdict};

/// Returns true if a connection has anything that runs next to its handler.
pub(crate) fn is_needed(ws: &WebSocket) -> bool {
    ws.has(Mark::Observed) || !ws.route().listeners.disconnect.is_empty()
}

/// Runs from accept to the end of the connection.
pub(crate) async fn run(ws: WebSocket, observing: bool) {
    if observing {
        observe(&ws).await;
    }
    ws.closed().await;
    ws.mark(Mark::Departed);
    for listener in &ws.route().listeners.disconnect {
        if let Err(error) = listener(ws.clone()).await {
            log_fault(&ws, &error, "a disconnect listener failed");
        }
    }
}

/// Shows each message to the limits, takes frames out, shows the message to the listeners, then lets the
/// handler receive it.
async fn observe(ws: &WebSocket) {
    let shard = ws.connection().shard();
    let mut over = false;
    let framed = live::is_live(ws.connection());
    if let Some(session) = ws.session() {
        session.fresh_until.set(Some(shard.now() + ws.route().hold_timeout));
    }
    while let Some(message) = poll_fn(|cx| ws.connection().poll_unheard(cx)).await {
        let read = framed.then(|| live::read(&message));
        over = over || !admit(ws, &shard, read.as_ref()).await;
        if over {
            read.iter().for_each(|read| live::refuse(ws, read));
            ws.connection().discard_unheard();
            over = ws.close_code().is_some();
            continue;
        }
        let message = match read {
            Some(read) => live::take_in(ws, message, read).await,
            None => Some(message),
        };
        let Some(message) = message else {
            ws.connection().discard_unheard();
            continue;
        };
        notify(ws, &message).await;
        ws.connection().mark_heard();
    }
}

/// Returns true if the limits let the next message through, perhaps after a while.
async fn admit(ws: &WebSocket, shard: &Shard, read: Option<&Read>) -> bool {
    let limiters = ws.limiters();
    if limiters.is_empty() {
        return true;
    }
    // The joins of a client that comes back to its rooms are one message.
    let session = ws.session();
    let joins = read.and_then(Read::joins);
    if session.as_ref().is_some_and(|session| !session.resume.counts(joins)) {
        return true;
    }
    for limiter in limiters {
        if !pass(ws, shard, &limiter).await {
            return false;
        }
    }
    session.iter().for_each(|session| session.resume.admitted(joins));
    true
}

async fn pass(ws: &WebSocket, shard: &Shard, limiter: &Rc<Limiter>) -> bool {
    loop {
        match limiter.judge(shard.now()) {
            Verdict::Pass => return true,
            Verdict::Drop => return false,
            Verdict::Wait(at) => shard.sleep_until(at).await,
            Verdict::Close => {
                tracing::info!(connection = %ws.id(), route = ws.route_path(), "closed: rate limit exceeded");
                ws.close_now(CloseCode::POLICY_VIOLATION, Limiter::REASON);
                return false;
            }
        }
    }
}

async fn notify(ws: &WebSocket, message: &Message) {
    for listener in &ws.route().listeners.message {
        if let Err(error) = listener(ws.clone(), message.clone()).await {
            listener_failed(ws, error).await;
        }
    }
}

/// The connection lives on: an error in a listener is not the handler's.
async fn listener_failed(ws: &WebSocket, error: Error) {
    let unhandled = match ws.route().exceptions.find(&error) {
        Some(handler) => handler.call(ws.clone(), error).await,
        None => Err(error),
    };
    match unhandled {
        Err(error) if !error.is::<WebSocketDisconnect>() => log_fault(ws, &error, "a message listener failed"),
        _ => {}
    }
}
