//! Handles and routers in the hands of other threads and runtimes; rooms and broadcasts over
//! several shards.

use std::collections::HashSet;
use std::sync::mpsc;
use std::time::Duration;

use nexios::{App, Handle, Message, Route, RouterHandle, Running, SendError, Serve, WebSocket, WsRouter};

use crate::site::wait;
use crate::wire::{FIN, PATIENCE, PONG, Seen, Wire, close, eventually, frame};

/// A chat on two shards: handlers hand out their handles, join the rooms of their query and
/// say on which thread they run.
struct Chat {
    running: Running,
    everybody: RouterHandle,
    handles: mpsc::Receiver<(Handle, std::thread::ThreadId)>,
}

impl Chat {
    fn start(shards: usize) -> Self {
        let (tell, handles) = mpsc::channel();
        let router = WsRouter::with_prefix("/chat").route(Route::new("/", move |ws: WebSocket| {
            let tell = tell.clone();
            async move {
                ws.set_client_id(ws.query("name").unwrap_or_default());
                ws.accept().await?;
                for room in ws.query("rooms").unwrap_or_default().split_whitespace() {
                    ws.join(room).await;
                }
                tell.send((ws.handle(), std::thread::current().id())).unwrap();
                ws.wait_closed().await;
                nexios::Result::Ok(())
            }
        }));
        let everybody = router.handle();
        let running = App::new().mount(router).start(Serve::tcp("127.0.0.1:0").shards(shards)).unwrap();
        Chat { running, everybody, handles }
    }

    fn connect(&self, query: &str) -> (Wire, Handle, std::thread::ThreadId) {
        let wire = Wire::dial(self.running.addresses()[0]).shake_hands(&format!("/chat?{query}"));
        let (handle, thread) = self.handles.recv_timeout(PATIENCE).unwrap();
        (wire, handle, thread)
    }

    /// Clients until both shards have some.
    fn crowd(&self, query: impl Fn(usize) -> String) -> Vec<(Wire, Handle)> {
        let (mut crowd, mut threads) = (Vec::new(), HashSet::new());
        while threads.len() < 2 || crowd.len() < 8 {
            assert!(crowd.len() < 200, "all connections are on one shard");
            let (wire, handle, thread) = self.connect(&query(crowd.len()));
            threads.insert(thread);
            crowd.push((wire, handle));
        }
        crowd
    }
}

fn text(text: &str) -> Seen {
    Seen::Text(text.into())
}

#[test]
fn a_handle_sends_and_closes_from_another_thread() {
    let chat = Chat::start(1);
    let (mut wire, handle, thread) = chat.connect("name=ann");
    let worker = std::thread::spawn(move || {
        assert_ne!(std::thread::current().id(), thread);
        assert!(handle.is_connected());
        handle.send_text("text").unwrap();
        handle.send_bytes([1, 2]).unwrap();
        handle.send_json(&["json"]).unwrap();
        handle.send_ping("ping").unwrap();
        assert!(matches!(handle.send_ping([0; 126]), Err(SendError::ControlTooLong)));
        assert!(handle.close(1005u16, "").is_err());
        handle.close(4001u16, "enough").unwrap();
        handle
    });
    let expected = [text("text"), Seen::Binary(vec![1, 2]), text("[\"json\"]"), Seen::Ping(b"ping".to_vec())];
    for seen in expected {
        assert_eq!(wire.next(), seen);
    }
    assert_eq!(wire.next(), Seen::Close(4001, "enough".into()));
    wire.say([frame(FIN | PONG, "ping"), close(4001, "")].concat());
    assert_eq!(wire.next(), Seen::Fin);
    let handle = worker.join().unwrap();
    eventually("the handle knows", || !handle.is_connected());
    let Err(SendError::Disconnected(error)) = handle.send_text("too late") else { panic!("was sent") };
    assert_eq!((error.code, &*error.reason), (4001, "enough"));
    handle.close(1000u16, "").unwrap();
}

#[test]
fn handles_on_many_threads_keep_each_threads_order() {
    let chat = Chat::start(1);
    let (mut wire, handle, _) = chat.connect("name=ann");
    let workers: Vec<_> = (0..4)
        .map(|thread| {
            let handle = handle.clone();
            std::thread::spawn(move || (0..100).for_each(|n| handle.send_text(format!("{thread} {n}")).unwrap()))
        })
        .collect();
    let mut next = [0; 4];
    for _ in 0..400 {
        let Seen::Text(seen) = wire.next() else { panic!("no text") };
        let (thread, number) = seen.split_once(' ').unwrap();
        let expected = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(number.parse(), Ok(*expected));
        *expected += 1;
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn a_handle_to_a_client_that_does_not_read_fails_at_the_limit() {
    let chat = Chat::start(1);
    let wire = Wire::dial_narrow(chat.running.addresses()[0]);
    let mut wire = wire.shake_hands("/chat?name=slow");
    let (handle, _) = chat.handles.recv_timeout(PATIENCE).unwrap();
    let message = vec![0; 64 << 10];
    let mut sent = 0;
    let error = loop {
        assert!(sent < 1000, "never full");
        match handle.send_bytes(&message) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SendError::OutboxFull));
    // What was taken arrives: full is not closed.
    for _ in 0..sent {
        assert_eq!(wire.next(), Seen::Binary(message.clone()));
    }
    eventually("there is room again", || handle.send_text("room").is_ok());
    assert_eq!(wire.next(), text("room"));
}

#[test]
fn a_broadcast_reaches_the_clients_of_both_shards_once() {
    let chat = Chat::start(2);
    let mut crowd = chat.crowd(|n| format!("name=n{n}"));
    assert_eq!(chat.everybody.count(), crowd.len());
    let router = chat.everybody.clone();
    // From a plain thread, then from a runtime that knows nothing of the server.
    let counts = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let spawned = router.clone();
        let first = wait(async { router.broadcast("one").await });
        let second = runtime.block_on(async move { tokio::spawn(async move { spawned.broadcast("two").await }).await });
        (first.count, second.unwrap().count)
    });
    assert_eq!(counts.join().unwrap(), (crowd.len(), crowd.len()));
    wait(async { chat.everybody.broadcast("last").await });
    for (wire, _) in &mut crowd {
        assert_eq!([wire.next(), wire.next(), wire.next()], [text("one"), text("two"), text("last")]);
    }
}

