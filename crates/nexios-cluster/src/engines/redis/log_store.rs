//! Logs in Redis: a stream and its head for each, changed by scripts so that each step is one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{Value, cmd, from_redis_value};

use super::keys::{self, Keys};
use super::script::{Run, Script};
use super::{Channels, Connection};
use crate::engines::link::{Capabilities, LinkError};
use crate::engines::start_positions::StartPositions;
use crate::history::log::{
    AGAIN_LEN_MAX, Append, Appended, Entry, History, KEY_KEPT, Log, Nonce, PAGE_BYTES_MAX, Page, Position, Span,
};

/// The head of a log outlives its entries by so much: a silent room counts on. `origin.lua` relies on it.
const HEAD_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Two begin with how the position before the first entry is found.
const APPEND: &str = concat!(include_str!("origin.lua"), include_str!("append.lua"));
const FIND: &str = include_str!("find.lua");
const READ: &str = concat!(include_str!("origin.lua"), include_str!("read.lua"));
/// Entries that one run of the script appends; other clients get their turn between two.
const RUN_LEN_MAX: usize = 128;
/// Entries that one run looks through; other clients get their turn between two.
const LOOK_LEN: usize = 4096;
/// How long an append waits for replicas.
const REPLICAS_MAX: Duration = Duration::from_millis(500);

pub(super) struct LogStore {
    append: Script,
    find: Script,
    read: Script,
    keys: Keys,
    channels: Channels,
    /// Why there are none.
    refused: Option<String>,
    /// Replicas at the time of connecting.
    replicas_max: u32,
    /// How many of them an append waits for.
    replicas: u32,
}

/// What one run of the script appends.
struct Group<'a> {
    log: &'a Log,
    again: bool,
    /// Their places in the batch.
    places: Vec<usize>,
}

impl LogStore {
    pub(super) async fn open(
        connection: &Connection,
        channels: Channels,
        replicas_max: u32,
        replicas: u32,
    ) -> Result<Self, LinkError> {
        let [append, find, read] = [APPEND, FIND, READ].map(Script::new);
        let mut loaded = Ok(());
        for script in [&append, &find, &read] {
            if loaded.is_ok() {
                loaded = script.load(connection).await;
            }
        }
        let refused = match loaded {
            Ok(()) => None,
            Err(LinkError::Refused(reason)) => Some(format!("Redis runs no scripts for this user: {reason}")),
            Err(lost) => return Err(lost),
        };
        Ok(LogStore { append, find, read, channels, keys: Keys::of(connection), refused, replicas_max, replicas })
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities { history: self.refused.is_none(), replicas_max: self.replicas_max, ..Capabilities::default() }
    }

    fn check(&self) -> Result<(), LinkError> {
        self.refused.clone().map_or(Ok(()), |reason| Err(LinkError::Refused(reason)))
    }

    pub(super) async fn append(&self, connection: &Connection, batch: &[Append]) -> Result<Vec<Appended>, LinkError> {
        self.check()?;
        let before = self.find_again(connection, batch).await?;
        let groups = groups(batch, &before);
        let runs: Vec<_> = groups.iter().map(|group| self.append_run(group, batch)).collect();
        let answers = self.append.run_all(connection, &runs).await?;
        let mut appended: Vec<_> = batch.iter().map(|append| before.get(&append.nonce).copied()).collect();
        for (group, answer) in groups.iter().zip(answers) {
            let positions: Vec<Bytes> = from_redis_value(answer).map_err(LinkError::lost)?;
            for (place, bytes) in group.places.iter().zip(positions) {
                appended[*place] = Some(self::appended(&bytes)?);
            }
        }
        let mut appended = appended.into_iter().collect::<Option<Vec<_>>>().ok_or_else(unexpected)?;
        let replicas = self.wait_for_replicas(connection).await?;
        appended.iter_mut().for_each(|appended| appended.replicas = replicas);
        Ok(appended)
    }

    /// Finds which entries of a repeated batch are stored: log by log, and in each a part at a time.
    async fn find_again(
        &self,
        connection: &Connection,
        batch: &[Append],
    ) -> Result<HashMap<Nonce, Appended>, LinkError> {
        let mut wanted = HashMap::<&Arc<str>, (&Log, Vec<Nonce>)>::new();
        for append in batch.iter().filter(|append| append.again) {
            wanted.entry(&append.log.channel).or_insert((&append.log, Vec::new())).1.push(append.nonce);
        }
        let mut found = HashMap::new();
        for (log, nonces) in wanted.into_values() {
            let (mut from, mut looked_at) = (Bytes::from_static(b"+"), 0);
            while !from.is_empty() && looked_at < AGAIN_LEN_MAX {
                let mut run = self.find.run(&log.channel, 1);
                run.arg(keys::of_log(log)).arg(&*from).arg(LOOK_LEN).arg(ms(KEY_KEPT));
                nonces.iter().filter(|nonce| !found.contains_key(*nonce)).for_each(|nonce| _ = run.arg(&nonce.0[..]));
                let answer = self.find.run_all(connection, &[run]).await?.into_iter().next().ok_or_else(unexpected)?;
                let strings: Vec<Bytes> = from_redis_value(answer).map_err(LinkError::lost)?;
                let (next, positions) = strings.split_first().ok_or_else(unexpected)?;
                for bytes in positions {
                    let (position, _) = position(bytes).ok_or_else(unexpected)?;
                    found.insert(position.nonce, Appended { position, duplicate: true, replicas: 0 });
                }
                (from, looked_at) = (next.clone(), looked_at + LOOK_LEN);
            }
        }
        Ok(found)
    }

