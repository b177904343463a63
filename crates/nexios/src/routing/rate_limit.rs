//! Rate limits for messages and for handshakes.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nexios_engine::Refusal;
use nexios_protocol::CloseCode;
use parking_lot::Mutex;

use crate::connection::websocket::WebSocket;
use crate::error::Result;
use crate::routing::handler::LocalFuture;
use crate::routing::middleware::{Identity, Middleware, Next};

/// Keys remembered at once; a key that has its whole burst again is forgotten first.
const KEYS_MAX: usize = 65_536;

const REASON: &str = "Rate limit exceeded";

/// A middleware that limits how often clients send, or how often they connect.
///
/// One object is one limit: two of the same numbers count apart, a clone counts together.
///
/// ```
/// use std::time::Duration;
/// use nexios::{rate_limit::OnExcess, RateLimit, Route, WebSocket, WsRouter};
/// # async fn chat(ws: WebSocket) -> nexios::Result { ws.accept().await }
///
/// let talk = RateLimit::messages(10).per(Duration::from_secs(1)).burst(30);
/// let dial = RateLimit::handshakes(5).per(Duration::from_secs(10));
/// let router = WsRouter::new()
///     .middleware(dial)
///     .route(Route::new("/chat", chat).middleware(talk))
///     .route(Route::new("/slow", chat).middleware(
///         RateLimit::messages(1).on_excess(OnExcess::Wait).key_by(|ws| ws.query("user").unwrap_or_default()),
///     ));
/// ```
#[derive(Clone)]
pub struct RateLimit {
    scope: Scope,
    count: u32,
    per: Duration,
    burst: u32,
    on_excess: OnExcess,
    key: KeyBy,
    shared: Arc<Shared>,
}

/// What happens over the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum OnExcess {
    /// Close with 1008 "Rate limit exceeded".
    #[default]
    Close,
    /// Throw the message away, unseen by listeners and handlers; refuse the handshake with 429.
    Drop,
    /// Hand it out when its time has come; the client feels it as backpressure.
    Wait,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scope {
    Messages,
    Handshakes,
}

#[derive(Clone)]
enum KeyBy {
    Connection,
    Host,
    Function(Arc<dyn Fn(&WebSocket) -> String + Send + Sync>),
}

#[derive(Default)]
struct Shared {
    buckets: Mutex<HashMap<Key, Bucket>>,
    hashers: [RandomState; 2],
    dropped: AtomicU64,
}

/// Who counts together. Of a name only a hash is kept, since clients may choose long ones; it is keyed, so that they
/// cannot choose two with the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Key {
    Host(Option<u128>),
    Named([u64; 2]),
}

/// The generic cell rate algorithm (ITU-T I.371): all that a limit knows of a key is when
/// the next message would be due at the even rate.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    due: Option<Instant>,
}

/// The even rate, and how far ahead of it one may be.
#[derive(Clone, Copy, Debug)]
struct Rate {
    interval: Duration,
    ahead: Duration,
}

/// A message limit as one connection meets it.
pub(crate) struct Limiter {
    limit: RateLimit,
    /// `None`: by connection.
    key: Option<Key>,
    own: Cell<Bucket>,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Pass,
    Close,
    Drop,
    Wait(Instant),
}

impl RateLimit {
    /// So many messages per second of one connection.
    pub fn messages(count: u32) -> Self {
        Self::new(Scope::Messages, count, KeyBy::Connection)
    }

    /// So many handshakes per second of one host; an IPv6 /64 is one host.
    pub fn handshakes(count: u32) -> Self {
        Self::new(Scope::Handshakes, count, KeyBy::Host)
    }

    fn new(scope: Scope, count: u32, key: KeyBy) -> Self {
        let count = count.max(1);
        let on_excess = OnExcess::Close;
        RateLimit { scope, count, per: Duration::from_secs(1), burst: count, on_excess, key, shared: Arc::default() }
    }

    /// The time in which the count is allowed, instead of a second.
    pub fn per(mut self, per: Duration) -> Self {
        self.per = per;
        self
    }

    /// So many at once after a pause, instead of the count.
    pub fn burst(mut self, burst: u32) -> Self {
        self.burst = burst.max(1);
        self
    }

    /// What happens over the limit, instead of closing.
    pub fn on_excess(mut self, on_excess: OnExcess) -> Self {
        self.on_excess = on_excess;
        self
    }

    /// Counts together what has the same host; an IPv6 /64 is one host.
    pub fn by_host(mut self) -> Self {
        self.key = KeyBy::Host;
        self
    }

