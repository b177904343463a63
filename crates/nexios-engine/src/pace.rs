//! Whether a connection of plain HTTP goes on: with the bodies of its requests, and with the answers to them.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::patience::Patience;
use crate::request_body::Progress;
use crate::settings::ServerSettings;
use crate::timer::{Sleep, Sleeps};

/// The patience with both directions of one connection.
pub(crate) struct Pace {
    /// `None`: the client may take its time.
    both: Option<Both>,
    body: Arc<Progress>,
    /// The socket had nothing when it was last read.
    is_empty: bool,
    /// A request has begun, and nothing of its answer has gone out.
    is_unanswered: bool,
    sleep: Option<Sleep>,
}

struct Both {
    reading: Patience,
    writing: Patience,
}

/// What the client does not go on with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stalled {
    /// Sending the body of a request, to which there is no answer yet.
    Request,
    /// Sending a body or taking an answer, in the middle of an answer.
    Answer,
}

impl Pace {
    pub(crate) fn new(settings: &ServerSettings) -> Self {
        let patience = |max| Patience::new(max, settings.http_bytes_per_second_min);
        let both = settings.http_stall_timeout.map(|max| Both { reading: patience(max), writing: patience(max) });
        Pace { both, body: Arc::default(), is_empty: false, is_unanswered: false, sleep: None }
    }

    /// Another request has begun; returns what its body reports to.
    pub(crate) fn begins(&mut self) -> Arc<Progress> {
        if let Some(Both { reading, writing }) = &mut self.both {
            reading.renews();
            writing.renews();
        }
        self.is_unanswered = true;
        self.body = Arc::default();
        self.body.clone()
    }

    /// The socket was read: something has come, or there was nothing.
    pub(crate) fn has_read(&mut self, is_empty: bool, now: Instant) {
        self.is_empty = is_empty;
        if let (false, Some(Both { reading, .. })) = (is_empty, &mut self.both) {
            reading.rests(now);
        }
    }

    /// The socket was written to and has taken so much; `None`: it is full.
    pub(crate) fn has_written(&mut self, bytes: Option<usize>, now: Instant) {
        self.is_unanswered &= bytes.is_none_or(|bytes| bytes == 0);
        let Some(Both { writing, .. }) = &mut self.both else { return };
        match bytes {
            None => writing.waits(now),
            Some(bytes) => {
                writing.rests(now);
                writing.gains(bytes);
            }
        }
    }

    /// Resolves when the client has been waited for too long. To be polled behind whatever reads and writes.
    pub(crate) fn poll_stalled(&mut self, sleeps: &Sleeps, cx: &mut Context<'_>) -> Poll<Stalled> {
        let Some(Both { reading, writing }) = &mut self.both else { return Poll::Pending };
        self.body.watch(cx.waker());
        reading.gains(self.body.take_bytes());
        match self.is_empty && self.body.is_awaited() {
            true => reading.waits(sleeps.now()),
            false => reading.rests(sleeps.now()),
        }
        let Some(deadline) = [reading.deadline(), writing.deadline()].into_iter().flatten().min() else {
            self.sleep = None;
            return Poll::Pending;
        };
        if self.sleep.as_ref().is_none_or(|sleep| sleep.deadline() != deadline) {
            self.sleep = Some(sleeps.until(deadline));
        }
        let Some(sleep) = &mut self.sleep else { return Poll::Pending };
        let stalled = if self.is_unanswered { Stalled::Request } else { Stalled::Answer };
        std::pin::Pin::new(sleep).poll(cx).map(|()| stalled)
    }
}
