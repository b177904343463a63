//! Plays the steps of one scenario.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nexios_client::transport::{DialError, Ended};
use nexios_client::{Bigint, Client, Error, MemoryStorage, Message, Storage};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::calls;
use crate::network::Network;
use crate::pattern::{matches, plain, raw, shown};
use crate::reports::{Conduct, Reports, Source};
use crate::scenario::Scenario;
use crate::settings::{pairs, with_offers, with_urls};

pub(crate) type Step = Map<String, Value>;
pub(crate) type Outcome = Result<Value, Error>;

const OPTIONS: [&str; 11] = [
    "urls",
    "json",
    "token",
    "protocols",
    "storage",
    "stable_ms",
    "retry_first",
    "open_timeout_ms",
    "request_timeout_ms",
    "bigint",
    "chance",
];
/// Turns after which nothing is left to do at the present time.
const TURNS: usize = 60;

pub(crate) struct Player {
    client: Client,
    network: Network,
    reports: Reports,
    storage: MemoryStorage,
    is_json: bool,
    /// Results of calls that have ended, and tasks of all.
    calls: HashMap<String, Call>,
    /// Tasks that read subscriptions, and hold them.
    subscriptions: HashMap<String, JoinHandle<()>>,
    /// Ids of frames that were expected under a label.
    ids: HashMap<String, Value>,
    /// Labels that the application gave to nobody.
    unnamed: usize,
    ignored: Vec<String>,
}

struct Call {
    task: JoinHandle<()>,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

pub(crate) fn millis(value: &Value) -> Result<Duration, String> {
    value.as_u64().map(Duration::from_millis).ok_or_else(|| format!("{value} is not a time in milliseconds"))
}

fn text<'a>(step: &'a Step, member: &str) -> Result<&'a str, String> {
    step.get(member).and_then(Value::as_str).ok_or_else(|| format!("{member} must be a text"))
}

fn only(step: &Step, members: &[&str]) -> Result<(), String> {
    match step.keys().find(|name| !members.contains(&name.as_str())) {
        Some(name) => Err(format!("unknown member {name:?}")),
        None => Ok(()),
    }
}

/// The rooms that steps name.
fn rooms_of(steps: &[Step]) -> impl Iterator<Item = &str> {
    steps.iter().flat_map(|step| [step.get("room"), step.get("room_is")]).flatten().filter_map(Value::as_str)
}

/// The labels of subscriptions whose events are looked at.
fn subscriptions_of(steps: &[Step]) -> impl Iterator<Item = &str> {
    let events = steps.iter().filter(|step| step.contains_key("event"));
    events.filter_map(|step| step.get("subscription")).filter_map(Value::as_str)
}

async fn settle() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

impl Player {
    pub(crate) fn start(scenario: &Scenario) -> Result<Player, String> {
        let options = &scenario.options;
        only(options, &OPTIONS)?;
        let (network, storage) = (Network::default(), MemoryStorage::default());
        let is_json = options.get("json").is_some_and(|json| json == &json!(true));
        let chance = options.get("chance").and_then(Value::as_f64).unwrap_or(0.5);
        let mut connector = with_urls(options.get("urls"))?.dialer(network.clone()).chance(move || chance);
        connector = with_offers(connector, options)?;
        if let Some(stored) = options.get("storage") {
            storage.store(pairs(stored)?).map_err(|error| error.to_string())?;
            connector = connector.storage(storage.clone());
        }
        if let Some(time) = options.get("stable_ms") {
            connector = connector.stable_after(millis(time)?);
        }
        if let Some(time) = options.get("open_timeout_ms") {
            connector = connector.open_timeout(millis(time)?);
        }
        if let Some(time) = options.get("request_timeout_ms") {
            connector = connector.request_timeout(millis(time)?);
        }
        if options.get("bigint") == Some(&json!("string")) {
            connector = connector.bigint(Bigint::String);
        }
        if let Some(retry_first) = options.get("retry_first") {
            connector = connector.retry_first(retry_first == &json!(true));
        }
        let client = connector.start().map_err(|error| error.to_string())?;
        let reports = Reports::new(is_json);
        reports.follow(&client);
        rooms_of(&scenario.steps).for_each(|room| reports.follow_room(&client, room));
        reports.listen_to(subscriptions_of(&scenario.steps));
        Ok(Player {
            client,
            network,
            reports,
            storage,
            is_json,
            calls: HashMap::new(),
            subscriptions: HashMap::new(),
            ids: HashMap::new(),
            unnamed: 0,
            ignored: Vec::new(),
        })
    }

