//! Middleware: what runs around handlers, outermost first.

use std::any::TypeId;
use std::future::Future;
use std::sync::Arc;

use crate::connection::websocket::WebSocket;
use crate::error::Result;
use crate::routing::handler::{IntoResult, LocalFuture, Resulting};
use crate::routing::route::BuiltRoute;

/// Runs around the handler of a connection; every `async fn(WebSocket, Next)` is one.
///
/// The order is app, parent router, child router, route; the first registered is the
/// outermost. What follows `next.run(ws)` is teardown. Not calling `next` and not closing
/// refuses the connection with 403 (or closes it with 1008 if it was accepted).
///
/// ```
/// use nexios::{Next, WebSocket, WsRouter};
///
/// async fn auth(ws: WebSocket, next: Next) -> nexios::Result {
///     if !ws.headers().contains("Authorization") {
///         ws.close(1008, "Authentication required").await?;
///         return Ok(());
///     }
///     next.run(ws).await
/// }
///
/// let router = WsRouter::new().middleware(auth);
/// ```
pub trait Middleware: Send + Sync + 'static {
    /// Runs it for one connection.
    fn call(&self, ws: WebSocket, next: Next) -> LocalFuture<Result>;

    /// Which registrations are the same middleware, so that it runs once for each connection;
    /// `None` is the same as nothing else.
    ///
    /// What has no size is told apart by its type: every function is its own type.
    fn identity(&self) -> Option<Identity> {
        (size_of_val(self) == 0).then(|| Identity::Type(TypeId::of::<Self>()))
    }
}

/// Tells middlewares apart: [`Middleware::identity`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Identity {
    /// All of this type.
    Type(TypeId),
    /// What is stored at this address for as long as the app lives.
    Object(usize),
}

/// What is left of the middleware, and the handler behind it.
///
/// [`run`](Self::run) takes it by value: calling `next` twice does not compile.
///
/// ```compile_fail
/// async fn twice(ws: nexios::WebSocket, next: nexios::Next) -> nexios::Result {
///     next.run(ws.clone()).await?;
///     next.run(ws).await
/// }
/// ```
pub struct Next {
    route: Arc<BuiltRoute>,
    index: usize,
}

impl<F, Fut> Middleware for F
where
    F: Fn(WebSocket, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoResult> + 'static,
{
    fn call(&self, ws: WebSocket, next: Next) -> LocalFuture<Result> {
        Box::pin(Resulting::new(self(ws, next)))
    }
}

/// One object behind an `Arc` stays one, wherever it is registered.
impl<M: Middleware> Middleware for Arc<M> {
    fn call(&self, ws: WebSocket, next: Next) -> LocalFuture<Result> {
        M::call(self, ws, next)
    }

    fn identity(&self) -> Option<Identity> {
        M::identity(self).or_else(|| Some(Identity::of_arc(self)))
    }
}

impl Identity {
    /// The same wherever this very `Arc` is.
    pub fn of_arc<T>(arc: &Arc<T>) -> Self {
        Identity::Object(Arc::as_ptr(arc).addr())
    }
}

impl Next {
    /// Before the first middleware.
    pub(crate) fn first(route: Arc<BuiltRoute>) -> Self {
        Next { route, index: 0 }
    }

    /// Goes on with the next middleware, or with the handler.
    pub fn run(mut self, ws: WebSocket) -> LocalFuture<Result> {
        let route = self.route.clone();
        if let Some(middleware) = route.middleware.get(self.index) {
            self.index += 1;
            return middleware.call(ws, self);
        }
        ws.handler_starts();
        route.handler.boxed(ws)
    }
}

/// Middleware of all levels in its order, each object once.
pub(crate) fn chain<'a>(levels: impl Iterator<Item = &'a Arc<dyn Middleware>>) -> Vec<Arc<dyn Middleware>> {
    let mut chain: Vec<Arc<dyn Middleware>> = Vec::new();
    for middleware in levels {
        let identity = middleware.identity();
        if identity.is_none() || chain.iter().all(|other| other.identity() != identity) {
            chain.push(middleware.clone());
        }
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::rate_limit::RateLimit;

    async fn auth(ws: WebSocket, next: Next) -> Result {
        next.run(ws).await
    }

    async fn log(ws: WebSocket, next: Next) -> Result {
        next.run(ws).await
    }

    fn registered(middleware: impl Middleware) -> Arc<dyn Middleware> {
        Arc::new(middleware)
    }

    fn length(levels: Vec<Arc<dyn Middleware>>) -> usize {
        chain(levels.iter()).len()
    }

    #[test]
    fn a_function_at_two_levels_runs_once() {
        assert_eq!(length(vec![registered(auth), registered(log), registered(auth)]), 2);
    }

    #[test]
    fn two_rate_limits_stay_two_and_a_clone_is_the_same() {
        let limit = RateLimit::messages(1);
        assert_eq!(length(vec![registered(limit.clone()), registered(RateLimit::messages(1))]), 2);
        assert_eq!(length(vec![registered(limit.clone()), registered(limit)]), 1);
    }

    #[test]
    fn closures_with_captures_are_told_apart_by_their_arc() {
        let gate = |role: &'static str| {
            Arc::new(move |ws: WebSocket, next: Next| async move {
                if ws.query("role").as_deref() == Some(role) { next.run(ws).await } else { Ok(()) }
            })
        };
        let (admins, users) = (gate("admin"), gate("user"));
        assert_eq!(length(vec![registered(admins.clone()), registered(admins), registered(users)]), 2);
    }

    #[test]
    fn the_first_registration_decides_the_place() {
        let all = [registered(log), registered(auth), registered(log)];
        assert!(Arc::ptr_eq(&chain(all.iter())[0], &all[0]));
    }
}
