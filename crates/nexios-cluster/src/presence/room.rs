//! What is known of one room.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use nexios_engine::ConnectionId;
use sha1::{Digest as _, Sha1};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::users::Users;
use crate::envelope::NodeId;

/// A room that somebody here needs.
pub(super) struct Room {
    pub(super) hash: u128,
    pub(super) users: Users,
    pub(super) mine: HashMap<ConnectionId, Mine>,
    /// Connections that are gone and stay for a while, by their users.
    pub(super) departed: HashMap<Arc<str>, Vec<ConnectionId>>,
    /// What is known of other nodes.
    pub(super) records: HashMap<NodeId, Record>,
    /// Of the last change that was made here.
    pub(super) version: u64,
    /// What others know, if they have heard all; 0 for nobody.
    pub(super) base: u64,
    pub(super) dirty: BTreeSet<Arc<str>>,
    pub(super) transfer: Option<Transfer>,
    pub(super) watchers: usize,
    pub(super) used: Instant,
    /// Whether those who have something to say have had the time.
    pub(super) is_ready: bool,
    pub(super) waiting: Vec<oneshot::Sender<()>>,
}

/// A connection of this node.
pub(super) struct Mine {
    pub(super) user: Arc<str>,
    pub(super) stamp: u64,
}

/// How far another node's part of a room is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) version: u64,
    pub(super) progress: Progress,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// All is known.
    Whole,
    /// A state is arriving; all up to this user is known.
    Upto(Arc<str>),
    /// Something was missed.
    Broken,
}

/// A state that is being sent in pieces.
#[derive(Default)]
pub(super) struct Transfer {
    pub(super) after: Option<Arc<str>>,
    pub(super) again: bool,
}

impl Room {
    pub(super) fn new(hash: u128, now: Instant, is_ready: bool) -> Self {
        Room {
            hash,
            users: Users::default(),
            mine: HashMap::new(),
            departed: HashMap::new(),
            records: HashMap::new(),
            version: 0,
            base: 0,
            dirty: BTreeSet::new(),
            transfer: None,
            watchers: 0,
            used: now,
            is_ready,
            waiting: Vec::new(),
        }
    }

    /// A connection of this node does not stay any longer.
    pub(super) fn forget_departed(&mut self, user: &Arc<str>, connection: ConnectionId) {
        if let Some(departed) = self.departed.get_mut(user) {
            departed.retain(|other| *other != connection);
            if departed.is_empty() {
                self.departed.remove(user);
            }
        }
    }

    /// Whether clients of this node are there.
    pub(super) fn is_mine(&self) -> bool {
        !self.mine.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.mine.is_empty() && self.watchers == 0
    }
}

/// Returns what a room is called in a digest: the first 16 bytes of the SHA-1 of its name.
///
/// Clients choose names. Of two rooms with one hash only one would be repaired, and 8 bytes collide after minutes
/// of search.
pub(super) fn hash(name: &str) -> u128 {
    Sha1::digest(name).iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}