    fn append_run(&self, group: &Group<'_>, batch: &[Append]) -> Run {
        let (log, History { size, ttl }) = (group.log, group.log.history);
        let appends = || group.places.iter().map(|place| &batch[*place]);
        let with_key = appends().filter(|append| append.key.is_some()).count();
        let mut run = self.append.run(&log.channel, 3 + with_key);
        self.keys.add(&mut run, log);
        for key in appends().filter_map(|append| append.key.as_ref()) {
            run.arg(keys::of_key(log, key));
        }
        run.arg(&*self.channels.name(&log.channel)).arg(size).arg(ms(ttl)).arg(ms(ttl + HEAD_KEPT));
        run.arg(StartPositions::random().to_hex()).arg(u8::from(group.again));
        let mut next_key = 4;
        for append in appends() {
            let key = append.key.as_ref().map_or(0, |_| next_key);
            next_key += usize::from(append.key.is_some());
            run.arg(&append.nonce.0[..]).arg(key).arg(&*append.envelope);
        }
        run
    }

    /// How many replicas have what this connection has changed; whoever uses it waits with it.
    async fn wait_for_replicas(&self, connection: &Connection) -> Result<u32, LinkError> {
        if self.replicas == 0 {
            return Ok(0);
        }
        let answer = connection.ask(cmd("WAIT").arg(self.replicas).arg(ms(REPLICAS_MAX))).await?;
        from_redis_value(answer).map_err(LinkError::lost)
    }

    pub(super) async fn read(&self, connection: &Connection, log: &Log, span: Span) -> Result<Page, LinkError> {
        self.check()?;
        let (max, position) = match span {
            Span::After(position, max) => (max, Some(bytes_of(position).to_vec())),
            Span::Newest(max) => (max, None),
            Span::Oldest(max) => (max, Some(b"oldest".to_vec())),
        };
        let mut run = self.read.run(&log.channel, 3);
        self.keys.add(&mut run, log);
        run.arg(ms(log.history.ttl)).arg(StartPositions::random().to_hex());
        run.arg(&*self.channels.name(&log.channel)).arg(max).arg(PAGE_BYTES_MAX);
        if let Some(position) = position {
            run.arg(position);
        }
        let answers = self.read.run_all(connection, &[run]).await?;
        page(answers.into_iter().next().ok_or_else(unexpected)?)
    }
}

/// In order for each log, each log's together; without those that are there.
fn groups<'a>(batch: &'a [Append], before: &HashMap<Nonce, Appended>) -> Vec<Group<'a>> {
    let mut groups = Vec::<Group<'_>>::new();
    let mut open = HashMap::<&Arc<str>, usize>::new();
    for (place, append) in batch.iter().enumerate().filter(|(_, append)| !before.contains_key(&append.nonce)) {
        let fits = |group: &&mut Group<'_>| {
            *group.log == append.log && group.again == append.again && group.places.len() < RUN_LEN_MAX
        };
        let last = open.get(&append.log.channel).and_then(|at| groups.get_mut(*at)).filter(fits);
        match last {
            Some(group) => group.places.push(place),
            None => {
                open.insert(&append.log.channel, groups.len());
                groups.push(Group { log: &append.log, again: append.again, places: vec![place] });
            }
        }
    }
    groups
}

fn ms(time: Duration) -> u64 {
    // Redis takes no more than 63 bits, and some of them are the time now.
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(1 << 52)
}

fn bytes_of(position: Position) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&position.epoch.to_be_bytes());
    bytes[8..16].copy_from_slice(&position.offset.to_be_bytes());
    bytes[16..].copy_from_slice(&position.nonce.0);
    bytes
}

/// A position and the flag behind it.
fn position(bytes: &[u8]) -> Option<(Position, bool)> {
    let (epoch, rest) = bytes.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (nonce, flag) = rest.split_first_chunk()?;
    let (epoch, offset) = (u64::from_be_bytes(*epoch), u64::from_be_bytes(*offset));
    Some((Position { epoch, offset, nonce: Nonce(*nonce) }, flag == b"1"))
}

fn appended(bytes: &[u8]) -> Result<Appended, LinkError> {
    let (position, duplicate) = position(bytes).ok_or_else(unexpected)?;
    Ok(Appended { position, duplicate, replicas: 0 })
}

fn page(answer: Value) -> Result<Page, LinkError> {
    let strings: Vec<Bytes> = from_redis_value(answer).map_err(LinkError::lost)?;
    let (top, entries) = strings.split_first().ok_or_else(unexpected)?;
    let (top, recovered) = position(top).ok_or_else(unexpected)?;
    let entries = entries.iter().map(Entry::decode).collect::<Option<_>>().ok_or_else(unexpected)?;
    Ok(Page { top, recovered, entries })
}

fn unexpected() -> LinkError {
    LinkError::lost("Redis has answered what its script does not say")
}
