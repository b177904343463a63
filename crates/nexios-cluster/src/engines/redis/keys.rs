//! The keys that Redis has: of each log, and the one secret of all logs.

use std::sync::Arc;

use super::Connection;
use super::script::Run;
use crate::history::log::Log;

/// Slots of a cluster.
const SLOTS: usize = 16 << 10;

/// Where the secret for positions before the first entry is, in reach of the script that reads a log.
pub(super) enum Keys {
    /// One for each namespace.
    One,
    /// One for each slot that is used: a script reaches no other. These are hash tags, one for each slot.
    Cluster(Vec<u32>),
}

impl Keys {
    pub(super) fn of(connection: &Connection) -> Self {
        match connection {
            Connection::One(_) => Keys::One,
            Connection::Cluster(_) => Keys::Cluster(tags()),
        }
    }

    /// Adds the log, its head and the secret to the keys of a run. The channel is the hash tag, so that a cluster has
    /// all of a room on one node.
    pub(super) fn add(&self, run: &mut Run, log: &Log) {
        run.arg(of_log(log)).arg(format!("{{{}}}:head", log.channel)).arg(self.secret(log));
    }

    fn secret(&self, log: &Log) -> String {
        // An escaped namespace has no `-`.
        let namespace = log.channel.split('-').next().unwrap_or_default();
        match self {
            Keys::One => format!("{namespace}-origins"),
            Keys::Cluster(tags) => {
                let tag = tags.get(slot(log.channel.as_bytes())).copied().unwrap_or_default();
                format!("{{{tag}}}{namespace}-origins")
            }
        }
    }
}

/// Returns the key of a log's entries.
pub(super) fn of_log(log: &Log) -> String {
    format!("{{{}}}:log", log.channel)
}

/// Returns the key under which the position of a message with an idempotency key is.
pub(super) fn of_key(log: &Log, key: &Arc<str>) -> String {
    format!("{{{}}}:key:{key}", log.channel)
}

/// Returns for each slot a number that is in it as a hash tag.
fn tags() -> Vec<u32> {
    let (mut tags, mut missing) = (vec![None; SLOTS], SLOTS);
    for number in 0_u32.. {
        if let Some(tag @ None) = tags.get_mut(slot(number.to_string().as_bytes())) {
            *tag = Some(number);
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    tags.into_iter().flatten().collect()
}

/// Returns the slot of a hash tag: CRC16 (XMODEM), as the cluster's specification says.
fn slot(tag: &[u8]) -> usize {
    let crc = tag.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    usize::from(crc) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::log::History;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!([slot(b"123456789"), slot(b"foo"), slot(b"")], [0x31C3, 12182, 0]);
    }

    #[test]
    fn the_secret_of_a_log_is_in_its_slot() {
        let tags = tags();
        assert_eq!(tags.len(), SLOTS);
        let keys = Keys::Cluster(tags);
        for name in ["a", "b", "lobby", "%7bx%7d"] {
            let log = Log { channel: format!("nexios-room-{name}").into(), history: History::default() };
            let key = keys.secret(&log);
            let (tag, rest) = key.strip_prefix('{').and_then(|key| key.split_once('}')).unwrap();
            assert_eq!((slot(tag.as_bytes()), rest), (slot(log.channel.as_bytes()), "nexios-origins"));
        }
    }
}
