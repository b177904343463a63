//! Publishers that never stop, and what they are told.

use std::rc::Rc;
use std::time::Duration;

use checker::{Fate, Published};
use tokio::time::{Instant, sleep};

use super::world::{LOG, PLAIN, Running, World};
use nexios::Outcome;

/// Five seconds until a message is stored, one until it is delivered, and time for looking at that.
const WAIT_MAX: Duration = Duration::from_secs(7);

/// One publisher of one room, on one node.
pub(super) struct Publisher {
    pub(super) world: Rc<World>,
    pub(super) node: Rc<Running>,
    pub(super) random: fastrand::Rng,
    pub(super) publisher: u64,
}

impl Publisher {
    /// In a room with history, sometimes several at a time.
    pub(super) async fn store(mut self) {
        let mut number = 0;
        while self.pause().await {
            let together = self.random.u64(1..4);
            let both = (self.send(LOG, number), self.send(LOG, number + 1));
            match together {
                1 => both.0.await,
                _ => _ = tokio::join!(both.0, both.1),
            }
            number += together.min(2);
        }
    }

    /// In a room that does not.
    pub(super) async fn publish(mut self) {
        for number in 0.. {
            if !self.pause().await {
                return;
            }
            self.send(PLAIN, number).await;
        }
    }

    async fn pause(&mut self) -> bool {
        sleep(Duration::from_millis(self.random.u64(20..400))).await;
        !self.world.is_quiet.get()
    }

    async fn send(&self, room: &str, number: u64) {
        let publisher = self.publisher;
        let published = Published { room: room.to_owned(), publisher, number, fate: Fate::Unknown };
        let index = {
            let mut record = self.world.record.borrow_mut();
            record.published.push(published);
            record.published.len() - 1
        };
        let begun = Instant::now();
        let outcome = self.node.app.room(room).broadcast(format!("{publisher} {number}")).await;
        assert!(begun.elapsed() < WAIT_MAX, "a publisher has waited for {:?}", begun.elapsed());
        self.world.record.borrow_mut().published[index].fate = match outcome {
            Outcome { stored: Some(position), .. } => Fate::Stored { epoch: position.epoch, offset: position.offset },
            Outcome { accepted: true, .. } => Fate::Accepted,
            // What the queue has no room for has a number all the same: others are told that they miss it.
            _ if room == PLAIN => Fate::Accepted,
            _ => Fate::Refused,
        };
    }
}
