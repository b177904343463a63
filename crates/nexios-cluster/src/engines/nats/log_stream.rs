//! Streams of JetStream that keep logs: one for all rooms with equal limits of history.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::datetime;
use async_nats::header;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamByNameErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Config, RawMessageError, RawMessageErrorKind, Republish, Stream};
use async_nats::jetstream::{Context, ErrorCode, Message};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::engines::link::LinkError;
use crate::engines::memory_log;
use crate::engines::start_positions::StartPositions;
use crate::history::log::{AGAIN_LEN_MAX, Entry, KEY_KEPT, Log, PAGE_BYTES_MAX};

/// Nodes that make the same stream at the same time: all but one look again.
const ATTEMPTS: usize = 3;
/// A consumer that nobody uses any more is gone after this time, even where nobody has said so.
const CONSUMER_IDLE: Duration = Duration::from_secs(10);
/// What a message has beside its envelope, at most.
const MESSAGE_BYTES: usize = 4096;
/// A stream's description up to the secret for positions of rooms without an entry.
const DESCRIPTION: &str = "What rooms of a Nexios app remember; secret: ";

/// A stream, found by its subjects: its name ends with its epoch, so one that is deleted and made
/// anew counts anew.
pub(super) struct LogStream {
    stream: Stream<()>,
    pub(super) epoch: u64,
    /// The secret of the positions of rooms without an entry: from the stream's description.
    pub(super) start_positions: StartPositions,
    /// How many servers beside its leader have what it has acknowledged.
    pub(super) replicas: u32,
    /// What the server takes at most in one message.
    payload_bytes_max: usize,
}

/// An entry as a stream has it.
pub(super) struct Kept {
    pub(super) entry: Entry,
    pub(super) subject: String,
    /// By the clock of the server.
    stored_ms: u64,
}

/// What a stream says of itself and of one subject.
pub(super) struct State {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Entries of the subject.
    pub(super) count: usize,
}

/// The subjects of a stream, but for the channel.
pub(super) fn prefix(log: &Log) -> String {
    // An escaped namespace has no `-`.
    let namespace = log.channel.split('-').next().unwrap_or_default();
    format!("{namespace}-log.{}.{}", log.history.size, log.history.ttl.as_millis())
}

pub(super) fn subject(log: &Log) -> String {
    format!("{}.{}", prefix(log), log.channel)
}

/// The epoch of a stream with this name.
fn epoch(name: &str) -> Option<u64> {
    let (_, epoch) = name.rsplit_once('-').filter(|(_, epoch)| epoch.len() == 16)?;
    u64::from_str_radix(epoch, 16).ok()
}

/// An entry, if what came on a channel is one that a stream has published.
pub(super) fn entry(message: &async_nats::Message) -> Option<Entry> {
    let headers = message.headers.as_ref()?;
    let number = |name| headers.get(name)?.as_str().parse().ok();
    Some(Entry {
        epoch: epoch(headers.get(header::NATS_STREAM)?.as_str())?,
        offset: number(header::NATS_SEQUENCE)?,
        previous: number(header::NATS_LAST_SEQUENCE)?,
        ..Entry::decode(&message.payload)?
    })
}

/// The epoch of an acknowledgement.
pub(super) fn acknowledged(stream: &str) -> Result<u64, LinkError> {
    epoch(stream).ok_or_else(|| foreign(stream))
}

fn foreign(stream: &str) -> LinkError {
    LinkError::Refused(format!("the stream {stream:?} of somebody else has the subjects of histories"))
}

impl LogStream {
    /// The stream for a log; it is made where there is none.
    pub(super) async fn open(jetstream: &Context, log: &Log, replicas: usize) -> Result<Self, LinkError> {
        for _ in 0..ATTEMPTS {
            match jetstream.stream_by_subject(format!("{}.*", prefix(log))).await {
                Ok(name) => return LogStream::find(jetstream, name).await,
                Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => {}
                Err(error) => return Err(LinkError::lost(error)),
            }
            match jetstream.create_stream(config(log, replicas)).await {
                Ok(stream) => return LogStream::find(jetstream, stream.cached_info().config.name.clone()).await,
                Err(error) => match error.kind() {
                    CreateStreamErrorKind::JetStream(error)
                        if [ErrorCode::STREAM_SUBJECT_OVERLAP, ErrorCode::STREAM_NAME_EXIST]
                            .contains(&error.error_code()) => {}
                    CreateStreamErrorKind::JetStream(error) => {
                        return Err(LinkError::Refused(format!("no stream for histories can be made: {error}")));
                    }
                    _ => return Err(LinkError::lost(error)),
                },
            }
        }
        Err(LinkError::lost("the stream of histories is not to be found"))
    }

