//! The broker of a simulation: it is late, loses sessions and answers, parts nodes, says no, and forgets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use nexios_cluster::Position;
use nexios_cluster::engine::MemoryLog;
use nexios_cluster::engine::Sink;
use nexios_cluster::engine::{Answers, BrokerSession, Capabilities, Engine, Frame, LinkError, Step};
use nexios_cluster::engine::{Append, Appended, Log, Page};
use nexios_cluster::parts::Envelope;
use nexios_cluster::parts::Span;

/// Nothing is done in no time, or who asks again and again would stop the clock.
const DELAY_MIN: Duration = Duration::from_millis(1);
/// How often somebody looks whether a cable is in again, or mail has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(super) struct Faulty(Arc<Mutex<State>>);

/// What goes wrong now.
#[derive(Clone, Default)]
pub(super) struct Faults {
    /// How long a message, a question or an answer takes at most.
    pub(super) delay_max: Duration,
    /// How much of what subscribers should get is lost without a word: envelopes, and entries.
    pub(super) envelope_loss: f64,
    pub(super) entry_loss: f64,
    /// How often a session ends in the middle of a batch, and how often a batch is refused.
    pub(super) torn: f64,
    pub(super) refused: f64,
    /// How often it says that it cannot do it now, or that another server may, and does nothing.
    pub(super) later: f64,
    /// How often whoever connects finds a server that is of no use.
    pub(super) useless: f64,
    /// Nodes that the broker does not hear, and that do not hear it.
    pub(super) parted: HashSet<usize>,
    /// Nobody gets a session, or keeps one.
    pub(super) is_down: bool,
}

struct State {
    seed: u64,
    random: fastrand::Rng,
    faults: Faults,
    logs: MemoryLog,
    sessions: BTreeMap<u64, Open>,
    begun: u64,
    /// What is on its way to sessions, by when it is there.
    mail: BTreeMap<(Instant, u64), Letter>,
    posted: u64,
    /// What publishers' messages came to: the truth.
    heard: HashSet<String>,
    stored: HashMap<String, Vec<Position>>,
}

/// What is on its way to a subscription. It does not come once that has ended, or another has begun.
struct Letter {
    session: u64,
    channel: Arc<str>,
    lane: u64,
    bytes: Bytes,
}

/// One session.
struct Open {
    node: usize,
    sink: Sink,
    channels: HashMap<Arc<str>, Lane>,
    /// What came to it while its node was parted.
    held: Vec<Bytes>,
}

/// What one session gets of one channel comes in order. By its own chances, so that nothing depends
/// on the order in which a node says several things at a time.
struct Lane {
    number: u64,
    random: fastrand::Rng,
    last: Instant,
}

impl Faulty {
    pub(super) fn new(seed: u64) -> Self {
        Faulty(Arc::new(Mutex::new(State {
            seed,
            random: fastrand::Rng::with_seed(seed),
            faults: Faults::default(),
            logs: MemoryLog::default(),
            sessions: BTreeMap::new(),
            begun: 0,
            mail: BTreeMap::new(),
            posted: 0,
            heard: HashSet::new(),
            stored: HashMap::new(),
        })))
    }

    /// As a node in this place reaches it.
    pub(super) fn engine(&self, node: usize) -> Box<dyn Engine> {
        Box::new(Place { broker: self.clone(), node })
    }

    pub(super) fn faults<R>(&self, change: impl FnOnce(&mut Faults) -> R) -> R {
        change(&mut self.0.lock().faults)
    }

    /// Ends the sessions of a node, or of all.
    pub(super) fn cut(&self, node: Option<usize>) {
        let mut state = self.0.lock();
        let is_cut = |open: &Open| node.is_none_or(|node| node == open.node);
        let cut: Vec<u64> = state.sessions.iter().filter(|(_, open)| is_cut(open)).map(|(id, _)| *id).collect();
        cut.into_iter().for_each(|id| state.end(id, "cut"));
    }

    /// Comes back without what rooms store.
    pub(super) fn forget(&self) {
        self.0.lock().logs = MemoryLog::default();
    }

