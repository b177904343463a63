//! Redis 7 or Valkey: sharded pub/sub over RESP3, one connection for both ways.

mod answers;
mod keys;
mod log_store;
mod predecessor;
mod script;
mod server;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, PushInfo};
use redis::{Cmd, Pipeline, PushKind, RedisError, Value, cmd};

use self::log_store::LogStore;
use self::predecessor::Predecessor;
use self::server::Server;
use super::incoming::Sink;
use super::link::{Answers, Capabilities, Engine, Frame, LinkError, Session, Step};
use super::log::{Append, Appended, Log, Page, Span};

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

enum Servers {
    One(ConnectionInfo),
    /// Some nodes of a cluster.
    Cluster(Vec<ConnectionInfo>),
    /// Some sentinels, and the name of what they watch.
    Sentinel(Vec<ConnectionInfo>, String),
}

impl RedisEngine {
    /// `redis://…`, `rediss://…`, `redis+cluster://a,b`, `redis+sentinel://a,b/name`, the last two
    /// also with `rediss`; `?replicas=1` at the end, but for a cluster.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (url, replicas) = match url.rsplit_once("?replicas=") {
            Some((url, count)) => (url, count.parse().map_err(|_| format!("replicas={count} is no number"))?),
            None => (url, 0),
        };
        let servers = Servers::parse(url)?;
        match servers {
            Servers::Cluster(_) if replicas > 0 => Err("the nodes of a cluster are not asked for replicas".to_owned()),
            servers => Ok(RedisEngine { servers, replicas, predecessor: Predecessor::default() }),
        }
    }
}

impl Servers {
    fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("no address")?;
        let Some((scheme, kind)) = scheme.split_once('+') else {
            return Ok(Servers::One(server(url.to_owned())?));
        };
        match kind {
            "cluster" => Ok(Servers::Cluster(servers(scheme, rest)?)),
            "sentinel" => {
                let (sentinels, name) = rest.rsplit_once('/').ok_or("the name that the sentinels know is missing")?;
                Ok(Servers::Sentinel(servers(scheme, sentinels)?, name.to_owned()))
            }
            _ => Err(format!("there is no {kind}")),
        }
    }
}

/// What stands before an `@` of the first holds for all.
fn servers(scheme: &str, rest: &str) -> Result<Vec<ConnectionInfo>, String> {
    let (user, hosts) = rest.rsplit_once('@').map_or(("", rest), |(user, hosts)| (user, hosts));
    let at = if user.is_empty() { "" } else { "@" };
    hosts.split(',').map(|host| server(format!("{scheme}://{user}{at}{host}"))).collect()
}

fn server(url: String) -> Result<ConnectionInfo, String> {
    let info = url.into_connection_info().map_err(|error| error.to_string())?;
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

impl Engine for RedisEngine {
    fn connect(&self, sink: Sink) -> Step<'_, Box<dyn Session>> {
        Box::pin(async move {
            let connection = match &self.servers {
                Servers::One(info) => Connection::One(connect(info.clone(), sink).await?),
                Servers::Sentinel(sentinels, name) => {
                    Connection::One(connect_master(sentinels.clone(), name.clone(), sink).await?)
                }
                Servers::Cluster(nodes) => Connection::Cluster(connect_cluster(nodes.clone(), sink).await?),
            };
            let server = Server::examine(&connection).await?;
            self.predecessor.replace(&connection).await?;
            let logs = LogStore::open(&connection, server.replicas, self.replicas).await?;
            let session: Box<dyn Session> = Box::new(RedisSession { connection, logs });
            Ok(session)
        })
    }
}

async fn connect(info: ConnectionInfo, sink: Sink) -> Result<MultiplexedConnection, LinkError> {
    let config = config(sink);
    Ok(Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?)
}

async fn connect_master(
    sentinels: Vec<ConnectionInfo>,
    name: String,
    sink: Sink,
) -> Result<MultiplexedConnection, LinkError> {
    let settings = sentinels.first().map(|info| info.redis_settings().clone()).unwrap_or_default();
    let node = SentinelNodeConnectionInfo::default().set_redis_connection_info(settings);
    let mut client = SentinelClient::build(sentinels, name, Some(node), SentinelServerType::Master)?;
    Ok(client.get_async_connection_with_config(&config(sink)).await?)
}

