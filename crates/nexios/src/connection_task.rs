//! The task of one connection: drives the handler, then its end, and its listeners beside it.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use nexios_engine::{Cause, ConnectionState, Refusal};
use nexios_protocol::CloseCode;
use pin_project_lite::pin_project;

use crate::companion;
use crate::error::{Error, Result};
use crate::exception::Unhandled;
use crate::handler::LocalFuture;
use crate::middleware::Next;
use crate::websocket::{Mark, WebSocket};

/// The task for a handshake: the handler's own future where nothing is around it.
pub(crate) fn start(ws: WebSocket) -> LocalFuture<()> {
    let route = ws.route().clone();
    if route.middleware.is_empty() {
        ws.handler_starts();
        return route.handler.task(ws);
    }
    Box::pin(ConnectionTask::new(ws.clone(), Next::first(route).run(ws)))
}

pin_project! {
    /// What an idle connection costs the framework: this, the handler's future, and `WebSocket`.
    pub(crate) struct ConnectionTask<F> {
        owner: Owner,
        // Boxed once more: 8 bytes instead of 16 in every task without one.
        companion: Option<Box<LocalFuture<()>>>,
        #[pin]
        stage: Stage<F>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        /// Middleware and handler run.
        Handler { #[pin] future: F },
        /// An exception handler runs.
        Exception { future: LocalFuture<Result> },
        /// Only the companion is left.
        Over,
    }
}

/// Whose task it is; with it everything that the app knows of the connection ends.
struct Owner(WebSocket);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.forget();
    }
}

impl<F: Future<Output = Result>> ConnectionTask<F> {
    pub(crate) fn new(ws: WebSocket, future: F) -> Self {
        ConnectionTask { owner: Owner(ws), companion: None, stage: Stage::Handler { future } }
    }
}

impl<F: Future<Output = Result>> Future for ConnectionTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let ws = &this.owner.0;
        loop {
            // Listeners see a message before the handler does.
            poll_companion(ws, this.companion, cx);
            let ended = match this.stage.as_mut().project() {
                StageProjection::Handler { future } => guarded(ws, || future.poll(cx)),
                StageProjection::Exception { future } => {
                    guarded(ws, || future.as_mut().poll(cx)).map(unhandled_twice(ws))
                }
                StageProjection::Over => return this.companion.as_ref().map_or(Poll::Ready(()), |_| Poll::Pending),
            };
            if let Poll::Ready(result) = ended {
                this.stage.set(conclude(ws, result));
            } else if is_abandoned(ws, cx) {
                this.stage.set(Stage::Over);
            } else if !needs_companion(ws, this.companion.is_some()) {
                return Poll::Pending;
            }
            if needs_companion(ws, this.companion.is_some()) {
                // One that panicked while it looked at messages is followed by one that does not.
                let observing = ws.has(Mark::Observed) && !ws.has(Mark::Observing);
                if ws.has(Mark::Observed) {
                    ws.mark(Mark::Observing);
                }
                *this.companion = Some(Box::new(Box::pin(companion::run(ws.clone(), observing))));
            }
            if matches!(this.stage.as_mut().project(), StageProjection::Over) {
                settle(ws);
            }
        }
    }
}

/// Whether there are listeners that nobody drives yet: only once `accept()` is over.
fn needs_companion(ws: &WebSocket, has_one: bool) -> bool {
    let listens = ws.has(Mark::Observed) && !ws.has(Mark::Observing);
    ws.has(Mark::Opened) && !ws.has(Mark::Departed) && (listens || (!has_one && companion::is_needed(ws)))
}

fn poll_companion(ws: &WebSocket, companion: &mut Option<Box<LocalFuture<()>>>, cx: &mut Context<'_>) {
    let Some(future) = companion else { return };
    match catch_unwind(AssertUnwindSafe(|| Pin::as_mut(future).poll(cx))) {
        Ok(Poll::Pending) => {}
        Ok(Poll::Ready(())) => *companion = None,
        Err(panic) => {
            on_panic(ws, "a listener panicked", &*panic);
            ws.close_now(CloseCode::INTERNAL_ERROR, "");
            *companion = None;
        }
    }
}

