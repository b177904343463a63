//! NATS: core subjects, at most once; rooms with history by JetStream.

mod answers;
mod denied;
mod log_store;
mod log_stream;
mod order;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, RequestErrorKind, ServerAddr, ServerError, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use nexios_protocol::escaped;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use self::denied::{Denial, Denied};
use self::log_store::LogStore;
use self::order::Order;
use crate::engines::address::{self, Address, Host, Tls};
use crate::engines::link::{Answers, BrokerSession, Capabilities, Engine, Frame, LinkError, Step};
use crate::history::log::{Append, Appended, Log, Page, Span};
use crate::node::incoming::Sink;

/// A subject that nobody listens to: the server says so at once, and by that how far it is.
const NOBODY: &str = "nexios-nobody";
const PORT: u16 = 4222;
/// Turns of other tasks until one that was told before has had its own.
const TURNS: usize = 8;
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// What subjects, headers and the head of an entry need of the server's limit on a payload.
const OVERHEAD: usize = 2048;

/// Where NATS is: one server, or several of a cluster.
pub(crate) struct NatsEngine {
    servers: Vec<ServerAddr>,
    user: Option<String>,
    password: Option<String>,
    credentials: Option<String>,
    tls: Tls,
    /// On how many of them what rooms store is.
    replicas: usize,
    /// JetStream has answered before: while its servers elect a leader it is not asked whether it is on.
    has_jetstream: AtomicBool,
}

impl NatsEngine {
    /// `nats://user:password@a,b` or `tls://token@a`; at the end `?credentials=/path/to/user.creds`, `?replicas=3` and
    /// the files of TLS.
    pub(crate) fn parse(url: &str, tls: &Tls) -> Result<Self, String> {
        let address = Address::parse(url)?;
        address.allow(&[&["credentials", "replicas"][..], &address::TLS].concat())?;
        if !address.path.trim_matches('/').is_empty() {
            return Err(format!("there is no path behind the servers of NATS, and {:?} is one", address.path));
        }
        let replicas = match address.parameter("replicas").unwrap_or("1") {
            count @ ("1" | "3" | "5") => count.parse().unwrap_or(1),
            count => return Err(format!("replicas={count:?} is not 1, 3 or 5")),
        };
        let servers = address.hosts.iter().map(|host| server(&address.scheme, host)).collect::<Result<_, _>>()?;
        Ok(NatsEngine {
            servers,
            credentials: address.parameter("credentials").map(str::to_owned),
            tls: address.tls(tls)?,
            replicas,
            has_jetstream: AtomicBool::new(false),
            user: address.user,
            password: address.password,
        })
    }

    /// What the server wants to know: user and password, a token, credentials, and a certificate.
    async fn options(&self) -> Result<ConnectOptions, LinkError> {
        let mut options = ConnectOptions::new().name("nexios").no_echo().connection_timeout(CONNECT_MAX);
        if let Some(path) = &self.credentials {
            let unreadable = |error| LinkError::Refused(format!("{path}: {error}"));
            options = options.credentials_file(path).await.map_err(unreadable)?;
        }
        let options = match (&self.user, &self.password) {
            (user, Some(password)) => options.user_and_password(user.clone().unwrap_or_default(), password.clone()),
            (Some(token), None) => options.token(token.clone()),
            (None, None) => options,
        };
        self.with_tls(options)
    }

    /// The client reads the files itself, and does not say which it cannot read.
    fn with_tls(&self, mut options: ConnectOptions) -> Result<ConnectOptions, LinkError> {
        let Tls { ca, cert, key } = &self.tls;
        for (setting, path) in [("tls_ca", ca), ("tls_cert", cert), ("tls_key", key)] {
            path.as_ref().map(|path| Tls::read(setting, path)).transpose()?;
        }
        if let Some(ca) = ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(cert), Some(key)) = (cert, key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        Ok(if self.tls.is_set() { options.require_tls(true) } else { options })
    }
}

fn server(scheme: &str, Host { name, port }: &Host) -> Result<ServerAddr, String> {
    let name_in_url = if name.contains(':') { format!("[{name}]") } else { name.clone() };
    let url = format!("{scheme}://{name_in_url}:{}", port.unwrap_or(PORT));
    url.parse().map_err(|_| format!("{name:?} is not a host"))
}

