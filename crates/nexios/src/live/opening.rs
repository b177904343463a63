//! The first message of a framed client: `hello`, answered by `welcome`.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use nexios_engine::{CloseInfo, Message};
use nexios_protocol::{ABNORMAL, CloseCode};

use super::answer::{fail, tell};
use super::closing::milliseconds;
use super::frame::{self, ClientFrame, Incoming, LONG_HEADER_BYTES_MAX, Malformed, ServerFrame, WelcomeLimits};
use super::session::{LiveSession, ROOMS_MAX, UNANSWERED_MAX};
use crate::connection::websocket::WebSocket;
use crate::error::{Result, WebSocketDisconnect};

/// How long a client may take for it.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) const NO_HELLO: &str = "no hello";

/// Waits for `hello`; the client is told that it is welcome, and is one of its router's from then on.
///
/// # Errors
/// The client left, said something else (1002), or nothing for ten seconds (1008).
pub(crate) async fn await_hello(ws: WebSocket) -> Result {
    let _unsaid = Unsaid(&ws);
    let Some(message) = first_message(&ws).await else { return Err(disconnect(&ws)) };
    match frame::read(message.as_ref(), LONG_HEADER_BYTES_MAX) {
        Ok(Incoming::Frame(ClientFrame::Hello { rooms }, _)) => {
            ws.connection().discard_unheard();
            ws.begin_session(Rc::new(LiveSession::new(rooms)));
            tell(&ws, &welcome(&ws));
            ws.connection().enter();
            Ok(())
        }
        Ok(_) => refuse(&ws, Malformed::NoHello),
        Err(malformed) => refuse(&ws, malformed),
    }
}

/// Given up before a `hello` the connection is of no use.
struct Unsaid<'a>(&'a WebSocket);

impl Drop for Unsaid<'_> {
    fn drop(&mut self) {
        if self.0.session().is_none() {
            self.0.close_now(CloseCode::POLICY_VIOLATION, NO_HELLO);
        }
    }
}

fn welcome(ws: &WebSocket) -> ServerFrame<'static> {
    let settings = &ws.route().settings;
    ServerFrame::Welcome {
        id: ws.id().to_string(),
        retry_ms: ws.route().retry.window_ms(),
        ping_ms: settings.ping_interval.map(milliseconds),
        limits: WelcomeLimits {
            message_bytes: settings.message_bytes_max,
            unanswered: UNANSWERED_MAX,
            rooms: ROOMS_MAX,
        },
    }
}

fn refuse(ws: &WebSocket, malformed: Malformed) -> Result {
    fail(ws, malformed);
    Err(disconnect(ws))
}

async fn first_message(ws: &WebSocket) -> Option<Message> {
    let shard = ws.connection().shard();
    let mut timeout = Box::pin(shard.sleep_until(shard.now() + HELLO_TIMEOUT));
    let first = |cx: &mut std::task::Context<'_>| {
        if let Poll::Ready(message) = ws.connection().poll_unheard(cx) {
            return Poll::Ready(message);
        }
        timeout.as_mut().poll(cx).map(|()| {
            ws.close_now(CloseCode::POLICY_VIOLATION, NO_HELLO);
            None
        })
    };
    poll_fn(first).await
}

fn disconnect(ws: &WebSocket) -> crate::Error {
    let cut = || CloseInfo { code: ABNORMAL, reason: "".into() };
    WebSocketDisconnect::from(ws.connection().close_info().unwrap_or_else(cut)).into()
}
