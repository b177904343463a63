//! A server under test, with somebody on it who wants nothing but an echo.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;

use nexios::{
    App, Route, Running, Serve, Settings, WebSocket,
    serve::{Cause, MetricsSnapshot},
};

use crate::wire::{Wire, eventually};

pub(crate) async fn echo(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let message = ws.receive().await?;
        ws.send(message).await?;
    }
}

/// A running server and a client that was there before everybody else.
pub(crate) struct Site {
    running: Running,
    bystander: RefCell<Wire>,
    echoes: Cell<u32>,
}

impl Site {
    /// Serves an app on one shard, so that whoever disturbs it disturbs the bystander.
    pub(crate) fn start(app: App) -> Self {
        Site::start_on(app, Serve::tcp("127.0.0.1:0").shards(1))
    }

    /// The same with listeners of one's own; the first is a TCP address without TLS.
    pub(crate) fn start_on(app: App, serve: Serve) -> Self {
        let running = app.ws("/bystander", echo).start(serve).unwrap();
        let bystander = RefCell::new(Wire::dial(running.addresses()[0]).shake_hands("/bystander"));
        Site { running, bystander, echoes: Cell::new(0) }
    }

    /// Serves an echo on `/` with settings of its own.
    pub(crate) fn echo(change: impl Fn(&mut Settings) + Send + Sync + 'static) -> Self {
        Site::start(App::new().route(Route::new("/", echo).settings(change)))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.addresses()[0]
    }

    pub(crate) fn dial(&self) -> Wire {
        Wire::dial(self.address())
    }

    /// A client on this path.
    pub(crate) fn connect(&self, path: &str) -> Wire {
        self.dial().shake_hands(path)
    }

    /// The bystander and the server, to be stopped.
    pub(crate) fn into_parts(self) -> (Wire, Running) {
        (self.bystander.into_inner(), self.running)
    }

    pub(crate) fn metrics(&self) -> MetricsSnapshot {
        self.running.metrics()
    }

    /// Whatever happens to the others: the bystander gets its echo.
    pub(crate) fn assert_others_served(&self) {
        self.echoes.set(self.echoes.get() + 1);
        self.bystander.borrow_mut().assert_echo(&format!("still here {}", self.echoes.get()));
    }

    /// These causes were counted so often, and no others.
    pub(crate) fn assert_causes(&self, expected: &[(Cause, u64)]) {
        let counted = || -> Vec<_> { self.metrics().causes.into_iter().filter(|(_, count)| *count > 0).collect() };
        let begun = std::time::Instant::now();
        while counted() != expected {
            assert!(begun.elapsed().as_secs() < 2, "counted {:?}, not {expected:?}", counted());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits until so many sockets are open, the bystander's included.
    pub(crate) fn await_connections(&self, count: usize) {
        eventually("the number of connections", || self.metrics().connections == count);
    }
}

/// Runs a future to its end on a runtime that is not the server's.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
