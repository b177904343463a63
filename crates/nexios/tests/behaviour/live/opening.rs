//! Negotiation, `hello` and `welcome`.

use std::sync::Arc;
use std::time::Duration;

use nexios::{App, RateLimit, Route, WebSocket, WsRouter, accept::Accept};

use super::{echo, frame, framed, got, live, offer};
use crate::bench::{Bench, Log, handshake};

const LIMITS: &str = r#""limits":{"message_bytes":1048576,"unanswered":256,"rooms":1000}"#;

fn app(log: &Log) -> App {
    let (connects, ends) = (log.clone(), log.clone());
    let on_end = move |ws: WebSocket| ends.note(format!("gone {:?}", ws.close_code()));
    App::new().live(true).ws("/", echo).on_connect(move |_: WebSocket| connects.note("connected")).on_disconnect(on_end)
}

#[test]
fn a_client_is_welcome_once_it_has_said_hello() {
    let log = Log::default();
    let bench = Bench::new(app(&log));
    let client = offer(&bench, "/");
    assert!((client.texts().is_empty(), log.take().is_empty(), bench.app.count()) == (true, true, 0));
    assert_eq!(bench.wait(bench.app.broadcast("too early")), 0);
    frame(&client, r#"{"type":"hello","user_agent":"test/1","more":{}}"#, "");
    let welcome = client.texts().concat();
    let id = welcome.split('"').nth(7).unwrap().to_owned();
    assert_eq!(
        welcome,
        framed(&format!(r#"{{"type":"welcome","id":"{id}","retry_ms":[100,2000],"ping_ms":20000,{LIMITS}}}"#), "")
    );
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!((log.take(), bench.app.count()), (vec!["connected".to_owned()], 1));
    assert_eq!(bench.wait(bench.app.broadcast_to([&id], "by its id")), 1);
    assert_eq!(got(&client), ["by its id"]);
    client.reset();
    assert_eq!(log.take(), ["gone Some(1006)"]);
}

#[test]
fn a_welcome_names_the_limits_of_the_route() {
    let small = Route::new("/small", echo).settings(|settings| settings.message_bytes_max = Some(5000));
    let open = Route::new("/open", echo).settings(|settings| settings.message_bytes_max = None);
    let bench = Bench::new(App::new().live(true).ws("/", echo).mount(WsRouter::new().route(small).route(open)));
    for (path, bytes) in [("/", r#""message_bytes":1048576,"#), ("/small", r#""message_bytes":5000,"#), ("/open", "")] {
        let client = offer(&bench, path);
        frame(&client, r#"{"type":"hello"}"#, "");
        let limits = format!(r#""limits":{{{bytes}"unanswered":256,"rooms":1000}}}}"#);
        assert!(client.texts().concat().contains(&limits), "{path}");
    }
}

#[test]
fn hello_and_what_follows_it_may_come_in_one_piece() {
    let bench = Bench::new(App::new().live(true).ws("/", echo));
    let client = offer(&bench, "/");
    super::send_all(&client, &[framed(r#"{"type":"hello"}"#, ""), "a".into(), framed("", "b"), "c".into()]);
    assert_eq!(got(&client)[1..], ["a", "b", "c"]);
}

#[test]
fn whatever_else_comes_first_closes_1002() {
    let log = Log::default();
    let bench = Bench::new(app(&log));
    for first in [
        "hello",
        "",
        "\u{1E}",
        "\u{1E}\nhello",
        "\u{1E}{\"type\":\"hello\"}",
        "\u{1E}hello\n",
        "\u{1E}{\"type\":\"none\"}\n",
        "\u{1E}{\"type\":\"join\",\"id\":1,\"room\":\"x\"}\n",
        "\u{1E}{\"type\":\"hello\",\"rooms\":1}\n",
    ] {
        let client = offer(&bench, "/");
        client.send(first);
        assert_eq!(client.closed().0, 1002, "{first:?}");
        assert!(log.take().is_empty(), "never connected, so not gone: {first:?}");
    }
}

#[test]
fn silence_closes_1008_after_ten_seconds() {
    let bench = Bench::new(App::new().live(true).ws("/", echo));
    let client = offer(&bench, "/");
    bench.advance(Duration::from_millis(9_900));
    assert!(client.texts().is_empty());
    bench.advance(Duration::from_millis(200));
    assert_eq!(client.closed(), (1008, "no hello".into()));
}

#[test]
fn an_accept_that_is_given_up_before_hello_closes_1008() {
    let bench = Bench::new(App::new().live(true).ws("/", async |ws: WebSocket| {
        {
            let mut accepting = std::pin::pin!(ws.accept());
            std::future::poll_fn(|cx| std::task::Poll::Ready(accepting.as_mut().poll(cx))).await
        }
        .is_pending()
        .then_some(())
        .ok_or_else(|| nexios::Error::msg("not waiting"))?;
        ws.wait_closed().await;
        Ok(())
    }));
    assert_eq!(offer(&bench, "/").closed(), (1008, "no hello".into()));
}

#[test]
fn a_client_that_leaves_before_hello_ends_its_handler() {
    let log = Log::default();
    let seen = log.clone();
    let bench = Bench::new(App::new().live(true).ws("/", move |ws: WebSocket| {
        let seen = seen.clone();
        async move {
            seen.add(format!("{:?}", ws.accept().await.map_err(|error| error.to_string())));
        }
    }));
    offer(&bench, "/").reset();
    assert_eq!(log.take(), [r#"Err("disconnected with code 1006")"#]);
}

#[test]
fn a_hello_names_many_rooms_and_a_malformed_position_is_none() {
    let bench = Bench::new(App::new().live(true).ws("/", echo));
    let position = format!("{:x}-{}-{:032x}", u64::MAX, u64::MAX, u128::MAX);
    let mut rooms: Vec<String> = (0..1000).map(|n| format!("\"room-{n}\":\"{position}\"")).collect();
    rooms.push("\"bad\":\"1-2\"".to_owned());
    let client = offer(&bench, "/");
    frame(&client, &format!(r#"{{"type":"hello","rooms":{{{}}}}}"#, rooms.join(",")), "");
    assert!(client.texts().concat().contains("welcome"));
    let client = offer(&bench, "/");
    frame(&client, &format!(r#"{{"type":"hello","user_agent":"{}"}}"#, "x".repeat(128 << 10)), "");
    assert_eq!(client.closed().0, 1002);
}

/// Is in a room whose name is a secret, and says back what it hears.
async fn member(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.join("secret").await;
    loop {
        let text = ws.receive_text().await?;
        ws.send_text(text).await?;
    }
}

#[test]
fn a_route_that_is_not_live_takes_nexios_v1_for_any_unknown_subprotocol() {
    let yes = async |_: WebSocket, _: Arc<str>| true;
    let off = WsRouter::with_prefix("/off").live(false).ws("/", member).route(Route::new("/on", member).live(true));
    let on = WsRouter::with_prefix("/on").live(true).ws("/", member).route(Route::new("/off", member).live(false));
    let plain = WsRouter::with_prefix("/plain").ws("/", member);
    let open = |app: App| Bench::new(app.authorize_join(yes).authorize_leave(yes).authorize_presence(yes));
    let bench = open(App::new().mount(off).mount(on).mount(plain));
    for (target, is_live) in [("/off", false), ("/off/on", true), ("/on", true), ("/on/off", false), ("/plain", false)]
    {
        let client = bench.try_connect(handshake(target).subprotocol("nexios.v1")).unwrap();
        assert_eq!(client.response.subprotocol.is_some(), is_live, "{target}");
        let join = framed(r#"{"type":"join","id":1,"room":"x"}"#, "");
        if is_live {
            frame(&client, r#"{"type":"hello"}"#, "");
            assert!(client.texts().concat().contains("secret"), "{target}");
            continue;
        }
        for text in [framed(r#"{"type":"hello"}"#, ""), join] {
            client.send(&text);
            assert_eq!(client.texts(), [text], "{target}");
        }
        bench.wait(bench.app.room("secret").broadcast("said"));
        assert_eq!(client.texts(), ["said"], "{target}");
    }
    let bench = Bench::new(App::new().ws("/", echo));
    let others = handshake("/").subprotocol("nexios.v1").subprotocol("bearer").subprotocol("letmein");
    assert_eq!(bench.try_connect(others).unwrap().response.subprotocol.as_deref(), Some("bearer"));
}

#[test]
fn a_handler_picks_nexios_v1_only_where_the_route_is_live() {
    let picks = async |ws: WebSocket| {
        if let Err(error) = ws.accept_with(Accept::new().subprotocol("nexios.v1")).await {
            ws.close(4000, error.to_string()).await?;
        }
        ws.wait_closed().await;
        nexios::Result::Ok(())
    };
    let bench = Bench::new(App::new().ws("/off", picks).route(Route::new("/on", picks).live(true)));
    let reason = r#"the subprotocol "nexios.v1" needs live to be true on the route, a router or the app"#;
    let client = bench.try_connect(handshake("/off").subprotocol("nexios.v1")).unwrap();
    assert_eq!(client.closed(), (4000, reason.into()));
    live(&bench, "/on");
}

#[test]
fn the_application_may_pick_another_subprotocol() {
    let other = async |ws: WebSocket| {
        ws.accept_with(Accept::new().subprotocol("chat.v1")).await?;
        ws.send_text("\u{1E}plain").await?;
        ws.wait_closed().await;
        Ok(())
    };
    let route = Route::new("/route", echo).subprotocols(["chat.v1"]);
    let bench = Bench::new(App::new().live(true).ws("/handler", other).route(route));
    let offers = |path: &str| handshake(path).subprotocol("nexios.v1").subprotocol("chat.v1");
    let client = bench.try_connect(offers("/handler")).unwrap();
    assert_eq!((client.response.subprotocol.as_deref(), client.texts()), (Some("chat.v1"), vec!["\u{1E}plain".into()]));
    let client = bench.try_connect(offers("/route")).unwrap();
    assert_eq!(client.response.subprotocol.as_deref(), Some("chat.v1"));
    client.send("\u{1E}x\n");
    assert_eq!(client.texts(), ["\u{1E}x\n"]);
}

#[test]
fn it_goes_beside_a_bearer_token() {
    let bench = Bench::new(App::new().live(true).ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        ws.send_text(format!("{:?} {:?}", ws.bearer_token(), ws.subprotocol())).await?;
        ws.wait_closed().await;
        Ok(())
    }));
    let offers = handshake("/").subprotocol("nexios.v1").subprotocol("bearer").subprotocol("letmein");
    let client = bench.try_connect(offers).unwrap();
    frame(&client, r#"{"type":"hello"}"#, "");
    assert_eq!(client.texts()[1], r#"Some("letmein") Some("nexios.v1")"#);
}

#[test]
fn a_client_that_is_turned_away_sees_the_code_without_hello() {
    let bench =
        Bench::new(App::new().live(true).ws("/", async |ws: WebSocket| ws.close(4001, "no").await.map_err(Into::into)));
    let client = offer(&bench, "/");
    assert_eq!(got(&client), [r#"|{"type":"closing","code":4001,"reason":"no"}|"#, r#"Close(4001, "no")"#]);
}

#[test]
fn the_window_for_coming_back_is_the_nearest_routers() {
    let near = WsRouter::with_prefix("/near").retry(Duration::from_secs(1), Duration::from_secs(5)).ws("/", echo);
    let app = App::new().live(true).retry(Duration::ZERO, Duration::from_secs(9)).ws("/", echo).mount(near);
    let bench = Bench::new(app);
    for (path, window) in [("/near", "[1000,5000]"), ("/", "[0,9000]")] {
        let client = offer(&bench, path);
        frame(&client, r#"{"type":"hello"}"#, "");
        assert!(client.texts().concat().contains(&format!("\"retry_ms\":{window},")), "{path}");
    }
}

#[test]
fn a_ping_has_its_ack_and_its_time_is_that_of_the_servers_own() {
    let app = App::new().live(true).ws("/", echo);
    let silent = WsRouter::with_prefix("/silent").settings(|settings| settings.ping_interval = None).ws("/", echo);
    let bench = Bench::new(app.mount(silent));
    let client = live(&bench, "/");
    frame(&client, r#"{"type":"ping","id":4}"#, "");
    assert_eq!(got(&client), [r#"|{"type":"ack","id":4}|"#]);
    let silent = offer(&bench, "/silent");
    frame(&silent, r#"{"type":"hello"}"#, "");
    assert!(!silent.texts().concat().contains("ping_ms"));
}

fn join(room: usize) -> String {
    framed(&format!(r#"{{"type":"join","id":{room},"room":"{room}"}}"#), "")
}

fn limited(burst: u32) -> App {
    let limit = RateLimit::messages(10).burst(burst);
    let yes = async |_: WebSocket, _: Arc<str>| true;
    App::new().live(true).middleware(limit).ws("/", echo).authorize_join(yes)
}

#[test]
fn the_joins_of_a_client_that_comes_back_are_one_message_to_limits() {
    let bench = Bench::new(limited(30));
    for in_one_piece in [true, false] {
        let client = offer(&bench, "/");
        let all: Vec<String> = [framed(r#"{"type":"hello"}"#, "")].into_iter().chain((0..200).map(join)).collect();
        match in_one_piece {
            true => super::send_all(&client, &all),
            false => all.iter().for_each(|text| client.send(text)),
        }
        assert_eq!(client.texts().len(), 1 + 2 * 200);
        // The burst was taken once: 29 more may follow.
        super::send_all(&client, &vec!["x".to_owned(); 29]);
        assert_eq!(client.texts().len(), 29);
        client.send("one more");
        assert_eq!(client.closed().0, 1008);
    }
}

#[test]
fn only_first_joins_of_different_rooms_count_as_one_message() {
    let other = framed(r#"{"type":"leave","id":1,"room":"x"}"#, "");
    let invalid = framed(r#"{"type":"join","id":1}"#, "");
    let behind = |first: &str| [first.to_owned()].into_iter().chain((0..10).map(join)).collect();
    let again: Vec<String> = (0..5).chain(0..5).map(join).collect();
    let cases: [Vec<String>; 5] = [again, behind(&other), behind(&invalid), behind("text"), behind(&join(3))];
    for messages in cases {
        let bench = Bench::new(limited(5));
        let client = live(&bench, "/");
        super::send_all(&client, &messages);
        assert_eq!(client.closed().0, 1008, "{messages:?}");
    }
}

#[test]
fn a_limit_that_drops_the_first_join_of_a_client_lets_none_in_for_it() {
    let limit =
        RateLimit::messages(1).burst(1).on_excess(nexios::rate_limit::OnExcess::Drop).key_by(|_| "all".to_owned());
    let yes = async |_: WebSocket, _: Arc<str>| true;
    let bench = Bench::new(App::new().live(true).middleware(limit).ws("/", echo).authorize_join(yes));
    let busy = live(&bench, "/");
    busy.send("takes it all");
    let client = live(&bench, "/");
    super::send_all(&client, &[join(1), join(2)]);
    let answers = got(&client);
    assert!(answers.len() == 2 && answers.iter().all(|answer| answer.contains(r#""code":"busy""#)), "{answers:?}");
    bench.advance(Duration::from_secs(2));
    super::send_all(&client, &[join(1), join(2)]);
    assert_eq!(got(&client).len(), 4);
}

#[test]
fn hello_is_no_message_to_limits_and_a_frame_is_one() {
    let bench = Bench::new(App::new().live(true).middleware(RateLimit::messages(2)).ws("/", echo));
    let client = live(&bench, "/");
    frame(&client, r#"{"type":"request","id":1,"method":"none"}"#, "");
    client.send("second");
    assert_eq!(got(&client).len(), 2);
    frame(&client, r#"{"type":"leave","id":2,"room":"x"}"#, "");
    let (code, reason) = client.closed();
    assert_eq!((code, reason.as_str()), (1008, "Rate limit exceeded"));
}
