//! The life of a connection: semantics, "Connection life".

use std::time::Duration;

use nexios::{
    App, CloseCode, ConnectionState, Route, WebSocket, WebSocketDisconnect, WsRouter,
    accept::{Accept, Refusal},
};

use nexios_protocol::{CloseFrame, OpCode};

use crate::bench::{Bench, Log, Seen, handshake};

async fn idle(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.wait_closed().await;
    Ok(())
}

#[test]
fn the_reference_echo_runs() {
    async fn websocket_endpoint(ws: WebSocket) -> nexios::Result {
        ws.accept().await?;
        ws.send_text("Connected!").await?;
        loop {
            let data = ws.receive_text().await?;
            ws.send_text(format!("Echo: {data}")).await?;
        }
    }
    let client = Bench::new(App::new().ws("/ws", websocket_endpoint)).connect("/ws");
    assert_eq!(client.texts(), ["Connected!"]);
    client.send("hello");
    assert_eq!(client.texts(), ["Echo: hello"]);
}

#[test]
fn close_before_accept_shows_the_code_and_never_counts_as_connected() {
    let log = Log::default();
    let (connects, disconnects) = (log.clone(), log.clone());
    let app = App::new()
        .ws("/", async |ws: WebSocket| {
            ws.close(1008, "Authentication required").await?;
            Ok(())
        })
        .on_connect(move |_: WebSocket| connects.note("connect"))
        .on_disconnect(move |_: WebSocket| disconnects.note("disconnect"));
    let bench = Bench::new(app);
    let client = bench.connect("/");
    assert_eq!(bench.app.count(), 0);
    assert_eq!(client.seen(), [Seen::Close(1008, "Authentication required".into())]);
    // The client has answered the Close frame.
    assert_eq!(client.seen(), [Seen::End]);
    assert!(log.take().is_empty());
}

#[test]
fn a_browser_that_offered_a_token_sees_the_close_too_and_never_its_token() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.close(1008, "Invalid token").await?;
        Ok(())
    });
    let bench = Bench::new(app);
    let client = bench.try_connect(handshake("/").subprotocol("bearer").subprotocol("secret")).unwrap();
    assert_eq!(client.response.subprotocol.as_deref(), Some("bearer"));
    assert_eq!(client.closed(), (1008, "Invalid token".into()));
}

#[test]
fn close_before_accept_can_be_an_http_refusal() {
    let router = WsRouter::new().refuse_before_accept(true).ws("/", async |ws: WebSocket| {
        ws.close(1008, "members only").await?;
        Ok(())
    });
    let refused = Bench::new(App::new().mount(router)).refused("/");
    assert_eq!((refused.status, refused.body.as_str()), (403, "members only"));
}

#[test]
fn reject_answers_by_http() {
    let app = App::new()
        .ws("/a", async |ws: WebSocket| ws.reject(401).await)
        .ws("/b", async |ws: WebSocket| ws.reject_with(Refusal::new(402, "pay").header("X-Price", "1")).await);
    let bench = Bench::new(app);
    assert_eq!(bench.refused("/a").status, 401);
    let refused = bench.refused("/b");
    assert_eq!((refused.status, refused.body.as_str()), (402, "pay"));
    assert!(refused.headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("x-price") && value == "1"));
}

#[test]
fn a_handler_that_returns_closes_1000_and_before_accept_it_is_500() {
    let app = App::new().ws("/after", async |ws: WebSocket| ws.accept().await).ws("/before", async |_: WebSocket| ());
    let bench = Bench::new(app);
    assert_eq!(bench.connect("/after").closed(), (1000, String::new()));
    assert_eq!(bench.refused("/before").status, 500);
}

