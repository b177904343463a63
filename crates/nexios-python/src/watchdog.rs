//! The end of a process that cannot end by itself, by native threads, which need neither the GIL nor the event loop.

use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::mpsc;

use crate::signal_handlers;

/// Time between the request to end at once and the end by force.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// Time beyond the grace period for listeners of the shutdown.
const SHUTDOWN_EXTRA: Duration = Duration::from_secs(30);
/// Orders that wait at most: a watch receives a failure and its end, no more.
const ORDERS_MAX: usize = 4;
/// Time for the stacks to be written.
const STACKS: Duration = Duration::from_secs(1);

/// A watch that ends the process by force: some seconds after a second SIGINT or SIGTERM, and if the process does not end
/// within the grace period and half a minute after the first. In a supervised process only SIGINT counts as the second
/// signal, because a service manager sends SIGTERM to both processes, and the supervisor passes it on. Before the end
/// `faulthandler` writes the stacks of the threads.
#[pyclass(frozen)]
pub(crate) struct Watchdog {
    orders: mpsc::Sender<Order>,
}

enum Order {
    Stop,
    EndWithin(Duration),
}

#[pymethods]
impl Watchdog {
    /// Begins to watch. Handlers of the event loop have to be there: they are called as before.
    #[new]
    #[pyo3(signature = (grace, *, supervised))]
    fn new(py: Python<'_>, grace: f64, supervised: bool) -> PyResult<Self> {
        let grace = Duration::try_from_secs_f64(grace).unwrap_or(Duration::MAX);
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("nexios-watchdog".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(watch(grace, supervised, taken, &ready)),
                Err(error) => _ = ready.send(Err(error)),
            }
        })?;
        py.detach(move || is_ready.recv()).map_err(|_| PyOSError::new_err("the watchdog has ended"))??;
        signal_handlers::keep()?;
        Ok(Watchdog { orders })
    }

    /// Watches again if signal handlers were installed since; they are called as before.
    #[expect(clippy::unused_self, reason = "without a watch there is nothing to watch again")]
    fn rearm(&self) -> PyResult<()> {
        Ok(signal_handlers::keep()?)
    }

    /// Ends the process by force unless the watch is ended within so many seconds.
    fn end_within(&self, seconds: f64) {
        let seconds = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        // A watch that has ended takes no orders, and one with waiting orders is about to end.
        let _ = self.orders.try_send(Order::EndWithin(seconds));
    }

    /// Ends the watch; later calls do nothing.
    fn stop(&self) {
        let _ = self.orders.try_send(Order::Stop);
    }
}

async fn watch(
    grace: Duration,
    supervised: bool,
    mut orders: mpsc::Receiver<Order>,
    ready: &std::sync::mpsc::Sender<io::Result<()>>,
) {
    let signals = signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    let (term, int) = match signals {
        Ok(signals) => signals,
        Err(error) => return drop(ready.send(Err(error))),
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    tokio::select! {
        why = last_word(term, int, grace, supervised) => {
            tokio::select! {
                () = tokio::time::sleep(LAST_MOMENT) => end_by_force(why),
                () = stopped(&mut orders) => {}
            }
        }
        () = stopped(&mut orders) => {}
    }
}

/// Resolves when the process has to end at once, with the reason.
async fn last_word(mut term: Signals, mut int: Signals, grace: Duration, supervised: bool) -> &'static str {
    const TWICE: &str = "it was told to end twice";
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => if supervised { return TWICE },
    }
    let patience = tokio::time::sleep(grace.saturating_add(SHUTDOWN_EXTRA));
    tokio::select! {
        _ = term.recv(), if !supervised => TWICE,
        _ = int.recv() => TWICE,
        () = patience => "its shutdown takes half a minute longer than the grace period",
    }
}

/// Resolves when the watch ends. Ends the process by force if it has failed and does not end in time.
async fn stopped(orders: &mut mpsc::Receiver<Order>) {
    while let Some(Order::EndWithin(seconds)) = orders.recv().await {
        tokio::select! {
            () = tokio::time::sleep(seconds) => end_by_force("it has failed"),
            order = orders.recv() => if !matches!(order, Some(Order::EndWithin(_))) { return },
        }
    }
}

/// Ends the process when its parent is gone. It inherited the descriptor of a pipe whose other end only the parent has.
#[pyfunction]
pub(crate) fn watch_parent(fd: i32) -> PyResult<()> {
    // SAFETY: the parent has opened the descriptor for this purpose, and no other code of this process uses it.
    #[allow(unsafe_code, reason = "an inherited descriptor is a plain number")]
    let pipe = unsafe { OwnedFd::from_raw_fd(fd) };
    std::thread::Builder::new().name("nexios-parent".into()).spawn(move || {
        // The parent never writes to the pipe.
        while matches!(rustix::io::read(&pipe, &mut [0; 1]), Ok(1..) | Err(rustix::io::Errno::INTR)) {}
        write_line("the process that has started it is gone: ending");
        let _ = kill_process(getpid(), Signal::TERM);
        std::thread::sleep(LAST_MOMENT);
        end_by_force("the process that has started it is gone");
    })?;
    Ok(())
}

/// Ends the process by SIGABRT, at which `faulthandler` writes the stacks. A core would be as large as the process.
fn end_by_force(why: &str) {
    write_line(&format!("{why}, and it does not end: ended by force. This is where its threads are:"));
    let maximum = getrlimit(Resource::Core).maximum;
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
    let _ = kill_process(getpid(), Signal::ABORT);
    std::thread::sleep(STACKS);
    let _ = kill_process(getpid(), Signal::KILL);
}

fn write_line(text: &str) {
    // Without a standard error there is no place for the text.
    let _ = writeln!(io::stderr(), "nexios: process {}: {text}", getpid().as_raw_nonzero());
}
