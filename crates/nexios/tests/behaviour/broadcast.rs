//! Broadcasts: semantics, `router.broadcast` and `broadcast_to`.

use nexios::{App, RouterHandle, WebSocket, WsRouter};

use crate::bench::{Bench, Client};

async fn idle(ws: WebSocket) -> nexios::Result {
    if let Some(id) = ws.query("id") {
        ws.set_client_id(id);
    }
    ws.accept().await?;
    if ws.query("hello").is_some() {
        ws.send_text(ws.id().to_string()).await?;
    }
    ws.wait_closed().await;
    Ok(())
}

/// An app with a router, another below it, and one beside.
fn tree() -> (App, RouterHandle, RouterHandle) {
    let below = WsRouter::with_prefix("/below").ws("/", idle);
    let of_below = below.handle();
    let router = WsRouter::with_prefix("/router").ws("/", idle).mount(below);
    let of_router = router.handle();
    (App::new().mount(router).mount(WsRouter::with_prefix("/beside").ws("/", idle)), of_router, of_below)
}

#[test]
fn a_broadcast_reaches_a_router_and_what_is_below_it() {
    let (app, of_router, of_below) = tree();
    let bench = Bench::new(app);
    let clients: Vec<Client> = ["/router", "/router/below", "/beside"].map(|path| bench.connect(path)).into();
    for (handle, text, count) in [(&bench.app, "all", 3), (&of_router, "router", 2), (&of_below, "below", 1)] {
        assert_eq!(bench.wait(handle.broadcast(text)), count);
        assert_eq!(handle.count(), count);
    }
    let texts: Vec<_> = clients.iter().map(Client::texts).collect();
    assert_eq!(texts, [vec!["all", "router"], vec!["all", "router", "below"], vec!["all"]]);
}

#[test]
fn a_broadcast_before_the_server_runs_reaches_nobody() {
    let (app, of_router, _) = tree();
    let send = |handle: &RouterHandle| {
        let mut future = Box::pin(handle.broadcast("x").into_future());
        future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    };
    assert!(matches!(send(&of_router), std::task::Poll::Ready(outcome) if outcome == 0));
    let _built = app.build().unwrap();
    assert!(matches!(send(&of_router), std::task::Poll::Ready(outcome) if outcome == 0));
}

#[test]
fn excluded_clients_do_not_get_it_and_do_not_count() {
    let bench = Bench::new(App::new().ws("/", idle));
    let (a, b, c) = (bench.connect("/?hello=1"), bench.connect("/?id=ann"), bench.connect("/"));
    let id = a.texts().remove(0);
    let nobody = "00000000000000000000000000000000";
    assert_eq!(bench.wait(bench.app.broadcast("x").exclude([id.as_str(), "ann", "unknown", nobody])), 1);
    assert_eq!((a.texts().len(), b.texts().len(), c.texts().len()), (0, 0, 1));
}

#[test]
fn named_clients_get_it_once_and_unknown_ids_are_reported() {
    let (app, of_router, _) = tree();
    let bench = Bench::new(app);
    let (phone, laptop) = (bench.connect("/router?id=ann"), bench.connect("/router/below?id=ann"));
    let (other, beside) = (bench.connect("/router?hello=1"), bench.connect("/beside?id=eve"));
    let id = other.texts().remove(0);
    let outcome = bench.wait(of_router.broadcast_to(["ann", id.as_str(), "ann", "eve", "nobody"], "hi"));
    assert_eq!(outcome.count, 3);
    assert_eq!(outcome.unknown, ["eve", "nobody"]);
    assert!(outcome.forwarded.is_empty());
    for client in [&phone, &laptop, &other] {
        assert_eq!(client.texts(), ["hi"]);
    }
    assert!(beside.texts().is_empty());
}

#[test]
fn a_client_id_ends_with_its_connection() {
    let bench = Bench::new(App::new().ws("/", idle));
    let client = bench.connect("/?id=ann");
    assert!(bench.wait(bench.app.broadcast_to(["ann"], "hi")).unknown.is_empty());
    client.close(1000, "");
    assert_eq!(bench.wait(bench.app.broadcast_to(["ann"], "hi")).unknown, ["ann"]);
    assert_eq!(bench.wait(bench.app.broadcast("hi")), 0);
}

