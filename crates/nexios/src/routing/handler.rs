//! Handlers: async functions of a [`WebSocket`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nexios_engine::BoxedTask;
use pin_project_lite::pin_project;

use crate::connection::task::HandlerTask;
use crate::connection::websocket::WebSocket;
use crate::error::Result;

/// A boxed future that stays on its shard.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a handler may return: nothing, or a [`Result`], into which `?` takes any error.
pub trait IntoResult {
    /// The same as [`Result`].
    ///
    /// # Errors
    /// The handler's own.
    fn into_result(self) -> Result;
}

impl IntoResult for () {
    fn into_result(self) -> Result {
        Ok(())
    }
}

// Not for any error type: a closure that ends with `Ok(())` would have to name it.
impl IntoResult for Result {
    fn into_result(self) -> Result {
        self
    }
}

/// Serves the connections of a route; every `async fn(WebSocket)` is one.
///
/// When it returns, an accepted connection is closed with 1000; one that was never accepted
/// or closed is answered with HTTP 500.
///
/// ```
/// use nexios::{WebSocket, WsRouter};
///
/// async fn echo(ws: WebSocket) -> nexios::Result {
///     ws.accept().await?;
///     loop {
///         let text = ws.receive_text().await?;
///         ws.send_text(text).await?;
///     }
/// }
///
/// let router = WsRouter::new().ws("/echo", echo).ws("/bye", async |ws: WebSocket| {
///     ws.accept().await?;
///     ws.send_text("bye").await?;
///     Ok(())
/// });
/// ```
pub trait Handler: Send + Sync + 'static {
    /// The running handler.
    type Future: Future<Output: IntoResult> + 'static;

    /// Starts it for one connection.
    fn call(&self, ws: WebSocket) -> Self::Future;
}

impl<F, Fut> Handler for F
where
    F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoResult> + 'static,
{
    type Future = Fut;

    fn call(&self, ws: WebSocket) -> Fut {
        self(ws)
    }
}

/// A handler whose type is forgotten.
pub(crate) trait AnyHandler: Send + Sync {
    /// The handler behind middleware.
    fn boxed(&self, ws: WebSocket) -> LocalFuture<Result>;

    /// The handler without any: one allocation holds it and all that drives it.
    fn task(&self, ws: WebSocket) -> BoxedTask;
}

impl<H: Handler> AnyHandler for H {
    fn boxed(&self, ws: WebSocket) -> LocalFuture<Result> {
        Box::pin(Resulting { future: self.call(ws) })
    }

    fn task(&self, ws: WebSocket) -> BoxedTask {
        Box::pin(HandlerTask::new(Resulting { future: self.call(ws) }))
    }
}

pin_project! {
    /// A future whose output is made a result; no larger than the future itself.
    pub(crate) struct Resulting<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future<Output: IntoResult>> Resulting<F> {
    pub(crate) fn new(future: F) -> Self {
        Resulting { future }
    }
}

impl<F: Future<Output: IntoResult>> Future for Resulting<F> {
    type Output = Result;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result> {
        let output = ready!(self.project().future.poll(cx));
        Poll::Ready(output.into_result())
    }
}
