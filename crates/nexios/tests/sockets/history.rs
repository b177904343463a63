//! Rooms with history, for clients that speak `nexios.v1`: they come back to where they were.

use std::sync::Arc;
use std::time::Duration;

use nexios::broker::{Broker, History, Memory};
use nexios::{App, Room, Running, Serve, SlowClient, WebSocket};

use crate::site::wait;
use crate::wire::{Seen, Wire};

const LIVE: &str = "Sec-WebSocket-Protocol: nexios.v1\r\n";

/// Joins the room `x` by itself where the query says so; else the client asks.
async fn member(ws: WebSocket) -> nexios::Result {
    if let Some(user) = ws.query("as") {
        ws.set_client_id(user);
    }
    ws.accept().await?;
    if ws.query("join").is_some() {
        ws.join("x").await;
    }
    ws.wait_closed().await;
    Ok(())
}

struct Node {
    running: Running,
    room: Room,
}

/// What a frame of the server says: its header, and the payload.
type Frame = (serde_json::Value, String);

/// A client as the clients of this repository are: it keeps where it is.
struct Client {
    wire: Wire,
    position: String,
}

impl Node {
    fn start(app: App) -> Self {
        Node::with_history(10, app)
    }

    fn with_history(size: usize, app: App) -> Self {
        let yes = async |_: WebSocket, _: std::sync::Arc<str>| true;
        let app = app.live(true).ws("/", member).authorize_join(yes).authorize_publish(yes);
        let room = app.handle().room("x").with_history(History::new(size, Duration::from_secs(60)));
        let running = app.start(Serve::tcp("127.0.0.1:0").shards(2)).unwrap();
        Node { running, room }
    }

    /// Says hello with a position, if there is one.
    fn connect(&self, path: &str, position: &str) -> Client {
        self.greet(Wire::dial(self.running.addresses()[0]), path, position)
    }

