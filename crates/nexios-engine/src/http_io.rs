//! A connection's stream and the shard's clock, as hyper wants them.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::ReadBufCursor;

use crate::connection::{Inner, Phase};
use crate::pace::Pace;
use crate::stream::Stream;
use crate::timer::{Sleep, Sleeps};

/// Bytes that one read hands to hyper at most.
const READ_BYTES: usize = 8 << 10;

/// The connection's stream, as hyper wants it.
pub(crate) struct HttpIo {
    pub(crate) inner: Rc<Inner>,
    pub(crate) pace: Rc<RefCell<Pace>>,
}

impl hyper::rt::Read for HttpIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut state = self.inner.state.borrow_mut();
        let state = &mut *state;
        let Phase::Http(http) = &mut state.phase else { return Poll::Ready(Ok(())) };
        if !http.prefix.is_empty() {
            let n = http.prefix.len().min(cursor.remaining());
            cursor.put_slice(&http.prefix[..n]);
            http.prefix.drain(..n);
            return Poll::Ready(Ok(()));
        }
        let mut buffer = [0; READ_BYTES];
        let max = READ_BYTES.min(cursor.remaining());
        let read = state.stream.read(&mut buffer[..max]);
        let is_empty = is_blocked(&read);
        self.pace.borrow_mut().has_read(is_empty, self.inner.shard.now());
        if is_empty {
            http.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        cursor.put_slice(&buffer[..read?]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for HttpIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |stream| stream.write_vectored(parts), |written| *written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(cx, Stream::flush, |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.state.borrow_mut().stream.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

impl HttpIo {
    fn write<T>(
        &self,
        cx: &Context<'_>,
        write: impl FnOnce(&mut Stream) -> io::Result<T>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        let mut state = self.inner.state.borrow_mut();
        let state = &mut *state;
        let Phase::Http(http) = &mut state.phase else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let written = write(&mut state.stream);
        let is_full = is_blocked(&written);
        let taken = if is_full { None } else { Some(written.as_ref().map_or(0, bytes)) };
        self.pace.borrow_mut().has_written(taken, self.inner.shard.now());
        if is_full {
            http.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(written)
    }
}

fn is_blocked<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// The shard's clock, as hyper wants it.
#[derive(Clone)]
pub(crate) struct EngineTimer(pub(crate) Sleeps);

impl hyper::rt::Timer for EngineTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(self.0.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(self.0.until(deadline))
    }

    fn now(&self) -> Instant {
        self.0.now()
    }
}

impl hyper::rt::Sleep for Sleep {}
