//! The clients of a route. A session is a bounded channel to its connection: the message is
//! shared, and the connection encodes it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use actix_ws::{AggregatedMessage, Session};

#[derive(Default)]
pub(crate) struct Chat {
    sessions: RefCell<HashMap<u64, Session>>,
    next_id: Cell<u64>,
}

impl Chat {
    pub(crate) fn join(&self, session: Session) -> u64 {
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.sessions.borrow_mut().insert(id, session);
        id
    }

    pub(crate) fn leave(&self, id: u64) {
        self.sessions.borrow_mut().remove(&id);
    }

    /// Waits for who has not read the 32 messages before.
    pub(crate) async fn send(&self, message: &AggregatedMessage) {
        let sessions: Vec<Session> = self.sessions.borrow().values().cloned().collect();
        for mut session in sessions {
            // A client that has gone takes itself out.
            let _ = match message {
                AggregatedMessage::Text(text) => session.text(text.clone()).await,
                AggregatedMessage::Binary(bytes) => session.binary(bytes.clone()).await,
                _ => Ok(()),
            };
        }
    }
}