    pub(crate) async fn play(mut self, steps: &[Step]) -> Result<(), String> {
        settle().await;
        for (number, step) in steps.iter().enumerate() {
            let played = self.step(step).await;
            settle().await;
            played.and_then(|()| self.check_dials(step)).map_err(|problem| {
                let step = Value::Object(step.clone());
                let left = self.reports.left().join("; ");
                format!("step {} {step}: {problem}\n    state {:?}, events {left}", number + 1, self.client.state())
            })?;
        }
        self.nothing_is_left()
    }

    fn check_dials(&self, step: &Step) -> Result<(), String> {
        let has_moved = step.contains_key("advance");
        if has_moved && self.network.dials() > 0 { Err("the client has dialled meanwhile".to_owned()) } else { Ok(()) }
    }

    fn nothing_is_left(&self) -> Result<(), String> {
        let mut left = Vec::new();
        if !self.ignored.iter().any(|what| what == "frames") {
            left.extend(std::iter::from_fn(|| self.network.take_frame()).map(|frame| format!("sent {frame:?}")));
        }
        if !self.ignored.iter().any(|what| what == "events") {
            left.extend(self.reports.left());
        }
        let dialled = std::iter::from_fn(|| self.network.take_dial()).take(self.network.dials());
        left.extend(dialled.map(|(url, ..)| format!("dialled {url}")));
        left.extend(std::iter::from_fn(|| self.network.take_closed()).map(|code| format!("closed {code:?}")));
        if left.is_empty() { Ok(()) } else { Err(format!("left over: {}", left.join("; "))) }
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        const VERBS: [&str; 28] = [
            "call",
            "resolved",
            "rejected",
            "refused",
            "waiting",
            "cancel",
            "handlers",
            "dials",
            "accepts",
            "refuses",
            "unreachable",
            "welcomes",
            "says",
            "says_raw",
            "expect",
            "expect_raw",
            "silent",
            "closes",
            "cuts",
            "closed",
            "advance",
            "idle",
            "event",
            "no_event",
            "is",
            "room_is",
            "stored",
            "ignore",
        ];
        let verb = VERBS.into_iter().find(|verb| step.contains_key(*verb)).ok_or("no known verb")?;
        let value = &step[verb];
        match verb {
            "call" | "resolved" | "rejected" | "refused" | "waiting" | "cancel" | "handlers" => {
                self.application(verb, value, step).await
            }
            "dials" => self.dials(step).await,
            "accepts" | "refuses" | "unreachable" | "welcomes" => self.answers(verb, value, step).await,
            "says" | "says_raw" | "closes" | "cuts" => self.server(verb, value, step),
            "expect" | "expect_raw" | "silent" | "closed" => self.expects(verb, value, step),
            "advance" => {
                only(step, &["advance"])?;
                self.advance(millis(value)?).await;
                Ok(())
            }
            "idle" => self.idle(step).await,
            "event" | "no_event" => self.events(verb, step),
            _ => self.is_as(verb, value, step),
        }
    }

    // --- time

    async fn advance(&self, by: Duration) {
        sleep_until(Instant::now() + by).await;
        settle().await;
    }

    async fn idle(&self, step: &Step) -> Result<(), String> {
        only(step, &["idle"])?;
        let before = (self.network.frames(), self.reports.left().len());
        self.advance(millis(&step["idle"])?).await;
        let after = (self.network.frames(), self.reports.left().len());
        match (self.network.dials(), before == after) {
            (0, true) => Ok(()),
            (dials, _) => Err(format!("{dials} dials, frames and events before {before:?}, after {after:?}")),
        }
    }

    // --- the network

