//! Clients that speak `nexios.v1`, over several shards and nodes.

use std::collections::HashMap;
use std::net::SocketAddr;

use nexios::broker::Memory;
use nexios::{App, Room, Running, Serve, WebSocket};

use crate::site::wait;
use crate::wire::{Seen, Wire, eventually};

const LIVE: &str = "Sec-WebSocket-Protocol: nexios.v1\r\n";
const MESSAGE: &str = "\u{1E}{\"type\":\"message\",\"room\":\"x\"}\n";

/// Says on which thread it runs, and joins the room `x`.
async fn member(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.join("x").await;
    ws.send_text(format!("{:?}", std::thread::current().id())).await?;
    ws.wait_closed().await;
    Ok(())
}

struct Node {
    running: Running,
    room: Room,
}

impl Node {
    fn start(app: App, shards: usize) -> Self {
        let app = app.live(true).ws("/", member);
        let room = app.handle().room("x");
        Node { running: app.start(Serve::tcp("127.0.0.1:0").shards(shards)).unwrap(), room }
    }

    fn address(&self) -> SocketAddr {
        self.running.addresses()[0]
    }

    /// A member, and the thread that serves it.
    fn connect(&self, live: bool) -> (Wire, String) {
        let wire = Wire::dial(self.address());
        if !live {
            let mut wire = wire.shake_hands("/");
            let thread = text(&mut wire);
            return (wire, thread);
        }
        let mut wire = wire.shake_hands_with("/", LIVE);
        wire.text("\u{1E}{\"type\":\"hello\"}\n");
        assert!(text(&mut wire).starts_with("\u{1E}{\"type\":\"welcome\""));
        assert_eq!(text(&mut wire), "\u{1E}{\"type\":\"joined\",\"room\":\"x\"}\n");
        let thread = text(&mut wire);
        (wire, thread)
    }
}

fn text(wire: &mut Wire) -> String {
    match wire.next_message() {
        Seen::Text(text) => text,
        other => panic!("not a text: {other:?}"),
    }
}

#[test]
fn members_of_both_kinds_on_a_shard_see_one_order_whoever_sends() {
    const EACH: usize = 200;
    let node = Node::start(App::new(), 2);
    let mut members: Vec<_> = (0..12).map(|n| (n % 2 == 0, node.connect(n % 2 == 0))).collect();
    eventually("all are in the room", || node.room.count() == members.len());
    let senders = ["a", "b", "c"].map(|name| {
        let room = node.room.clone();
        std::thread::spawn(move || {
            wait(async {
                for n in 0..EACH {
                    room.broadcast(format!("{name}{n}")).await;
                }
            })
        })
    });
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let mut orders = HashMap::<String, Vec<String>>::new();
    for (live, (wire, thread)) in &mut members {
        let seen: Vec<String> = (0..3 * EACH)
            .map(|_| match live {
                true => text(wire).strip_prefix(MESSAGE).unwrap().to_owned(),
                false => text(wire),
            })
            .collect();
        let order = orders.entry(thread.clone()).or_insert_with(|| seen.clone());
        assert_eq!(*order, seen, "live: {live}");
    }
}

#[test]
fn what_another_node_sends_is_framed_and_a_gap_is_told() {
    let memory = Memory::new();
    let node = || Node::start(App::new().broker(&memory), 1);
    let (here, there) = (node(), node());
    let ((mut live, _), (mut plain, _)) = (there.connect(true), there.connect(false));
    assert!(wait(async { here.room.broadcast("\u{1E}over there\n").await }).accepted);
    assert_eq!(text(&mut live), format!("{MESSAGE}\u{1E}over there\n"));
    assert_eq!(text(&mut plain), "\u{1E}over there\n");
    memory.stop();
    memory.start();
    assert_eq!(text(&mut live), "\u{1E}{\"type\":\"gap\"}\n");
    plain.assert_silent();
}

#[test]
fn a_shutdown_says_when_to_come_back() {
    let node = Node::start(App::new(), 1);
    let ((mut live, _), (mut plain, _)) = (node.connect(true), node.connect(false));
    node.running.shutdown();
    let closing = r#"{"type":"closing","code":1012,"reason":"server restarting","retry_ms":[100,2000]}"#;
    assert_eq!(text(&mut live), format!("\u{1E}{closing}\n"));
    for wire in [&mut live, &mut plain] {
        assert_eq!(wire.next_message(), Seen::Close(1012, "server restarting".into()));
    }
}
