//! Clients of `nexios.v1` that come back, wherever they are let in, and write down what they see.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use checker::Seen;
use serde_json::Value;
use tokio::time::sleep;

use super::speech::Speech;
use super::world::{LOG, PLAIN, Running, World};
use nexios::broker::Position;
use nexios::testing::{Received, TestSocket};

/// What a client does besides reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Habit {
    /// It stays, as long as its node does.
    Steady,
    /// It leaves and comes back to another node.
    Restless,
    /// It stops reading now and then.
    Slow,
    /// It publishes in the room with history, and is in no other.
    Speaking,
}

pub(super) struct Client {
    pub(super) world: Rc<World>,
    pub(super) name: String,
    pub(super) habit: Habit,
    /// The node that it likes best.
    pub(super) at: usize,
    pub(super) random: fastrand::Rng,
    /// Where it is in the room with history.
    pub(super) position: Position,
    /// What it has seen of that room, and of the other since it was last connected.
    pub(super) of_log: usize,
    pub(super) of_plain: usize,
    /// Users of the other room, once it has asked who they are.
    pub(super) users: Rc<RefCell<Option<BTreeSet<String>>>>,
    /// What it publishes.
    pub(super) speech: Option<Speech>,
}

impl Client {
    /// Connects, reads, and does so again.
    pub(super) async fn live(mut self) {
        for connections in 1_u32.. {
            let node = self.world.node_near(self.at).await;
            let mut leaving = node.ending.clone();
            let connected = tokio::select! {
                biased;
                // A machine that has failed answers nothing.
                _ = leaving.wait_for(|ended| *ended) => None,
                socket = self.connect(&node) => socket,
            };
            if let Some(mut socket) = connected {
                tokio::select! {
                    biased;
                    _ = leaving.wait_for(|ended| *ended) => {}
                    () = self.read(&mut socket) => {}
                }
                socket.reset();
            }
            self.users.take();
            self.saw(self.of_log, Seen::Away);
            self.saw(self.of_plain, Seen::Away);
            // Another connection: nobody promises an order from one to the next.
            self.of_plain = self.world.new_client(&format!("{} {connections}", self.name), PLAIN, false);
            self.saw(self.of_plain, Seen::Away);
            if self.habit != Habit::Steady {
                self.at = self.random.usize(..3);
            }
            sleep(Duration::from_millis(self.random.u64(1..400))).await;
        }
    }

    async fn connect(&mut self, node: &Running) -> Option<TestSocket> {
        let buffer = if self.habit == Habit::Slow { 1 << 10 } else { 256 << 10 };
        let joins = self.speech.as_ref().is_some_and(|speech| speech.joins);
        let path = match &self.speech {
            None => "/ws",
            Some(_) if joins => "/own",
            Some(_) => "/let-in",
        };
        let target = format!("{path}?name={}", self.name.replace(' ', "-"));
        let request = node.client.request(&target).subprotocol("nexios.v1").receive_buffer(buffer);
        let mut socket = request.connect().await.ok()?;
        let position = Some(self.position).filter(|position| position.epoch != 0).map(|position| position.to_string());
        let rooms = match &position {
            Some(position) if !joins => serde_json::json!({ LOG: position }),
            _ => serde_json::json!({}),
        };
        send(&mut socket, &serde_json::json!({"type": "hello", "rooms": rooms}));
        if let Some(speech) = &mut self.speech {
            if joins {
                send(&mut socket, &serde_json::json!({"type": "join", "id": 1, "room": LOG, "position": position}));
            }
            speech.begin().into_iter().for_each(|frame| socket.send_text(frame));
        }
        Some(socket)
    }

    async fn read(&mut self, socket: &mut TestSocket) {
        loop {
            match self.habit {
                _ if self.world.is_quiet.get() => {}
                Habit::Restless if self.random.u8(..40) == 0 => return,
                Habit::Slow if self.random.u8(..20) == 0 => {
                    sleep(Duration::from_millis(self.random.u64(..4000))).await;
                }
                _ => {}
            }
            let received = match &mut self.speech {
                None => socket.receive().await,
                Some(speech) => tokio::select! {
                    biased;
                    received = socket.receive() => received,
                    () = speech.due() => {
                        speech.speak().into_iter().for_each(|frame| socket.send_text(frame));
                        continue;
                    }
                },
            };
            match received {
                Ok(Received::Text(text)) => self.take(socket, &text),
                Ok(Received::Ping(_) | Received::Pong(_)) => {}
                _ => return,
            }
        }
    }

