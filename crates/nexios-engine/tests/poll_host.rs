//! A host without any runtime: a plain poll loop turns the crank, as a Python loop will.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nexios_engine::{
    Accept, BoxedTask, Connection, Listener, ReceiveTicket, Server, ServerSettings, Service, Settings, Shard,
};
use nexios_protocol::{ClientHandshake, Codec, Connection as Protocol, Limits, OpCode, Received, Role};

/// Echoes, and remembers its connections.
#[derive(Default)]
struct Echo(RefCell<Vec<Connection>>);

impl Service for Echo {
    fn websocket(self: Rc<Self>, connection: &Connection) -> Option<BoxedTask> {
        self.0.borrow_mut().push(connection.clone());
        Some(Box::pin(echo(connection.clone())))
    }

    fn has_websocket(&self, _path: &str) -> bool {
        true
    }
}

async fn echo(connection: Connection) {
    connection.accept(Accept::default()).unwrap();
    let mut ticket = ReceiveTicket::default();
    while let Ok(message) = poll_fn(|cx| connection.poll_receive(cx, &mut ticket)).await {
        connection.send(message.as_ref(), None).unwrap();
    }
}

/// A thread that knows nothing but the shard's descriptor, its turns and its next timeout.
struct PollLoop {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PollLoop {
    fn start(connection: Settings) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, (tell, told)) = (stop.clone(), mpsc::channel());
        let thread = std::thread::spawn(move || {
            let server = Server::new(ServerSettings { connection, ..ServerSettings::default() });
            let shard = server.shard(Instant::now()).unwrap();
            shard.set_service(Rc::new(Echo::default()));
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            tell.send(listener.local_address().unwrap()).unwrap();
            shard.listen(listener).unwrap();
            turn_until(&shard, &stopped);
        });
        PollLoop { address: told.recv().unwrap(), stop, thread: Some(thread) }
    }
}

fn turn_until(shard: &Shard, stopped: &AtomicBool) {
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut SourceFd(&shard.fd()), Token(0), Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(1);
    while !stopped.load(Ordering::Relaxed) {
        if shard.turn(Instant::now()) {
            continue;
        }
        let due = shard.next_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        // The limit is for `stopped` only.
        let wait = due.unwrap_or(Duration::MAX).min(Duration::from_secs(1));
        poll.poll(&mut events, Some(wait)).unwrap();
    }
}

impl Drop for PollLoop {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A connection makes it look.
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Client {
    stream: TcpStream,
    protocol: Protocol,
    unread: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let handshake = ClientHandshake::new("server.example", "/");
        stream.write_all(&handshake.request().unwrap()).unwrap();
        let mut unread = Vec::new();
        loop {
            read_into(&mut stream, &mut unread);
            if let Some((_, used)) = handshake.parse_response(&unread).unwrap() {
                unread.drain(..used);
                return Client { stream, protocol: Protocol::new(Role::Client, None), unread };
            }
        }
    }

    fn send(&mut self, text: &str) {
        let mut out = Vec::new();
        self.protocol.send_message(&mut out, OpCode::Text, text.as_bytes());
        self.stream.write_all(&out).unwrap();
    }

    /// The next message; pings are told as `ping`, and answered.
    fn next(&mut self) -> String {
        loop {
            let (mut out, mut codec) = (Vec::new(), Codec::new());
            let (used, received) =
                self.protocol.receive(&mut self.unread, &mut out, &Limits::default(), &mut codec).unwrap();
            let received = received.map(|received| match received {
                Received::Text(text) => text.into_owned(),
                Received::Ping(_) => "ping".to_owned(),
                other => panic!("{other:?}"),
            });
            self.unread.drain(..used);
            self.stream.write_all(&out).unwrap();
            match received {
                Some(text) => return text,
                None if used == 0 => read_into(&mut self.stream, &mut self.unread),
                None => {}
            }
        }
    }
}

fn read_into(stream: &mut TcpStream, unread: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    let n = stream.read(&mut buffer).unwrap();
    assert!(n > 0, "the server hung up");
    unread.extend_from_slice(&buffer[..n]);
}

