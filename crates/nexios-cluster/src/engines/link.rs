//! The contract between a node and the engine that carries its messages.
//!
//! An engine knows how to connect, and nothing of what it carries. A session is one connection;
//! when it is lost the node makes another, subscribes anew and publishes again what was not
//! confirmed: receivers drop what they have seen. So an engine has no state to recover.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::history::log::{Append, Appended, Log, Page, Span};
use crate::node::incoming::Sink;

const NO_HISTORY: &str = "this broker keeps no history";

/// A step of an engine; all run on the node's own thread.
pub type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, LinkError>> + 'a>>;

/// The broker's answers to the frames of a batch, in their order.
pub type Answers = Vec<Result<(), LinkError>>;

/// A kind of broker, and where one is.
pub trait Engine: Send {
    /// Connects. What arrives goes into the sink, and so does the news that the connection is lost.
    fn connect(&self, sink: Sink) -> Step<'_, Box<dyn BrokerSession>>;
}

/// One connection to a broker.
pub trait BrokerSession {
    /// Publishes in order and in one round trip; returns what the broker has answered to each, once it has
    /// answered all. An error is the answer to all of them. An empty batch asks whether the broker is still there.
    fn publish<'a>(&'a self, batch: &'a [Frame]) -> Step<'a, Answers>;

    /// Subscribes to channels; returns once what is published from now on arrives.
    fn subscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()>;

    /// Ends subscriptions.
    fn unsubscribe<'a>(&'a self, channels: &'a [Arc<str>]) -> Step<'a, ()>;

    /// Appends to logs, in order. Each entry gets the next offset of its log, is kept, and goes to
    /// the subscribers of its channel ([`Sink::entry`]), the one who appends among them, in one
    /// step: two publishers see one order, and what is answered is stored.
    fn append<'a>(&'a self, batch: &'a [Append]) -> Step<'a, Vec<Appended>> {
        let _ = batch;
        Box::pin(std::future::ready(Err(LinkError::Refused(NO_HISTORY.to_owned()))))
    }

    /// Reads entries of a log.
    fn read<'a>(&'a self, log: &'a Log, span: Span) -> Step<'a, Page> {
        let _ = (log, span);
        Box::pin(std::future::ready(Err(LinkError::Refused(NO_HISTORY.to_owned()))))
    }

    /// What this broker can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

/// What one broker can do and another cannot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// The longest envelope that it takes.
    pub envelope_bytes_max: usize,
    /// Whether it keeps logs.
    pub history: bool,
    /// To how many replicas an append can be said to have gone.
    pub replicas_max: u32,
}

/// An envelope on its way to the broker.
pub struct Frame {
    /// The channel that it is published on.
    pub channel: Arc<str>,
    /// The envelope.
    pub bytes: Bytes,
    /// The progress of its sending.
    pub sent: Sent,
    /// Told how it went, where somebody waits for that.
    pub receipt: Option<Receipt>,
}

/// Sends a publisher the broker's answer.
pub type Receipt = oneshot::Sender<Result<(), LinkError>>;

/// Why a step failed. Each engine has a file `answers` that classifies what its broker answers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(
    not(any(feature = "nats", feature = "redis")),
    allow(dead_code, reason = "only those two can be there and unable")
)]
pub enum LinkError {
    /// The connection is lost; another may do better. What was under way may have been done.
    Lost(String),
    /// The broker cannot do it now: it elects a leader, loads its data, or moves slots. Nothing was
    /// done; asked again on the same connection, it soon may.
    Later(String),
    /// The broker lacks what it needs: memory, a disk that works, replicas. Nothing was done; asked again it may
    /// have it, and if not the answer is a refusal.
    Unable(String),
    /// This server does not do it, another of the broker may: it was the master and is a replica now. Nothing was
    /// done; if no other is found the answer is a refusal.
    Elsewhere(String),
    /// The broker answered no; asking again does not help.
    Refused(String),
}

/// How far an envelope has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// No session has sent it.
    No,
    /// This session sends it.
    UnderWay,
    /// A session was lost while it was under way: it may have been published, whatever the broker answers now.
    Perhaps,
}

impl Frame {
    /// A session sends it: the first, or one after another that has not had an answer.
    pub(crate) fn begin(&mut self) {
        self.sent = if self.sent == Sent::No { Sent::UnderWay } else { Sent::Perhaps };
    }

    /// The broker has answered that it has not published it.
    pub(crate) fn not_published(&mut self) {
        if self.sent == Sent::UnderWay {
            self.sent = Sent::No;
        }
    }

    /// Says what became of it to the publisher that waits for that.
    pub(crate) fn conclude(self, result: Result<(), LinkError>) {
        let result = match result {
            Err(LinkError::Refused(reason)) if self.sent == Sent::Perhaps => Err(LinkError::Lost(reason)),
            result => result,
        };
        // Nobody waits any more.
        let _ = self.receipt.map(|receipt| receipt.send(result));
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Capabilities { envelope_bytes_max: 64 << 20, history: false, replicas_max: 0 }
    }
}

impl LinkError {
    /// Returns the error of a connection that is lost.
    pub fn lost(error: impl fmt::Display) -> Self {
        LinkError::Lost(error.to_string())
    }

    /// A question changes nothing: it may be put again on a connection that lives.
    #[cfg(feature = "nats")]
    pub(crate) fn or_later(self) -> Self {
        match self {
            LinkError::Lost(reason) => LinkError::Later(reason),
            other => other,
        }
    }
}

#[cfg(test)]
impl LinkError {
    /// Returns the kind of error, for the tables of the engines' answers.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            LinkError::Lost(_) => "lost",
            LinkError::Later(_) => "later",
            LinkError::Unable(_) => "unable",
            LinkError::Elsewhere(_) => "elsewhere",
            LinkError::Refused(_) => "refused",
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Lost(reason)
            | LinkError::Later(reason)
            | LinkError::Unable(reason)
            | LinkError::Elsewhere(reason)
            | LinkError::Refused(reason) => f.write_str(reason),
        }
    }
}
