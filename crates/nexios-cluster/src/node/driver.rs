//! The node's thread: keeps a session with the broker, and moves messages both ways.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nexios_protocol::escaped;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::broker::{Broker, BrokerError};
use crate::engines::link::{Answers, BrokerSession, Engine, Frame, LinkError};
use crate::envelope::Kind;
use crate::history::log::{Appended, Page};
use crate::history::{Confirmation, Question};
use crate::node::Node;
use crate::node::clients::Clients;
use crate::node::deliver;
use crate::node::incoming::{Event, Sink};
use crate::node::outage::{Complaints, Outage};
use crate::node::patience::{Next, Patience};
use crate::node::subscriptions::SWEEP_EVERY;
use crate::presence::{self, Presence};
use crate::topic::Topic;

/// A broker that does not answer for so long is taken for lost.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Silence after which a broker is asked whether it is still there.
const ASK_AFTER: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long what waits at the end may take.
const STOP_MAX: Duration = Duration::from_secs(1);
/// Sweeps between two looks at what is kept for long.
const SWEEPS_PER_CLEANING: u32 = 240;

/// The work of a node's thread: keeps a session with the broker, and moves messages both ways.
pub struct Driver {
    /// What handlers share with the thread.
    pub node: Arc<Node>,
    /// A publisher has none: nothing arrives.
    pub(crate) clients: Option<Weak<dyn Clients>>,
    /// What other nodes hear of.
    pub(crate) presence: Option<Arc<Presence>>,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) broker: Broker,
    pub(super) complaints: RefCell<Complaints>,
}

type Ready = Sender<Result<(), BrokerError>>;

impl Driver {
    /// Returns a node that has not begun to work. What arrives goes to the clients, for as long as the app
    /// exists; the presence is shared with other nodes.
    pub fn new(
        broker: &Broker,
        engine: Box<dyn Engine>,
        clients: Option<Weak<dyn Clients>>,
        presence: Option<Arc<Presence>>,
    ) -> Self {
        let node = Node::new(broker);
        if let Some(presence) = &presence {
            let settings = presence::Settings { ttl: broker.presence_ttl, bytes_max: broker.presence_bytes_max };
            presence.attach(node.id(), settings);
        }
        Driver { node, clients, presence, engine, broker: broker.clone(), complaints: RefCell::default() }
    }