#[test]
fn an_unanswered_handshake_is_504_after_30_seconds() {
    let app = App::new().ws("/", async |_: WebSocket| std::future::pending::<()>().await);
    let bench = Bench::new(app);
    let end = bench.shard.connect_memory(1 << 16);
    end.write(&handshake("/").request().unwrap());
    bench.advance(Duration::from_secs(31));
    let std::task::Poll::Ready(Ok(answer)) =
        end.poll_read(&mut std::task::Context::from_waker(std::task::Waker::noop()), 1000)
    else {
        panic!("no answer")
    };
    assert!(answer.starts_with(b"HTTP/1.1 504"), "{:?}", String::from_utf8_lossy(&answer));
}

#[test]
fn subprotocols_are_picked_by_the_route_or_by_accept() {
    let app = App::new().route(Route::new("/route", idle).subprotocols(["v2", "v1"])).ws("/none", idle).ws("/own", {
        async |ws: WebSocket| {
            ws.accept_with(Accept::new().subprotocol("v1").header("X-A", "b")).await?;
            ws.send_text(ws.subprotocol().unwrap_or_default()).await?;
            ws.wait_closed().await;
            Ok(())
        }
    });
    let bench = Bench::new(app);
    let agreed = |target: &str, offers: &[&str]| {
        let offer = offers.iter().fold(handshake(target), |handshake, name| handshake.subprotocol(*name));
        bench.try_connect(offer).map(|client| client.response.subprotocol.clone()).map_err(|refused| refused.status)
    };
    assert_eq!(agreed("/route", &["v0", "v1", "v2"]), Ok(Some("v1".into())));
    assert_eq!(agreed("/route", &["bearer", "token"]), Ok(Some("bearer".into())));
    assert_eq!(agreed("/none", &["v1"]), Ok(None));
    assert_eq!(agreed("/own", &["v2", "v1"]), Ok(Some("v1".into())));
    // RFC 6455 §4.2.2: only what was offered may be answered.
    assert_eq!(agreed("/own", &["v2"]), Err(500));
    let client = bench.try_connect(handshake("/own").subprotocol("v1")).unwrap();
    assert!(client.response.headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("x-a") && value == "b"));
    assert_eq!(client.texts(), ["v1"]);
}

#[test]
fn a_header_with_a_line_break_is_an_error_at_the_call() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        let error = ws.accept_with(Accept::new().header("X-A", "b\r\nX-Evil: 1")).await.unwrap_err();
        assert!(error.is::<nexios::accept::AcceptError>());
        ws.accept().await
    });
    let client = Bench::new(app).connect("/");
    assert!(!client.response.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-evil")));
}

#[test]
fn the_states_follow_the_life() {
    let log = Log::default();
    let states = log.clone();
    let app = App::new().ws("/", move |ws: WebSocket| {
        let log = states.clone();
        async move {
            log.add(format!("{:?} {:?}", ws.connection_state(), ws.close_code()));
            ws.accept().await?;
            log.add(format!("{:?}", ws.connection_state()));
            ws.close(4001, "enough").await?;
            log.add(format!("{:?} {:?}", ws.connection_state(), ws.close_code()));
            ws.close(4002, "again").await?;
            ws.wait_closed().await;
            log.add(format!("{:?} {:?} {:?}", ws.connection_state(), ws.close_code(), ws.close_reason()));
            Ok(())
        }
    });
    let client = Bench::new(app).connect("/");
    assert_eq!(client.closed(), (4001, "enough".into()));
    let last = format!("{:?} Some(4001) Some(\"enough\")", ConnectionState::Disconnected);
    assert_eq!(log.take(), ["Connecting None", "Connected", "Closing Some(4001)", last.as_str()]);
}