    async fn dials(&mut self, step: &Step) -> Result<(), String> {
        only(step, &["dials", "within_ms", "offers"])?;
        let now = Instant::now();
        let (mut min, mut max) = (Duration::ZERO, Duration::ZERO);
        if let Some(within) = step.get("within_ms") {
            (min, max) = (millis(&within[0])?, millis(&within[1])?);
        }
        tokio::select! {
            biased;
            () = self.network.until_dialled() => {}
            () = sleep_until(now + max) => settle().await,
        }
        let (url, offers, at) = self.network.take_dial().ok_or("the client does not dial")?;
        if at > now + max || (min > Duration::ZERO && at < now + min) {
            return Err(format!("dialled after {:?}", at.saturating_duration_since(now)));
        }
        if !matches(&step["dials"], Some(&json!(url))) {
            return Err(format!("dialled {url}"));
        }
        match step.get("offers") {
            Some(expected) if !matches(expected, Some(&json!(offers))) => Err(format!("offered {offers:?}")),
            _ => Ok(()),
        }
    }

    async fn answers(&mut self, verb: &str, value: &Value, step: &Step) -> Result<(), String> {
        only(step, &[verb, "headers"])?;
        match verb {
            "accepts" => self.network.accept(value.as_str().ok_or("a subprotocol is a text")?),
            "unreachable" => self.network.refuse(DialError::Unreachable("unreachable".to_owned())),
            "refuses" => {
                let status = value.as_u64().ok_or("a status is a number")? as u16;
                let header = step.get("headers").and_then(|headers| headers.get("Retry-After"));
                let seconds = header.and_then(Value::as_str).and_then(|seconds| seconds.parse().ok());
                self.network.refuse(DialError::Refused { status, retry_after: seconds.map(Duration::from_secs) })
            }
            _ => self.welcomes(value).await,
        }
    }

    async fn welcomes(&mut self, members: &Value) -> Result<(), String> {
        self.network.accept("nexios.v1")?;
        settle().await;
        let (hello, _) = self.next_frame()?;
        if hello["type"] != "hello" {
            return Err(format!("the client has sent {hello}"));
        }
        let mut welcome = json!({"type": "welcome", "id": "c1", "retry_ms": [100, 300]});
        for (name, value) in members.as_object().ok_or("members of the welcome are an object")? {
            welcome[name] = value.clone();
        }
        self.network.deliver(Ok(frame(&welcome, None)?))
    }

    fn server(&mut self, verb: &str, value: &Value, step: &Step) -> Result<(), String> {
        only(step, &[verb, "payload", "reason"])?;
        self.network.deliver(match verb {
            "says" => Ok(frame(&self.with_ids(value)?, step.get("payload"))?),
            "says_raw" => Ok(raw(value)?),
            "cuts" => Err(Ended::Lost("cut".to_owned())),
            _ => {
                let code = value.as_u64().ok_or("a code is a number")? as u16;
                let reason = step.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned();
                Err(Ended::Closed { code, reason })
            }
        })
    }

    /// Puts the ids of expected frames in place.
    fn with_ids(&self, header: &Value) -> Result<Value, String> {
        let mut header = plain(header)?;
        if let Some(label) = header["id"].get("$id").and_then(Value::as_str) {
            header["id"] = self.ids.get(label).ok_or_else(|| format!("no frame was expected as {label}"))?.clone();
        }
        Ok(header)
    }

    fn next_frame(&self) -> Result<(Value, Message), String> {
        let message = self.network.take_frame().ok_or("the client has sent nothing")?;
        let bytes = message.as_bytes();
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (Some(&0x1e), Some(end)) = (bytes.first(), end) else { return Err(format!("the client sent {message:?}")) };
        let header = serde_json::from_slice(&bytes[1..end]).map_err(|error| error.to_string())?;
        let rest = bytes[end + 1..].to_vec();
        let payload = match &message {
            Message::Text(_) => Message::Text(String::from_utf8(rest).unwrap()),
            Message::Binary(_) => Message::Binary(rest),
        };
        Ok((header, payload))
    }

    fn expects(&mut self, verb: &str, value: &Value, step: &Step) -> Result<(), String> {
        only(step, &[verb, "payload", "as"])?;
        match verb {
            "silent" => match self.network.take_frame() {
                Some(frame) => Err(format!("the client has sent {frame:?}")),
                None => Ok(()),
            },
            "closed" => match self.network.take_closed() {
                Some(code) if matches(value, Some(&json!(code))) => Ok(()),
                other => Err(format!("the client has closed with {other:?}")),
            },
            "expect_raw" => {
                let message = self.network.take_frame().ok_or("the client has sent nothing")?;
                if message == raw(value)? { Ok(()) } else { Err(format!("the client has sent {message:?}")) }
            }
            _ => self.expects_frame(value, step),
        }
    }

