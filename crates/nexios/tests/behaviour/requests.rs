//! The upgrade request: what handlers see of it, and who may connect.

use nexios::{App, Route, WebSocket};

use crate::bench::{Bench, handshake};

async fn idle(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.wait_closed().await;
    Ok(())
}

#[test]
fn handlers_see_the_whole_request() {
    let route = Route::new("/chat/{room}/{id:int}", async |ws: WebSocket| {
        ws.accept().await?;
        assert_eq!(ws.path(), "/chat/a%20b/7");
        assert_eq!(ws.url(), "ws://server.example/chat/a%20b/7?x=1&x=2");
        assert_eq!(ws.path_param::<String>("room")?, "a b");
        assert_eq!(ws.path_param::<u8>("id")?, 7);
        assert!(ws.path_param::<u8>("room").is_err());
        assert_eq!(ws.query_params().get_all("x").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(ws.cookie("session").as_deref(), Some("abc"));
        assert_eq!(ws.header("X-TAG").as_deref(), Some("t"));
        assert_eq!(ws.bearer_token().as_deref(), Some("secret"));
        assert_eq!((ws.route_path(), ws.route_name()), ("/chat/{room}/{id:int}", Some("chat")));
        assert_eq!(ws.client(), None);
        ws.state().set("user_id", 42);
        assert_eq!(ws.clone().state().get_as::<u64>("user_id"), Some(42));
        assert!(ws.app_state::<u8>().is_err());
        ws.send_text(ws.app_state::<String>()?.as_str()).await?;
        ws.wait_closed().await;
        Ok(())
    });
    let bench = Bench::new(App::new().state(String::from("shared")).route(route.name("chat")));
    let request = handshake("/chat/a%20b/7?x=1&x=2")
        .header("Cookie", "session=abc")
        .header("X-Tag", "t")
        .header("Authorization", "Bearer secret");
    assert_eq!(bench.try_connect(request).unwrap().texts(), ["shared"]);
}

#[test]
fn a_page_of_another_origin_is_refused_unless_it_is_allowed() {
    let app = App::new()
        .ws("/own", idle)
        .route(Route::new("/listed", idle).allowed_origins(["https://app.example"]))
        .route(Route::new("/any", idle).allowed_origins(["*"]));
    let bench = Bench::new(app);
    let status = |target: &str, origin: &str| {
        let connected = bench.try_connect(handshake(target).header("Origin", origin));
        connected.map_or_else(|refused| refused.status, |client| client.response.status)
    };
    for (target, origin, expected) in [
        ("/own", "http://server.example", 101),
        ("/own", "https://server.example", 101),
        ("/own", "http://evil.example", 403),
        ("/own", "null", 403),
        ("/listed", "https://app.example", 101),
        ("/listed", "http://app.example", 403),
        ("/any", "http://evil.example", 101),
    ] {
        assert_eq!(status(target, origin), expected, "{target} {origin}");
    }
    bench.connect("/own");
    let twice = handshake("/own").header("Origin", "http://server.example").header("Origin", "http://evil.example");
    assert_eq!(bench.try_connect(twice).err().map(|refused| refused.status), Some(403));
}

#[test]
fn forwarded_fields_count_only_from_trusted_proxies() {
    let look = async |ws: WebSocket| {
        ws.accept().await?;
        ws.send_text(format!("{:?} {}", ws.client().map(|client| client.host), ws.url())).await?;
        ws.wait_closed().await;
        Ok(())
    };
    let request = || {
        handshake("/")
            .header("X-Forwarded-For", "6.6.6.6, 1.2.3.4")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "shop.example")
    };
    let trusting = Bench::new(App::new().trusted_proxies(["unix"]).ws("/", look));
    assert_eq!(trusting.try_connect(request()).unwrap().texts(), ["Some(1.2.3.4) wss://shop.example/"]);
    let from_shop = request().header("Origin", "https://shop.example");
    assert!(trusting.try_connect(from_shop.clone()).is_ok());
    let wary = Bench::new(App::new().ws("/", look));
    assert_eq!(wary.try_connect(request()).unwrap().texts(), ["None ws://server.example/"]);
    assert_eq!(wary.try_connect(from_shop).err().map(|refused| refused.status), Some(403));
}
