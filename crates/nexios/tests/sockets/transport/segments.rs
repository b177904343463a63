//! Where the bytes are cut into packets, and what comes together with a FIN.

use nexios::{App, WebSocket};

use crate::site::{Site, echo};
use crate::wire::{CLOSE, FIN, PING, Seen, TEXT, close, eventually, frame, upgrade};

#[test]
fn frames_in_the_packet_of_the_handshake_are_echoed() {
    let site = Site::start(App::new().ws("/", echo));
    let mut wire = site.dial();
    let frames = [frame(FIN | TEXT, "one"), frame(FIN | PING, "two"), frame(FIN | TEXT, "three"), close(4000, "")];
    wire.say([upgrade("/", "").as_bytes(), &frames.concat()].concat());
    assert_eq!(wire.answer().status, 101);
    // Pongs may overtake messages.
    let mut seen = wire.rest();
    assert_eq!(seen.split_off(seen.len() - 2), [Seen::Close(4000, String::new()), Seen::Fin]);
    assert!(seen.contains(&Seen::Pong(b"two".to_vec())));
    seen.retain(|seen| matches!(seen, Seen::Text(_)));
    assert_eq!(seen, [Seen::Text("one".into()), Seen::Text("three".into())]);
}

#[test]
fn the_same_where_the_handler_takes_its_time_to_accept() {
    let site = Site::start(App::new().ws("/", async |ws: WebSocket| {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        echo(ws).await
    }));
    let mut wire = site.dial();
    wire.say([upgrade("/", "").as_bytes(), &frame(FIN | TEXT, "first")].concat());
    std::thread::sleep(std::time::Duration::from_millis(10));
    wire.say(frame(FIN | TEXT, "second"));
    assert_eq!(wire.answer().status, 101);
    assert_eq!((wire.next(), wire.next()), (Seen::Text("first".into()), Seen::Text("second".into())));
}

#[test]
fn one_byte_at_a_time_makes_no_difference() {
    let site = Site::start(App::new().ws("/", echo));
    let mut wire = site.dial();
    for byte in upgrade("/", "").bytes() {
        wire.say([byte]);
    }
    assert_eq!(wire.answer().status, 101);
    for byte in [frame(TEXT, "Gr\u{fc}"), frame(FIN, "\u{df}e"), close(1000, "")].concat() {
        wire.say([byte]);
    }
    assert_eq!(wire.rest(), [Seen::Text("Gr\u{fc}\u{df}e".into()), Seen::Close(1000, String::new()), Seen::Fin]);
}

#[test]
fn a_message_and_fin_in_one_segment_are_an_echo_and_the_end() {
    let site = Site::start(App::new().ws("/", echo));
    for messages in [1, 100] {
        let mut wire = site.connect("/");
        wire.cork();
        wire.say(frame(FIN | TEXT, "last words").repeat(messages));
        wire.hang_up();
        let mut seen = wire.rest();
        assert!(matches!(seen.pop(), Some(Seen::Fin | Seen::Reset)));
        assert_eq!(seen, vec![Seen::Text("last words".into()); messages]);
    }
    site.await_connections(1);
}

#[test]
fn a_close_and_fin_in_one_segment_are_a_clean_end() {
    let (tell, told) = std::sync::mpsc::channel();
    let site = Site::start(
        App::new()
            .on_disconnect(move |ws: WebSocket| {
                tell.send(ws.close_code()).unwrap();
                std::future::ready(())
            })
            .ws("/", echo),
    );
    let mut wire = site.connect("/");
    wire.cork();
    wire.say([frame(FIN | TEXT, "last words"), frame(FIN | CLOSE, "")].concat());
    wire.hang_up();
    assert_eq!(wire.rest(), [Seen::Text("last words".into()), Seen::Close(1005, String::new()), Seen::Fin]);
    assert_eq!(told.recv_timeout(crate::wire::PATIENCE), Ok(Some(1005)));
    site.await_connections(1);
}

#[test]
fn a_client_that_leaves_before_its_handshake_leaves_nothing() {
    let site = Site::start(App::new().ws("/", echo));
    for said in ["", "GET / HT", "GET /nowhere HTTP/1.1\r\nHost: a\r\n"] {
        let mut wire = site.dial();
        wire.say(said);
        drop(wire);
    }
    eventually("all places are free", || site.metrics().connections == 1);
    site.assert_others_served();
}