    fn expects_frame(&mut self, pattern: &Value, step: &Step) -> Result<(), String> {
        let (header, payload) = self.next_frame()?;
        if !matches(pattern, Some(&header)) {
            return Err(format!("the client has sent {header}"));
        }
        if let Some(expected) = step.get("payload")
            && !matches(expected, Some(&shown(&payload)))
        {
            return Err(format!("with the payload {payload:?}"));
        }
        if let Some(label) = step.get("as") {
            self.ids.insert(label.as_str().unwrap_or_default().to_owned(), header["id"].clone());
        }
        Ok(())
    }

    // --- the application

    async fn application(&mut self, verb: &str, value: &Value, step: &Step) -> Result<(), String> {
        match verb {
            "call" => self.call(step),
            "refused" => {
                only(step, &["refused", "message"])?;
                self.refused(value, step.get("message")).await
            }
            "handlers" => {
                self.reports.set_conduct(match value.as_str() {
                    Some("go") => Conduct::Go,
                    Some("hold") => Conduct::Hold,
                    Some("fail") => Conduct::Fail,
                    _ => return Err("handlers hold, fail or go".to_owned()),
                });
                Ok(())
            }
            _ => self.result(verb, text(step, verb)?, step),
        }
    }

    fn call(&mut self, step: &Step) -> Result<(), String> {
        let mut step = step.clone();
        for member in ["room", "method", "key"] {
            if let Some(value) = step.get_mut(member) {
                *value = plain(value)?;
            }
        }
        self.unnamed += 1;
        let label = step.get("as").and_then(Value::as_str).map_or(format!("#{}", self.unnamed), str::to_owned);
        let outcome = Arc::new(Mutex::new(None));
        let (call, ended) = (self.future(&step, &label)?, outcome.clone());
        let task = tokio::spawn(async move {
            let result = call.await;
            *ended.lock() = Some(result);
        });
        self.calls.insert(label, Call { task, outcome });
        Ok(())
    }

    /// A call that must fail by its arguments.
    async fn refused(&mut self, call: &Value, message: Option<&Value>) -> Result<(), String> {
        let mut step = call.as_object().ok_or("a call is an object")?.clone();
        step.insert("as".to_owned(), json!("refused"));
        self.call(&step)?;
        settle().await;
        let outcome = self.calls["refused"].outcome.lock().take();
        match outcome {
            Some(Err(error))
                if error.code() == "argument"
                    && message.is_none_or(|message| matches(message, Some(&json!(error.message())))) =>
            {
                Ok(())
            }
            other => Err(format!("the call came to {other:?}")),
        }
    }

    fn result(&mut self, verb: &str, label: &str, step: &Step) -> Result<(), String> {
        only(step, &[verb, "value", "code", "key", "maybe_stored", "message"])?;
        let call = self.calls.get(label).ok_or_else(|| format!("no call {label:?}"))?;
        if verb == "cancel" {
            call.task.abort();
            return Ok(());
        }
        let outcome = call.outcome.lock().clone();
        let is_so = match (verb, &outcome) {
            ("waiting", None) => true,
            ("resolved", Some(Ok(value))) => step.get("value").is_none_or(|pattern| matches(pattern, Some(value))),
            ("rejected", Some(Err(error))) => {
                let mut seen = json!({"code": error.code(), "message": error.message()});
                seen["maybe_stored"] = json!(error.maybe_stored());
                if let Some(key) = error.key() {
                    seen["key"] = json!(key);
                }
                step.iter().all(|(name, pattern)| name == verb || matches(pattern, seen.get(name)))
            }
            _ => false,
        };
        if is_so { Ok(()) } else { Err(format!("it came to {outcome:?}")) }
    }