    async fn find(jetstream: &Context, name: String) -> Result<Self, LinkError> {
        let epoch = epoch(&name).ok_or_else(|| foreign(&name))?;
        let info = jetstream.get_stream(&name).await.map_err(LinkError::lost)?;
        let config = &info.cached_info().config;
        // What is acknowledged is on more than half of the servers.
        let replicas = u32::try_from(config.num_replicas / 2).unwrap_or_default();
        let secret = config.description.as_deref().and_then(|text| text.strip_prefix(DESCRIPTION));
        let start_positions = secret.and_then(StartPositions::from_hex).unwrap_or_else(StartPositions::random);
        let stream = jetstream.get_stream_no_info(&name).await.map_err(LinkError::lost)?;
        Ok(LogStream { stream, epoch, start_positions, replicas, payload_bytes_max: jetstream.client().max_payload() })
    }

    /// The newest entry of a subject. The stream's leader is asked, which has all that is acknowledged.
    pub(super) async fn newest(&self, subject: &str) -> Result<Option<Kept>, LinkError> {
        let asked = self.stream.raw_message_builder().last_by_subject(subject).send().await;
        self.raw(asked)
    }

    /// The entry with a number, whatever its subject.
    pub(super) async fn at(&self, sequence: u64) -> Result<Option<Kept>, LinkError> {
        let asked = self.stream.raw_message_builder().sequence(sequence).send().await;
        self.raw(asked)
    }