    /// Counts together what has the same key.
    pub fn key_by(mut self, key: impl Fn(&WebSocket) -> String + Send + Sync + 'static) -> Self {
        self.key = KeyBy::Function(Arc::new(key));
        self
    }

    /// How many messages and handshakes this limit has thrown away.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn rate(&self) -> Rate {
        let interval = self.per / self.count;
        Rate { interval, ahead: interval.saturating_mul(self.burst - 1) }
    }

    /// The key of a connection; `None` where it is the connection itself.
    fn key(&self, ws: &WebSocket) -> Option<Key> {
        match &self.key {
            KeyBy::Connection => None,
            KeyBy::Host => Some(Key::Host(ws.client().map(|client| host_key(client.host)))),
            KeyBy::Function(function) => Some(self.named(&function(ws))),
        }
    }

    fn named(&self, name: &str) -> Key {
        Key::Named(self.shared.hashers.each_ref().map(|hasher| hasher.hash_one(name)))
    }

    fn take(&self, key: &Key, now: Instant) -> Result<(), Instant> {
        let mut buckets = self.shared.buckets.lock();
        if !buckets.contains_key(key) && buckets.len() >= KEYS_MAX {
            forget(&mut buckets, now);
        }
        buckets.entry(*key).or_default().take(self.rate(), now)
    }

    fn judge(&self, taken: Result<(), Instant>) -> Verdict {
        match (taken, self.on_excess) {
            (Ok(()), _) => Verdict::Pass,
            (Err(_), OnExcess::Close) => Verdict::Close,
            (Err(_), OnExcess::Drop) => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                Verdict::Drop
            }
            (Err(at), OnExcess::Wait) => Verdict::Wait(at),
        }
    }

    pub(crate) fn counts_messages(&self) -> bool {
        self.scope == Scope::Messages
    }

    /// A key of the caller's making, else its own.
    pub(crate) fn key_or_named(&self, ws: &WebSocket, name: Option<String>) -> Option<Key> {
        name.map(|name| self.named(&name)).or_else(|| self.key(ws))
    }

    async fn admit(self, ws: WebSocket, next: Next) -> Result {
        match self.admit_handshake(&ws, None).await? {
            true => next.run(ws).await,
            false => Ok(()),
        }
    }

    /// Whether the handshake may go on; where not, it has been answered.
    pub(crate) async fn admit_handshake(&self, ws: &WebSocket, name: Option<String>) -> Result<bool> {
        let key = self.key_or_named(ws, name).unwrap_or_else(|| self.named(&ws.id().to_string()));
        loop {
            let shard = ws.connection().shard();
            let taken = self.take(&key, shard.now());
            match self.judge(taken) {
                Verdict::Pass => return Ok(true),
                Verdict::Close => ws.close(CloseCode::POLICY_VIOLATION, REASON).await?,
                Verdict::Drop => {
                    let wait = taken.err().map_or(Duration::ZERO, |at| at.saturating_duration_since(shard.now()));
                    let seconds = wait.as_secs_f64().ceil().max(1.0);
                    ws.reject_with(Refusal::new(429, REASON).header("Retry-After", seconds.to_string())).await?;
                }
                Verdict::Wait(at) => {
                    shard.sleep_until(at).await;
                    continue;
                }
            }
            return Ok(false);
        }
    }
}

impl Middleware for RateLimit {
    fn call(&self, ws: WebSocket, next: Next) -> LocalFuture<Result> {
        match self.scope {
            Scope::Handshakes => Box::pin(self.clone().admit(ws, next)),
            Scope::Messages => {
                let key = self.key(&ws);
                ws.limit_messages(Limiter::new(self.clone(), key));
                next.run(ws)
            }
        }
    }

    fn identity(&self) -> Option<Identity> {
        Some(Identity::of_arc(&self.shared))
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RateLimit { scope, count, per, burst, on_excess, .. } = self;
        write!(f, "RateLimit({count} {scope:?} per {per:?}, burst {burst}, {on_excess:?})")
    }
}

impl Limiter {
    pub(crate) fn new(limit: RateLimit, key: Option<Key>) -> Self {
        Limiter { limit, key, own: Cell::default() }
    }

    /// What becomes of the next message.
    pub(crate) fn judge(&self, now: Instant) -> Verdict {
        let taken = match &self.key {
            Some(key) => self.limit.take(key, now),
            None => {
                let mut bucket = self.own.get();
                let taken = bucket.take(self.limit.rate(), now);
                self.own.set(bucket);
                taken
            }
        };
        self.limit.judge(taken)
    }