    /// Whether a message has ever come here.
    pub(super) fn has_heard(&self, message: &str) -> bool {
        self.0.lock().heard.contains(message)
    }

    /// Where a message was stored.
    pub(super) fn places(&self, message: &str) -> Vec<Position> {
        self.0.lock().stored.get(message).cloned().unwrap_or_default()
    }

    /// Brings what is under way, for ever.
    pub(super) async fn bring(self) {
        loop {
            let next = self.0.lock().bring(Instant::now());
            let latest = Instant::now() + LOOK_EVERY;
            sleep_until(next.map_or(latest, |next| next.min(latest))).await;
        }
    }
}

impl State {
    fn bring(&mut self, now: Instant) -> Option<Instant> {
        while let Some(entry) = self.mail.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let Letter { session, channel, lane, bytes } = entry.remove();
            if let Some(open) = self.sessions.get_mut(&session)
                && open.channels.get(&channel).is_some_and(|open| open.number == lane)
            {
                open.held.push(bytes);
            }
        }
        let heard = self.sessions.values_mut().filter(|open| !self.faults.parted.contains(&open.node));
        for Open { sink, held, .. } in heard {
            held.drain(..).for_each(|bytes| sink.message(bytes));
        }
        self.mail.keys().next().map(|(at, _)| *at)
    }

    fn end(&mut self, session: u64, reason: &str) {
        if let Some(open) = self.sessions.remove(&session) {
            open.sink.lost(reason);
        }
    }

    /// Sends something to the subscribers of a channel.
    fn post(&mut self, channel: &Arc<str>, bytes: &Bytes, loss: f64) {
        for (id, open) in &mut self.sessions {
            let Some(lane) = open.channels.get_mut(channel) else { continue };
            let delay = self.faults.delay_max.mul_f64(lane.random.f64());
            lane.last = lane.last.max(Instant::now() + delay);
            if lane.random.f64() >= loss {
                self.posted += 1;
                let letter = Letter { session: *id, channel: channel.clone(), lane: lane.number, bytes: bytes.clone() };
                self.mail.insert((lane.last, self.posted), letter);
            }
        }
    }

    fn publish(&mut self, frame: &Frame) {
        if let Ok(envelope) = Envelope::parse(&frame.bytes) {
            self.heard.extend(text(&envelope));
        }
        self.post(&frame.channel, &frame.bytes, self.faults.envelope_loss);
    }

    fn append(&mut self, append: &Append) -> Appended {
        let before = self.logs.find_again(std::slice::from_ref(append));
        let (appended, entry) = self.logs.append(append, &before);
        let Some(entry) = entry else { return appended };
        if let Some(message) = Envelope::parse(&entry.envelope).ok().as_ref().and_then(text) {
            self.stored.entry(message).or_default().push(entry.position());
        }
        self.post(&append.log.channel, &entry.encode(), self.faults.entry_loss);
        appended
    }

    /// Answers, sometimes, by what nothing is done.
    fn say_no(&mut self) -> Result<(), LinkError> {
        if self.random.f64() < self.faults.refused {
            return Err(LinkError::Refused("no".to_owned()));
        }
        if self.random.f64() < self.faults.later {
            let answers = [LinkError::Later, LinkError::Unable, LinkError::Elsewhere];
            let answer = self.random.choice(answers).unwrap_or(LinkError::Later);
            return Err(answer("not now".to_owned()));
        }
        Ok(())
    }

    /// How much of a batch is carried out, and whether the session outlives it.
    fn tear(&mut self, session: u64, len: usize) -> usize {
        if len == 0 || self.random.f64() >= self.faults.torn {
            return len;
        }
        self.end(session, "torn");
        self.random.usize(..=len)
    }
}

fn text(envelope: &Envelope<'_>) -> Option<String> {
    envelope.message.to_message().as_text().map(str::to_owned)
}

/// Where a node is.
struct Place {
    broker: Faulty,
    node: usize,
}

