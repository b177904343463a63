//! One shard with an app, and clients whose every byte goes through memory.

use std::cell::{Cell, RefCell};
use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use nexios::{App, AppHandle};
use nexios_engine::{MemoryClient, Server, Shard};
use nexios_protocol::{
    ClientHandshake, CloseCode, CloseFrame, Codec, Connection, HandshakeError, HandshakeResponse, Limits, OpCode,
    Received, Role,
};

/// A server that runs only when a test lets it.
pub(crate) struct Bench {
    pub(crate) shard: Shard,
    pub(crate) app: AppHandle,
    now: Cell<Instant>,
}

/// What a client saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    /// A Close frame; 1005 if it had no code.
    Close(u16, String),
    /// The end of the stream.
    End,
}

/// What became of a handshake.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// A connected client.
pub(crate) struct Client {
    bench: Rc<Bench>,
    end: MemoryClient,
    protocol: RefCell<Connection>,
    input: RefCell<Vec<u8>>,
    pub(crate) response: HandshakeResponse,
}

/// A list that listeners and handlers write to.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    /// Adds a line, as the whole of a listener.
    pub(crate) fn note(&self, line: impl Into<String>) -> Ready<()> {
        self.add(line);
        ready(())
    }

    /// What was written since the last look.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Bench {
    pub(crate) fn new(app: App) -> Rc<Self> {
        let app = app.build().unwrap();
        let now = Instant::now();
        let server = Server::new(app.server_settings().clone());
        let shard = server.shard(now).unwrap();
        app.run_on(&server, &shard);
        Rc::new(Bench { shard, app: app.handle(), now: Cell::new(now) })
    }

    /// Lets the server run until it waits.
    pub(crate) fn run(&self) {
        for _ in 0..1000 {
            // One turn more: what tasks have woken at the end of a turn.
            if !self.shard.turn(self.now.get()) && !self.shard.turn(self.now.get()) {
                return;
            }
        }
        panic!("the server does not come to rest");
    }

    /// One turn. Returns true if more is to be done at once.
    pub(crate) fn turn(&self) -> bool {
        self.shard.turn(self.now.get())
    }

    pub(crate) fn advance(&self, by: Duration) {
        // In steps, so that what was set within an hour fires within it.
        let end = self.now.get() + by;
        while self.now.get() < end {
            self.now.set(end.min(self.now.get() + Duration::from_millis(100)));
            self.run();
        }
    }

    /// Runs a future outside of the server, letting the server run while it waits.
    pub(crate) fn wait<T>(&self, future: impl IntoFuture<Output = T>) -> T {
        let mut future = Box::pin(future.into_future());
        for _ in 0..100 {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return output;
            }
            self.run();
        }
        panic!("the future does not end");
    }

    pub(crate) fn connect(self: &Rc<Self>, target: &str) -> Client {
        self.try_connect(handshake(target)).unwrap_or_else(|refused| panic!("{target}: {refused:?}"))
    }

    pub(crate) fn refused(self: &Rc<Self>, target: &str) -> Refused {
        self.try_connect(handshake(target)).err().unwrap_or_else(|| panic!("{target} was accepted"))
    }

    pub(crate) fn try_connect(self: &Rc<Self>, handshake: ClientHandshake) -> Result<Client, Refused> {
        let end = self.shard.connect_memory(1 << 20);
        end.write(&handshake.request().unwrap());
        self.run();
        let mut input = Vec::new();
        read_into(&end, &mut input);
        let (response, used) = match handshake.parse_response(&input) {
            Ok(Some(done)) => done,
            Ok(None) => panic!("no answer, only {:?}", String::from_utf8_lossy(&input)),
            Err(HandshakeError::Refused { status, headers, .. }) => return Err(refusal(status, headers, &input)),
            Err(error) => panic!("{error}: {:?}", String::from_utf8_lossy(&input)),
        };
        input.drain(..used);
        let protocol = Connection::new(Role::Client, response.deflate);
        let client =
            Client { bench: self.clone(), end, protocol: RefCell::new(protocol), input: RefCell::new(input), response };
        Ok(client)
    }
}

pub(crate) fn handshake(target: &str) -> ClientHandshake {
    ClientHandshake::new("server.example", target)
}