    fn future(&mut self, step: &Step, label: &str) -> Result<calls::Call, String> {
        let name = text(step, "call")?;
        let members: &[&str] = match name {
            "join" => &["room", "since", "timeout_ms"],
            "subscribe" => &["room", "join"],
            "leave" | "room" => &["room"],
            "presence" => &["room", "timeout_ms"],
            "publish" => &["room", "data", "key"],
            "request" => &["method", "data", "timeout_ms"],
            "send" => &["data"],
            "drop" => &["away"],
            "unsubscribe" => &["subscription"],
            "reconnect" | "close" => &[],
            _ => return Err(format!("unknown call {name:?}")),
        };
        only(step, &[&["call", "as"], members].concat())?;
        let client = self.client.clone();
        match name {
            "subscribe" => {
                let is_in = step.get("join").is_none_or(|join| join != &json!(false));
                let outcome = self.reports.subscribe(&client, text(step, "room")?, is_in, label).map(|task| {
                    self.subscriptions.insert(label.to_owned(), task);
                    Value::Null
                });
                Ok(Box::pin(std::future::ready(outcome)))
            }
            "unsubscribe" => {
                let label = text(step, "subscription")?;
                self.subscriptions.remove(label).ok_or_else(|| format!("no subscription {label:?}"))?.abort();
                Ok(Box::pin(std::future::ready(Ok(Value::Null))))
            }
            _ => calls::of(client, step.clone(), self.reports.clone(), self.is_json),
        }
    }

    // --- what the client reports

    fn events(&mut self, verb: &str, step: &Step) -> Result<(), String> {
        if verb == "no_event" {
            let left = self.reports.left();
            return if left.is_empty() { Ok(()) } else { Err(left.join("; ")) };
        }
        let source = match (step.get("room"), step.get("subscription")) {
            (Some(room), _) => Source::Room(room.as_str().unwrap_or_default().to_owned()),
            (_, Some(label)) => Source::Subscription(label.as_str().unwrap_or_default().to_owned()),
            _ => Source::Client,
        };
        let event = self.reports.take(&source).ok_or("there is no event")?;
        let mut expected = step.clone();
        expected.retain(|member, _| !["room", "subscription"].contains(&&**member));
        if matches(&Value::Object(expected), Some(&event)) { Ok(()) } else { Err(format!("the event is {event}")) }
    }

    fn is_as(&mut self, verb: &str, value: &Value, step: &Step) -> Result<(), String> {
        let seen = match verb {
            "is" => {
                json!({"state": self.client.state().as_str(), "id": self.client.id(), "url": self.client.url()})
            }
            "room_is" => return self.room_is(step),
            "stored" => return self.stored(value),
            _ => {
                let ignored = value.as_array().ok_or("what is ignored is an array")?;
                self.ignored = ignored.iter().map(|what| what.as_str().unwrap_or_default().to_owned()).collect();
                return Ok(());
            }
        };
        if matches(value, Some(&seen)) { Ok(()) } else { Err(format!("it is {seen}")) }
    }

    fn room_is(&self, step: &Step) -> Result<(), String> {
        only(step, &["room_is", "joined", "position"])?;
        let room = self.client.room(text(step, "room_is")?).map_err(|error| error.to_string())?;
        let mut seen = json!({"joined": room.is_joined()});
        if let Some(position) = room.position() {
            seen["position"] = json!(position.to_string());
        }
        let mut expected = step.clone();
        expected.remove("room_is");
        if matches(&Value::Object(expected), Some(&seen)) { Ok(()) } else { Err(format!("it is {seen}")) }
    }

    fn stored(&self, expected: &Value) -> Result<(), String> {
        let stored = self.storage.load().map_err(|error| error.to_string())?;
        let stored: Vec<_> = stored.iter().map(|(room, position)| json!([room, position.to_string()])).collect();
        if matches(expected, Some(&json!(stored))) { Ok(()) } else { Err(format!("{stored:?}")) }
    }
}

fn frame(header: &Value, payload: Option<&Value>) -> Result<Message, String> {
    Ok(match payload.map(raw).transpose()? {
        None => Message::Text(format!("\u{1e}{header}\n")),
        Some(Message::Text(text)) => Message::Text(format!("\u{1e}{header}\n{text}")),
        Some(Message::Binary(bytes)) => Message::Binary([format!("\u{1e}{header}\n").as_bytes(), &bytes[..]].concat()),
    })
}