    /// Runs until the node stops; says when the broker is reached, or that it is not.
    pub(crate) fn run(self, ready: &Ready) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return tell(ready, Err(self.unreachable(&error))),
        };
        runtime.block_on(self.work(ready));
    }

    /// All that [`run`](Self::run) does, on the runtime of whoever calls.
    pub async fn work(self, ready: &Ready) {
        let mut tasks = JoinSet::new();
        if let Some(clients) = self.clients.clone() {
            tasks.spawn(deliver::receive(self.node.clone(), clients, self.presence.clone()));
        }
        if let Some(presence) = self.presence.clone() {
            tasks.spawn(presence::drive(self.node.clone(), presence));
        }
        let stopped = async {
            self.node.stopping.notified().await;
            sleep(STOP_MAX).await;
        };
        tokio::select! {
            biased;
            () = self.drive(ready) => {}
            () = stopped => self.gave_up(),
            never = self.release() => match never {},
        }
        drop(tasks);
        self.node.outgoing.abandon();
        self.node.appends.abandon();
        self.node.reads.close();
        self.node.incoming.close();
        self.presence.iter().for_each(Presence::detach);
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> BrokerError {
        BrokerError::Unreachable { url: self.broker.display_url(), reason: reason.to_string() }
    }

    fn gave_up(&self) {
        let waiting = self.node.outgoing.len() + self.node.appends.len();
        if waiting > 0 {
            tracing::warn!(waiting, "messages did not reach the broker before the end");
        }
    }

    async fn drive(&self, ready: &Ready) {
        let connect_timeout = self.broker.connect_timeout;
        let mut last = None;
        let first = timeout(connect_timeout, self.connect_first(&mut last)).await;
        let (mut session, mut sink) = match first {
            Ok(Ok(session)) => session,
            Ok(Err(reason)) => return tell(ready, Err(self.unreachable(&reason))),
            Err(_) => {
                let late = format!("no answer within {} s", connect_timeout.as_secs_f32());
                let late = last.map_or(late.clone(), |error: LinkError| format!("{late}; before that: {error}"));
                return tell(ready, Err(self.unreachable(&late)));
            }
        };
        if let Some(error) = self.broker.lacks(session.capabilities()) {
            return tell(ready, Err(error));
        }
        let (mut unfinished, mut outage) = (Unfinished::default(), Outage::default());
        let mut told = Some(ready);
        loop {
            let begun = Instant::now();
            let ended = self.serve(&*session, &sink, &mut unfinished, outage.announced_after(), &mut told).await;
            self.node.counters.connected(false);
            self.node.subscriptions.down();
            self.presence.iter().for_each(Presence::disconnected);
            self.node.reads.set_away(true);
            let Err(error) = ended else { return };
            if let (Some(ready), false) = (&told, matches!(error, LinkError::Lost(_))) {
                return tell(ready, Err(self.unreachable(&error)));
            }
            outage.session_ended(begun, &error);
            drop(session);
            (session, sink) = self.reconnect(&mut outage, &mut unfinished).await;
        }
    }

    /// A broker that says no at once will not say yes later; one that is not there may come.
    async fn connect_first(&self, last: &mut Option<LinkError>) -> Result<(Box<dyn BrokerSession>, Sink), LinkError> {
        let end = Instant::now() + self.broker.connect_timeout;
        loop {
            let sink = self.node.incoming.sink();
            match self.engine.connect(sink.clone()).await {
                Ok(session) => return Ok((session, sink)),
                Err(error) if !matches!(error, LinkError::Refused(_)) && end > Instant::now() + BACKOFF_MIN * 3 => {
                    *last = Some(error);
                    sleep(BACKOFF_MIN * 2).await
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn reconnect(&self, outage: &mut Outage, unfinished: &mut Unfinished) -> (Box<dyn BrokerSession>, Sink) {
        loop {
            outage.wait().await;
            let sink = self.node.incoming.sink();
            let error = match timeout(ANSWER_MAX, self.engine.connect(sink.clone())).await {
                Ok(Ok(session)) => return (session, sink),
                Ok(Err(error)) => error,
                Err(_) => no_answer(),
            };
            if let Some(reason) = outage.attempt_failed(&error) {
                self.refuse_waiting(unfinished, &reason, outage);
            }
        }
    }

    /// Refuses all that waits for a broker that is there and of no use.
    fn refuse_waiting(&self, unfinished: &mut Unfinished, reason: &str, outage: &mut Outage) {
        let mut frames = std::mem::take(&mut unfinished.frames);
        // What was under way when the session ended may have been published.
        frames.iter_mut().for_each(Frame::begin);
        frames.extend(self.node.outgoing.take());
        let appends = self.node.appends.refuse(reason);
        let count = messages(&frames) + appends;
        if count > 0 && outage.refuses() {
            tracing::error!(%reason, messages = count, "messages are refused, as long as the broker is of no use");
        }
        self.node.counters.refused(count);
        self.node.outgoing.mark_again(&frames, Instant::now());
        frames.into_iter().for_each(|frame| frame.conclude(Err(LinkError::Refused(reason.to_owned()))));
    }

    /// Serves one session. `Ok` says that the node has stopped and all is sent.
    async fn serve(
        &self,
        session: &dyn BrokerSession,
        sink: &Sink,
        unfinished: &mut Unfinished,
        announced_after: Duration,
        first: &mut Option<&Ready>,
    ) -> Result<(), LinkError> {
        let node = &*self.node;
        node.outgoing.limit_to(session.capabilities());
        node.appends.begin(session.capabilities());
        if first.is_none() {
            node.incoming.tell(Event::Resuming).await;
        }
        // Where somebody has waited in vain, the session is said to be restored anyway.
        let (_, refused) = self.subscribe(session, &node.subscriptions.begin()).await?;
        node.subscriptions.up();
        self.presence.iter().for_each(Presence::connected);
        node.counters.connected(true);
        node.reads.set_away(false);
        let is_back = match first.take() {
            Some(ready) => {
                tell(ready, Ok(()));
                false
            }
            None => true,
        };
        let Unfinished { frames, publishing, appending } = unfinished;
        tokio::select! {
            biased;
            reason = sink.ended() => Err(LinkError::Lost(reason)),
            sent = async { tokio::try_join!(self.publish(session, frames, publishing), self.append(session, appending)) } => {
                sent.map(drop)
            }
            error = self.read(session) => error.map(|never| match never {}),
            error = self.follow(session, refused) => error.map(|never| match never {}),
            never = self.announce(is_back, announced_after) => match never {},
            never = self.tend() => match never {},
        }
    }

    /// Says that a session has come back, once it has lived for long enough.
    async fn announce(&self, is_back: bool, after: Duration) -> std::convert::Infallible {
        if is_back {
            sleep(after).await;
            tracing::info!("the broker is back");
            self.node.counters.reconnected();
            self.node.incoming.tell(Event::Restored).await;
        }
        std::future::pending().await
    }

    /// Publishes batch after batch; what is not confirmed is kept for the next session. Receivers drop what they
    /// have seen, so it may be published again.
    async fn publish(
        &self,
        session: &dyn BrokerSession,
        unconfirmed: &mut Vec<Frame>,
        patience: &mut Patience,
    ) -> Result<(), LinkError> {
        loop {
            if unconfirmed.is_empty() {
                match timeout(ASK_AFTER, self.node.outgoing.batch()).await {
                    Ok(Some(batch)) => *unconfirmed = batch,
                    Ok(None) => return Ok(()),
                    Err(_) => {
                        is_there(session).await?;
                        continue;
                    }
                }
            }
            unconfirmed.iter_mut().for_each(Frame::begin);
            let answers = answered(session.publish(unconfirmed)).await;
            let Some(error) = self.conclude(unconfirmed, answers) else {
                *patience = Patience::default();
                continue;
            };
            match patience.after(error).await {
                Next::Again => {}
                Next::Reconnect(error) => return Err(error),
                Next::Refuse(reason) => self.refuse(unconfirmed, reason),
                Next::RefuseAndReconnect(reason) => {
                    self.refuse(unconfirmed, reason.clone());
                    return Err(LinkError::Elsewhere(reason));
                }
            }
        }
    }

    /// Appends batch after batch to the logs of rooms; one that is not confirmed is said again to
    /// the next session.
    async fn append(&self, session: &dyn BrokerSession, patience: &mut Patience) -> Result<(), LinkError> {
        let appends = &self.node.appends;
        while let Some(batch) = appends.batch().await {
            appends.begun(batch.len());
            let result = match answered(session.append(&batch)).await {
                Ok(stored) => {
                    *patience = Patience::default();
                    Ok(stored)
                }
                Err(error) => {
                    if !matches!(error, LinkError::Lost(_)) {
                        appends.undone(batch.len());
                    }
                    match patience.after(error).await {
                        Next::Again => continue,
                        Next::Reconnect(error) => return Err(error),
                        Next::Refuse(reason) => Err(LinkError::Refused(reason)),
                        Next::RefuseAndReconnect(reason) => {
                            self.conclude_appends(batch.len(), Err(LinkError::Refused(reason.clone())));
                            return Err(LinkError::Elsewhere(reason));
                        }
                    }
                }
            };
            self.conclude_appends(batch.len(), result);
        }
        Ok(())
    }

    fn conclude_appends(&self, batch: usize, result: Result<Vec<Appended>, LinkError>) {
        if let (Err(error), 1) = (&result, batch)
            && self.complaints.borrow_mut().is_due(error.to_string())
        {
            tracing::error!(error = %escaped(error), "the broker refuses to store a message; more are counted");
        }
        let (stored, refused) = self.node.appends.conclude(batch, result, |stored| self.confirm(stored));
        self.node.counters.stored(stored);
        self.node.counters.refused(refused);
    }

    /// Has a publisher wait until the members here are sent what it has stored. Nothing arrives at one without members.
    fn confirm(&self, stored: Confirmation) {
        if self.clients.is_some() {
            // Where there is no room it is dropped, and by that the publisher goes on.
            self.node.incoming.try_tell(Event::Stored(stored));
        }
    }

    /// Answers what is asked of logs.
    async fn read(&self, session: &dyn BrokerSession) -> Result<std::convert::Infallible, LinkError> {
        let one = || async {
            loop {
                let question = self.node.reads.next().await;
                match self.read_one(session, &question).await {
                    // Those who ask are answered by the end of the question, and ask the next session.
                    Err(lost @ LinkError::Lost(_)) => return Err::<std::convert::Infallible, _>(lost),
                    answer => question.answer(answer),
                }
            }
        };
        // So many questions are under way at the same time.
        let (never, _, _, _) = tokio::try_join!(one(), one(), one(), one())?;
        Ok(never)
    }

    /// Reads once there is a leader to read from; `Lost` says that the session is of no use.
    async fn read_one(&self, session: &dyn BrokerSession, question: &Question) -> Result<Page, LinkError> {
        let mut delay = BACKOFF_MIN;
        loop {
            let later = match timeout(ANSWER_MAX, session.read(&question.log, question.span)).await {
                // Nothing is done by reading: whoever cannot answer now is asked again.
                Ok(Err(LinkError::Later(reason) | LinkError::Unable(reason) | LinkError::Elsewhere(reason))) => reason,
                Ok(answer) => return answer,
                Err(_) => {
                    // It reads for too long, or is not there any more.
                    is_there(session).await?;
                    format!("nothing read within {} s", ANSWER_MAX.as_secs())
                }
            };
            if !question.may_wait(delay) {
                return Err(LinkError::Later(later));
            }
            tracing::debug!(reason = %escaped(&later), "a history cannot be read now; it is asked for again");
            sleep(delay).await;
            delay = (delay * 2).min(BACKOFF_MAX);
        }
    }

    /// Takes the broker's answers to a batch: leaves what has to be published again, and says why.
    fn conclude(&self, batch: &mut Vec<Frame>, answers: Result<Answers, LinkError>) -> Option<LinkError> {
        let mut answers = match answers {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); batch.len()],
        };
        answers.resize_with(batch.len(), || Err(LinkError::lost("the broker has not answered all messages")));
        refuse_overtaken(batch, &mut answers);
        let (mut published, mut refused) = (Vec::new(), Vec::new());
        let (mut left, mut why) = (Vec::new(), None);
        for (mut frame, answer) in std::mem::take(batch).into_iter().zip(answers) {
            match answer {
                Ok(()) => published.push(frame),
                Err(LinkError::Refused(reason)) => {
                    frame.not_published();
                    refused.push((frame, reason));
                }
                Err(error) => {
                    let is_lost = matches!(error, LinkError::Lost(_));
                    if !is_lost {
                        frame.not_published();
                    }
                    if is_lost || why.is_none() {
                        why = Some(error);
                    }
                    left.push(frame);
                }
            }
        }
        *batch = left;
        self.node.outgoing.confirmed(&published);
        self.node.counters.published(messages(&published));
        published.into_iter().for_each(|frame| frame.conclude(Ok(())));
        self.refuse_each(refused);
        why
    }

    fn refuse(&self, batch: &mut Vec<Frame>, reason: String) {
        self.refuse_each(std::mem::take(batch).into_iter().map(|frame| (frame, reason.clone())).collect());
    }

    fn refuse_each(&self, refused: Vec<(Frame, String)>) {
        let Some((_, reason)) = refused.first() else { return };
        if self.complaints.borrow_mut().is_due(reason.clone()) {
            let messages = refused.len();
            tracing::error!(reason = %escaped(reason), messages, "the broker refuses messages; more are counted");
        }
        for (frame, reason) in refused {
            self.node.counters.refused(messages(std::slice::from_ref(&frame)));
            frame.conclude(Err(LinkError::Refused(reason)));
        }
    }

    fn has_clients(&self, topic: &Topic) -> bool {
        match topic.is_presence() {
            true => self.presence.as_ref().is_some_and(|presence| presence.needs(topic)),
            false => self.clients.as_ref().and_then(Weak::upgrade).is_some_and(|clients| clients.has_clients(topic)),
        }
    }

    /// Lets those go on who have waited long enough, whether the broker is there or not.
    async fn release(&self) -> std::convert::Infallible {
        let mut ticks = interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            // A publisher's own wait until the broker is back, as all of its messages do.
            if self.clients.is_some() {
                self.node.appends.release(now);
            }
            self.node.reads.release(now);
            if self.node.incoming.is_awaited() {
                self.node.incoming.try_tell(Event::Tick);
            }
        }
    }

    /// What is done from time to time.
    async fn tend(&self) -> std::convert::Infallible {
        let mut ticks = interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for sweeps in 1_u32.. {
            ticks.tick().await;
            let now = Instant::now();
            self.node.outgoing.mark_silent(now);
            self.node.subscriptions.sweep(now, |topic| self.has_clients(topic));
            if sweeps.is_multiple_of(SWEEPS_PER_CLEANING) {
                self.node.outgoing.forget_idle(now);
            }
        }
        std::future::pending().await
    }
}

/// What one session leaves to the next.
#[derive(Default)]
struct Unfinished {
    /// Published, and not confirmed.
    frames: Vec<Frame>,
    publishing: Patience,
    appending: Patience,
}

/// How many of these are messages of the application.
fn messages(frames: &[Frame]) -> usize {
    let others = [Kind::Mark as u8, Kind::Presence as u8];
    frames.iter().filter(|frame| frame.bytes.get(1).is_some_and(|kind| !others.contains(kind))).count()
}

/// Asks a broker whether it is still there; any answer says so.
async fn is_there(session: &dyn BrokerSession) -> Result<(), LinkError> {
    match answered(session.publish(&[])).await {
        Err(lost @ LinkError::Lost(_)) => Err(lost),
        Ok(_) | Err(_) => Ok(()),
    }
}

pub(super) async fn answered<T>(step: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    timeout(ANSWER_MAX, step).await.map_err(|_| no_answer())?
}

fn no_answer() -> LinkError {
    LinkError::Lost(format!("no answer within {} s", ANSWER_MAX.as_secs()))
}

fn tell(ready: &Ready, result: Result<(), BrokerError>) {
    // Who started the node waits for this; it may have been given up.
    let _ = ready.send(result);
}

/// Gives up what the broker cannot take now and has taken a later message of the same channel: receivers count from the
/// first number that they get, and would drop what comes behind it with a lower one, without a word.
fn refuse_overtaken(batch: &[Frame], answers: &mut [Result<(), LinkError>]) {
    let mut taken: HashSet<&Arc<str>> = HashSet::new();
    for (frame, answer) in batch.iter().zip(answers).rev() {
        match answer {
            Ok(()) => _ = taken.insert(&frame.channel),
            Err(LinkError::Later(reason) | LinkError::Unable(reason) | LinkError::Elsewhere(reason))
                if taken.contains(&frame.channel) =>
            {
                let reason = format!("a later message of the topic was taken, and this one was not: {reason}");
                *answer = Err(LinkError::Refused(reason));
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::engines::link::Sent;

    #[test]
    fn what_cannot_be_taken_now_is_given_up_only_where_a_later_message_of_its_channel_was_taken() {
        let frame =
            |channel: &str| Frame { channel: channel.into(), bytes: Bytes::new(), sent: Sent::No, receipt: None };
        let batch = ["a", "b", "a", "a", "b"].map(frame);
        let later = || Err(LinkError::Later("busy".to_owned()));
        let mut answers = vec![later(), later(), Ok(()), later(), later()];
        refuse_overtaken(&batch, &mut answers);
        assert!(matches!(&answers[0], Err(LinkError::Refused(reason)) if reason.ends_with("busy")), "{answers:?}");
        assert_eq!(answers[1..], [later(), Ok(()), later(), later()]);
        // What may have been done is asked again: receivers know it if it was.
        let mut lost = vec![Err(LinkError::lost("cut")), Ok(())];
        refuse_overtaken(&batch[1..3], &mut lost);
        assert_eq!(lost[0], Err(LinkError::lost("cut")));
    }
}
