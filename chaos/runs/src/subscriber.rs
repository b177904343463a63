//! Clients that listen, each in its own way, and write down what they see.

use std::rc::Rc;
use std::time::Duration;

use checker::Seen;
use nexios_client::{Client, Connector, Event, Message, Position, RoomEvent};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::journal::Journal;
use crate::node::has_history;

const AGAIN_AFTER: Duration = Duration::from_millis(300);
/// Longer than any run.
const NEVER: Duration = Duration::from_secs(1 << 20);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Habit {
    /// Stays.
    Steady,
    /// Loses its connection now and then.
    Cable,
    /// Goes, and comes back as a new client that knows where the old one was.
    Guest,
}

pub(crate) struct Subscriber {
    name: String,
    room: String,
    /// Where its node is.
    address: String,
    habit: Habit,
    journal: Rc<Journal>,
    /// Its number in the journal.
    number: usize,
    epoch: u64,
    busy: watch::Receiver<bool>,
    rng: fastrand::Rng,
}

impl Subscriber {
    pub(crate) fn new(
        (habit, node, room): (Habit, usize, &str),
        address: String,
        journal: Rc<Journal>,
        busy: watch::Receiver<bool>,
        rng: fastrand::Rng,
    ) -> Self {
        let name = format!("{habit:?} in {room} at node {node}");
        let number = journal.client(&name, room, has_history(room));
        Subscriber { name, room: room.to_owned(), address, habit, journal, number, epoch: 0, busy, rng }
    }

    /// Listens until the run is over.
    pub(crate) async fn run(mut self) {
        let mut position = None;
        loop {
            let client = self.connect(position).await;
            position = self.stay(&client).await;
            client.close().await;
            self.journal.connected(self.number, false);
            self.journal.is_in(self.number, false);
            self.journal.saw(self.number, Seen::Away);
            sleep(self.within(0.1, 2.0)).await;
        }
    }

    async fn connect(&self, position: Option<Position>) -> Client {
        loop {
            let connector = Connector::new(format!("ws://{}/live/{}", self.address, self.room));
            // Its connections are short on purpose.
            let mut connector = connector.stable_after(Duration::ZERO);
            if let Some(position) = &position {
                connector = connector.position(&*self.room, position.clone());
            }
            match connector.connect().await {
                Ok(client) => return client,
                Err(_) => sleep(AGAIN_AFTER).await,
            }
        }
    }

    /// Stays as long as its habit is; then, where it was.
    async fn stay(&mut self, client: &Client) -> Option<Position> {
        let (mut events, Ok(mut room)) = (client.clone(), client.room(&self.room)) else { return self.ended().await };
        let mut until = self.next_deed();
        loop {
            tokio::select! {
                // First: what has come out of the room is then handled where the client goes.
                biased;
                event = room.next() => match event {
                    Some(event) => self.note(event),
                    None => return self.ended().await,
                },
                event = events.next() => match event {
                    Some(Event::Open { .. }) => self.journal.connected(self.number, true),
                    Some(Event::Close(_)) => self.journal.connected(self.number, false),
                    Some(_) => {}
                    None => return self.ended().await,
                },
                () = sleep_until(until) => {
                    until = self.next_deed();
                    match self.habit {
                        _ if !*self.busy.borrow() => {}
                        Habit::Steady => {}
                        Habit::Cable => client.drop(false),
                        Habit::Guest => return room.position(),
                    }
                }
            }
            self.journal.is_in(self.number, room.is_joined());
        }
    }

    /// A client comes back always.
    async fn ended(&self) -> Option<Position> {
        self.journal.complain(format!("{}: the client has given up", self.name));
        std::future::pending().await
    }

    fn next_deed(&mut self) -> Instant {
        Instant::now()
            + match self.habit {
                Habit::Steady => NEVER,
                Habit::Cable => self.within(0.3, 3.0),
                Habit::Guest => self.within(0.5, 5.0),
            }
    }

    fn within(&mut self, min: f64, max: f64) -> Duration {
        Duration::from_secs_f64(min + (max - min) * self.rng.f64())
    }

    fn note(&mut self, event: RoomEvent) {
        match event {
            RoomEvent::Joined { recovered, position, .. } => {
                self.journal.joined(self.number);
                if let Some(position) = position {
                    self.epoch = position.epoch();
                    self.saw(Seen::Joined { epoch: self.epoch, offset: position.offset(), recovered });
                }
            }
            RoomEvent::Message { message, offset } => self.message(&message, offset),
            RoomEvent::Reset { position } => {
                self.epoch = position.epoch();
                self.saw(Seen::Reset { epoch: self.epoch, offset: position.offset() });
            }
            RoomEvent::Gap { missed } => self.saw(Seen::Gap { missed }),
            _ => {}
        }
    }

    fn message(&self, message: &Message, offset: Option<u64>) {
        let mut words = message.as_text().unwrap_or_default().split(' ').map(str::parse);
        let (Some(Ok(publisher)), Some(Ok(number))) = (words.next(), words.next()) else {
            return self.journal.complain(format!("{}: a message that nobody sent", self.name));
        };
        match offset {
            Some(offset) => self.saw(Seen::Entry { epoch: self.epoch, offset, publisher, number }),
            None if has_history(&self.room) => self.journal.complain(format!("{}: no offset", self.name)),
            None => self.saw(Seen::Message { publisher, number }),
        }
    }

    fn saw(&self, seen: Seen) {
        self.journal.saw(self.number, seen);
    }
}