impl Engine for NatsEngine {
    fn connect(&self, sink: Sink) -> Step<'_, Box<dyn BrokerSession>> {
        Box::pin(async move {
            let (told, denied) = (sink.clone(), Denied::default());
            let denials = denied.clone();
            let options = self.options().await?.event_callback(move |event| {
                tell(&told, &denials, &event);
                std::future::ready(())
            });
            let client = options.connect(&self.servers[..]).await.map_err(answers::connecting)?;
            let has_jetstream = self.has_jetstream.load(Ordering::Relaxed) && client.server_info().jetstream;
            let logs = match has_jetstream {
                true => LogStore::known(&client, self.replicas),
                false => match denied.unless(is_of_jetstream, LogStore::open(&client, self.replicas)).await {
                    Err(LinkError::Refused(reason)) => LogStore::refused(&client, reason),
                    opened => opened?,
                },
            };
            self.has_jetstream.store(logs.refused.is_none(), Ordering::Relaxed);
            let session =
                NatsSession { client, sink, next: AtomicU64::new(0), reading: Mutex::default(), logs, denied };
            session.arrived().await?;
            let session: Box<dyn BrokerSession> = Box::new(session);
            Ok(session)
        })
    }
}

/// The client connects again by itself and says nothing of what it missed: a session that has
/// lost its connection ends, and the node makes another.
fn tell(sink: &Sink, denied: &Denied, event: &Event) {
    match event {
        Event::Disconnected | Event::Closed => sink.lost("NATS has closed the connection"),
        Event::SlowConsumer(_) => sink.lost("messages came faster than they were read"),
        Event::LameDuckMode => sink.lost("the server is about to end"),
        // Who asked for it is refused.
        Event::ServerError(ServerError::Other(error)) if denied.take_note(error) => {}
        Event::ServerError(error) => tracing::warn!(error = %escaped(&error), "NATS"),
        _ => {}
    }
}

struct NatsSession {
    client: Client,
    sink: Sink,
    next: AtomicU64,
    /// The tasks that read subscriptions.
    reading: Mutex<HashMap<Arc<str>, AbortHandle>>,
    logs: LogStore,
    denied: Denied,
}

impl NatsSession {
    /// All that was sent before has been taken by the server.
    async fn arrived(&self) -> Result<(), LinkError> {
        let subject = format!("{NOBODY}.{}", self.next.fetch_add(1, Ordering::Relaxed));
        let asked = async {
            match self.client.request(subject, Bytes::new()).await {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
                Err(error) => Err(LinkError::lost(error)),
            }
        };
        self.denied.unless(is_of_question, asked).await?;
        // What was denied before was told before, to a task that has not had its turn.
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Ends subscriptions that the server has denied.
    fn end_denied(&self, channels: &[Arc<str>]) -> Result<(), LinkError> {
        let of_these = |denial: &Denial| channels.iter().any(|channel| denial.is_of_subscription(channel));
        let denials = self.denied.take(of_these);
        let mut reading = self.reading.lock();
        denials.iter().filter_map(|denial| reading.remove(&*denial.subject)).for_each(|task| task.abort());
        denials.first().map_or(Ok(()), |denial| Err(denial.refusal()))
    }
}

/// Returns true if what was denied is how a node asks the server anything.
fn is_of_question(denial: &Denial) -> bool {
    denial.subject.starts_with(NOBODY) || denial.is_subscription && denial.subject.starts_with("_INBOX.")
}

fn is_of_jetstream(denial: &Denial) -> bool {
    denial.subject.starts_with("$JS.") || is_of_question(denial)
}

/// Takes what comes on a channel, and puts entries into their order.
async fn receive(mut messages: Subscriber, sink: Sink) {
    let mut order = Order::default();
    loop {
        let until = order.until();
        let given_up = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let ready = tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return };
                match log_stream::entry(&message) {
                    Some(entry) => order.push(entry, Instant::now()),
                    None => {
                        sink.envelope(message.payload);
                        continue;
                    }
                }
            }
            () = given_up => order.give_up(),
        };
        ready.into_iter().for_each(|entry| sink.entry(entry));
    }
}

