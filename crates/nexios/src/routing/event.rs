//! Listeners: functions that run when a client connects, sends, is dropped on, or leaves.

use std::future::Future;
use std::sync::Arc;

use nexios_engine::Message;

use crate::broker::{Gap, PresenceEvent};
use crate::connection::websocket::WebSocket;
use crate::error::Result;
use crate::routing::handler::{IntoResult, LocalFuture, Resulting};

/// Listens for connections coming or going; every `async fn(WebSocket)` is one.
pub(crate) type Listener = Arc<dyn Fn(WebSocket) -> LocalFuture<Result> + Send + Sync>;

pub(crate) type MessageListener = Arc<dyn Fn(WebSocket, Message) -> LocalFuture<Result> + Send + Sync>;
pub(crate) type GapListener = Arc<dyn Fn(Gap) -> LocalFuture<Result> + Send + Sync>;
pub(crate) type PresenceListener = Arc<dyn Fn(PresenceEvent) -> LocalFuture<Result> + Send + Sync>;
pub(crate) type DropListener = Arc<dyn Fn(WebSocket, Vec<Message>) -> LocalFuture<Result> + Send + Sync>;

/// The listeners of an app for users who come into rooms and leave them.
#[derive(Default)]
pub(crate) struct PresenceListeners {
    pub(crate) join: Vec<PresenceListener>,
    pub(crate) leave: Vec<PresenceListener>,
}

/// The listeners of a router, or of a route and all that it stands under, outermost first.
#[derive(Clone, Default)]
pub(crate) struct Listeners {
    pub(crate) connect: Vec<Listener>,
    pub(crate) disconnect: Vec<Listener>,
    pub(crate) message: Vec<MessageListener>,
    pub(crate) dropped: Vec<DropListener>,
    /// Of the router itself, like those that follow: a gap is no connection's.
    pub(crate) gap: Vec<GapListener>,
    pub(crate) join: Vec<PresenceListener>,
    pub(crate) leave: Vec<PresenceListener>,
}

impl Listeners {
    /// These behind those of `outer`.
    pub(crate) fn under(&self, outer: &Listeners) -> Self {
        let mut all =
            Listeners { gap: self.gap.clone(), join: self.join.clone(), leave: self.leave.clone(), ..outer.clone() };
        all.connect.extend(self.connect.iter().cloned());
        all.disconnect.extend(self.disconnect.iter().cloned());
        all.message.extend(self.message.iter().cloned());
        all.dropped.extend(self.dropped.iter().cloned());
        all
    }
}

pub(crate) fn listener<F, Fut>(function: F) -> Listener
where
    F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoResult> + 'static,
{
    Arc::new(move |ws| Box::pin(Resulting::new(function(ws))))
}

/// The same for a function that also takes what happened.
pub(crate) fn listener_with<T: 'static, F, Fut>(
    function: F,
) -> Arc<dyn Fn(WebSocket, T) -> LocalFuture<Result> + Send + Sync>
where
    F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoResult> + 'static,
{
    Arc::new(move |ws, event| Box::pin(Resulting::new(function(ws, event))))
}

pub(crate) fn presence_listener<F, Fut>(function: F) -> PresenceListener
where
    F: Fn(PresenceEvent) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoResult> + 'static,
{
    Arc::new(move |event| Box::pin(Resulting::new(function(event))))
}

pub(crate) fn gap_listener<F, Fut>(function: F) -> GapListener
where
    F: Fn(Gap) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoResult> + 'static,
{
    Arc::new(move |gap| Box::pin(Resulting::new(function(gap))))
}
