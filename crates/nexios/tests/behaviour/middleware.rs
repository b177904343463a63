//! Middleware: semantics, "middleware order".

use nexios::{App, Next, Route, WebSocket, WsRouter};

use crate::bench::{Bench, Log, handshake};

async fn idle(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.wait_closed().await;
    Ok(())
}

async fn auth(ws: WebSocket, next: Next) -> nexios::Result {
    if !ws.headers().contains("Authorization") {
        ws.close(1008, "Authentication required").await?;
        return Ok(());
    }
    next.run(ws).await
}

#[test]
fn the_reference_auth_runs() {
    let bench = Bench::new(App::new().mount(WsRouter::new().middleware(auth).ws("/", idle)));
    assert_eq!(bench.connect("/").closed(), (1008, "Authentication required".into()));
    let client = bench.try_connect(handshake("/").header("Authorization", "x")).unwrap();
    assert!(client.seen().is_empty());
}

#[test]
fn the_order_is_app_parent_child_route_and_back() {
    let log = Log::default();
    let layer = |name: &'static str| {
        let log = log.clone();
        move |ws: WebSocket, next: Next| {
            let log = log.clone();
            async move {
                log.add(name);
                let result = next.run(ws).await;
                log.add(format!("{name} after"));
                result
            }
        }
    };
    let route = Route::new("/", idle).middleware(layer("route"));
    let child = WsRouter::new().middleware(layer("child")).route(route);
    let parent = WsRouter::new().middleware(layer("parent")).middleware(layer("parent, second")).mount(child);
    let bench = Bench::new(App::new().mount(parent).middleware(layer("app")));
    let client = bench.connect("/");
    let order = ["app", "parent", "parent, second", "child", "route"];
    assert_eq!(log.take(), order);
    client.close(1000, "");
    let after: Vec<String> = order.iter().rev().map(|name| format!("{name} after")).collect();
    assert_eq!(log.take(), after);
}

#[test]
fn neither_next_nor_close_is_403_or_1008_if_accepted() {
    let app = App::new()
        .route(Route::new("/lazy", idle).middleware(async |_: WebSocket, _: Next| ()))
        .route(Route::new("/accepts", idle).middleware(async |ws: WebSocket, _: Next| ws.accept().await));
    let bench = Bench::new(app);
    assert_eq!(bench.refused("/lazy").status, 403);
    assert_eq!(bench.connect("/accepts").closed().0, 1008);
}

#[test]
fn what_the_handler_raises_passes_through_the_middleware() {
    let app = App::new()
        .middleware(async |ws: WebSocket, next: Next| {
            let same = ws.clone();
            match next.run(ws).await {
                Err(error) if error.is::<std::num::ParseIntError>() => {
                    same.close(4001, "caught outside").await?;
                    Ok(())
                }
                result => result,
            }
        })
        .ws("/", async |ws: WebSocket| {
            ws.accept().await?;
            "x".parse::<u8>()?;
            Ok(())
        });
    assert_eq!(Bench::new(app).connect("/").closed(), (4001, "caught outside".into()));
}

#[test]
fn the_handwritten_rate_limit_of_the_reference_runs() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    let app = App::new().ws("/", idle).middleware(move |ws: WebSocket, next: Next| {
        let allowed = ws.client().is_none() && calls.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if !allowed {
                ws.close(1008, "Rate limit exceeded").await?;
                return Ok(());
            }
            next.run(ws).await
        }
    });
    let bench = Bench::new(app);
    assert!(bench.connect("/").seen().is_empty());
    assert_eq!(bench.connect("/").closed(), (1008, "Rate limit exceeded".into()));
}
