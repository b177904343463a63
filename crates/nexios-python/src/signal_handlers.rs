//! The process's handlers for SIGINT and SIGTERM, kept where Python puts its own in their place.
//!
//! tokio installs its handler once per process, and it calls the one that it found: Python's. `signal.signal()` and
//! a second event loop then install Python's again, without tokio's. What tokio installed is put back here.

#![allow(unsafe_code, reason = "sigaction has no safe form")]

use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

const SIGNALS: [i32; 2] = [libc::SIGINT, libc::SIGTERM];

/// Handlers as tokio installed them.
static INSTALLED: OnceLock<[libc::sigaction; 2]> = OnceLock::new();

/// Notes the present handlers at the first call, and puts those back at each later one. A signal that is ignored, or
/// has its default action, stays so.
///
/// # Errors
/// The operating system refuses.
pub(crate) fn keep() -> io::Result<()> {
    let now = [current(SIGNALS[0])?, current(SIGNALS[1])?];
    let installed = INSTALLED.get_or_init(|| now);
    SIGNALS.into_iter().zip(installed).try_for_each(|(number, action)| put_back(number, action))
}

fn current(number: i32) -> io::Result<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: without a new action the call writes the present one into `action`, which is large enough.
    let result = unsafe { libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the call was successful and has written it.
    if result == 0 { Ok(unsafe { action.assume_init() }) } else { Err(io::Error::last_os_error()) }
}

fn put_back(number: i32, action: &libc::sigaction) -> io::Result<()> {
    if matches!(current(number)?.sa_sigaction, libc::SIG_IGN | libc::SIG_DFL) {
        return Ok(());
    }
    // SAFETY: it is an action that this process had for this signal before; its handler is never unloaded.
    let result = unsafe { libc::sigaction(number, action, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
