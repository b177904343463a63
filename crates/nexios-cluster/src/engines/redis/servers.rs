//! Where Redis is, and how it is connected to.

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, TlsCertificates, TlsMode,
};

use super::{CONNECT_MAX, Connection, Pushes};
use crate::engines::address::{self, Address, Host, Tls};
use crate::engines::link::LinkError;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where Redis is.
pub(super) struct Servers {
    place: Place,
    pub(super) db: i64,
    settings: RedisConnectionInfo,
    is_secure: bool,
    tls: Tls,
}

enum Place {
    One(ConnectionAddr),
    /// Some nodes of a cluster.
    Cluster(Vec<ConnectionAddr>),
    /// Some sentinels, the name of what they watch, and what they want to know.
    Sentinel {
        sentinels: Vec<ConnectionAddr>,
        name: String,
        user: Option<String>,
        password: Option<String>,
    },
}

impl Servers {
    /// Parses the address; returns also for how many replicas an append waits.
    pub(super) fn parse(url: &str, tls: &Tls) -> Result<(Self, u32), String> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme).replacen("valkey", "redis", 1);
        let (base, kind) = scheme.split_once('+').unwrap_or((&scheme, ""));
        let is_file = ["unix", "socket"].contains(&kind);
        let address = if is_file { Address::parse_file(url)? } else { Address::parse(url)? };
        address.allow(&known(kind, is_file)?)?;
        let (tls, is_secure) = (address.tls(tls)?, base == "rediss");
        if tls.is_set() && !is_secure {
            return Err("tls_ca, tls_cert and tls_key are for a connection over TLS: write rediss://".to_owned());
        }
        if is_file && is_secure {
            return Err("there is no TLS on a Unix socket: write redis+unix://".to_owned());
        }
        let place = Place::of(&address, kind, is_secure)?;
        let db = database(&address, kind)?;
        let mut settings = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(db);
        if let Some(user) = &address.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &address.password {
            settings = settings.set_password(password);
        }
        let count = |count: &str| count.parse().map_err(|_| format!("replicas={count:?} is not a number"));
        let replicas = address.parameter("replicas").map_or(Ok(0), count)?;
        Ok((Servers { place, db, settings, is_secure, tls }, replicas))
    }

    pub(super) async fn connect(&self, pushes: &Pushes) -> Result<Connection, LinkError> {
        match &self.place {
            Place::One(place) => Ok(Connection::One(self.connect_to(place.clone(), pushes).await?)),
            Place::Cluster(nodes) => Ok(Connection::Cluster(self.connect_cluster(nodes, pushes).await?)),
            Place::Sentinel { .. } => {
                let mut client = self.sentinels()?;
                Ok(Connection::One(client.get_async_connection_with_config(&config(pushes)).await?))
            }
        }
    }

    async fn connect_to(&self, place: ConnectionAddr, pushes: &Pushes) -> Result<MultiplexedConnection, LinkError> {
        let info = self.info(place)?;
        let client = match self.certificates()? {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        };
        Ok(client.get_multiplexed_async_connection_with_config(&config(pushes)).await?)
    }

    async fn connect_cluster(&self, nodes: &[ConnectionAddr], pushes: &Pushes) -> Result<ClusterConnection, LinkError> {
        let nodes = nodes.iter().map(|node| self.info(node.clone())).collect::<Result<Vec<_>, _>>()?;
        let pushes = pushes.clone();
        let mut builder = ClusterClient::builder(nodes)
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(CONNECT_MAX)
            .push_sender(move |push| pushes.take(push));
        if let Some(certificates) = self.certificates()? {
            builder = builder.certs(certificates);
        }
        Ok(builder.build()?.get_async_connection().await?)
    }

    /// Sentinels have no databases, and may have users of their own.
    fn sentinels(&self) -> Result<SentinelClient, LinkError> {
        let Place::Sentinel { sentinels, name, user, password } = &self.place else {
            return Err(LinkError::Refused("there are no sentinels".to_owned()));
        };
        let mut builder = SentinelClientBuilder::new(sentinels.clone(), name, SentinelServerType::Master)?
            .set_client_to_redis_protocol(ProtocolVersion::RESP3)
            .set_client_to_sentinel_protocol(ProtocolVersion::RESP3)
            .set_client_to_redis_db(self.db);
        if let Some(user) = self.settings.username() {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = self.settings.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(user) = user {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if self.is_secure {
            builder =
                builder.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = self.certificates()? {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        Ok(builder.build()?)
    }

    fn info(&self, place: ConnectionAddr) -> Result<ConnectionInfo, LinkError> {
        Ok(place.into_connection_info()?.set_redis_settings(self.settings.clone()))
    }

    /// Reads the files of certificates: they may have been renewed.
    fn certificates(&self) -> Result<Option<TlsCertificates>, LinkError> {
        let Tls { ca, cert, key } = &self.tls;
        let read = |setting: &str, path: &Option<_>| {
            path.as_ref().map(|path: &std::path::PathBuf| Tls::read(setting, path)).transpose()
        };
        let (root_cert, client_cert, client_key) =
            (read("tls_ca", ca)?, read("tls_cert", cert)?, read("tls_key", key)?);
        let client_tls =
            client_cert.zip(client_key).map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        Ok(self.tls.is_set().then_some(TlsCertificates { client_tls, root_cert }))
    }
}

impl Place {
    fn of(address: &Address, kind: &str, is_secure: bool) -> Result<Self, String> {
        let servers = |port| address.hosts.iter().map(|host| server(host, port, is_secure)).collect::<Vec<_>>();
        match (kind, &address.hosts[..]) {
            ("unix" | "socket", _) => Ok(Place::One(ConnectionAddr::Unix(address.path.clone().into()))),
            ("cluster", _) => Ok(Place::Cluster(servers(PORT))),
            ("sentinel", _) => {
                let name = address.path.split('/').nth(1).unwrap_or_default().to_owned();
                if name.is_empty() {
                    return Err("the name that the sentinels know is missing".to_owned());
                }
                let own = |name: &str| address.parameter(name).map(str::to_owned);
                // One that says nothing of them has those of the master.
                let (user, password) = match (own("sentinel_user"), own("sentinel_password")) {
                    (None, None) => (address.user.clone(), address.password.clone()),
                    (user, password) => (user, password),
                };
                let is_said = |text: &String| !text.is_empty();
                let (user, password) = (user.filter(is_said), password.filter(is_said));
                Ok(Place::Sentinel { sentinels: servers(SENTINEL_PORT), name, user, password })
            }
            (_, [host]) => Ok(Place::One(server(host, PORT, is_secure))),
            _ => {
                Err("several hosts are a cluster, redis+cluster://a,b, or sentinels, redis+sentinel://a,b/name"
                    .to_owned())
            }
        }
    }
}

fn known(kind: &str, is_file: bool) -> Result<Vec<&'static str>, String> {
    let own: &[&str] = match kind {
        "" | "unix" | "socket" => &["db", "replicas"],
        "sentinel" => &["db", "replicas", "sentinel_user", "sentinel_password"],
        "cluster" => &[],
        _ => return Err(format!("there is no {kind}")),
    };
    let tls: &[&str] = if is_file { &[] } else { &address::TLS };
    Ok([own, tls].concat())
}

/// The database: of the path, or of `?db=`.
fn database(address: &Address, kind: &str) -> Result<i64, String> {
    let mut parts = address.path.split('/').skip(1);
    let path = match kind {
        "unix" | "socket" => None,
        "sentinel" => parts.nth(1),
        _ => parts.next(),
    };
    if !["unix", "socket"].contains(&kind) && parts.next().is_some_and(|rest| !rest.is_empty()) {
        return Err("there is more behind the database than a parameter".to_owned());
    }
    let number = |text: &str| {
        let number = text.parse().ok().filter(|number| *number >= 0);
        number.ok_or_else(|| format!("invalid database {text:?}: must be a number"))
    };
    let path = path.filter(|text| !text.is_empty()).map(number).transpose()?;
    let named = address.parameter("db").map(number).transpose()?;
    match (path, named) {
        (Some(path), Some(named)) if path != named => Err(format!("two databases, {path} and {named}: write one")),
        (Some(db), _) | (None, Some(db)) if kind == "cluster" && db > 0 => {
            Err("a cluster has database 0 only".to_owned())
        }
        (path, named) => Ok(path.or(named).unwrap_or(0)),
    }
}

fn server(host: &Host, port: u16, is_secure: bool) -> ConnectionAddr {
    let (host, port) = (host.name.clone(), host.port.unwrap_or(port));
    match is_secure {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    }
}

/// The node has its own limit on how long an answer takes.
fn config(pushes: &Pushes) -> AsyncConnectionConfig {
    let pushes = pushes.clone();
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(None)
        .set_push_sender(move |push| pushes.take(push))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<(Servers, u32), String> {
        Servers::parse(url, &Tls::default())
    }

    fn said(url: &str) -> String {
        match parse(url) {
            Err(error) => error,
            Ok((Servers { place, db, .. }, _)) => match place {
                Place::One(place) => format!("server {place} db {db}"),
                Place::Cluster(nodes) => format!("cluster {}", nodes.len()),
                Place::Sentinel { sentinels, name, user, password } => {
                    let of = format!("{} sentinels of {name} db {db}", sentinels.len());
                    format!("{of}, {}:{}", user.unwrap_or_default(), password.unwrap_or_default())
                }
            },
        }
    }

    #[test]
    fn urls_name_one_server_a_cluster_or_sentinels() {
        for (url, expected) in [
            ("redis://user:password@host:6379/2", "server host:6379 db 2"),
            ("rediss://host", "server host:6379 db 0"),
            ("valkey://host:1?db=3", "server host:1 db 3"),
            ("valkeys://host", "server host:6379 db 0"),
            ("redis+unix:///run/redis.sock?db=1", "server /run/redis.sock db 1"),
            ("valkey+unix://:secret@/run/x%20y.sock", "server /run/x y.sock db 0"),
            ("redis+cluster://:password@a:7000,b:7000", "cluster 2"),
            ("valkeys+cluster://a", "cluster 1"),
            ("redis+sentinel://a:26379,b:26379/chat", "2 sentinels of chat db 0, :"),
            ("valkey+sentinel://a/chat/4", "1 sentinels of chat db 4, :"),
            ("redis+sentinel://ann:x@a/chat?db=1", "1 sentinels of chat db 1, ann:x"),
            ("redis+sentinel://ann:x@a/chat?sentinel_password=y%26", "1 sentinels of chat db 0, :y&"),
            ("redis+sentinel://ann:x@a/chat?sentinel_password=", "1 sentinels of chat db 0, :"),
            ("redis+sentinel://a:26379", "the name that the sentinels know is missing"),
            ("redis+else://a", "there is no else"),
            ("redis+cluster://a/1", "a cluster has database 0 only"),
            (
                "redis://a,b",
                "several hosts are a cluster, redis+cluster://a,b, or sentinels, redis+sentinel://a,b/name",
            ),
            ("redis://a/x", "invalid database \"x\": must be a number"),
            ("redis://a/1?db=2", "two databases, 1 and 2: write one"),
            ("redis://a/1/2", "there is more behind the database than a parameter"),
            ("redis+unix://run/redis.sock", "the path is missing: write ///path/to/socket"),
            ("redis://a?tls_ca=/x", "tls_ca, tls_cert and tls_key are for a connection over TLS: write rediss://"),
            ("rediss+unix:///run/x", "there is no TLS on a Unix socket: write redis+unix://"),
            ("redis://a?replica=1", "unknown parameter \"replica\": there are db, replicas, tls_ca, tls_cert, tls_key"),
            ("redis+cluster://a?replicas=1", "unknown parameter \"replicas\": there are tls_ca, tls_cert, tls_key"),
        ] {
            assert_eq!(said(url), expected, "{url}");
        }
    }

    #[test]
    fn replicas_are_counted_where_one_server_is_asked() {
        let replicas = |url: &str| parse(url).map(|(_, replicas)| replicas);
        assert_eq!(replicas("redis://host/2?replicas=1"), Ok(1));
        assert_eq!(replicas("redis+sentinel://a/chat?replicas=2"), Ok(2));
        assert!(replicas("redis+cluster://a?replicas=1").is_err());
        assert!(replicas("redis://host?replicas=many").is_err());
    }

    #[test]
    fn the_password_of_a_cluster_is_that_of_all_its_nodes() {
        let (servers, _) = parse("redis+cluster://ann:secret@a:1,b:2").unwrap();
        let Place::Cluster(nodes) = &servers.place else { panic!() };
        for node in nodes {
            let info = servers.info(node.clone()).unwrap();
            assert_eq!(info.redis_settings().username(), Some("ann"));
            assert_eq!(info.redis_settings().password(), Some("secret"));
        }
    }
}
