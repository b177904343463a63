//! Ending a shard: no new connections, 1012 with jitter, then whatever is left is cut.

use std::rc::Rc;
use std::time::Duration;

use nexios_protocol::CloseCode;

use crate::connection::{Connection, ConnectionState, Phase, Refusal};
use crate::shard::{Shard, ShardInner};

impl Shard {
    /// Stops accepting and closes connections with 1012, spread over `jitter`.
    pub fn close_all(&self, jitter: Duration) {
        close_all(&self.0, jitter);
    }

    /// Drops every task and cuts every connection.
    pub fn cancel_all(&self) {
        cancel_all(&self.0);
    }
}

/// Stops accepting and tells every client to come back, not all at the same moment.
fn close_all(shard: &Rc<ShardInner>, jitter: Duration) {
    shard.begin_closing();
    for inner in shard.all_connections() {
        let at = shard.now() + jitter.mul_f64(fastrand::f64());
        let sleep = shard.sleeps().until(at);
        let connection = Connection(inner.clone());
        let task = async move {
            sleep.await;
            cut_without_request(&connection);
            if connection.state() == ConnectionState::Connecting {
                // An answer that nobody gave yet; an error says that somebody just did.
                let _ = connection.refuse(Refusal::new(503, "server restarting\n").header("Retry-After", "1"));
            }
            connection.close(CloseCode::SERVICE_RESTART, "server restarting");
            connection.0.close_idle_http();
        };
        // Not the connection's own task: its end says nothing about the handler.
        shard.spawn(Box::pin(task));
    }
}

/// Nobody has asked anything yet: a browser's spare connection does not hold the server.
fn cut_without_request(Connection(inner): &Connection) {
    let mut state = inner.state.borrow_mut();
    if matches!(state.phase, Phase::Head(_)) {
        inner.cut(&mut state);
    }
}

/// Drops every task on its own thread, then every connection, and frees their places: they and the
/// shard hold each other.
fn cancel_all(shard: &Rc<ShardInner>) {
    shard.begin_closing();
    shard.close_mailbox();
    shard.cancel_tasks();
    for inner in shard.all_connections() {
        inner.cut(&mut inner.state.borrow_mut());
    }
    shard.flush();
    // What the ends of connections have begun.
    shard.cancel_tasks();
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::service::BoxedTask;
    use crate::{Server, ServerSettings, Service};

    /// Leaves every request unanswered.
    struct Silent;

    impl Service for Silent {
        fn websocket(self: Rc<Self>, connection: &Connection) -> Option<BoxedTask> {
            let connection = connection.clone();
            Some(Box::pin(async move {
                std::future::pending::<()>().await;
                drop(connection);
            }))
        }

        fn has_websocket(&self, _: &str) -> bool {
            true
        }
    }

    #[test]
    fn a_shard_that_ends_with_connections_leaves_nothing() {
        let shard = Server::new(ServerSettings::default()).shard(Instant::now()).unwrap();
        shard.set_service(Rc::new(Silent));
        let client = shard.connect_memory(1 << 16);
        client.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        shard.turn(Instant::now());
        assert_eq!(shard.connection_count(), 1);
        let left = Rc::downgrade(&shard.0);
        shard.cancel_all();
        drop(shard);
        assert!(left.upgrade().is_none());
    }

    #[test]
    fn what_waits_for_a_shard_that_ends_is_dropped() {
        let shard = Server::new(ServerSettings::default()).shard(Instant::now()).unwrap();
        let handle = shard.handle();
        let asked = std::sync::Arc::new(());
        let question = asked.clone();
        handle.run(Box::new(move |_| drop(question))).unwrap();
        shard.cancel_all();
        assert_eq!(std::sync::Arc::strong_count(&asked), 1, "its asker would wait for an answer for ever");
        assert!(handle.run(Box::new(|_| {})).is_err());
    }
}
