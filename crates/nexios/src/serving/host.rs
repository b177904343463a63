//! tokio turns the crank: one task on a current-thread runtime drives one shard.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use nexios_engine::Shard;
use nexios_protocol::escaped;
use parking_lot::Mutex;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep};

/// Turns in a row before the runtime's other tasks and timers get their turn.
const TURNS_PER_POLL: usize = 8;

/// Drives a shard from inside a tokio runtime, on the shard's own thread.
pub(crate) struct Host {
    // Before the shard: it is taken out of the runtime before its descriptor closes.
    poller: AsyncFd<PollerFd>,
    shard: Shard,
    timer: Pin<Box<Sleep>>,
    waker: Arc<Mutex<Option<Waker>>>,
}

/// The poller's descriptor; the shard owns it.
struct PollerFd(RawFd);

impl AsRawFd for PollerFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Host {
    /// Needs a tokio runtime around it, with I/O and time.
    pub(crate) fn new(shard: Shard) -> io::Result<Self> {
        #[allow(deprecated, reason = "its successor is unsafe; here the shard outlives the registration")]
        let poller = AsyncFd::with_interest(PollerFd(shard.fd()), tokio::io::Interest::READABLE)?;
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let notified = waker.clone();
        shard.set_notifier(Arc::new(move || {
            if let Some(waker) = &*notified.lock() {
                waker.wake_by_ref();
            }
        }));
        Ok(Host { shard, poller, timer: Box::pin(tokio::time::sleep_until(Instant::now())), waker })
    }

    pub(crate) fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Turns the crank until `done` says so.
    pub(crate) async fn run_until(&mut self, mut done: impl FnMut(&Shard) -> bool) {
        // The handlers inside have their own fairness; tokio's budget for one task would make
        // their timers and channels stall.
        tokio::task::coop::unconstrained(poll_fn(|cx| {
            let polled = self.poll_turn(cx);
            if done(&self.shard) { Poll::Ready(()) } else { polled }
        }))
        .await;
    }

    /// Turns until nothing is left to do; woken again by the poller, a timer or the notifier.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.keep_waker(cx);
        for _ in 0..TURNS_PER_POLL {
            self.take_readiness(cx);
            let more = self.shard.turn(Instant::now().into_std());
            if !more && !self.take_readiness(cx) && !self.timer_is_due(cx) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn keep_waker(&self, cx: &Context<'_>) {
        let mut waker = self.waker.lock();
        match &*waker {
            Some(old) if old.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    /// Whether the poller's descriptor has had an edge since this was asked last. It is cleared
    /// here, *before* the turn that looks, which is then the only one: what comes later has an edge
    /// of its own. Clearing after a turn could lose an event that came in between.
    fn take_readiness(&self, cx: &mut Context<'_>) -> bool {
        match self.poller.poll_read_ready(cx) {
            Poll::Ready(Ok(mut guard)) => {
                guard.clear_ready();
                true
            }
            Poll::Ready(Err(error)) => {
                tracing::error!(error = %escaped(&error), "the runtime cannot watch the poller");
                false
            }
            Poll::Pending => false,
        }
    }

    fn timer_is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.shard.next_timeout() else { return false };
        let deadline = Instant::from_std(deadline);
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Futures of handlers go while their runtime is still there.
        self.shard.cancel_all();
    }
}
