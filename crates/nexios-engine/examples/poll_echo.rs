//! The engine without any runtime: a plain poll loop turns the crank of an echo server.
//!
//! `cargo run --release -p nexios-engine --example poll_echo -- 127.0.0.1:9001`

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nexios_engine::{
    Accept, BoxedTask, Connection, Listener, ReceiveTicket, Server, ServerSettings, Service, Settings,
};

struct Echo;

impl Service for Echo {
    fn websocket(self: Rc<Self>, connection: &Connection) -> Option<BoxedTask> {
        Some(Box::pin(echo(connection.clone())))
    }

    fn has_websocket(&self, _path: &str) -> bool {
        true
    }
}

async fn echo(connection: Connection) {
    if connection.accept(Accept::default()).is_err() {
        return;
    }
    connection.enable_compression();
    let mut ticket = ReceiveTicket::default();
    while let Ok(message) = poll_fn(|cx| connection.poll_receive(cx, &mut ticket)).await {
        poll_fn(|cx| connection.poll_send_ready(cx)).await;
        if connection.send(message.as_ref(), None).is_err() {
            return;
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let connection = Settings { message_bytes_max: Some(64 << 20), fragments_max: None, ..Settings::default() };
    let server = Server::new(ServerSettings { connection, ..ServerSettings::default() });
    let shard = server.shard(Instant::now())?;
    shard.set_service(Rc::new(Echo));
    shard.listen(Listener::bind(address.parse()?)?)?;
    println!("echo on ws://{address}/");

    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&shard.fd()), Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(1);
    loop {
        if !shard.turn(Instant::now()) {
            let timeout = shard.next_timeout().map(|at| at.saturating_duration_since(Instant::now()));
            poll.poll(&mut events, timeout)?;
        }
    }
}
