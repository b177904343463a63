//! Logs in NATS: appended to and read from streams of JetStream.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_nats::Client;
use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind, RequestErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, Context};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use serde::de::IgnoredAny;

use super::answers::publish_error;
use super::log_stream::{self, Kept, LogStream, State};
use crate::engines::link::LinkError;
use crate::history::log::{Append, Appended, Entry, Log, Nonce, PAGE_BYTES_MAX, Page, Position, Span};
use crate::topic::escape;

const JETSTREAM_OFF: &str = "history needs JetStream, which is off: start nats-server with --jetstream, or write \
                             `jetstream {}` into its configuration";
/// Appends that wait for their acknowledgement at the same time.
const UNACKNOWLEDGED_MAX: usize = 1000;
/// Entries that are looked through at once.
const LOOK_LEN: usize = 1024;

pub(super) struct LogStore {
    jetstream: Context,
    /// Why there are none.
    pub(super) refused: Option<String>,
    /// On how many servers a stream is that is made here.
    replicas: usize,
    /// By the prefix of their subjects: one for each history that the app declares.
    streams: Mutex<HashMap<String, Arc<LogStream>>>,
}

impl LogStore {
    pub(super) async fn open(client: &Client, replicas: usize) -> Result<Self, LinkError> {
        let jetstream = jetstream::new(client.clone());
        // The library's own question does not understand what NATS 2.9 answers.
        let asked: Result<Response<IgnoredAny>, _> = jetstream.request("INFO", &()).await;
        let refused = match asked {
            Ok(Response::Ok(_)) => None,
            Ok(Response::Err { error }) => Some(format!("history needs JetStream: {error}")),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Some(JETSTREAM_OFF.to_owned()),
            Err(error) => return Err(LinkError::lost(error)),
        };
        Ok(LogStore { refused, ..LogStore::known(client, replicas) })
    }

    /// No logs, for this reason.
    pub(super) fn refused(client: &Client, reason: String) -> Self {
        let refused = Some(format!("history needs JetStream: {reason}"));
        LogStore { refused, ..LogStore::known(client, 0) }
    }

    /// Logs of a JetStream that is known to be on.
    pub(super) fn known(client: &Client, replicas: usize) -> Self {
        LogStore { jetstream: jetstream::new(client.clone()), refused: None, replicas, streams: Mutex::default() }
    }

    /// How many servers beside the leader have what is acknowledged.
    pub(super) fn replicas_max(&self) -> u32 {
        u32::try_from(self.replicas / 2).unwrap_or_default()
    }

    fn check(&self) -> Result<(), LinkError> {
        self.refused.clone().map_or(Ok(()), |reason| Err(LinkError::Refused(reason)))
    }

    async fn stream(&self, log: &Log) -> Result<Arc<LogStream>, LinkError> {
        let prefix = log_stream::prefix(log);
        if let Some(stream) = self.streams.lock().get(&prefix) {
            return Ok(stream.clone());
        }
        let opened = LogStream::open(&self.jetstream, log, self.replicas).await;
        let stream = Arc::new(opened.map_err(LinkError::or_later)?);
        self.streams.lock().insert(prefix, stream.clone());
        Ok(stream)
    }

    /// Somebody may have deleted it.
    fn forget(&self, log: &Log) {
        self.streams.lock().remove(&log_stream::prefix(log));
    }

    pub(super) async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, LinkError> {
        self.check()?;
        let mut appended = Vec::with_capacity(batch.len());
        for part in batch.chunks(UNACKNOWLEDGED_MAX) {
            appended.extend(self.append_part(part).await?);
        }
        Ok(appended)
    }

    async fn append_part(&self, batch: &[Append]) -> Result<Vec<Appended>, LinkError> {
        let before = self.find_again(batch).await.map_err(LinkError::or_later)?;
        let mut appended: Vec<_> = batch.iter().map(|append| before.get(&append.nonce).copied()).collect();
        for attempt in 0..2 {
            let mut sent = Vec::new();
            for (place, append) in batch.iter().enumerate().filter(|(place, _)| appended[*place].is_none()) {
                sent.push((place, self.send(append).await?));
            }
            for (place, acknowledgement) in sent {
                match acknowledgement.await {
                    Ok(answer) => appended[place] = Some(self.acknowledged(&batch[place], answer).await?),
                    Err(error) if attempt == 0 && error.kind() == PublishErrorKind::StreamNotFound => {
                        self.forget(&batch[place].log);
                    }
                    Err(error) => return Err(publish_error(error)),
                }
            }
        }
        let missing = || LinkError::lost("the stream of histories has gone away");
        appended.into_iter().collect::<Option<_>>().ok_or_else(missing)
    }