#[test]
fn own_sends_and_broadcasts_are_one_line() {
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        ws.send_text("1").await?;
        ws.app().broadcast("2").await;
        ws.send_text("3").await?;
        ws.app().broadcast_json(&4)?.await;
        ws.app().broadcast_to([&ws], "5").await;
        ws.send_text("6").await?;
        ws.wait_closed().await;
        Ok(())
    });
    assert_eq!(Bench::new(app).connect("/").texts(), ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn a_loop_of_broadcasts_does_not_overrun_a_healthy_client() {
    let app = App::new().ws("/", idle).ws("/flood", async |ws: WebSocket| {
        ws.accept().await?;
        for n in 0..64 {
            assert_eq!(ws.app().broadcast(vec![n; 64 << 10]).exclude([&ws]).await, 1);
            // As long as the healthy client reads, nothing waits for it.
            ws.ping().await?;
        }
        Ok(())
    });
    let bench = Bench::new(app);
    let (client, flood) = (bench.connect("/"), bench.connect("/flood"));
    let mut arrived = 0;
    for _ in 0..100 {
        flood.seen();
        arrived += client.seen().len();
    }
    assert_eq!(arrived, 64);
}

#[test]
fn connections_can_be_listed() {
    let (app, of_router, _) = tree();
    let bench = Bench::new(app);
    let clients = [bench.connect("/router?id=ann"), bench.connect("/router/below"), bench.connect("/beside")];
    let handles = bench.wait(of_router.connections());
    let mut ids: Vec<_> = handles.iter().map(|handle| handle.client_id()).collect();
    ids.sort();
    assert_eq!(ids, [None, Some("ann")]);
    handles.iter().for_each(|handle| handle.send_text("hi").unwrap());
    let texts: Vec<_> = clients.iter().map(|client| client.texts().len()).collect();
    assert_eq!(texts, [1, 1, 0]);
}

#[test]
fn two_shards_are_one_app() {
    use nexios_engine::Server;
    use std::time::Instant;
    let app = App::new().ws("/", idle);
    let handle = app.handle();
    let built = app.build().unwrap();
    let server = Server::new(built.server_settings().clone());
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (other_server, other_app) = (server.clone(), built.clone());
    let thread = std::thread::spawn(move || {
        let shard = other_server.shard(Instant::now()).unwrap();
        other_app.run_on(&other_server, &shard);
        let end = shard.connect_memory(1 << 16);
        end.write(&crate::bench::handshake("/?id=ann").request().unwrap());
        let mut sent = false;
        let mut answer = Vec::new();
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            shard.turn(Instant::now());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            if let std::task::Poll::Ready(Ok(bytes)) = end.poll_read(&mut context, 1 << 16) {
                answer.extend(bytes);
            }
            if !sent && answer.ends_with(b"\r\n\r\n") {
                sent = true;
                ready.send(()).unwrap();
            }
            std::thread::yield_now();
        }
        for _ in 0..10 {
            shard.turn(Instant::now());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            if let std::task::Poll::Ready(Ok(bytes)) = end.poll_read(&mut context, 1 << 16) {
                answer.extend(bytes);
            }
        }
        answer
    });
    is_ready.recv().unwrap();
    let block_on = |future: std::pin::Pin<Box<dyn Future<Output = nexios::Outcome> + Send>>| {
        let mut future = future;
        loop {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            if let std::task::Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
                return outcome;
            }
            std::thread::yield_now();
        }
    };
    assert_eq!(block_on(handle.broadcast("to all").into_future()), 1);
    let outcome = block_on(handle.broadcast_to(["ann", "bob"], "to one").into_future());
    assert_eq!((outcome.count, outcome.unknown), (1, vec!["bob".to_owned()]));
    assert_eq!(block_on(handle.broadcast("to nobody").exclude(["ann"]).into_future()), 0);
    stop.send(()).unwrap();
    let answer = String::from_utf8_lossy(&thread.join().unwrap()).into_owned();
    assert!(answer.contains("to all") && answer.contains("to one") && !answer.contains("to nobody"), "{answer:?}");
}
