//! The end of a server.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use nexios::{App, Serve, WebSocket};

use crate::site::{Site, echo, wait};
use crate::wire::{PATIENCE, Seen, Wire, close, eventually};

#[test]
fn clients_are_told_to_come_back_and_the_server_ends() {
    let site = Site::start_on(App::new().ws("/", echo).health("/health"), Serve::tcp("127.0.0.1:0").shards(2));
    let address = site.address();
    let mut wires: Vec<_> = (0..8).map(|_| site.connect("/")).collect();
    let mut idle = site.dial();
    idle.say("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    let (bystander, mut running) = site.into_parts();
    running.shutdown();
    wires.push(bystander);
    for wire in &mut wires {
        assert_eq!(wire.next(), Seen::Close(1012, "server restarting".into()));
        wire.say(close(1012, ""));
        assert_eq!(wire.next(), Seen::Fin);
    }
    assert_eq!(idle.next(), Seen::Fin);
    drop((wires, idle));
    let begun = Instant::now();
    wait(running.stopped());
    running.join();
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn nobody_new_is_let_in_while_handlers_still_end() {
    let (let_go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(Some(gone));
    let app = App::new().ws("/", move |ws: WebSocket| {
        let gone = gone.lock().unwrap().take();
        async move {
            ws.accept().await?;
            ws.wait_closed().await;
            let gone = gone.unwrap();
            while gone.try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            nexios::Result::Ok(())
        }
    });
    let site = Site::start_on(app, Serve::tcp("127.0.0.1:0").shards(2));
    let (address, mut wire) = (site.address(), site.connect("/"));
    let (bystander, running) = site.into_parts();
    drop(bystander);
    running.shutdown();
    assert!(matches!(wire.next(), Seen::Close(1012, _)));
    eventually("connections are refused", || TcpStream::connect(address).is_err());
    let_go.send(()).unwrap();
    wire.say(close(1012, ""));
    drop(wire);
    running.join();
}

#[test]
fn handlers_that_do_not_end_are_cancelled_after_the_grace_period() {
    let app = App::new().server(|server| server.shutdown_grace = Duration::from_millis(200));
    let site = Site::start(app.ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        std::future::pending::<()>().await;
        nexios::Result::Ok(())
    }));
    let mut wire = site.connect("/");
    let (bystander, running) = site.into_parts();
    drop(bystander);
    let begun = Instant::now();
    running.shutdown();
    assert!(matches!(wire.next(), Seen::Close(1012, _)));
    wire.say(close(1012, ""));
    drop(wire);
    running.join();
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(200) && taken < PATIENCE, "{taken:?}");
}

#[test]
fn dropping_a_server_ends_it_at_once() {
    let running = App::new().ws("/", echo).start("127.0.0.1:0").unwrap();
    let address = running.addresses()[0];
    let mut wire = Wire::dial(address).shake_hands("/");
    drop(running);
    assert!(matches!(wire.next(), Seen::Fin | Seen::Reset));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_served_future_ends_with_its_server() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let served = wait(async {
        let serving = App::new().ws("/", echo).serve(Serve::from(address));
        tokio::time::timeout(Duration::from_millis(100), serving).await
    });
    // Dropped by the timeout, and with it the server.
    assert!(served.is_err());
    assert!(TcpStream::connect(address).is_err());
}