    /// One frame of the server.
    fn take(&mut self, socket: &mut TestSocket, text: &str) {
        let framed = text.strip_prefix('\u{1E}').and_then(|framed| framed.split_once('\n'));
        let Some((header, payload)) = framed else { panic!("{}: {text:?} is no frame", self.name) };
        let header: Value = serde_json::from_str(header).expect("JSON");
        let position = || header["position"].as_str().and_then(|text| text.parse::<Position>().ok());
        match (header["type"].as_str(), header["room"].as_str()) {
            (Some("joined"), Some(LOG)) => {
                self.joined(position().expect("a position"), header["recovered"] == true);
            }
            (Some("reset"), Some(LOG)) => {
                self.position = position().expect("a position");
                let Position { epoch, offset, .. } = self.position;
                self.saw(self.of_log, Seen::Reset { epoch, offset });
            }
            (Some("message"), Some(LOG)) => self.entry(&header, payload),
            (Some("message"), Some(PLAIN)) => {
                let (publisher, number) = numbers(payload);
                self.saw(self.of_plain, Seen::Message { publisher, number });
            }
            (Some("joined"), Some(PLAIN)) => {
                send(socket, &serde_json::json!({"type": "presence", "id": 2, "room": PLAIN}));
            }
            (Some("reply"), _) => {
                let users: Vec<Value> = serde_json::from_str(payload).expect("users");
                let names = users.iter().map(|user| user["user"].as_str().expect("a name").to_owned());
                self.users.replace(Some(names.collect()));
            }
            (Some("presence"), _) => self.user(&header),
            (Some("ack" | "error"), _) => {
                self.speech.iter_mut().for_each(|speech| speech.answered(&header));
            }
            (Some("gap"), room) if room != Some(LOG) => self.gap(header["missed"].as_u64()),
            _ => {}
        }
    }

    /// A user has come or gone.
    fn user(&self, header: &Value) {
        let (mut users, user) = (self.users.borrow_mut(), header["user"].as_str().expect("a name").to_owned());
        let users = users.as_mut().expect("an answer comes before changes");
        match header["event"] == "join" {
            true => users.insert(user),
            false => users.remove(&user),
        };
    }

    fn joined(&mut self, position: Position, recovered: bool) {
        self.position = position;
        let Position { epoch, offset, .. } = position;
        self.saw(self.of_log, Seen::Joined { epoch, offset, recovered });
    }

    fn entry(&mut self, header: &Value, payload: &str) {
        let (publisher, number) = numbers(payload);
        let (offset, nonce) = (header["offset"].as_u64().expect("an offset"), header["nonce"].as_str());
        let is_it = |place: &Position| place.offset == offset && Some(&*place.nonce.to_string()) == nonce;
        let mut places: Vec<Position> = self.world.broker.places(payload).into_iter().filter(is_it).collect();
        // What was said again after the broker had forgotten all may be at the same offset of two epochs.
        places.sort_by_key(|place| place.epoch != self.position.epoch);
        let place = places.first().copied();
        let place = place.unwrap_or_else(|| panic!("{}: {header} was never stored", self.name));
        self.saw(self.of_log, Seen::Entry { epoch: place.epoch, offset, publisher, number });
        if self.position.epoch != 0 {
            self.position = Position { epoch: self.position.epoch, ..place };
        }
    }

    fn gap(&mut self, missed: Option<u64>) {
        self.saw(self.of_plain, Seen::Gap { missed });
        // How many of a node that has ended are missing can never be known.
        if missed.is_none() && self.world.plan.nodes_end {
            self.saw(self.of_plain, Seen::Away);
        }
    }

    pub(super) fn saw(&self, client: usize, seen: Seen) {
        self.world.record.borrow_mut().clients[client].seen.push(seen);
    }
}

fn send(socket: &mut TestSocket, header: &Value) {
    socket.send_text(format!("\u{1E}{header}\n"));
}

/// What a publisher has written.
fn numbers(payload: &str) -> (u64, u64) {
    let numbers = payload.split_whitespace().map(|number| number.parse().expect("a number")).collect::<Vec<_>>();
    (numbers[0], numbers[1])
}