/// A panic of the handler ends this connection only.
fn guarded(ws: &WebSocket, poll: impl FnOnce() -> Poll<Result>) -> Poll<Result> {
    catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|panic| {
        on_panic(ws, "the handler panicked", &*panic);
        fail(ws);
        Poll::Ready(Ok(()))
    })
}

fn on_panic(ws: &WebSocket, what: &str, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(id = %ws.id(), route = ws.route_path(), panic = text.unwrap_or("no text"), "{what}");
    ws.connection().shard().count(Cause::Panic);
}

/// The client is gone, and the route does not want to go on without it.
fn is_abandoned(ws: &WebSocket, cx: &mut Context<'_>) -> bool {
    ws.route().cancel_on_disconnect && ws.connection().poll_closed(cx).is_ready()
}

/// From the handler's result to the next stage.
fn conclude<F>(ws: &WebSocket, result: Result) -> Stage<F> {
    let Err(error) = result else { return Stage::Over };
    match ws.route().exceptions.find(&error) {
        Some(handler) => Stage::Exception { future: handler.call(ws.clone(), error) },
        None => {
            close_for(ws, &error);
            Stage::Over
        }
    }
}

/// An exception handler's own error gets no other handler.
fn unhandled_twice(ws: &WebSocket) -> impl FnOnce(Result) -> Result {
    |result| {
        if let Err(error) = result {
            close_for(ws, &error);
        }
        Ok(())
    }
}

/// What an error that nobody took does to the connection.
fn close_for(ws: &WebSocket, error: &Error) {
    match Unhandled::of(error) {
        Unhandled::Nothing => {}
        Unhandled::Close(exception) => ws.close_now(exception.code, &exception.reason),
        Unhandled::Fault => {
            log_fault(ws, error, "the handler failed");
            fail(ws);
        }
    }
}

/// A fault of ours: 1011 without a reason, before accept HTTP 500.
fn fail(ws: &WebSocket) {
    match ws.connection_state() {
        ConnectionState::Connecting => refuse(ws, 500),
        _ => ws.connection().close(CloseCode::INTERNAL_ERROR, ""),
    }
}

pub(crate) fn log_fault(ws: &WebSocket, error: &Error, what: &str) {
    let sources = std::iter::successors(error.as_dyn().source(), |source| (*source).source());
    let sources: Vec<String> = sources.map(ToString::to_string).collect();
    tracing::error!(id = %ws.id(), route = ws.route_path(), %error, ?sources, "{what}");
}

/// The last word, where nobody has said it.
fn settle(ws: &WebSocket) {
    let reached_handler = ws.has(Mark::HandlerStarted);
    match ws.connection_state() {
        ConnectionState::Connecting if reached_handler => {
            tracing::error!(id = %ws.id(), route = ws.route_path(), "the handler returned without accept() or close()");
            refuse(ws, 500);
        }
        ConnectionState::Connecting => {
            tracing::warn!(id = %ws.id(), route = ws.route_path(), "a middleware neither called next nor closed");
            refuse(ws, 403);
        }
        ConnectionState::Connected if reached_handler => ws.connection().close(CloseCode::NORMAL, ""),
        ConnectionState::Connected => ws.connection().close(CloseCode::POLICY_VIOLATION, ""),
        ConnectionState::Closing | ConnectionState::Disconnected => {}
    }
    // Nobody receives any more, and a full inbox would hide the peer's Close frame.
    ws.connection().discard_messages(true);
}

fn refuse(ws: &WebSocket, status: u16) {
    if let Err(error) = ws.connection().refuse(Refusal::new(status, "")) {
        tracing::debug!(id = %ws.id(), %error, "the refusal was not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_costs_24_bytes_besides_the_handler() {
        assert_eq!(size_of::<ConnectionTask<[usize; 8]>>(), size_of::<[usize; 8]>() + 24);
    }
}