#[test]
fn a_plain_poll_loop_serves_an_echo() {
    let host = PollLoop::start(Settings::default());
    let mut clients = [Client::connect(host.address), Client::connect(host.address)];
    for round in 0..100 {
        for client in &mut clients {
            client.send(&format!("round {round}"));
        }
        for client in &mut clients {
            assert_eq!(client.next(), format!("round {round}"));
        }
    }
}

#[test]
fn a_plain_poll_loop_keeps_time_by_the_next_timeout_alone() {
    let interval = Some(Duration::from_millis(100));
    let host = PollLoop::start(Settings { ping_interval: interval, ..Settings::default() });
    let mut client = Client::connect(host.address);
    // Nothing is sent, so nothing but time makes the shard act.
    assert_eq!([client.next(), client.next()], ["ping", "ping"]);
}

/// A shard whose host counts how often it is told to turn.
fn counted() -> (Shard, Rc<Echo>, Arc<AtomicUsize>) {
    let now = Instant::now();
    let shard = Server::new(ServerSettings::default()).shard(now).unwrap();
    let (service, told) = (Rc::new(Echo::default()), Arc::new(AtomicUsize::new(0)));
    shard.set_service(service.clone());
    let count = told.clone();
    shard.set_notifier(Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    (shard, service, told)
}

fn settle(shard: &Shard) {
    while shard.turn(Instant::now()) {}
}

#[test]
fn what_happens_outside_a_turn_tells_the_host_once() {
    let (shard, service, told) = counted();
    let client = shard.connect_memory(1 << 16);
    client.write(&ClientHandshake::new("server.example", "/").request().unwrap());
    settle(&shard);
    told.store(0, Ordering::Relaxed);
    let connection = service.0.borrow()[0].clone();
    for _ in 0..3 {
        connection.send(nexios_engine::MessageRef::Text("from outside"), None).unwrap();
    }
    assert_eq!(told.load(Ordering::Relaxed), 1);
    settle(&shard);
    connection.send(nexios_engine::MessageRef::Text("again"), None).unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

#[test]
fn a_deadline_set_outside_a_turn_tells_the_host_and_is_its_next_timeout() {
    let (shard, _, told) = counted();
    settle(&shard);
    told.store(0, Ordering::Relaxed);
    let soon = Instant::now() + Duration::from_millis(500);
    let mut sleep = Box::pin(shard.sleep_until(soon));
    assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert!(shard.next_timeout().is_some_and(|at| at <= soon + Duration::from_millis(100)));
}

/// Counts how often it is told of an overflow.
#[derive(Default)]
struct Overflows(std::cell::Cell<usize>);

impl Service for Overflows {
    fn websocket(self: Rc<Self>, _connection: &Connection) -> Option<BoxedTask> {
        None
    }

    fn has_websocket(&self, _path: &str) -> bool {
        false
    }

    fn overflowed(self: Rc<Self>) {
        self.0.update(|count| count + 1);
    }
}

#[test]
fn a_shard_whose_jobs_did_not_fit_into_its_mailbox_tells_its_service_once() {
    let server = Server::new(ServerSettings::default());
    let shard = server.shard(Instant::now()).unwrap();
    let service = Rc::new(Overflows::default());
    shard.set_service(service.clone());
    let run = Arc::new(AtomicUsize::new(0));
    let mut accepted = 0;
    let job = || {
        let run = run.clone();
        Box::new(move |_: &Shard| {
            run.fetch_add(1, Ordering::Relaxed);
        })
    };
    while server.shards()[0].run(job()).is_ok() {
        accepted += 1;
    }
    shard.turn(Instant::now());
    shard.turn(Instant::now());
    assert_eq!((run.load(Ordering::Relaxed), service.0.get()), (accepted, 1));
    server.shards()[0].run(job()).unwrap();
    shard.turn(Instant::now());
    assert_eq!((run.load(Ordering::Relaxed), service.0.get()), (accepted + 1, 1));
}
