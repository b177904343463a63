//! Redis 7 or Valkey: sharded pub/sub over RESP3, one connection for both ways.

mod answers;
mod keys;
mod log_store;
mod predecessor;
mod script;
mod server;
mod servers;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, PushInfo, PushKind, RedisError, Value, cmd};

use self::log_store::LogStore;
use self::predecessor::Predecessor;
use self::server::Server;
use self::servers::Servers;
use crate::engines::address::Tls;
use crate::engines::link::{Answers, BrokerSession, Capabilities, Engine, Frame, LinkError, Step};
use crate::history::log::{Append, Appended, Log, Page, Span};
use crate::node::incoming::Sink;

/// `proto-max-bulk-len` of Redis is 512 MiB; so much in one envelope would hold up all others.
const ENVELOPE_BYTES_MAX: usize = 64 << 20;
/// The client's own limit on one attempt; the node has its own for the whole.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where Redis is.
pub(crate) struct RedisEngine {
    servers: Servers,
    /// How many replicas an append waits for.
    replicas: u32,
    /// The connection before the next.
    predecessor: Predecessor,
}

impl RedisEngine {
    /// `redis://…`, `rediss://…`, `redis+cluster://a,b`, `redis+sentinel://a,b/name`, the last two
    /// also with `rediss`, `redis+unix:///path`; all also with `valkey`.
    pub(crate) fn parse(url: &str, tls: &Tls) -> Result<Self, String> {
        let (servers, replicas) = Servers::parse(url, tls)?;
        Ok(RedisEngine { servers, replicas, predecessor: Predecessor::default() })
    }
}

impl Engine for RedisEngine {
    fn connect(&self, sink: Sink) -> Step<'_, Box<dyn BrokerSession>> {
        Box::pin(async move {
            let pushes = Pushes::new(sink);
            let connection = self.servers.connect(&pushes).await?;
            let server = Server::examine(&connection).await?;
            self.predecessor.replace(&connection).await?;
            let channels = Channels { db: self.servers.db };
            let logs = LogStore::open(&connection, channels, server.replicas, self.replicas).await?;
            let session: Box<dyn BrokerSession> = Box::new(RedisSession { connection, pushes, channels, logs });
            Ok(session)
        })
    }
}

/// What comes without having been asked for: on the thread that reads, so that nothing piles up
/// in front of the node's own bounded queue.
#[derive(Clone)]
struct Pushes {
    sink: Sink,
    /// Channels that are subscribed to, as Redis knows them.
    wanted: Arc<Mutex<HashSet<Box<[u8]>>>>,
}

impl Pushes {
    fn new(sink: Sink) -> Self {
        Pushes { sink, wanted: Arc::default() }
    }

    fn take(&self, push: PushInfo) -> Result<(), redis::aio::SendError> {
        let mut data = push.data.into_iter();
        match (push.kind, data.next(), data.next()) {
            (PushKind::SMessage, _, Some(Value::BulkString(bytes))) => self.sink.message(bytes.into()),
            // A server ends subscriptions whose slot has gone to another; the client does not make them again.
            (PushKind::SUnsubscribe, Some(Value::BulkString(channel)), _) if self.wanted.lock().contains(&*channel) => {
                self.sink.lost("Redis has ended a subscription: the slot of its channel has moved");
            }
            (PushKind::Disconnection, ..) => self.sink.lost("Redis has closed the connection"),
            _ => {}
        }
        Ok(())
    }

    fn subscribing(&self, names: Channels, channels: &[Arc<str>]) {
        let names = channels.iter().map(|channel| names.name(channel).as_bytes().into());
        self.wanted.lock().extend(names);
    }

    fn unsubscribing(&self, names: Channels, channels: &[Arc<str>]) {
        let mut wanted = self.wanted.lock();
        channels.iter().for_each(|channel| _ = wanted.remove(names.name(channel).as_bytes()));
    }
}

struct RedisSession {
    connection: Connection,
    pushes: Pushes,
    channels: Channels,
    logs: LogStore,
}

/// Names of channels. Pub/sub knows no databases, so a database other than the first is a part of them.
#[derive(Clone, Copy)]
struct Channels {
    db: i64,
}

impl Channels {
    /// Returns the name at Redis. A name has no `-` of its own behind the last.
    fn name<'a>(self, channel: &'a str) -> Cow<'a, str> {
        match self.db {
            0 => channel.into(),
            db => format!("{channel}-db{db}").into(),
        }
    }
}