#[test]
fn receive_raises_the_disconnect_after_what_had_arrived_and_again_at_every_call() {
    let log = Log::default();
    let handler_log = log.clone();
    let app = App::new().ws("/", move |ws: WebSocket| {
        let log = handler_log.clone();
        async move {
            ws.accept().await?;
            loop {
                match ws.receive_text().await {
                    Ok(text) => log.add(&*text),
                    Err(error) => {
                        log.add(error.to_string());
                        let again = nexios::Error::from(ws.receive().await.unwrap_err());
                        let sent = nexios::Error::from(ws.send_text("x").await.unwrap_err());
                        for error in [again, sent] {
                            let WebSocketDisconnect { code, reason } = error.downcast().unwrap();
                            log.add(format!("{code} {reason}"));
                        }
                        ws.close(1000, "").await?;
                        return Ok(());
                    }
                }
            }
        }
    });
    let client = Bench::new(app).connect("/");
    client.write(|protocol, out| {
        protocol.send_message(out, OpCode::Text, b"a");
        protocol.send_message(out, OpCode::Text, b"b");
        let code = CloseCode::new(4000).unwrap();
        protocol.send_close(out, Some(CloseFrame { code, reason: "bye" }));
    });
    assert_eq!(log.take(), ["a", "b", "disconnected with code 4000", "4000 bye", "4000 bye"]);
}

#[test]
fn a_reset_is_1006_and_a_close_without_a_code_is_1005() {
    let log = Log::default();
    let codes = log.clone();
    let app = App::new().ws("/", idle).on_disconnect(move |ws: WebSocket| {
        let code = ws.close_code();
        codes.note(format!("{code:?}"))
    });
    let bench = Bench::new(app);
    bench.connect("/").reset();
    drop(bench.connect("/"));
    bench.run();
    assert_eq!(log.take(), ["Some(1006)", "Some(1006)"]);
}

#[test]
fn a_long_reason_is_cut_at_a_character() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        ws.close(CloseCode::INTERNAL_ERROR, "é".repeat(100)).await?;
        Ok(())
    });
    assert_eq!(Bench::new(app).connect("/").closed(), (1011, "é".repeat(61)));
}

#[test]
fn cancel_on_disconnect_drops_the_handler_and_without_it_none_is_cancelled() {
    struct Told(Log);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.add("dropped");
        }
    }
    let log = Log::default();
    let handler_log = log.clone();
    let busy = move |ws: WebSocket| {
        let told = Told(handler_log.clone());
        async move {
            ws.accept().await?;
            std::future::pending::<()>().await;
            drop(told);
            Ok(())
        }
    };
    let app = App::new().route(Route::new("/cancel", busy.clone()).cancel_on_disconnect(true)).ws("/stay", busy);
    let bench = Bench::new(app);
    bench.connect("/stay").reset();
    assert!(log.take().is_empty());
    bench.connect("/cancel").reset();
    assert_eq!(log.take(), ["dropped"]);
}

#[test]
fn a_panic_ends_its_own_connection_with_1011() {
    let log = Log::default();
    let ends = log.clone();
    let app = App::new()
        .ws("/panic", async |ws: WebSocket| {
            ws.accept().await?;
            let text = ws.receive_text().await?;
            assert_eq!(&*text, "calm");
            Ok(())
        })
        .ws("/early", async |ws: WebSocket| assert!(ws.path().is_empty(), "before accept"))
        .ws("/sync", |ws: WebSocket| {
            assert!(ws.path().is_empty(), "before there is a future");
            std::future::ready(())
        })
        .on_disconnect(move |ws: WebSocket| {
            let code = ws.close_code();
            ends.note(format!("{code:?}"))
        });
    let bench = Bench::new(app);
    let (other, client) = (bench.connect("/panic"), bench.connect("/panic"));
    client.send("boom");
    assert_eq!(client.closed(), (1011, String::new()));
    assert_eq!(log.take(), ["Some(1011)"]);
    assert_eq!(bench.refused("/early").status, 500);
    assert_eq!(bench.refused("/sync").status, 500);
    other.send("calm");
    assert_eq!(other.closed(), (1000, String::new()));
}

#[test]
fn a_path_that_nobody_routes_is_404() {
    let bench = Bench::new(App::new().ws("/a", idle));
    assert_eq!(bench.refused("/b").status, 404);
    bench.connect("//a/");
}