fn refusal(status: u16, headers: Vec<(String, String)>, answer: &[u8]) -> Refused {
    let text = String::from_utf8_lossy(answer);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Refused { status, headers, body }
}

/// Takes what there is; says whether the stream is over.
fn read_into(end: &MemoryClient, input: &mut Vec<u8>) -> bool {
    loop {
        match end.poll_read(&mut Context::from_waker(Waker::noop()), 1 << 20) {
            Poll::Ready(Ok(bytes)) if bytes.is_empty() => return true,
            Poll::Ready(Ok(bytes)) => input.extend(bytes),
            Poll::Ready(Err(_)) => return true,
            Poll::Pending => return false,
        }
    }
}

impl Client {
    pub(crate) fn send(&self, text: &str) {
        self.write(|protocol, out| protocol.send_message(out, OpCode::Text, text.as_bytes()));
    }

    pub(crate) fn send_binary(&self, bytes: &[u8]) {
        self.write(|protocol, out| protocol.send_message(out, OpCode::Binary, bytes));
    }

    pub(crate) fn ping(&self, payload: &[u8]) {
        self.write(|protocol, out| protocol.send_ping(out, payload).unwrap());
    }

    pub(crate) fn close(&self, code: u16, reason: &str) {
        let code = CloseCode::new(code).unwrap();
        self.write(|protocol, out| protocol.send_close(out, Some(CloseFrame { code, reason })));
    }

    /// Goes away without a word.
    pub(crate) fn reset(&self) {
        self.end.reset();
        self.bench.run();
    }

    /// Sends what `frame` makes, and leaves it to the test to let the server run.
    pub(crate) fn write_ahead(&self, frame: impl FnOnce(&mut Connection, &mut Vec<u8>)) {
        let mut out = Vec::new();
        frame(&mut self.protocol.borrow_mut(), &mut out);
        self.end.write(&out);
    }

    /// Sends what `frame` makes, in one piece.
    pub(crate) fn write(&self, frame: impl FnOnce(&mut Connection, &mut Vec<u8>)) {
        let mut out = Vec::new();
        frame(&mut self.protocol.borrow_mut(), &mut out);
        self.end.write(&out);
        self.bench.run();
    }

    /// Everything that has come since the last look; answers pings and Close frames.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.bench.run();
        let mut input = self.input.take();
        let over = read_into(&self.end, &mut input);
        let (mut seen, mut out, mut codec) = (Vec::new(), Vec::new(), Codec::new());
        let mut rest = input.as_mut_slice();
        while !rest.is_empty() {
            let mut protocol = self.protocol.borrow_mut();
            // Decoding needs the bytes to itself, so it works on a copy of what is left.
            let mut copy = rest.to_vec();
            let (used, event) = protocol.receive(&mut copy, &mut out, &Limits::default(), &mut codec).unwrap();
            seen.extend(event.map(Seen::from));
            rest = &mut rest[used..];
        }
        seen.extend(over.then_some(Seen::End));
        self.end.write(&out);
        self.bench.run();
        seen
    }

    /// What has come as text; anything else is a failure.
    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |seen| match seen {
            Seen::Text(text) => text,
            other => panic!("not a text: {other:?}"),
        };
        self.seen().into_iter().map(text).collect()
    }

    /// The Close frame that has come, behind whatever came before.
    pub(crate) fn closed(&self) -> (u16, String) {
        let close = |seen: &Seen| match seen {
            Seen::Close(code, reason) => Some((*code, reason.clone())),
            _ => None,
        };
        let seen = self.seen();
        seen.iter().find_map(close).unwrap_or_else(|| panic!("no Close in {seen:?}"))
    }
}

impl From<Received<'_>> for Seen {
    fn from(received: Received<'_>) -> Self {
        match received {
            Received::Text(text) => Seen::Text(text.into_owned()),
            Received::Binary(bytes) => Seen::Binary(bytes.into_owned()),
            Received::Ping(_) => Seen::Ping,
            Received::Pong(payload) => Seen::Pong(payload.to_vec()),
            Received::Close(None) => Seen::Close(1005, String::new()),
            Received::Close(Some(frame)) => Seen::Close(frame.code.get(), frame.reason.to_owned()),
        }
    }
}