    async fn send(&self, append: &Append) -> Result<PublishAckFuture, LinkError> {
        // It has to be there before anything is published on its subjects.
        self.stream(&append.log).await?;
        let (nonce, envelope) = (append.nonce, append.envelope.clone());
        // The rest is said by the stream.
        let entry = Entry { epoch: 0, offset: 0, previous: 0, time_ms: now_ms(), nonce, envelope };
        let message = PublishMessage::build().payload(entry.encode()).headers(message_id(append));
        self.jetstream.send_publish(log_stream::subject(&append.log), message).await.map_err(publish_error)
    }

    async fn acknowledged(&self, append: &Append, answer: PublishAck) -> Result<Appended, LinkError> {
        let stream = self.stream(&append.log).await?;
        let nonce = match answer.duplicate && append.key.is_some() {
            // Another may have had the key before. Where that is not kept any more nobody knows its nonce.
            true => stream.at(answer.sequence).await?.map_or(Nonce::default(), |kept| kept.entry.nonce),
            false => append.nonce,
        };
        let epoch = log_stream::acknowledged(&answer.stream)?;
        let position = Position { epoch, offset: answer.sequence, nonce };
        Ok(Appended { position, duplicate: answer.duplicate, replicas: stream.replicas })
    }

    /// What is kept already of that which is said again. The server itself knows only what it has
    /// stored within the last minutes.
    async fn find_again(&self, batch: &[Append]) -> Result<HashMap<Nonce, Appended>, LinkError> {
        let again = batch.iter().filter(|append| append.again);
        let logs: HashMap<_, _> = again.map(|append| (&append.log.channel, &append.log)).collect();
        let found = try_join_all(logs.into_values().map(|log| self.find_in(log, batch))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn find_in(&self, log: &Log, batch: &[Append]) -> Result<Vec<(Nonce, Appended)>, LinkError> {
        let (stream, subject) = (self.stream(log).await?, log_stream::subject(log));
        let replicas = stream.replicas;
        let wanted: std::collections::HashSet<_> =
            batch.iter().filter(|append| append.again).map(|append| append.nonce).collect();
        let Some(newest) = stream.newest(&subject).await? else { return Ok(Vec::new()) };
        let mut next = stream.young(&subject, &newest).await?;
        let mut found = Vec::new();
        loop {
            let kept =
                if next > newest.entry.offset { Vec::new() } else { stream.from(&subject, next, LOOK_LEN).await? };
            let Some(last) = kept.last() else { return Ok(found) };
            next = last.entry.offset + 1;
            let positions = kept.iter().map(|kept| kept.entry.position());
            let wanted = positions.filter(|position| wanted.contains(&position.nonce));
            found.extend(wanted.map(|position| (position.nonce, Appended { position, duplicate: true, replicas })));
        }
    }

    pub(super) async fn read(&self, log: &Log, span: Span) -> Result<Page, LinkError> {
        self.check()?;
        if let Ok(page) = self.read_once(log, span).await {
            return Ok(page);
        }
        self.forget(log);
        // A connection that is lost is said to be lost by the client itself: here it is that there
        // is no leader just now, or that it has changed while this was read.
        self.read_once(log, span).await.map_err(LinkError::or_later)
    }

    async fn read_once(&self, log: &Log, span: Span) -> Result<Page, LinkError> {
        let (stream, subject) = (self.stream(log).await?, log_stream::subject(log));
        let reading = Reading { stream: &stream, log, subject };
        match span {
            Span::Newest(max) => reading.newest(max).await,
            Span::Oldest(max) => reading.oldest(max).await,
            Span::After(position, max) => reading.after(position, max).await,
        }
    }
}

/// One read of a log. It takes several questions, so their order matters: a position that is still
/// there when all behind it has been read was there the whole time, and what is oldest goes first.
struct Reading<'a> {
    stream: &'a LogStream,
    log: &'a Log,
    subject: String,
}

impl Reading<'_> {
    async fn newest(&self, max: usize) -> Result<Page, LinkError> {
        let newest = self.stream.newest(&self.subject).await?;
        let top = self.top(newest.as_ref()).await?;
        let mut entries = VecDeque::new();
        match newest {
            Some(newest) if !newest.is_old(self.log) && max == 1 => entries.push_back(newest.entry),
            // Only forwards can be read.
            Some(newest) if !newest.is_old(self.log) && max > 1 => {
                let (mut next, mut bytes) = (self.stream.back(&self.subject, &newest, max).await?, 0);
                while next <= newest.entry.offset {
                    let kept = self.stream.from(&self.subject, next, LOOK_LEN).await?;
                    let Some(last) = kept.last() else { break };
                    next = last.entry.offset + 1;
                    for entry in self.young(kept) {
                        bytes += entry.envelope.len();
                        entries.push_back(entry);
                        let fits = |entries: &VecDeque<Entry>, bytes| {
                            entries.len() <= max && (bytes < PAGE_BYTES_MAX || entries.len() == 1)
                        };
                        while !fits(&entries, bytes - entries[0].envelope.len()) && !fits(&entries, bytes) {
                            bytes -= entries.pop_front().map_or(0, |entry| entry.envelope.len());
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(page(top, true, chain(entries.into(), None)))
    }

    async fn oldest(&self, max: usize) -> Result<Page, LinkError> {
        let newest = self.stream.newest(&self.subject).await?;
        let top = self.top(newest.as_ref()).await?;
        let (mut next, mut entries) = (1, Vec::new());
        while entries.is_empty() && next <= top.offset && newest.is_some() {
            let kept = self.stream.from(&self.subject, next, max).await?;
            let Some(last) = kept.last() else { break };
            next = last.entry.offset + 1;
            entries = self.young(kept).collect();
        }
        Ok(page(top, true, chain(entries, None)))
    }

    async fn after(&self, position: Position, max: usize) -> Result<Page, LinkError> {
        let newest = self.stream.newest(&self.subject).await?;
        let top = self.top(newest.as_ref()).await?;
        if position.epoch != top.epoch || position.offset > top.offset {
            return Ok(page(top, false, Vec::new()));
        }
        let is_behind = newest.as_ref().is_some_and(|newest| newest.entry.offset > position.offset);
        let kept = match is_behind && max > 0 {
            true => self.stream.from(&self.subject, position.offset + 1, max).await?,
            false => Vec::new(),
        };
        if is_behind && max > 0 && kept.is_empty() {
            return Err(LinkError::lost("the server that reads has not got all entries yet"));
        }
        match self.is_known(position, kept.first().or(newest.as_ref())).await? {
            true => Ok(page(top, true, chain(kept.into_iter().map(|kept| kept.entry).collect(), Some(position)))),
            false => Ok(page(top, false, Vec::new())),
        }
    }

    /// Behind the newest entry, or behind the whole stream where the room has none.
    async fn top(&self, newest: Option<&Kept>) -> Result<Position, LinkError> {
        match newest {
            Some(newest) => Ok(newest.entry.position()),
            None => match self.stream.state(&self.subject).await? {
                State { last, count: 0, .. } => Ok(self.origin(last)),
                // The first has come meanwhile.
                _ => match self.stream.newest(&self.subject).await? {
                    Some(newest) => Ok(newest.entry.position()),
                    None => Err(LinkError::lost("the stream of histories has changed while it was read")),
                },
            },
        }
    }

    /// Returns the position of a room that has no entry, behind the entries of others up to this one.
    fn origin(&self, offset: u64) -> Position {
        let nonce = self.stream.start_positions.nonce(&self.log.channel, offset);
        Position { epoch: self.stream.epoch, offset, nonce }
    }

    /// Whether nothing of this room is missing behind a position; `oldest` is the first entry behind it.
    async fn is_known(&self, position: Position, oldest: Option<&Kept>) -> Result<bool, LinkError> {
        if position != self.origin(position.offset) {
            if position.offset == 0 {
                return Ok(false);
            }
            // Of one room what is oldest goes first. An entry of another room says nothing of this one.
            let kept = self.stream.at(position.offset).await?;
            let is_it = |kept: Kept| {
                kept.entry.nonce == position.nonce && kept.subject == self.subject && !kept.is_old(self.log)
            };
            return Ok(kept.is_some_and(is_it));
        }
        if oldest.is_some_and(|kept| kept.is_old(self.log)) {
            return Ok(false);
        }
        // By age the oldest of the stream goes first; by size only what is one too many for its room.
        let state = self.stream.state(&self.subject).await?;
        Ok(state.first <= position.offset.saturating_add(1) && state.count < self.log.history.size)
    }

    fn young(&self, kept: Vec<Kept>) -> impl Iterator<Item = Entry> {
        kept.into_iter().skip_while(|kept| kept.is_old(self.log)).map(|kept| kept.entry)
    }
}

fn page(top: Position, recovered: bool, entries: Vec<Entry>) -> Page {
    // More may have come meanwhile.
    let last = entries.last().map(Entry::position).filter(|last| last.offset > top.offset);
    Page { top: last.unwrap_or(top), recovered, entries }
}

/// Tells entries which was before them.
fn chain(mut entries: Vec<Entry>, position: Option<Position>) -> Vec<Entry> {
    let mut previous = position.map(|position| position.offset);
    for entry in &mut entries {
        entry.previous = previous.unwrap_or(entry.previous);
        previous = Some(entry.offset);
    }
    entries
}

/// By which the server finds what it has stored before: the key, else the nonce.
fn message_id(append: &Append) -> HeaderMap {
    let id = match &append.key {
        None => append.nonce.to_string(),
        Some(key) => {
            let mut id = format!("{}:", append.log.channel);
            escape(key, &mut id);
            id
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    headers
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
