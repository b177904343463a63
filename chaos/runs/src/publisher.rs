//! Publishers: each sends to one room through one node, and does not stop for any fault.

use std::rc::Rc;
use std::time::Duration;

use checker::Fate;
use nexios_client::{Client, Connector, Room};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::journal::Journal;
use crate::node::{BROADCAST, has_history};

/// How often a message is sent again of which the server does not know whether it is stored.
const ATTEMPTS: usize = 20;
const AGAIN_AFTER: Duration = Duration::from_millis(300);

pub(crate) struct Publisher {
    pub(crate) id: u64,
    pub(crate) room: String,
    /// Which node, and where it is.
    pub(crate) node: usize,
    pub(crate) address: String,
    pub(crate) journal: Rc<Journal>,
}

impl Publisher {
    /// While the run is busy, a message after every few of these milliseconds.
    pub(crate) async fn run(self, mut busy: watch::Receiver<bool>, mut rng: fastrand::Rng) {
        let client = self.connect().await;
        let Ok(room) = client.room(&self.room) else { return };
        for number in 0.. {
            sleep(Duration::from_millis(rng.u64(10..110))).await;
            if busy.wait_for(|busy| *busy).await.is_err() {
                return;
            }
            let text = format!("{} {number} {}", self.id, "x".repeat(rng.usize(..400)));
            let message = self.journal.sent(&self.room, self.id, number, self.node);
            if has_history(&self.room) {
                let (room, journal, key) = (room.clone(), self.journal.clone(), format!("{} {number}", self.id));
                spawn_local(async move { journal.told(message, store(&room, key, text, &journal).await) });
            } else {
                self.journal.told(message, broadcast(&client, text).await);
            }
        }
    }

    /// As many long messages as fast as it goes.
    pub(crate) async fn burst(self, count: u64, bytes: usize) {
        let client = self.connect().await;
        for number in 0..count {
            let text = format!("{} {number} {}", self.id, "x".repeat(bytes));
            let message = self.journal.sent(&self.room, self.id, number, self.node);
            self.journal.told(message, broadcast(&client, text).await);
        }
        client.close().await;
    }

    async fn connect(&self) -> Client {
        loop {
            let connector = Connector::new(format!("ws://{}/publish/{}", self.address, self.room));
            match connector.stable_after(Duration::ZERO).connect().await {
                Ok(client) => return client,
                Err(_) => sleep(AGAIN_AFTER).await,
            }
        }
    }
}

/// To a room with history: again, under the same key, until it is known to be stored.
async fn store(room: &Room, key: String, text: String, journal: &Journal) -> Fate {
    for _ in 0..ATTEMPTS {
        match room.publish_as(key.clone(), text.as_str()).await.map(|ack| ack.position) {
            Ok(Some(position)) => return Fate::Stored { epoch: position.epoch(), offset: position.offset() },
            Ok(None) => {
                journal.complain(format!("{key}: confirmed and not stored"));
                return Fate::Accepted;
            }
            Err(error) if error.code() == "closed" => {
                journal.complain(format!("{key}: the publisher's client has given up"));
                return Fate::Unknown;
            }
            Err(_) => sleep(AGAIN_AFTER).await,
        }
    }
    Fate::Unknown
}

/// To a room that does not: once. Where the node refuses it, its own clients have got it.
async fn broadcast(client: &Client, text: String) -> Fate {
    match client.request(BROADCAST, text).await {
        Ok(_) => Fate::Accepted,
        Err(_) => Fate::Unknown,
    }
}
