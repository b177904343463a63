//! The settings of a broker, and the errors of one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::engines::address::{self, Tls};
use crate::engines::hub;
use crate::engines::link::{self, Engine};
use crate::engines::memory::Memory;
#[cfg(feature = "nats")]
use crate::engines::nats;
#[cfg(feature = "redis")]
use crate::engines::redis;
use crate::presence;

/// The environment's say.
const VARIABLE: &str = "NEXIOS_BROKER";

/// Which broker, and how it is used.
///
/// ```
/// use std::time::Duration;
/// use nexios::broker::Broker;
/// let broker = Broker::new("redis://127.0.0.1:6379").namespace("chat").connect_timeout(Duration::from_secs(2));
/// ```
#[derive(Clone)]
#[must_use]
pub struct Broker {
    place: Place,
    pub(crate) namespace: Arc<str>,
    pub(crate) connect_timeout: Duration,
    pub(crate) outgoing_messages_max: usize,
    pub(crate) outgoing_bytes_max: usize,
    pub(crate) incoming_bytes_max: usize,
    pub(crate) presence_ttl: Duration,
    pub(crate) presence_bytes_max: usize,
    durability: Durability,
    tls: Tls,
}

/// The delivery guarantee that a room with history requires of the broker.
///
/// ```
/// use nexios::broker::{Broker, Durability};
/// let broker = Broker::new("redis://127.0.0.1:6379").durability(Durability::Stored);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
#[non_exhaustive]
pub enum Durability {
    /// That it takes it: any broker can.
    #[default]
    Accepted,
    /// That it has stored it: `Outcome::stored`.
    Stored,
    /// That another server has it, too: `Outcome::replicated`.
    Replicated,
}

#[derive(Clone)]
enum Place {
    Url(Arc<str>),
    Memory(Memory),
}

/// Why there is no broker.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The URL says nothing that is known.
    #[error("{url:?} is no broker: write {SCHEMES}")]
    Url {
        /// As it was written, without a password.
        url: String,
    },
    /// The URL is not what this kind of broker needs.
    #[error("{url:?} is no broker: {reason}")]
    Malformed {
        /// As it was written, without a password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kind of broker was left out when this program was built.
    #[error("{url:?} needs the cargo feature {feature:?} of nexios")]
    Feature {
        /// As it was written, without a password.
        url: String,
        /// The feature.
        feature: &'static str,
    },
    /// The broker cannot be reached.
    #[error("cannot reach the broker {url}: {reason}")]
    Unreachable {
        /// Which one, without a password.
        url: String,
        /// What came instead.
        reason: String,
    },
    /// Two routers would be one to other nodes.
    #[error("to a broker two routers are called {0:?}: give one a name of its own")]
    SameName(String),
    /// The broker cannot do what was asked of it.
    #[error(
        "the broker {url} cannot say of a message that it is {level}: choose another broker, or a lower durability"
    )]
    Durability {
        /// Which one, without a password.
        url: String,
        /// What it cannot say.
        level: &'static str,
    },
    /// The broker does not answer.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
    /// The broker has not taken a message: it may be sent again.
    #[error("the broker has not taken the message: {0}")]
    Refused(String),
    /// The broker has not confirmed a message. Sent again it may come twice, unless a room with a history stores it
    /// under an idempotency key.
    #[error("the message may have been sent, the broker has not confirmed it: {0}")]
    Unconfirmed(String),
}

const SCHEMES: &str = "unix:/path/to/socket, redis://host:6379/0 or nats://host:4222";

impl Broker {
    /// A broker by its URL.
    ///
    /// - `unix:/run/chat-hub.sock`: the hub of one machine
    /// - `redis://user:password@host:6379/0`, `rediss://` with TLS, `redis+unix:///path?db=0`;
    ///   `redis+cluster://a:7000,b:7000`, `redis+sentinel://a:26379,b:26379/name/0`; all of them also with `valkey`:
    ///   Redis 7 or Valkey; feature `redis`
    /// - `nats://user:password@host:4222`, `tls://` with TLS, several with commas, and
    ///   `?credentials=/path/to/user.creds`; feature `nats`
    ///
    /// User and password may be percent-encoded. At the end `?replicas=1` asks Redis on how many replicas it has what
    /// rooms store before that counts as stored, for half a second at most; `?replicas=3` says on how many servers
    /// of NATS it is. `?tls_ca=/path`, `tls_cert=` and `tls_key=` are [`tls_ca`](Self::tls_ca) and so on;
    /// `sentinel_user=` and `sentinel_password=` are what the sentinels want to know where that is something else.
    /// A parameter that is not known is an error.
    pub fn new(url: impl AsRef<str>) -> Self {
        Broker::at(Place::Url(url.as_ref().into()))
    }

