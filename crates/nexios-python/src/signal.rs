//! The signal that a turn of the event loop is due, from any thread.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use parking_lot::Mutex;

use crate::local::Home;

/// A mark that a turn is due, and a bell that makes the event loop look at it.
pub(crate) struct Signal {
    home: Arc<Home>,
    due: AtomicBool,
    rung: AtomicBool,
    bell: UnixStream,
    /// Parked waits that were woken, by their numbers.
    woken: Mutex<Vec<usize>>,
}

/// The reading end of the bell, which the event loop watches.
pub(crate) struct Alarm(UnixStream);

/// Wakes one parked wait.
struct ParkedWaker {
    signal: Arc<Signal>,
    key: usize,
}

impl Signal {
    /// Makes a signal for the event loop of this thread.
    pub(crate) fn new() -> io::Result<(Arc<Self>, Alarm)> {
        let (bell, alarm) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        alarm.set_nonblocking(true)?;
        let signal = Signal {
            home: Home::here(),
            due: AtomicBool::new(false),
            rung: AtomicBool::new(false),
            bell,
            woken: Mutex::default(),
        };
        Ok((Arc::new(signal), Alarm(alarm)))
    }

    /// Marks that a turn is due. On the loop's own thread the mark is enough: the caller into the engine looks at it.
    pub(crate) fn raise(&self) {
        self.due.store(true, Ordering::Release);
        if !self.home.is_here() {
            self.ring();
        }
    }

    /// Returns the thread of the event loop.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Has the loop turn soon, if a turn is due; from any thread.
    pub(crate) fn ring(&self) {
        if self.is_due() && !self.rung.swap(true, Ordering::AcqRel) {
            // A full pipe rings as well.
            let _ = (&self.bell).write(&[1]);
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.due.load(Ordering::Acquire)
    }

    /// Takes the mark away when a turn begins.
    ///
    /// By a swap, so that what another thread did before it raised the signal is seen by this turn.
    pub(crate) fn begin_turn(&self) {
        self.due.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn has_woken(&self) -> bool {
        !self.woken.lock().is_empty()
    }

    /// Takes the numbers of the parked waits that were woken.
    pub(crate) fn take_woken(&self) -> Vec<usize> {
        std::mem::take(&mut *self.woken.lock())
    }

    /// Returns a waker of the parked wait with this number.
    pub(crate) fn waker(self: &Arc<Self>, key: usize) -> Waker {
        Arc::new(ParkedWaker { signal: self.clone(), key }).into()
    }
}

impl Alarm {
    pub(crate) fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Empties the pipe, and lets the signal ring again.
    ///
    /// The byte is read before the next one is asked for, and only here. Where any turn did both, in any order, a
    /// thread between its mark and its byte could leave the mark without a byte, and no thread would ring again; or a
    /// byte without a mark, and the loop would turn without end.
    pub(crate) fn answer(&self, signal: &Signal) {
        let mut buffer = [0; 64];
        // Nothing to read: the loop has called once more than the bell has rung.
        let _ = (&self.0).read(&mut buffer);
        signal.rung.swap(false, Ordering::AcqRel);
    }
}

impl Wake for ParkedWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.signal.woken.lock().push(self.key);
        self.signal.raise();
    }
}
