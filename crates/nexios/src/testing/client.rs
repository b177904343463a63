//! The app under test, and the crank that every awaited call turns.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nexios_engine::{MemoryClient, MetricsSnapshot, Server};
use tokio::time::Instant;

use super::{TestError, TestRequest, TestSocket};
use crate::routing::app::{App, AppHandle, BuiltApp, Connected};
use crate::serving::host::Host;
use crate::serving::serve::StartError;

/// How long a call waits for the server by default.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An app in memory, with as many clients as a test likes.
#[derive(Clone)]
pub struct TestClient {
    server: Server,
    host: Rc<RefCell<Host>>,
    app: AppHandle,
    _broker: Option<Rc<Connected>>,
    timeout: Duration,
    /// Whether calls turn the server; else somebody else does.
    turns: bool,
}

/// An answer to a plain HTTP request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestResponse {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl TestClient {
    /// Starts the app on this thread; call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`], where the app contradicts itself.
    pub fn new(app: App) -> Result<Self, StartError> {
        let built = app.build()?;
        let mut client = TestClient::of(&built)?;
        client._broker = Some(Rc::new(built.connect()?));
        Ok(client)
    }

    fn of(built: &Arc<BuiltApp>) -> io::Result<Self> {
        let server = Server::new(built.server.clone());
        let shard = server.shard(Instant::now().into_std())?;
        built.run_on(&server, &shard);
        let host = Rc::new(RefCell::new(Host::new(shard)?));
        Ok(TestClient { server, host, app: built.handle(), _broker: None, timeout: TIMEOUT, turns: true })
    }

    /// Returns a client of an app whose clients live in tasks of their own. The future turns the app, and never ends.
    ///
    /// # Errors
    /// The system has no more descriptors.
    #[doc(hidden)]
    pub fn driven(built: &Arc<BuiltApp>) -> io::Result<(Self, impl Future<Output = ()> + 'static)> {
        let client = TestClient { turns: false, ..TestClient::of(built)? };
        let host = client.host.clone();
        let turning = poll_fn(move |cx| host.borrow_mut().poll_turn(cx));
        Ok((client, tokio::task::coop::unconstrained(turning)))
    }

    /// The same client with another limit on how long a call waits for the server.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// [`TestError::Refused`] with the status, headers and body of a refusal.
    pub async fn connect(&self, target: &str) -> Result<TestSocket, TestError> {
        self.request(target).connect().await
    }

    /// A handshake with headers, subprotocols or compression of its own.
    pub fn request(&self, target: &str) -> TestRequest {
        TestRequest::new(self.clone(), target)
    }

    /// Sends a plain GET request.
    ///
    /// # Errors
    /// [`TestError::Timeout`], or what broke.
    pub async fn get(&self, target: &str) -> Result<TestResponse, TestError> {
        self.request(target).get().await
    }

    /// Lets the server do all that it can do now.
    pub async fn settle(&self) {
        let mut idle_rounds = 0;
        poll_fn(|cx| {
            self.turn(cx);
            idle_rounds += 1;
            if idle_rounds > 3 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Lets the server run for so long; at once under a paused clock.
    pub async fn run_for(&self, duration: Duration) {
        let mut sleep = Box::pin(tokio::time::sleep(duration));
        poll_fn(|cx| {
            self.turn(cx);
            sleep.as_mut().poll(cx)
        })
        .await;
    }

    /// The app's handle: broadcasts to everybody, finds rooms.
    pub fn app(&self) -> &AppHandle {
        &self.app
    }

    /// The server's counters.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.server.metrics()
    }

    /// Starts the graceful shutdown: clients get 1012 within `jitter`.
    pub fn shutdown(&self, jitter: Duration) {
        self.host.borrow().shard().close_all(jitter);
    }

    /// Awaits a future of the test while the server runs.
    ///
    /// # Errors
    /// [`TestError::Timeout`]
    pub async fn run<F: Future>(&self, future: F) -> Result<F::Output, TestError> {
        let mut future = Box::pin(future);
        self.until(move |cx| future.as_mut().poll(cx)).await
    }

    pub(super) fn open(&self, address: Option<SocketAddr>, receive_buffer: usize) -> MemoryClient {
        self.host.borrow().shard().connect_memory_from(address, receive_buffer)
    }

    /// Turns the crank until `poll` is ready.
    pub(super) async fn until<T>(&self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Result<T, TestError> {
        let waiting = poll_fn(|cx| {
            self.turn(cx);
            poll(cx)
        });
        let waiting = tokio::task::coop::unconstrained(waiting);
        tokio::time::timeout(self.timeout, waiting).await.map_err(|_| TestError::Timeout)
    }

    fn turn(&self, cx: &mut Context<'_>) {
        if !self.turns {
            return;
        }
        let _always_pending = self.host.borrow_mut().poll_turn(cx);
    }
}

impl std::fmt::Debug for TestClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestClient").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