#[test]
fn an_excluded_client_is_left_out_on_either_shard() {
    let chat = Chat::start(2);
    let mut crowd = chat.crowd(|n| format!("name=n{n}"));
    for (index, (_, handle)) in crowd.iter().enumerate() {
        let count = wait(async { chat.everybody.broadcast(format!("not {index}")).exclude([handle]).await }).count;
        assert_eq!(count, crowd.len() - 1);
    }
    let len = crowd.len();
    for (index, (wire, _)) in crowd.iter_mut().enumerate() {
        for other in (0..len).filter(|other| *other != index) {
            assert_eq!(wire.next(), text(&format!("not {other}")));
        }
    }
}

#[test]
fn named_clients_are_found_on_either_shard() {
    let chat = Chat::start(2);
    let mut crowd = chat.crowd(|n| format!("name=user{}", n % 3));
    let connections = wait(chat.everybody.connections());
    assert_eq!(connections.len(), crowd.len());
    let tabs = |name: &str| connections.iter().filter(|handle| handle.client_id() == Some(name)).count();
    let outcome = wait(async { chat.everybody.broadcast_to(["user1", "nobody"], "psst").await });
    assert_eq!((outcome.count, outcome.unknown), (tabs("user1"), vec!["nobody".to_owned()]));
    for (index, (_, handle)) in crowd.iter().enumerate() {
        let id = handle.id();
        let outcome = wait(async { chat.everybody.broadcast_to([id], format!("only {index}")).await });
        assert_eq!((outcome.count, outcome.unknown.len()), (1, 0));
    }
    for (index, (wire, _)) in crowd.iter_mut().enumerate() {
        if index % 3 == 1 {
            assert_eq!(wire.next(), text("psst"));
        }
        assert_eq!(wire.next(), text(&format!("only {index}")));
    }
}

#[test]
fn rooms_span_the_shards() {
    let chat = Chat::start(2);
    let rooms = |n: usize| ["red", "blue", "red%20blue"][n % 3];
    let mut crowd = chat.crowd(|n| format!("name=n{n}&rooms={}", rooms(n)));
    let (red, blue) = (chat.everybody.room("red"), chat.everybody.room("blue"));
    let expected = |room| (0..crowd.len()).filter(|n| rooms(*n).contains(room)).count();
    let (in_red, in_blue) = (expected("red"), expected("blue"));
    assert_eq!((red.count(), blue.count(), wait(red.members()).len()), (in_red, in_blue, in_red));
    let worker = std::thread::spawn(move || {
        let red = wait(async { red.broadcast("red").await }).count;
        (red, wait(async { blue.broadcast(Message::from("blue")).await }).count)
    });
    assert_eq!(worker.join().unwrap(), (in_red, in_blue));
    wait(async { chat.everybody.broadcast("last").await });
    for (index, (wire, _)) in crowd.iter_mut().enumerate() {
        for room in ["red", "blue"].into_iter().filter(|room| rooms(index).contains(room)) {
            assert_eq!(wire.next(), text(room));
        }
        assert_eq!(wire.next(), text("last"));
    }
    drop(crowd);
    eventually("the rooms are empty", || chat.everybody.room("red").count() + chat.everybody.count() == 0);
}

#[test]
fn a_loop_of_broadcasts_from_another_thread_overruns_nobody_who_reads() {
    let chat = Chat::start(1);
    let (mut wire, handle, _) = chat.connect("name=healthy");
    let router = chat.everybody.clone();
    let sender = std::thread::spawn(move || {
        wait(async move {
            for number in 0..400u32 {
                router.broadcast(number.to_be_bytes().repeat(16 << 10)).await;
            }
        });
    });
    for number in 0..400u32 {
        assert_eq!(wire.next(), Seen::Binary(number.to_be_bytes().repeat(16 << 10)), "{number}");
    }
    sender.join().unwrap();
    assert!(handle.is_connected());
}

#[test]
fn handles_and_routers_outlive_their_server() {
    let chat = Chat::start(2);
    let (mut wire, handle, _) = chat.connect("name=ann");
    let Chat { running, everybody, .. } = chat;
    drop(running);
    assert!(matches!(wire.next(), Seen::Fin | Seen::Reset));
    let worker = std::thread::spawn(move || {
        assert!(!handle.is_connected());
        assert!(matches!(handle.send_text("anybody?"), Err(SendError::Disconnected(_))));
        let outcome = wait(async { tokio::time::timeout(Duration::from_secs(2), everybody.broadcast("x")).await });
        assert_eq!(outcome.unwrap().count, 0);
        assert_eq!(wait(everybody.connections()).len(), 0);
    });
    worker.join().unwrap();
}
