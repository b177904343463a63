//! Where the bytes are cut into packets, and what comes together with a FIN.

use nexios::{App, Serve, Tls, WebSocket};

use super::{Directory, certificate, over_unix};
use crate::site::{Site, echo};
use crate::wire::{CLOSE, FIN, PING, Seen, TEXT, Wire, close, eventually, frame, upgrade};

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
fn what_comes_behind_the_request_stays_first_whenever_the_handler_accepts() {
    let site = Site::start(App::new().ws("/", async |ws: WebSocket| {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        echo(ws).await
    }));
    // The later frames meet the accept in a different moment each time.
    for round in 0..200_u64 {
        let mut wire = site.dial();
        let early: Vec<u8> = (0..3).flat_map(|n| frame(FIN | TEXT, n.to_string())).collect();
        wire.say([upgrade("/", "").as_bytes(), &early].concat());
        std::thread::sleep(std::time::Duration::from_micros(round * 20));
        for n in 3..6 {
            wire.say(frame(FIN | TEXT, n.to_string()));
        }
        assert_eq!(wire.answer().status, 101);
        let seen: Vec<_> = (0..6).map(|_| wire.next()).collect();
        assert_eq!(seen, (0..6).map(|n| Seen::Text(n.to_string())).collect::<Vec<_>>(), "round {round}");
    }
}

#[test]
fn much_that_comes_behind_the_request_waits_for_the_handler_and_stays_in_order() {
    // 250,000 bytes: more than the inbox takes, and frames that end in the middle of reads.
    let site = Site::start(App::new().ws("/", async |ws: WebSocket| {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        ws.accept().await?;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        for n in 0..1000 {
            let text = ws.receive_text().await?;
            assert_eq!(text.split(' ').next(), Some(n.to_string().as_str()));
        }
        ws.send_text("all in order").await?;
        Ok(())
    }));
    let frames: Vec<u8> = (0..1000).flat_map(|n| frame(FIN | TEXT, format!("{n} {}", "x".repeat(240)))).collect();
    for cut in [0, 1, 7, 4000, 120_000] {
        let mut wire = site.dial();
        let request = [upgrade("/", "").as_bytes(), &frames].concat();
        let (first, second) = request.split_at(if cut == 0 { request.len() } else { request.len() - cut });
        wire.say(first);
        std::thread::sleep(std::time::Duration::from_millis(5));
        wire.say(second);
        assert_eq!(wire.answer().status, 101);
        assert_eq!(wire.next(), Seen::Text("all in order".into()), "the last {cut} bytes apart");
    }
    site.assert_others_served();
}

#[test]
fn a_close_behind_the_request_is_how_it_ends_though_the_client_hangs_up_at_once() {
    let site = Site::start(App::new().ws("/", echo));
    for _ in 0..20 {
        let mut wire = site.dial();
        wire.say([upgrade("/", "").as_bytes(), &frame(FIN | TEXT, "a"), &close(4001, "")].concat());
        assert_eq!(wire.answer().status, 101);
        assert_eq!(wire.rest(), [Seen::Text("a".into()), Seen::Close(4001, String::new()), Seen::Fin]);
    }
    site.await_connections(1);
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

/// Says 1,000 numbered messages behind an upgrade request, the last of them apart, and awaits that all were in order.
fn assert_stay_in_order<S: std::io::Read + std::io::Write>(wire: &mut Wire<S>) {
    let frames: Vec<u8> = (0..1000).flat_map(|n| frame(FIN | TEXT, format!("{n} {}", "x".repeat(240)))).collect();
    let request = [upgrade("/", "").as_bytes(), &frames].concat();
    let (first, second) = request.split_at(request.len() - 4000);
    wire.say(first);
    std::thread::sleep(std::time::Duration::from_millis(5));
    wire.say(second);
    assert_eq!(wire.answer().status, 101);
    assert_eq!(wire.next(), Seen::Text("all in order".into()));
}

async fn takes_its_time(ws: WebSocket) -> nexios::Result {
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    ws.accept().await?;
    for n in 0..1000 {
        let text = ws.receive_text().await?;
        assert_eq!(text.split(' ').next(), Some(n.to_string().as_str()));
    }
    ws.send_text("all in order").await?;
    Ok(())
}

#[test]
fn it_stays_in_order_over_tls_over_a_unix_socket_and_behind_a_plain_request() {
    let certificate = certificate();
    let tls = Serve::tcp("127.0.0.1:0").shards(1).tls(Tls::config(certificate.server_config()));
    let running = App::new().ws("/", takes_its_time).start(tls).unwrap();
    assert_stay_in_order(&mut Wire::new(certificate.connect(running.addresses()[0], &[])));

    let directory = Directory::new("in-order");
    let path = directory.0.join("socket");
    let running = App::new().ws("/", takes_its_time).start(Serve::unix(&path).and_tcp("127.0.0.1:0")).unwrap();
    assert_stay_in_order(&mut over_unix(std::os::unix::net::UnixStream::connect(&path).unwrap()));

    let mut kept_alive = Wire::dial(running.addresses()[0]);
    kept_alive.say("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(kept_alive.answer().status, 404);
    assert_stay_in_order(&mut kept_alive);
}