    fn raw(&self, asked: Result<StreamMessage, RawMessageError>) -> Result<Option<Kept>, LinkError> {
        let message = match asked {
            Ok(message) => message,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(LinkError::lost(error)),
        };
        let stored_ms = u64::try_from(message.time.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        Ok(self.kept(message.sequence, &message.payload, message.subject.to_string(), stored_ms))
    }

    /// What is no entry was put there by somebody else.
    fn kept(&self, sequence: u64, payload: &Bytes, subject: String, stored_ms: u64) -> Option<Kept> {
        // The one before it has at most this number, which is all that is known.
        let previous = sequence.saturating_sub(1);
        let entry = Entry { epoch: self.epoch, offset: sequence, previous, ..Entry::decode(payload)? };
        Some(Kept { entry, subject, stored_ms })
    }

    pub(super) async fn state(&self, subject: &str) -> Result<State, LinkError> {
        let mut info = self.stream.info_with_subjects(subject).await.map_err(LinkError::lost)?;
        let (first, last) = (info.info.state.first_sequence, info.info.state.last_sequence);
        let count = match info.next().await {
            Some(count) => count.map_err(LinkError::lost)?.1,
            None => 0,
        };
        Ok(State { first, last, count })
    }

    /// Returns the number from which on to look for entries of a subject that are repeated: those that are younger than
    /// a key, and not too many.
    pub(super) async fn young(&self, subject: &str, newest: &Kept) -> Result<u64, LinkError> {
        let since = Duration::from_millis(newest.stored_ms).saturating_sub(KEY_KEPT).as_nanos();
        let nanos = i128::try_from(since).map_err(LinkError::lost)?;
        let start_time = datetime::from_nanos(nanos).map_err(LinkError::lost)?;
        let by_time = DeliverPolicy::ByStartTime { start_time };
        let info = self.consumer(pull::Config { deliver_policy: by_time, ..reading(subject, 1) }).await?;
        let count_max = u64::try_from(AGAIN_LEN_MAX).unwrap_or(u64::MAX);
        let first_by_count = newest.entry.offset.saturating_sub(count_max) + 1;
        // The consumer begins behind the last message that it is not given.
        Ok((info.delivered.stream_sequence + 1).max(first_by_count))
    }

    /// Returns a number from which on the subject has so many entries, and not many more; 1 where it has fewer.
    pub(super) async fn back(&self, subject: &str, newest: &Kept, max: usize) -> Result<u64, LinkError> {
        let (wanted, slack) = (u64::try_from(max).unwrap_or(u64::MAX), 1024);
        let (mut span, mut behind) = (wanted, newest.entry.offset + 1);
        // Other rooms have numbers in between, so it is searched for.
        let mut start = loop {
            let start = (newest.entry.offset + 1).saturating_sub(span).max(1);
            if start == 1 || self.count_from(subject, start).await? >= wanted {
                break start;
            }
            (span, behind) = (span.saturating_mul(4), start);
        };
        while behind - start > 1 && self.count_from(subject, start).await? > wanted.saturating_add(slack) {
            let middle = start + (behind - start) / 2;
            match self.count_from(subject, middle).await? >= wanted {
                true => start = middle,
                false => behind = middle,
            }
        }
        Ok(start)
    }

    async fn count_from(&self, subject: &str, sequence: u64) -> Result<u64, LinkError> {
        Ok(self.consumer(reading(subject, sequence)).await?.num_pending)
    }

    /// Makes a consumer for what the server says of it.
    async fn consumer(&self, config: pull::Config) -> Result<consumer::Info, LinkError> {
        let consumer = self.stream.create_consumer(config).await.map_err(LinkError::lost)?;
        let info = consumer.cached_info().clone();
        self.delete(info.name.clone());
        Ok(info)
    }

    /// A consumer goes by itself soon; nobody has to wait for that.
    fn delete(&self, name: String) {
        let stream = self.stream.clone();
        tokio::spawn(async move { stream.delete_consumer(&name).await });
    }

    /// Entries of a subject from a number on: at most so many, and about [`PAGE_BYTES_MAX`]; one at
    /// least, if there is one and one was asked for.
    pub(super) async fn from(&self, subject: &str, sequence: u64, max: usize) -> Result<Vec<Kept>, LinkError> {
        let consumer = self.stream.create_consumer(reading(subject, sequence)).await.map_err(LinkError::lost)?;
        let info = consumer.cached_info();
        let count = max.min(usize::try_from(info.num_pending).unwrap_or(usize::MAX));
        let mut kept = Vec::with_capacity(count.min(1024));
        if count > 0 {
            let bytes_max = PAGE_BYTES_MAX.max(self.payload_bytes_max) + MESSAGE_BYTES;
            let fetch = consumer.fetch().max_messages(count).max_bytes(bytes_max);
            let mut messages = fetch.messages().await.map_err(LinkError::lost)?;
            while let Some(message) = messages.next().await {
                // Where the next does not fit the page ends with an error.
                let Ok(message) = message else { break };
                kept.extend(self.delivered(&message)?);
            }
            if kept.is_empty() {
                return Err(LinkError::lost("entries that are there do not come"));
            }
        }
        self.delete(info.name.clone());
        Ok(kept)
    }

    fn delivered(&self, message: &Message) -> Result<Option<Kept>, LinkError> {
        let info = message.info().map_err(LinkError::lost)?;
        let stored_ms = u64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        Ok(self.kept(info.stream_sequence, &message.payload, message.subject.to_string(), stored_ms))
    }
}

impl Kept {
    /// A stream remembers for the time of keys at least; what is older than `ttl` is not to be shown.
    pub(super) fn is_old(&self, log: &Log) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        log.history.ttl < KEY_KEPT && now >= Duration::from_millis(self.stored_ms) + log.history.ttl
    }
}

fn config(log: &Log, replicas: usize) -> Config {
    let (prefix, history) = (prefix(log), log.history);
    let name = format!("{}-{:016x}", prefix.replace('.', "-"), memory_log::epoch());
    let subjects = format!("{prefix}.*");
    Config {
        name,
        description: Some(format!("{DESCRIPTION}{}", StartPositions::random().to_hex())),
        subjects: vec![subjects.clone()],
        max_messages_per_subject: i64::try_from(history.size).unwrap_or(i64::MAX),
        // The time in which duplicates are found cannot be longer.
        max_age: history.ttl.max(KEY_KEPT),
        duplicate_window: KEY_KEPT,
        num_replicas: replicas,
        republish: Some(Republish { source: subjects, destination: "{{wildcard(1)}}".to_owned(), headers_only: false }),
        ..Config::default()
    }
}

fn reading(subject: &str, sequence: u64) -> pull::Config {
    pull::Config {
        filter_subject: subject.to_owned(),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: sequence.max(1) },
        ack_policy: AckPolicy::None,
        inactive_threshold: CONSUMER_IDLE,
        num_replicas: 1,
        memory_storage: true,
        ..pull::Config::default()
    }
}