    fn at(place: Place) -> Self {
        Broker {
            place,
            namespace: "nexios".into(),
            connect_timeout: Duration::from_secs(5),
            outgoing_messages_max: 64 << 10,
            outgoing_bytes_max: 32 << 20,
            incoming_bytes_max: 32 << 20,
            presence_ttl: Duration::from_secs(30),
            presence_bytes_max: presence::BYTES_MAX,
            durability: Durability::default(),
            tls: Tls::default(),
        }
    }

    /// The one that the environment names.
    #[doc(hidden)]
    pub fn from_environment() -> Option<Self> {
        std::env::var(VARIABLE).ok().filter(|url| !url.is_empty()).map(Broker::new)
    }

    /// Keeps apps on one broker apart; all nodes of an app have the same. `nexios` if not set.
    pub fn namespace(mut self, namespace: impl AsRef<str>) -> Self {
        self.namespace = namespace.as_ref().into();
        self
    }

    /// How long a start waits for the broker; 5 s if not set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many messages may wait for the broker: 65,536 if not set. What does not fit is not
    /// `accepted`.
    pub fn outgoing_messages_max(mut self, messages: usize) -> Self {
        self.outgoing_messages_max = messages;
        self
    }

    /// How many bytes may wait for the broker: 32 MiB if not set.
    pub fn outgoing_bytes_max(mut self, bytes: usize) -> Self {
        self.outgoing_bytes_max = bytes;
        self
    }

    /// How much of what came may wait for the clients here: 32 MiB if not set. What does not
    /// fit is a [`Gap`](crate::Gap).
    pub fn incoming_bytes_max(mut self, bytes: usize) -> Self {
        self.incoming_bytes_max = bytes;
        self
    }

    /// How long other nodes believe in the clients of this one when they hear nothing of it; 30 s if
    /// not set, a tenth of a second at least. After any fault presence is right within twice as long.
    pub fn presence_ttl(mut self, ttl: Duration) -> Self {
        self.presence_ttl = ttl.max(Duration::from_millis(100));
        self
    }

    /// How much memory presence may take, the users of other nodes included: about 256 MiB if not
    /// set. Who does not fit is not tracked, and those of other nodes who do not are not shown.
    pub fn presence_bytes_max(mut self, bytes: usize) -> Self {
        self.presence_bytes_max = bytes;
        self
    }

    /// What the broker has to be able to say of a message; one that cannot is an error at the
    /// start. [`Durability::Accepted`] if not set.
    pub fn durability(mut self, level: Durability) -> Self {
        self.durability = level;
        self
    }

    /// The file of the certificates (PEM) that are trusted, instead of those that the system trusts: for `rediss://`,
    /// `tls://`, and a `nats://` that goes on over TLS.
    pub fn tls_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca = Some(path.into());
        self
    }

    /// The file of the certificate (PEM) that this node shows to the broker; it needs [`tls_key`](Self::tls_key).
    pub fn tls_cert(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.cert = Some(path.into());
        self
    }

    /// The file of the key (PEM) of [`tls_cert`](Self::tls_cert).
    pub fn tls_key(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.key = Some(path.into());
        self
    }

    /// What this broker cannot do and has to.
    pub(crate) fn lacks(&self, capabilities: link::Capabilities) -> Option<BrokerError> {
        let level = match self.durability {
            Durability::Accepted => return None,
            Durability::Stored => (!capabilities.history).then_some("stored"),
            Durability::Replicated => (capabilities.replicas_max == 0).then_some("replicated"),
        };
        level.map(|level| BrokerError::Durability { url: self.display_url(), level })
    }

    /// Whether it can be one; whether it is there shows when it is connected.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn check(&self) -> Result<(), BrokerError> {
        self.engine().map(drop)
    }

    /// The URL as it may be shown.
    pub(crate) fn display_url(&self) -> String {
        match &self.place {
            Place::Memory(_) => "in memory".to_owned(),
            Place::Url(url) => address::shown(url),
        }
    }

    pub(crate) fn engine(&self) -> Result<Box<dyn Engine>, BrokerError> {
        let url = match &self.place {
            Place::Memory(memory) => return Ok(Box::new(memory.clone())),
            Place::Url(url) => url,
        };
        let unknown = || BrokerError::Url { url: address::shown(url) };
        let (scheme, rest) = url.split_once(':').ok_or_else(unknown)?;
        match scheme {
            "unix" if !rest.trim_start_matches("//").is_empty() => self.hub_engine(url, rest),
            "nats" | "tls" => nats_engine(url, &self.tls),
            _ if is_redis(scheme) => redis_engine(url, &self.tls),
            _ => Err(unknown()),
        }
    }

    fn hub_engine(&self, url: &str, rest: &str) -> Result<Box<dyn Engine>, BrokerError> {
        let has_parameters = rest.split_once('?').is_some_and(|(_, query)| query.contains('='));
        let reason = match (has_parameters, self.tls.is_set()) {
            (true, _) => {
                "unknown parameter: the hub has none; Redis at a Unix socket is redis+unix:///path/to/socket?db=1"
            }
            (_, true) => "there is no TLS on a Unix socket",
            _ => return Ok(Box::new(hub::HubEngine(rest.strip_prefix("//").unwrap_or(rest).into()))),
        };
        Err(BrokerError::Malformed { url: address::shown(url), reason: reason.to_owned() })
    }
}