    /// Why a connection was closed.
    pub(crate) const REASON: &str = REASON;
}

impl Bucket {
    /// Takes one, or says when there will be one.
    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Instant> {
        let due = self.due.unwrap_or(now).max(now);
        if due > now + rate.ahead {
            return Err(due - rate.ahead);
        }
        self.due = Some(due + rate.interval);
        Ok(())
    }

    fn is_full(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }
}

/// Makes room: forgets what is like new, else half of what there is.
fn forget(buckets: &mut HashMap<Key, Bucket>, now: Instant) {
    buckets.retain(|_, bucket| !bucket.is_full(now));
    if buckets.len() >= KEYS_MAX {
        tracing::warn!(keys = buckets.len(), "a rate limit forgets half of its keys: too many are active");
        let mut keep = false;
        buckets.retain(|_, _| {
            keep = !keep;
            keep
        });
    }
}

/// One host: an IPv4 address, or the /64 of an IPv6 address.
fn host_key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    #[test]
    fn a_burst_passes_at_once_then_the_even_rate() {
        let start = Instant::now();
        let rate = RateLimit::messages(2).burst(3).rate();
        let mut bucket = Bucket::default();
        let mut take = |at: f64| bucket.take(rate, start + second(at)).map_err(|due| due - start);
        assert_eq!([take(0.0), take(0.0), take(0.0)], [Ok(()); 3]);
        assert_eq!(take(0.0), Err(second(0.5)));
        assert_eq!(take(0.4), Err(second(0.5)));
        assert_eq!(take(0.5), Ok(()));
        assert_eq!(take(0.5), Err(second(1.0)));
        assert_eq!([take(9.0), take(9.0), take(9.0)], [Ok(()); 3]);
        assert_eq!(take(9.0), Err(second(9.5)));
    }

    #[test]
    fn the_burst_is_the_count_unless_said_otherwise() {
        let limit = RateLimit::messages(4).per(second(2.0));
        let rate = limit.rate();
        assert_eq!((rate.interval, rate.ahead), (second(0.5), second(1.5)));
    }

    #[test]
    fn each_key_has_its_own_share_and_a_clone_shares_it() {
        let now = Instant::now();
        let limit = RateLimit::handshakes(1);
        let key = |name: &str| limit.named(name);
        assert!(limit.take(&key("a"), now).is_ok());
        assert!(limit.take(&key("b"), now).is_ok());
        assert!(limit.clone().take(&key("a"), now).is_err());
        assert!(RateLimit::handshakes(1).take(&key("a"), now).is_ok());
    }

    #[test]
    fn a_key_of_any_length_is_kept_in_a_few_bytes_that_nobody_can_foresee() {
        let (limit, other) = (RateLimit::handshakes(1), RateLimit::handshakes(1));
        assert!(size_of::<Key>() + size_of::<Bucket>() <= 64);
        let long = |last: &str| "x".repeat(1 << 20) + last;
        assert_eq!(limit.named(&long("a")), limit.clone().named(&long("a")));
        assert_ne!(limit.named(&long("a")), limit.named(&long("b")));
        assert_ne!(limit.named("a"), other.named("a"), "each limit has secrets of its own");
    }

    #[test]
    fn over_the_limit_the_policy_decides() {
        let now = Instant::now();
        for (policy, verdict) in [
            (OnExcess::Close, Verdict::Close),
            (OnExcess::Drop, Verdict::Drop),
            (OnExcess::Wait, Verdict::Wait(now + second(1.0))),
        ] {
            let limit = RateLimit::messages(1).on_excess(policy);
            let limiter = Limiter { limit: limit.clone(), key: None, own: Cell::default() };
            assert_eq!(limiter.judge(now), Verdict::Pass);
            assert_eq!(limiter.judge(now), verdict);
            assert_eq!(limit.dropped(), u64::from(policy == OnExcess::Drop));
        }
    }

    #[test]
    fn an_ipv6_network_is_one_host_and_a_port_does_not_matter() {
        let key = |text: &str| host_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }

    #[test]
    fn the_keys_are_bounded() {
        let now = Instant::now();
        let limit = RateLimit::handshakes(1);
        for host in 0..KEYS_MAX as u128 + 10 {
            let _ = limit.take(&Key::Host(Some(host)), now);
        }
        assert!(limit.shared.buckets.lock().len() <= KEYS_MAX);
        let later = now + second(2.0);
        for host in 0..KEYS_MAX as u128 {
            let _ = limit.take(&Key::Host(Some(host << 64)), later);
        }
        assert!(limit.shared.buckets.lock().len() <= KEYS_MAX);
    }
}