async fn connect_cluster(nodes: Vec<ConnectionInfo>, sink: Sink) -> Result<ClusterConnection, LinkError> {
    let client = ClusterClient::builder(nodes)
        .use_protocol(ProtocolVersion::RESP3)
        .connection_timeout(CONNECT_MAX)
        .push_sender(move |push| pushed(&sink, push))
        .build()?;
    Ok(client.get_async_connection().await?)
}

/// The node has its own limit on how long an answer takes.
fn config(sink: Sink) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(None)
        .set_push_sender(move |push| pushed(&sink, push))
}

/// What comes without having been asked for: on the thread that reads, so that nothing piles up
/// in front of the node's own bounded queue.
fn pushed(sink: &Sink, push: PushInfo) -> Result<(), redis::aio::SendError> {
    match (push.kind, push.data.into_iter().nth(1)) {
        (PushKind::SMessage, Some(Value::BulkString(bytes))) => sink.message(bytes.into()),
        (PushKind::Disconnection, _) => sink.lost("Redis has closed the connection"),
        _ => {}
    }
    Ok(())
}

struct RedisSession {
    connection: Connection,
    logs: LogStore,
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

    async fn change(&self, command: &str, channels: &[Arc<str>]) -> Result<(), LinkError> {
        match self {
            Connection::One(connection) => {
                let mut pipeline = redis::pipe();
                channels.iter().for_each(|channel| _ = pipeline.cmd(command).arg(&**channel).ignore());
                Ok(pipeline.query_async::<()>(&mut connection.clone()).await?)
            }
            Connection::Cluster(_) => {
                let changed =
                    channels.iter().map(|channel| async move { self.ask(cmd(command).arg(&**channel)).await });
                try_join_all(changed).await.map(drop)
            }
        }
    }
}

fn spublish(frame: &Frame) -> (Arc<str>, Cmd) {
    let mut command = cmd("SPUBLISH");
    command.arg(&*frame.channel).arg(&*frame.bytes);
    (frame.channel.clone(), command)
}

impl Session for RedisSession {
    fn publish<'a>(&'a self, batch: &'a [Frame]) -> Step<'a, Answers> {
        Box::pin(async move {
            if batch.is_empty() {
                return self.connection.ask(&cmd("PING")).await.map(|_| Vec::new());
            }
            let answers = self.connection.run(batch.iter().map(spublish).collect()).await?;
            Ok(answers.into_iter().map(|answer| Ok(answer.map(drop)?)).collect())
        })
    }

    fn subscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(self.connection.change("SSUBSCRIBE", channels))
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(self.connection.change("SUNSUBSCRIBE", channels))
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
    fn urls_name_one_server_a_cluster_or_sentinels() {
        let count = |url: &str| match Servers::parse(url) {
            Ok(Servers::One(_)) => "server".to_owned(),
            Ok(Servers::Cluster(nodes)) => format!("cluster {}", nodes.len()),
            Ok(Servers::Sentinel(nodes, name)) => format!("{} sentinels of {name}", nodes.len()),
            Err(error) => error,
        };
        assert_eq!(count("redis://user:password@host:6379/2"), "server");
        assert_eq!(count("rediss://host"), "server");
        assert_eq!(count("redis+cluster://:password@a:7000,b:7000"), "cluster 2");
        assert_eq!(count("redis+sentinel://a:26379,b:26379/chat"), "2 sentinels of chat");
        assert_eq!(count("redis+sentinel://a:26379"), "the name that the sentinels know is missing");
        assert_eq!(count("redis+else://a"), "there is no else");
    }

    #[test]
    fn replicas_are_counted_where_one_server_is_asked() {
        assert_eq!(RedisEngine::parse("redis://host/2?replicas=1").map(|engine| engine.replicas), Ok(1));
        assert_eq!(RedisEngine::parse("redis+sentinel://a/chat?replicas=2").map(|engine| engine.replicas), Ok(2));
        assert!(RedisEngine::parse("redis+cluster://a?replicas=1").is_err());
        assert!(RedisEngine::parse("redis://host?replicas=many").is_err());
    }

    #[test]
    fn the_password_of_a_cluster_is_that_of_all_its_nodes() {
        let Ok(Servers::Cluster(nodes)) = Servers::parse("redis+cluster://ann:secret@a:1,b:2") else { panic!() };
        for node in nodes {
            assert_eq!(node.redis_settings().username(), Some("ann"));
            assert_eq!(node.redis_settings().password(), Some("secret"));
        }
    }
}