    fn greet(&self, wire: Wire, path: &str, position: &str) -> Client {
        let mut wire = wire.shake_hands_with(path, LIVE);
        let rooms = if position.is_empty() { String::new() } else { format!(r#","rooms":{{"x":"{position}"}}"#) };
        wire.text(&format!("\u{1E}{{\"type\":\"hello\"{rooms}}}\n"));
        let mut client = Client { wire, position: position.to_owned() };
        assert_eq!(client.next().0["type"], "welcome");
        client
    }

    fn send(&self, text: &str) -> String {
        wait(async { self.room.broadcast(text).await }).stored.unwrap().to_string()
    }
}

impl Client {
    fn next(&mut self) -> Frame {
        let Seen::Text(text) = self.wire.next_message() else { panic!("not a text") };
        let (header, payload) = text.strip_prefix('\u{1E}').unwrap().split_once('\n').unwrap();
        (serde_json::from_str(header).unwrap(), payload.to_owned())
    }

    fn ask(&mut self, header: &str, payload: &str) {
        self.wire.text(&format!("\u{1E}{header}\n{payload}"));
    }

    /// The `joined` that comes next: whether it is recovered. The position is kept.
    fn joined(&mut self) -> bool {
        let (header, _) = self.next();
        assert_eq!((&header["type"], &header["room"]), (&"joined".into(), &"x".into()), "{header}");
        self.position = header["position"].as_str().unwrap().to_owned();
        header["recovered"].as_bool().unwrap()
    }

    /// The messages that come next; the position moves with them.
    fn messages(&mut self, count: usize) -> Vec<String> {
        let mut one = || {
            let (header, payload) = self.next();
            assert_eq!((&header["type"], &header["room"]), (&"message".into(), &"x".into()), "{header}");
            let epoch = self.position.split('-').next().unwrap();
            self.position = format!("{epoch}-{}-{}", header["offset"], header["nonce"].as_str().unwrap());
            payload
        };
        (0..count).map(|_| one()).collect()
    }
}

#[test]
fn a_publish_that_is_not_confirmed_says_if_it_may_be_stored() {
    let memory = Memory::new();
    let node = Node::start(App::new().broker(Broker::from(&memory).outgoing_messages_max(1)));
    let mut client = node.connect("/", "");
    client.wire.be_patient(Duration::from_secs(30));
    memory.stop();
    // The first waits in the queue for five seconds, the second finds no place in it.
    for id in [1, 2] {
        client.ask(&format!(r#"{{"type":"publish","id":{id},"room":"x","key":"{id}"}}"#), "hello");
    }
    for (id, maybe_stored) in [(2, false), (1, true)] {
        let (header, _) = client.next();
        assert_eq!((&header["type"], &header["code"]), (&"error".into(), &"unavailable".into()), "{header}");
        assert_eq!((&header["id"], &header["maybe_stored"]), (&id.into(), &maybe_stored.into()), "{header}");
    }
    memory.start();
    // It is stored once the broker is back, and the key says so.
    let mut answer = serde_json::Value::Null;
    crate::wire::eventually("stored", || {
        client.ask(r#"{"type":"publish","id":3,"room":"x","key":"1"}"#, "hello");
        answer = client.next().0;
        answer["type"] == "ack"
    });
    assert_eq!(answer["duplicate"], true, "{answer}");
}

#[test]
fn a_client_that_is_taken_out_while_it_gets_what_it_missed_is_told_so() {
    const MISSED: usize = 100;
    let kick = Arc::new(tokio::sync::Notify::new());
    let kicked = kick.clone();
    let handler = move |ws: WebSocket| {
        let kicked = kicked.clone();
        async move {
            ws.accept().await?;
            kicked.notified().await;
            assert!(!ws.leave("x").await, "it is on its way into the room");
            ws.wait_closed().await;
            nexios::Result::Ok(())
        }
    };
    let node = Node::with_history(1000, App::new().hold_timeout(Duration::ZERO).ws("/kick", handler));
    let mut before = node.connect("/?join=1", "");
    before.joined();
    let position = before.position.clone();
    drop(before);
    let big = "x".repeat(100_000);
    (0..MISSED).for_each(|_| _ = node.send(&big));
    let wire = Wire::dial_narrow(node.running.addresses()[0]);
    let mut client = node.greet(wire, "/kick", &position);
    client.ask(r#"{"type":"join","id":1,"room":"x"}"#, "");
    assert!(client.joined());
    // It does not read, and so the rest waits.
    kick.notify_one();
    let rest: Vec<_> =
        (0..MISSED + 2).map(|_| client.next().0).take_while(|header| header["type"] != "error").collect();
    let (last, messages) = rest.split_last().unwrap();
    assert_eq!(last["type"], "left");
    assert!(messages.len() < MISSED && messages.iter().all(|header| header["type"] == "message"), "{}", messages.len());
    assert_eq!(node.room.count(), 0);
}

#[test]
fn a_client_that_comes_back_gets_what_it_missed_and_then_what_comes() {
    for app in [App::new(), App::new().broker(&Memory::new())] {
        let node = Node::start(app);
        let mut client = node.connect("/?join=1", "");
        assert!(!client.joined());
        node.send("1");
        let second = node.send("\u{1E}2\n");
        assert_eq!(client.messages(2), ["1", "\u{1E}2\n"]);
        assert_eq!(client.position, second);
        let position = client.position.clone();
        drop(client);
        node.send("3");
        node.send("4");
        // Once by the handler, and once because the client asks.
        let mut by_handler = node.connect("/?join=1", &position);
        let mut by_itself = node.connect("/", "");
        by_itself.ask(&format!(r#"{{"type":"join","id":1,"room":"x","position":"{position}"}}"#), "");
        for client in [&mut by_handler, &mut by_itself] {
            assert!(client.joined());
            assert_eq!(client.position, position);
            assert_eq!(client.messages(2), ["3", "4"]);
        }
        assert_eq!(by_itself.next().0["type"], "ack");
        node.send("5");
        assert_eq!((by_handler.messages(1), by_itself.messages(1)), (vec!["5".into()], vec!["5".into()]));
    }
}

#[test]
fn what_a_client_publishes_comes_before_its_confirmation() {
    for app in [App::new(), App::new().broker(&Memory::new())] {
        let node = Node::start(app);
        let mut client = node.connect("/?join=1", "");
        assert!(!client.joined());
        for id in 1..=100 {
            client.ask(&format!(r#"{{"type":"publish","id":{id},"room":"x"}}"#), &id.to_string());
            assert_eq!(client.messages(1), [id.to_string()]);
            let (ack, _) = client.next();
            assert_eq!((&ack["type"], &ack["position"]), (&"ack".into(), &client.position.as_str().into()), "{ack}");
        }
    }
}

#[test]
fn what_cannot_be_had_is_not_recovered() {
    let node = Node::start(App::new());
    let first = node.send("0");
    (1..=12).for_each(|n| drop(node.send(&n.to_string())));
    let last = node.send("last");
    let other_nonce = format!("{}-{:032}", last.rsplit_once('-').unwrap().0, 7);
    for position in [first, other_nonce, "not a position".to_owned(), format!("1-2-{:032}", 3)] {
        let mut client = node.connect("/?join=1", &position);
        assert!(!client.joined(), "{position}");
        assert_eq!(client.position, last, "{position}");
    }
}

#[test]
fn a_made_up_place_before_the_first_message_brings_nothing() {
    let node = Node::start(App::new());
    let mut early = node.connect("/?join=1", "");
    assert!(!early.joined());
    let start = early.position.clone();
    node.send("0");
    let mut last = node.send("1");
    let epoch = start.split('-').next().unwrap();
    let zeros = "0".repeat(32);
    for forged in [format!("{epoch}-0-{zeros}"), format!("{epoch}-0-{}", "f".repeat(32)), format!("0-0-{zeros}")] {
        let mut by_hello = node.connect("/?join=1", &forged);
        let mut by_join = node.connect("/", "");
        by_join.ask(&format!(r#"{{"type":"join","id":1,"room":"x","position":"{forged}"}}"#), "");
        for client in [&mut by_hello, &mut by_join] {
            assert!(!client.joined(), "{forged}");
            assert_eq!(client.position, last, "{forged}");
        }
        last = node.send("live");
        assert_eq!(by_hello.messages(1), ["live"], "nothing of what was before");
    }
    let mut again = node.connect("/?join=1", &start);
    assert!(again.joined());
    assert_eq!(again.messages(3), ["0", "1", "live"]);
}

#[test]
fn a_client_begins_at_the_start_where_the_application_permits_it() {
    let yes = async |_: WebSocket, _: std::sync::Arc<str>| true;
    let node = Node::start(App::new().authorize_history(yes));
    let start = r#"{"type":"join","id":1,"room":"x","position":"start"}"#;
    let mut early = node.connect("/", "");
    early.ask(start, "");
    assert!(early.joined());
    assert_eq!(early.next().0["type"], "ack");
    (0..12).for_each(|n| drop(node.send(&n.to_string())));
    assert_eq!(early.messages(12), (0..12).map(|n| n.to_string()).collect::<Vec<_>>());
    let mut late = node.connect("/", "");
    late.ask(start, "");
    assert!(late.joined());
    assert_eq!(late.messages(10), (2..12).map(|n| n.to_string()).collect::<Vec<_>>(), "all that is remembered");
    assert_eq!(late.next().0["type"], "ack");
    let last = node.send("live");
    assert_eq!((late.messages(1), &late.position), (vec!["live".to_owned()], &last));
    assert!(node.connect("/?join=1", &late.position).joined());
    // Without a word of the application's nobody may.
    let node = Node::start(App::new());
    node.send("before");
    let mut denied = node.connect("/", "");
    denied.ask(start, "");
    assert_eq!(denied.next().0["code"], "forbidden");
    let mut by_hello = node.connect("/?join=1", "start");
    assert!(!by_hello.joined());
}

#[test]
fn a_member_that_was_let_in_without_a_position_receives_it_once_the_broker_is_there() {
    let memory = Memory::new();
    let node = Node::start(App::new().broker(&memory));
    memory.stop();
    let mut client = node.connect("/?join=1", "");
    assert!(!client.joined());
    assert!(client.position.starts_with("0-0-"), "{}", client.position);
    memory.start();
    // Rooms without history have a gap; which of the two is first is not promised.
    let mut frames = [client.next().0, client.next().0];
    frames.sort_by_key(|header| header["type"].to_string());
    let [gap, reset] = frames;
    assert_eq!((&gap["type"], gap.get("room")), (&"gap".into(), None), "{gap}");
    assert_eq!((&reset["type"], &reset["room"]), (&"reset".into(), &"x".into()), "{reset}");
    client.position = reset["position"].as_str().unwrap().to_owned();
    let stored = node.send("behind");
    assert_eq!(client.messages(1), ["behind"]);
    assert_eq!(client.position, stored);
    node.send("missed");
    let mut back = node.connect("/?join=1", &stored);
    assert!(back.joined());
    assert_eq!(back.messages(1), ["missed"]);
}

#[test]
fn members_are_told_where_they_stand_in_a_new_epoch() {
    let memory = Memory::new();
    let node = Node::start(App::new().broker(&memory));
    let mut client = node.connect("/?join=1", "");
    client.joined();
    node.send("before");
    assert_eq!(client.messages(1), ["before"]);
    memory.stop();
    memory.forget();
    memory.start();
    let (gap, _) = client.next();
    assert_eq!((&gap["type"], gap.get("room")), (&"gap".into(), None), "of rooms that do not remember: {gap}");
    let (reset, payload) = client.next();
    assert_eq!((&reset["type"], &reset["room"], &*payload), (&"reset".into(), &"x".into(), ""), "{reset}");
    let left = std::mem::replace(&mut client.position, reset["position"].as_str().unwrap().to_owned());
    let epoch = |position: &str| position.split('-').next().unwrap().to_owned();
    assert_ne!(epoch(&left), epoch(&client.position));
    let stored = node.send("behind");
    assert_eq!(client.messages(1), ["behind"]);
    assert_eq!(client.position, stored);
    assert!(node.connect("/?join=1", &stored).joined());
    assert!(!node.connect("/?join=1", &left).joined());
}

#[test]
fn a_publish_is_confirmed_with_its_position_and_a_key_counts_once() {
    let node = Node::start(App::new());
    let mut client = node.connect("/?join=1", "");
    client.joined();
    let publish = r#"{"type":"publish","id":9,"room":"x","key":"k"}"#;
    client.ask(publish, "once");
    let mut positions = Vec::new();
    // The message may come before or behind its ack.
    for _ in 0..2 {
        let (header, payload) = client.next();
        match header["type"].as_str().unwrap() {
            "ack" => positions.push(header["position"].as_str().unwrap().to_owned()),
            _ => assert_eq!(payload, "once"),
        }
    }
    client.ask(publish, "once");
    let (ack, _) = client.next();
    assert_eq!(ack["duplicate"], true);
    positions.push(ack["position"].as_str().unwrap().to_owned());
    assert_eq!(positions[0], positions[1]);
    node.send("behind");
    assert_eq!(client.messages(1), ["behind"]);
}

#[test]
fn a_key_of_a_client_suppresses_no_message_of_others() {
    for app in [App::new(), App::new().broker(&Memory::new())] {
        let node = Node::start(app);
        let mut clients = ["?join=1&as=ann", "?join=1&as=bob", "?join=1", "?as=ann", "?"]
            .map(|query| node.connect(&format!("/{query}"), ""));
        let mut publish = |client: usize| {
            clients[client].ask(r#"{"type":"publish","id":9,"room":"x","key":"order 17"}"#, "by a client");
            loop {
                let (header, _) = clients[client].next();
                if header["type"] == "ack" {
                    let position = header["position"].as_str().unwrap().to_owned();
                    return (position, header.get("duplicate").is_some_and(|is| is.as_bool().unwrap()));
                }
            }
        };
        let stored = [0, 1, 2].map(&mut publish);
        assert_eq!(stored.each_ref().map(|(_, duplicate)| *duplicate), [false; 3], "each has keys of its own");
        let broadcast = || wait(async { node.room.broadcast("by the application").idempotency_key("order 17").await });
        let [first, again] = [broadcast(), broadcast()];
        assert_eq!((first.duplicate, again.duplicate, again.stored == first.stored), (false, true, true));
        assert!(stored.iter().all(|(position, _)| *position != first.stored.unwrap().to_string()));
        // Two connections of one user, and two without a name: a retry by another connection does no harm.
        assert_eq!([publish(3), publish(4)], [(stored[0].0.clone(), true), (stored[2].0.clone(), true)]);
        let page = wait(async { node.room.history().await }).unwrap();
        assert_eq!(page.messages.len(), 4);
    }
}

#[test]
fn both_kinds_of_members_get_the_brokers_order() {
    let memory = Memory::new();
    let (here, there) = (Node::start(App::new().broker(&memory)), Node::start(App::new().broker(&memory)));
    let mut live = there.connect("/?join=1", "");
    live.joined();
    let mut plain = Wire::dial(there.running.addresses()[0]).shake_hands("/?join=1");
    crate::wire::eventually("both are in the room", || there.room.count() == 2);
    let sent: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for (n, text) in sent.iter().enumerate() {
        if n % 2 == 0 {
            here.send(text)
        } else {
            there.send(text)
        };
    }
    assert_eq!(live.messages(50), sent);
    let got: Vec<Seen> = (0..50).map(|_| plain.next_message()).collect();
    assert_eq!(got, sent.into_iter().map(Seen::Text).collect::<Vec<_>>());
}

/// What a slow client has got before it is told that something is missing is all that came before.
#[test]
fn a_gap_comes_before_any_later_message_and_the_next_connection_has_what_is_missing() {
    let text = |n: u64| format!("{n} {}", "x".repeat(256 << 10));
    for policy in [SlowClient::DropNewest, SlowClient::DropOldest] {
        let node = Node::with_history(100, App::new().slow_client(policy));
        let mut slow = node.greet(Wire::dial_narrow(node.running.addresses()[0]), "/?join=1", "");
        assert!(!slow.joined());
        (1..=60).for_each(|n| drop(node.send(&text(n))));
        let mut got = 0;
        let missing = loop {
            let (header, payload) = slow.next();
            if header["type"] == "gap" {
                break header["offset"].as_u64();
            }
            got += 1;
            assert_eq!((&header["offset"], payload), (&got.into(), text(got)), "{policy:?}");
            let epoch = slow.position.split('-').next().unwrap();
            slow.position = format!("{epoch}-{got}-{}", header["nonce"].as_str().unwrap());
        };
        assert_eq!(missing, Some(got + 1), "{policy:?}");
        let mut again = node.connect("/?join=1", &slow.position);
        assert!(again.joined());
        assert_eq!(again.messages(60 - got as usize), (got + 1..=60).map(text).collect::<Vec<_>>());
    }
}
