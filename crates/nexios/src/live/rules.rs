//! What a router lets clients do by themselves: enter rooms, publish, request.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use nexios_engine::Message;

use super::request::{Argument, IntoReply};
use crate::connection::websocket::WebSocket;
use crate::error::Result;
use crate::routing::handler::LocalFuture;

/// Whether a client may; every `async fn(WebSocket, Arc<str>)` that says so is one.
pub(crate) type Authorize = Arc<dyn Fn(WebSocket, Arc<str>) -> LocalFuture<Result<bool>> + Send + Sync>;

/// Answers the requests of one method.
pub(crate) type RequestHandler = Arc<dyn Fn(WebSocket, Message) -> LocalFuture<Result<Message>> + Send + Sync>;

/// The rules of a router, or of a route and all that it stands under: of each the nearest.
#[derive(Clone, Default)]
pub(crate) struct Rules {
    pub(crate) join: Option<Authorize>,
    pub(crate) publish: Option<Authorize>,
    pub(crate) history: Option<Authorize>,
    pub(crate) presence: Option<Authorize>,
    /// Of rooms that the client has not entered by itself.
    pub(crate) leave: Option<Authorize>,
    pub(crate) requests: HashMap<Arc<str>, RequestHandler>,
}

/// What an authorization returns: yes or no, or a [`Result`] of it.
pub trait IntoPermission {
    /// Yes or no.
    ///
    /// # Errors
    /// The function's own.
    fn into_permission(self) -> Result<bool>;
}

impl IntoPermission for bool {
    fn into_permission(self) -> Result<bool> {
        Ok(self)
    }
}

impl IntoPermission for Result<bool> {
    fn into_permission(self) -> Result<bool> {
        self
    }
}

impl Rules {
    /// These, and for the rest those of the level around.
    pub(crate) fn under(&self, outer: &Rules) -> Rules {
        let requests = outer.requests.iter().chain(&self.requests);
        Rules {
            join: self.join.clone().or_else(|| outer.join.clone()),
            publish: self.publish.clone().or_else(|| outer.publish.clone()),
            history: self.history.clone().or_else(|| outer.history.clone()),
            presence: self.presence.clone().or_else(|| outer.presence.clone()),
            leave: self.leave.clone().or_else(|| outer.leave.clone()),
            requests: requests.map(|(method, handler)| (method.clone(), handler.clone())).collect(),
        }
    }
}

pub(crate) fn authorize<F, Fut>(function: F) -> Authorize
where
    F: Fn(WebSocket, Arc<str>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoPermission> + 'static,
{
    Arc::new(move |ws, room| {
        let asked = function(ws, room);
        Box::pin(async move { asked.await.into_permission() })
    })
}

pub(crate) fn request_handler<A, F, Fut>(function: F) -> RequestHandler
where
    A: Argument,
    F: Fn(WebSocket, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoReply> + 'static,
{
    Arc::new(move |ws, payload| {
        let started = A::from_payload(payload).map(|argument| function(ws, argument));
        Box::pin(async move { started?.await.into_reply() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(join: bool, methods: &[&str]) -> Rules {
        let handler = || request_handler(async |_: WebSocket, _: Message| ());
        Rules {
            join: join.then(|| authorize(async |_: WebSocket, _: Arc<str>| true)),
            requests: methods.iter().map(|method| ((*method).into(), handler())).collect(),
            ..Rules::default()
        }
    }

    #[test]
    fn of_each_rule_the_nearest_counts() {
        let (outer, inner) = (rules(true, &["a", "b"]), rules(false, &["b"]));
        let both = inner.under(&outer);
        assert!(Arc::ptr_eq(both.join.as_ref().unwrap(), outer.join.as_ref().unwrap()));
        assert!(Arc::ptr_eq(&both.requests["a"], &outer.requests["a"]));
        assert!(Arc::ptr_eq(&both.requests["b"], &inner.requests["b"]));
        assert!(both.publish.is_none());
    }
}