impl BrokerSession for NatsSession {
    fn publish<'a>(&'a self, batch: &'a [Frame]) -> Step<'a, Answers> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(batch.len());
            for frame in batch {
                let sent = self.client.publish(frame.channel.to_string(), frame.bytes.clone()).await;
                answers.push(sent.map_err(answers::core_publish_error));
            }
            self.arrived().await?;
            let of_these = |denial: &Denial| batch.iter().any(|frame| denial.is_of_publish(&frame.channel));
            for denial in self.denied.take(of_these) {
                let denied = batch.iter().zip(&mut answers).filter(|(frame, _)| denial.is_of_publish(&frame.channel));
                denied.for_each(|(_, answer)| *answer = Err(denial.refusal()));
            }
            Ok(answers)
        })
    }

    fn subscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(async move {
            for channel in channels {
                if self.reading.lock().contains_key(channel) {
                    continue;
                }
                let messages = self.client.subscribe(channel.to_string()).await.map_err(LinkError::lost)?;
                let task = tokio::spawn(receive(messages, self.sink.clone()));
                self.reading.lock().insert(channel.clone(), task.abort_handle());
            }
            self.arrived().await?;
            self.end_denied(channels)
        })
    }

    /// A subscription ends with the task that reads it.
    fn unsubscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(async move {
            let mut reading = self.reading.lock();
            channels.iter().filter_map(|channel| reading.remove(channel)).for_each(|task| task.abort());
            Ok(())
        })
    }

    fn append<'a>(&'a self, batch: &'a [Append]) -> Step<'a, Vec<Appended>> {
        let is_of_these = |denial: &Denial| {
            let is_subject = |append: &Append| denial.is_of_publish(&log_stream::subject(&append.log));
            is_of_jetstream(denial) || batch.iter().any(is_subject)
        };
        Box::pin(self.denied.unless(is_of_these, self.logs.append(batch)))
    }

    fn read<'a>(&'a self, log: &'a Log, span: Span) -> Step<'a, Page> {
        Box::pin(self.denied.unless(is_of_jetstream, self.logs.read(log, span)))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            envelope_bytes_max: self.client.max_payload().saturating_sub(OVERHEAD),
            history: self.logs.refused.is_none(),
            replicas_max: self.logs.replicas_max(),
        }
    }
}

impl Drop for NatsSession {
    fn drop(&mut self) {
        self.reading.lock().drain().for_each(|(_, task)| task.abort());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<NatsEngine, String> {
        NatsEngine::parse(url, &Tls::default())
    }

    #[test]
    fn urls_name_one_server_or_several() {
        let engine = parse("nats://ann:secret@a:1,b:2,[::1]").unwrap();
        let shown: Vec<_> = engine.servers.iter().map(|server| (server.host().to_owned(), server.port())).collect();
        assert_eq!(shown, [("a".to_owned(), 1), ("b".to_owned(), 2), ("::1".to_owned(), 4222)]);
        assert_eq!((engine.user.as_deref(), engine.password.as_deref()), (Some("ann"), Some("secret")));
        let engine = parse("tls://a?credentials=/run/user.creds").unwrap();
        assert!(engine.servers[0].tls_required());
        assert_eq!(engine.credentials.as_deref(), Some("/run/user.creds"));
        let engine = parse("nats://a?replicas=3&credentials=/x").unwrap();
        assert_eq!((engine.replicas, engine.credentials.as_deref()), (3, Some("/x")));
    }

    #[test]
    fn what_nats_does_not_have_is_an_error_that_says_what_it_has() {
        for (url, expected) in [
            (
                "nats://a?else=1",
                "unknown parameter \"else\": there are credentials, replicas, tls_ca, tls_cert, tls_key",
            ),
            ("nats://a?replicas=2", "replicas=\"2\" is not 1, 3 or 5"),
            ("nats://a/1", "there is no path behind the servers of NATS, and \"/1\" is one"),
            ("nats://a b", "\"a b\" is not a host"),
        ] {
            assert_eq!(parse(url).err().as_deref(), Some(expected), "{url}");
        }
    }
}
