//! Exception handlers: semantics, "handler or middleware raises".

use nexios::{
    App, CloseCode, Error, RequestError, WebSocket, WebSocketDisconnect, WebSocketException, WebSocketTypeError,
    WsRouter,
};

use crate::bench::{Bench, Log};

async fn raise(ws: WebSocket) -> nexios::Result {
    match ws.query("error").as_deref() {
        Some("early") => return Err(WebSocketException::from("early").into()),
        Some("early fault") => return Err(Error::msg("early fault")),
        _ => ws.accept().await?,
    }
    match ws.query("error").as_deref() {
        Some("exception") => Err(WebSocketException::new(CloseCode::BAD_GATEWAY, "no backend").into()),
        Some("request") => Err(RequestError::new("own", "for a request").into()),
        Some("type") => Err(WebSocketTypeError { message: "x".into() }.into()),
        Some("parse") => Ok("x".parse::<u8>().map(drop)?),
        Some("disconnect") => Err(WebSocketDisconnect { code: 1006, reason: "".into() }.into()),
        _ => Err(Error::msg("a fault")),
    }
}

#[test]
fn by_default_an_exception_closes_with_its_code_and_a_fault_with_1011() {
    let bench = Bench::new(App::new().ws("/", raise));
    for (error, code, reason) in [
        ("exception", 1014, "no backend"),
        ("type", 1003, "expected a binary message"),
        ("parse", 1011, ""),
        ("fault", 1011, ""),
        ("request", 1011, ""),
        ("disconnect", 1000, ""),
        ("early", 1008, "early"),
    ] {
        assert_eq!(bench.connect(&format!("/?error={error}")).closed(), (code, reason.into()), "{error}");
    }
    assert_eq!(bench.refused("/?error=early+fault").status, 500);
}

#[test]
fn the_nearest_handler_takes_it_and_there_the_most_specific() {
    let log = Log::default();
    let close = |name: &'static str| {
        let log = log.clone();
        move |ws: WebSocket| {
            log.add(name);
            async move { ws.close(4000, name).await.map_err(Error::from) }
        }
    };
    let (any, of_app, of_type, of_router) = (close("any"), close("app"), close("type"), close("router"));
    let inner = WsRouter::new().ws("/", raise);
    let router = WsRouter::new()
        .mount(inner)
        .exception_handler::<WebSocketException, _>(move |ws: WebSocket, _: WebSocketException| of_router(ws))
        .exception_handler::<std::num::ParseIntError, _>(move |ws: WebSocket, _: std::num::ParseIntError| of_type(ws));
    let app = App::new()
        .mount(router)
        .exception_handler::<WebSocketTypeError, _>(move |ws: WebSocket, _: WebSocketTypeError| of_app(ws))
        .exception_handler::<Error, _>(move |ws: WebSocket, _: Error| any(ws));
    let bench = Bench::new(app);
    for (error, name) in [("exception", "router"), ("type", "router"), ("parse", "type"), ("fault", "any")] {
        assert_eq!(bench.connect(&format!("/?error={error}")).closed(), (4000, name.into()), "{error}");
        assert_eq!(log.take(), [name]);
    }
}

#[test]
fn the_reference_handler_runs() {
    async fn handle_ws_error(ws: WebSocket, exc: WebSocketException) -> nexios::Result {
        ws.close(1011, exc.to_string()).await?;
        Ok(())
    }
    let router = WsRouter::new().exception_handler(handle_ws_error).ws("/", raise);
    let bench = Bench::new(App::new().mount(router));
    assert_eq!(bench.connect("/?error=exception").closed(), (1011, "no backend".into()));
    assert_eq!(bench.connect("/?error=early").closed(), (1011, "early".into()));
}

#[test]
fn an_exception_handler_that_fails_gets_the_default() {
    let app = App::new()
        .ws("/", raise)
        .exception_handler(async |_: WebSocket, error: WebSocketException| Err(Error::from(error)))
        .exception_handler(async |_: WebSocket, error: std::num::ParseIntError| Err(error.into()));
    let bench = Bench::new(app);
    assert_eq!(bench.connect("/?error=exception").closed(), (1014, "no backend".into()));
    assert_eq!(bench.connect("/?error=parse").closed(), (1011, String::new()));
}

#[test]
fn an_exception_handler_that_does_not_close_ends_the_handler_normally() {
    let app = App::new().ws("/", raise).exception_handler(async |_: WebSocket, _: Error| ());
    let bench = Bench::new(app);
    assert_eq!(bench.connect("/").closed(), (1000, String::new()));
    assert_eq!(bench.refused("/?error=early+fault").status, 500);
}