/// Returns true for `redis`, `rediss`, `valkey` and `valkeys`, and those with a `+` behind them.
fn is_redis(scheme: &str) -> bool {
    let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let is_kind = ["", "cluster", "sentinel", "unix", "socket"].contains(&kind);
    ["redis", "rediss", "valkey", "valkeys"].contains(&base) && is_kind
}

#[cfg(feature = "redis")]
fn redis_engine(url: &str, tls: &Tls) -> Result<Box<dyn Engine>, BrokerError> {
    let malformed = |reason| BrokerError::Malformed { url: address::shown(url), reason };
    Ok(Box::new(redis::RedisEngine::parse(url, tls).map_err(malformed)?))
}

#[cfg(not(feature = "redis"))]
fn redis_engine(url: &str, _: &Tls) -> Result<Box<dyn Engine>, BrokerError> {
    Err(BrokerError::Feature { url: address::shown(url), feature: "redis" })
}

#[cfg(feature = "nats")]
fn nats_engine(url: &str, tls: &Tls) -> Result<Box<dyn Engine>, BrokerError> {
    let malformed = |reason| BrokerError::Malformed { url: address::shown(url), reason };
    Ok(Box::new(nats::NatsEngine::parse(url, tls).map_err(malformed)?))
}

#[cfg(not(feature = "nats"))]
fn nats_engine(url: &str, _: &Tls) -> Result<Box<dyn Engine>, BrokerError> {
    Err(BrokerError::Feature { url: address::shown(url), feature: "nats" })
}

impl From<&str> for Broker {
    fn from(url: &str) -> Self {
        Broker::new(url)
    }
}

impl From<String> for Broker {
    fn from(url: String) -> Self {
        Broker::new(url)
    }
}

impl From<&Memory> for Broker {
    fn from(memory: &Memory) -> Self {
        Broker::at(Place::Memory(memory.clone()))
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("url", &self.display_url())
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("redis://:secret@host:6379/0", "redis://host:6379/0"),
            ("nats://ann:s@c,r/et@a:1,nats://token@b:2", "nats://b:2"),
            ("unix:/run/hub.sock", "unix:/run/hub.sock"),
        ] {
            assert_eq!(
                format!("{:?}", Broker::new(url)),
                format!("Broker {{ url: {shown:?}, namespace: \"nexios\", .. }}")
            );
        }
    }

    #[test]
    #[cfg(not(any(feature = "redis", feature = "nats")))]
    fn a_kind_that_was_left_out_says_which_feature_has_it() {
        let error = Broker::new("redis://:secret@host").engine().err().unwrap();
        assert_eq!(error.to_string(), "\"redis://host\" needs the cargo feature \"redis\" of nexios");
    }

    #[test]
    fn what_is_no_broker_says_what_is() {
        let error = Broker::new("http://host").engine().err().unwrap();
        assert_eq!(
            error.to_string(),
            "\"http://host\" is no broker: write unix:/path/to/socket, redis://host:6379/0 or nats://host:4222"
        );
    }
}