impl Engine for Place {
    fn connect(&self, sink: Sink) -> Step<'_, Box<dyn BrokerSession>> {
        Box::pin(async move {
            self.broker.way(self.node).await;
            let id = {
                let mut state = self.broker.0.lock();
                if state.faults.is_down {
                    return Err(LinkError::lost("down"));
                }
                if state.random.f64() < state.faults.useless {
                    let kinds = [LinkError::Elsewhere, LinkError::Unable];
                    let useless = state.random.choice(kinds).unwrap_or(LinkError::Unable);
                    return Err(useless("a replica".to_owned()));
                }
                state.begun += 1;
                let (id, node) = (state.begun, self.node);
                state.sessions.insert(id, Open { node, sink, channels: HashMap::new(), held: Vec::new() });
                id
            };
            self.broker.way(self.node).await;
            let session: Box<dyn BrokerSession> = Box::new(At { broker: self.broker.clone(), node: self.node, id });
            Ok(session)
        })
    }
}

impl Faulty {
    /// The way there, or back.
    async fn way(&self, node: usize) {
        let delay = {
            let mut state = self.0.lock();
            let part = state.random.f64();
            state.faults.delay_max.mul_f64(part)
        };
        sleep(DELAY_MIN + delay).await;
        while self.0.lock().faults.parted.contains(&node) {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// One session, as its node sees it.
struct At {
    broker: Faulty,
    node: usize,
    id: u64,
}

impl At {
    /// Asks for something. Where the session ends on the way back it was done, and nobody knows.
    async fn ask<R>(&self, act: impl FnOnce(&mut State) -> Result<R, LinkError>) -> Result<R, LinkError> {
        self.broker.way(self.node).await;
        let answer = self.lives().and_then(|()| act(&mut self.broker.0.lock()));
        self.broker.way(self.node).await;
        self.lives().and(answer)
    }

    fn lives(&self) -> Result<(), LinkError> {
        let lives = self.broker.0.lock().sessions.contains_key(&self.id);
        lives.then_some(()).ok_or_else(|| LinkError::lost("cut"))
    }

    /// Carries out a batch, or a part of it, or says no.
    async fn batch<T, R>(&self, batch: &[T], act: impl Fn(&mut State, &T) -> R) -> Result<Vec<R>, LinkError> {
        self.ask(|state| {
            if !batch.is_empty() {
                state.say_no()?;
            }
            let len = state.tear(self.id, batch.len());
            Ok(batch.iter().take(len).map(|item| act(state, item)).collect())
        })
        .await
    }
}

impl BrokerSession for At {
    /// Each frame has an answer of its own.
    fn publish<'a>(&'a self, batch: &'a [Frame]) -> Step<'a, Answers> {
        Box::pin(self.ask(move |state| {
            let len = state.tear(self.id, batch.len());
            let publish = |frame| state.say_no().map(|()| state.publish(frame));
            Ok(batch.iter().take(len).map(publish).collect())
        }))
    }

    fn append<'a>(&'a self, batch: &'a [Append]) -> Step<'a, Vec<Appended>> {
        Box::pin(self.batch(batch, State::append))
    }

    fn read<'a>(&'a self, log: &'a Log, span: Span) -> Step<'a, Page> {
        Box::pin(self.ask(move |state| Ok(state.logs.read(log, span))))
    }

    fn subscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(self.ask(move |state| {
            let seed = state.seed;
            state.posted += 1;
            let lane_number = state.posted;
            let Some(open) = state.sessions.get_mut(&self.id) else { return Ok(()) };
            for channel in channels {
                let number = channel.bytes().fold(self.id, |number, byte| number.wrapping_mul(31) + u64::from(byte));
                let random = fastrand::Rng::with_seed(seed ^ number << 20);
                let lane = || Lane { number: lane_number, random, last: Instant::now() };
                open.channels.entry(channel.clone()).or_insert_with(lane);
            }
            Ok(())
        }))
    }

    fn unsubscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()> {
        Box::pin(self.ask(move |state| {
            if let Some(open) = state.sessions.get_mut(&self.id) {
                open.channels.retain(|channel, _| !channels.contains(channel));
            }
            Ok(())
        }))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { history: true, ..Capabilities::default() }
    }
}

impl Drop for At {
    fn drop(&mut self) {
        self.broker.0.lock().sessions.remove(&self.id);
    }
}