/// It can be used by many at once.
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    async fn ask(&self, command: &Cmd) -> Result<Value, LinkError> {
        // `query_async` makes errors of what Redis says, which the packed requests below it do not.
        let answer = match self {
            Connection::One(connection) => command.query_async(&mut connection.clone()).await,
            Connection::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        };
        Ok(answer?)
    }

    /// Runs commands in one round trip, those of one channel in order; the answers are in the order of
    /// the commands.
    async fn run(&self, commands: Vec<(Arc<str>, Cmd)>) -> Result<Vec<Result<Value, RedisError>>, LinkError> {
        match self {
            _ if commands.is_empty() => Ok(Vec::new()),
            Connection::One(connection) => {
                let mut pipeline = redis::pipe();
                commands.into_iter().for_each(|(_, command)| _ = pipeline.add_command(command));
                Ok(pipeline.ignore_errors().query_async(&mut connection.clone()).await?)
            }
            // Channels are on different nodes; the order is kept within a pipeline only.
            Connection::Cluster(connection) => {
                let mut pipelines = HashMap::<Arc<str>, (Vec<usize>, Pipeline)>::new();
                let count = commands.len();
                for (at, (channel, command)) in commands.into_iter().enumerate() {
                    let (places, pipeline) = pipelines.entry(channel).or_default();
                    places.push(at);
                    pipeline.add_command(command);
                }
                let sent = pipelines.into_values().map(|(places, mut pipeline)| async move {
                    let mut connection = connection.clone();
                    let answers: Vec<_> = pipeline.ignore_errors().query_async(&mut connection).await?;
                    Ok::<_, RedisError>(places.into_iter().zip(answers))
                });
                let mut answers: Vec<_> = (0..count).map(|_| Ok(Value::Nil)).collect();
                for (place, answer) in try_join_all(sent).await?.into_iter().flatten() {
                    answers[place] = answer;
                }
                Ok(answers)
            }
        }
    }

    async fn change(&self, command: &str, names: Channels, channels: &[Arc<str>]) -> Result<(), LinkError> {
        let names = channels.iter().map(|channel| names.name(channel));
        match self {
            Connection::One(connection) => {
                let mut pipeline = redis::pipe();
                names.for_each(|name| _ = pipeline.cmd(command).arg(&*name).ignore());
                Ok(pipeline.query_async::<()>(&mut connection.clone()).await?)
            }
            Connection::Cluster(_) => {
                let changed = names.map(|name| async move { self.ask(cmd(command).arg(&*name)).await });
                try_join_all(changed).await.map(drop)
            }
        }
    }
}

fn spublish(channels: Channels, frame: &Frame) -> (Arc<str>, Cmd) {
    let mut command = cmd("SPUBLISH");
    command.arg(&*channels.name(&frame.channel)).arg(&*frame.bytes);
    (frame.channel.clone(), command)
}

impl BrokerSession for RedisSession {
    fn publish<'a>(&'a self, batch: &'a [Frame]) -> Step<'a, Answers> {
        Box::pin(async move {
            if batch.is_empty() {
                return self.connection.ask(&cmd("PING")).await.map(|_| Vec::new());
            }
            let answers =
                self.connection.run(batch.iter().map(|frame| spublish(self.channels, frame)).collect()).await?;
            Ok(answers.into_iter().map(|answer| Ok(answer.map(drop)?)).collect())
        })
    }

    fn subscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        self.pushes.subscribing(self.channels, channels);
        Box::pin(self.connection.change("SSUBSCRIBE", self.channels, channels))
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        self.pushes.unsubscribing(self.channels, channels);
        Box::pin(self.connection.change("SUNSUBSCRIBE", self.channels, channels))
    }

    fn append<'a>(&'a self, batch: &'a [Append]) -> Step<'a, Vec<Appended>> {
        Box::pin(self.logs.append(&self.connection, batch))
    }

    fn read<'a>(&'a self, log: &'a Log, span: Span) -> Step<'a, Page> {
        Box::pin(self.logs.read(&self.connection, log, span))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { envelope_bytes_max: ENVELOPE_BYTES_MAX, ..self.logs.capabilities() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_have_channels_of_their_own() {
        let name = |db, channel: &str| Channels { db }.name(channel).into_owned();
        assert_eq!(name(0, "nexios-room-x"), "nexios-room-x");
        assert_eq!(name(1, "nexios-room-x"), "nexios-room-x-db1");
        let room = |name: &str| crate::topic::Topic::Room(name.into()).channel("nexios");
        let (x, other) = (room("x"), room("x-db1"));
        assert_ne!(name(1, &x), name(0, &other));
        assert_ne!(name(1, &other), name(11, &x));
    }
}
