//! Redis behind a proxy that answers in its place, keeps answers back, or loses them.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexios::broker::Broker;
use parking_lot::Mutex;

use crate::servers::TcpServer;

/// What becomes of a command.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Redis answers it.
    Pass,
    /// This line is the answer, and Redis does not see the command.
    Answer(&'static str),
    /// Nobody answers, and Redis does not see it.
    Ignore,
    /// Redis carries it out; instead of the answer the connection ends.
    LoseAnswer,
}

type Rule = Box<dyn Fn(&[Vec<u8>]) -> Act + Send>;

struct Shared {
    rule: Mutex<Rule>,
    connections: AtomicUsize,
    answered: AtomicUsize,
    /// Both ends of each connection, to cut it.
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
}

pub(crate) struct FakeRedis {
    shared: Arc<Shared>,
    port: u16,
    _server: TcpServer,
}

/// An answer that is still to come, or has come and waits for those before it.
enum Slot {
    Of(Act),
    Ready(Vec<u8>),
}

/// One connection's way back.
struct Back {
    slots: VecDeque<Slot>,
    client: TcpStream,
}

impl FakeRedis {
    pub(crate) fn start() -> Self {
        let server = TcpServer::redis(&[]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let rule: Rule = Box::new(|_| Act::Pass);
        let shared = Arc::new(Shared {
            rule: Mutex::new(rule),
            connections: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            open: Mutex::default(),
        });
        let (at, serving) = (server.port, shared.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", at))) else { return };
                serving.connections.fetch_add(1, Ordering::Relaxed);
                serving.open.lock().push((client.try_clone().unwrap(), server.try_clone().unwrap()));
                serve(&serving, &client, &server);
            }
        });
        FakeRedis { shared, port, _server: server }
    }

    pub(crate) fn broker(&self) -> Broker {
        Broker::new(format!("redis://127.0.0.1:{}", self.port))
    }

    /// Redis itself, with nothing in between.
    pub(crate) fn real(&self) -> Broker {
        Broker::new(format!("redis://127.0.0.1:{}", self._server.port))
    }

    /// From now on this says what becomes of a command, by its arguments.
    pub(crate) fn rule(&self, rule: impl Fn(&[Vec<u8>]) -> Act + Send + 'static) {
        *self.shared.rule.lock() = Box::new(rule);
    }

    /// Answers these commands with this line.
    pub(crate) fn answer(&self, commands: &'static [&'static str], line: &'static str) {
        self.rule(move |command| match commands.iter().any(|name| is(command, name)) {
            true => Act::Answer(line),
            false => Act::Pass,
        });
    }

    /// Waits until so many commands more were answered in the place of Redis.
    pub(crate) fn wait_until_answered(&self, more: usize) {
        let enough = self.shared.answered.load(Ordering::Relaxed) + more;
        let end = Instant::now() + Duration::from_secs(60);
        while self.shared.answered.load(Ordering::Relaxed) < enough {
            assert!(Instant::now() < end, "nobody asks");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Says something to Redis itself, and waits for its answer.
    pub(crate) fn say(&self, command: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self._server.port)).unwrap();
        stream.write_all(command.as_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0; 1024]).unwrap().min(1), 1);
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.shared.open.lock().drain(..).for_each(|ends| end(&ends));
    }

    /// Waits until so many more have connected.
    pub(crate) fn wait_until_connected(&self, more: usize) {
        let (enough, end) = (self.connections() + more, Instant::now() + Duration::from_secs(60));
        while self.connections() < enough {
            assert!(Instant::now() < end, "nobody connects");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

/// Whether a command has this name.
pub(crate) fn is(command: &[Vec<u8>], name: &str) -> bool {
    command.first().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

fn serve(shared: &Arc<Shared>, client: &TcpStream, server: &TcpStream) {
    let back = Arc::new(Mutex::new(Back { slots: VecDeque::new(), client: client.try_clone().unwrap() }));
    let ends = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (shared, there, reading) = (shared.clone(), back.clone(), BufReader::new(client.try_clone().unwrap()));
    let to_server = server.try_clone().unwrap();
    std::thread::spawn(move || {
        // Whatever is wrong here ends the connection.
        let _ = forward(&shared, reading, to_server, &there);
        end(&ends);
    });
    let ends = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let reading = BufReader::new(server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = answer(reading, &back);
        end(&ends);
    });
}

fn end((client, server): &(TcpStream, TcpStream)) {
    // One side may have done so.
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

/// Commands on their way to Redis.
fn forward(
    shared: &Shared,
    mut from: BufReader<TcpStream>,
    mut to: TcpStream,
    back: &Mutex<Back>,
) -> std::io::Result<()> {
    loop {
        let mut bytes = Vec::new();
        let count = number(&line(&mut from, &mut bytes)?);
        let mut words = Vec::new();
        for _ in 0..count {
            let len = number(&line(&mut from, &mut bytes)?);
            let start = bytes.len();
            bytes.resize(start + len + 2, 0);
            from.read_exact(&mut bytes[start..])?;
            words.push(bytes[start..start + len].to_vec());
        }
        let act = (shared.rule.lock())(&words);
        let mut back = back.lock();
        match act {
            Act::Pass | Act::LoseAnswer => {
                back.slots.push_back(Slot::Of(act));
                drop(back);
                to.write_all(&bytes)?;
            }
            Act::Answer(line) => {
                shared.answered.fetch_add(1, Ordering::Relaxed);
                back.slots.push_back(Slot::Ready(format!("{line}\r\n").into_bytes()));
                back.flush()?;
            }
            Act::Ignore => back.slots.push_back(Slot::Of(act)),
        }
    }
}

/// Answers and pushes on their way back.
fn answer(mut from: BufReader<TcpStream>, back: &Mutex<Back>) -> std::io::Result<()> {
    loop {
        let mut bytes = Vec::new();
        let is_push = value(&mut from, &mut bytes)? == b'>';
        let mut back = back.lock();
        if is_push {
            back.client.write_all(&bytes)?;
            continue;
        }
        let Some(slot) = back.slots.iter_mut().find(|slot| matches!(slot, Slot::Of(Act::Pass | Act::LoseAnswer)))
        else {
            // What a subscription is answered with is a push.
            back.client.write_all(&bytes)?;
            continue;
        };
        if matches!(slot, Slot::Of(Act::LoseAnswer)) {
            return Ok(());
        }
        *slot = Slot::Ready(bytes);
        back.flush()?;
    }
}

impl Back {
    fn flush(&mut self) -> std::io::Result<()> {
        while let Some(Slot::Ready(bytes)) = self.slots.front() {
            self.client.write_all(bytes)?;
            self.slots.pop_front();
        }
        Ok(())
    }
}

/// Reads one value of RESP3; returns its kind.
fn value(from: &mut BufReader<TcpStream>, bytes: &mut Vec<u8>) -> std::io::Result<u8> {
    let head = line(from, bytes)?;
    match head[0] {
        b'$' | b'!' | b'=' if head[1] != b'-' => {
            let start = bytes.len();
            bytes.resize(start + number(&head) + 2, 0);
            from.read_exact(&mut bytes[start..])?;
        }
        b'*' | b'~' | b'>' if head[1] != b'-' => {
            for _ in 0..number(&head) {
                value(from, bytes)?;
            }
        }
        b'%' => {
            for _ in 0..2 * number(&head) {
                value(from, bytes)?;
            }
        }
        _ => {}
    }
    Ok(head[0])
}

fn line(from: &mut BufReader<TcpStream>, bytes: &mut Vec<u8>) -> std::io::Result<Vec<u8>> {
    let start = bytes.len();
    match from.read_until(b'\n', bytes)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(bytes[start..].to_vec()),
    }
}

fn number(head: &[u8]) -> usize {
    std::str::from_utf8(&head[1..]).unwrap().trim().parse().unwrap()
}
