//! Turns of a shard whose peers are in memory: no kernel but the poll itself.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nexios::testing::TestClient;
use nexios::{App, WebSocket};
use nexios_engine::{
    Accept, Audience, BoxedTask, Broadcast, Connection, Group, MemoryClient, Message, ReceiveTicket, Server,
    ServerSettings, Service, Shard,
};

use crate::protocol::frame;

/// Bytes that a peer's socket would hold.
const CAPACITY: usize = 1 << 20;
const GROUP: u32 = 1;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Every connection joins the group and sends back what it gets.
struct Front {
    group: Group,
}

impl Service for Front {
    fn websocket(self: Rc<Self>, connection: &Connection) -> Option<BoxedTask> {
        Some(Box::pin(serve(connection.clone(), self.group.clone())))
    }

    fn has_websocket(&self, _path: &str) -> bool {
        true
    }
}

async fn serve(connection: Connection, group: Group) {
    if connection.accept(Accept::default()).is_err() {
        return;
    }
    connection.join(&group);
    let mut ticket = ReceiveTicket::default();
    while let Ok(message) = poll_fn(|cx| connection.poll_receive(cx, &mut ticket)).await {
        poll_fn(|cx| connection.poll_send_ready(cx)).await;
        if connection.send(message.as_ref(), None).is_err() {
            return;
        }
    }
}

/// A shard, its open peers, and one moment: time does not pass, so no timer is due.
struct Stage {
    shard: Shard,
    clients: Vec<MemoryClient>,
    now: Instant,
    _server: Server,
}

impl Stage {
    fn new(clients: usize) -> Result<Self> {
        let now = Instant::now();
        let server = Server::new(ServerSettings { connections_max: Some(clients + 1), ..ServerSettings::default() });
        let shard = server.shard(now)?;
        shard.set_service(Rc::new(Front { group: Group::new(GROUP) }));
        let clients = (0..clients).map(|_| shard.connect_memory(CAPACITY)).collect();
        let stage = Self { shard, clients, now, _server: server };
        for client in &stage.clients {
            client.write(REQUEST);
        }
        stage.turn();
        for client in &stage.clients {
            let answer = read(client)?;
            ensure!(answer.starts_with(b"HTTP/1.1 101 "), "the handshake failed: {}", String::from_utf8_lossy(&answer));
        }
        Ok(stage)
    }

    fn turn(&self) {
        counted_turn(&self.shard, self.now);
    }
}

/// What callgrind counts of a turn: the shard, and not the clients.
#[inline(never)]
fn counted_turn(shard: &Shard, now: Instant) {
    while shard.turn(now) {}
}

fn read(client: &MemoryClient) -> Result<Vec<u8>> {
    match client.poll_read(&mut Context::from_waker(Waker::noop()), CAPACITY) {
        Poll::Ready(bytes) => Ok(bytes?),
        Poll::Pending => Ok(Vec::new()),
    }
}

/// `messages` of 20 bytes there and back in each turn.
pub(crate) fn echo(messages: usize, times: u32) -> Result<()> {
    let stage = Stage::new(1)?;
    let client = stage.clients.first().context("a client")?;
    let input = frame(20).repeat(messages);
    for _ in 0..times {
        client.write(&input);
        stage.turn();
        let answer = read(client)?;
        ensure!(answer.len() == messages * 22, "{} bytes came back", answer.len());
    }
    Ok(())
}

/// 256 bytes to each of `members` in each turn.
pub(crate) fn broadcast(members: usize, times: u32) -> Result<()> {
    let stage = Stage::new(members)?;
    for _ in 0..times {
        let message = Message::Text("x".repeat(256).into());
        stage.shard.publish(&Arc::new(Broadcast::new(Audience::One(GROUP), message)));
        stage.turn();
        for client in &stage.clients {
            ensure!(read(client)?.len() == 260, "a member was left out");
        }
    }
    Ok(())
}

/// One text there and back through the framework.
pub(crate) fn app_echo(times: u32) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let client = TestClient::new(App::new().ws("/", echo_text))?;
        let mut socket = client.connect("/").await?;
        for _ in 0..times {
            socket.send_text("abcdefghijklmnopqrst");
            ensure!(socket.receive_text().await? == "abcdefghijklmnopqrst", "the echo differs");
        }
        Ok(())
    })
}

async fn echo_text(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let text = ws.receive_text().await?;
        ws.send_text(text).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_bring_every_message_back() {
        echo(16, 3).unwrap();
        broadcast(10, 3).unwrap();
        app_echo(3).unwrap();
    }
}
